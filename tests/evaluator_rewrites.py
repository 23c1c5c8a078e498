"""Other ways to write a program, and ways to get it wrong: what the evaluator is tested on.

`EQUIVALENT` holds changes that must keep the score at 1, `EDITS` single mistakes that must not.
`spell` writes the same program in one of the many ways people write it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from random import Random

import numpy as np

from glm_ppo_utils.evaluator.lp_writer import format_number
from glm_ppo_utils.evaluator.program import Floats, LinearProgram

Change = Callable[[LinearProgram, Random], "LinearProgram | None"]

FACTORS = [0.1, 0.25, 0.5, 2.0, 3.0, 7.0, 10.0]


def add_row(
    program: LinearProgram, row: Floats, low: float, high: float, name: str = ""
) -> LinearProgram:
    """The program with one more row."""
    return replace(
        program,
        matrix=np.vstack([program.matrix, row]),
        row_lower=np.append(program.row_lower, low),
        row_upper=np.append(program.row_upper, high),
        row_names=(*program.row_names, name),
    )


def add_column(program: LinearProgram, name: str, low: float) -> LinearProgram:
    """The program with one more continuous variable that nothing uses yet."""
    return replace(
        program,
        objective=np.append(program.objective, 0.0),
        matrix=np.hstack([program.matrix, np.zeros((len(program.matrix), 1))]),
        lower=np.append(program.lower, low),
        upper=np.append(program.upper, np.inf),
        integer=np.append(program.integer, False),
        names=(*program.names, name),
    )


def set_item(array: Floats, index: int | tuple[int, int], value: float) -> Floats:
    changed = array.copy()
    changed[index] = value
    return changed


def pick_row(program: LinearProgram, random: Random) -> int | None:
    return random.randrange(len(program.matrix)) if len(program.matrix) else None


# -- changes that keep the meaning; None where one does not apply


def rename(program: LinearProgram, random: Random) -> LinearProgram:
    pool = [f"x{k}" for k in range(len(program.names))]
    random.shuffle(pool)
    return replace(program, names=tuple(pool))


def rename_in_chinese(program: LinearProgram, random: Random) -> LinearProgram:
    pool = [f"变量{k}" for k in range(len(program.names))]
    random.shuffle(pool)
    return replace(program, names=tuple(pool))


def reorder_rows(program: LinearProgram, random: Random) -> LinearProgram:
    order = random.sample(range(len(program.matrix)), len(program.matrix))
    return program.keep_rows(np.array(order, dtype=int))


def reorder_variables(program: LinearProgram, random: Random) -> LinearProgram:
    order = random.sample(range(len(program.names)), len(program.names))
    return program.keep_columns(np.array(order, dtype=int))


def scale_rows(program: LinearProgram, random: Random) -> LinearProgram:
    factors = np.array([random.choice(FACTORS) for _ in program.row_names])
    return replace(
        program,
        matrix=program.matrix * factors[:, None],
        row_lower=program.row_lower * factors,
        row_upper=program.row_upper * factors,
    )


def turn_rows(program: LinearProgram, random: Random) -> LinearProgram:
    return replace(
        program,
        matrix=-program.matrix + 0.0,
        row_lower=-program.row_upper + 0.0,
        row_upper=-program.row_lower + 0.0,
    )


def turn_objective(program: LinearProgram, random: Random) -> LinearProgram:
    return replace(
        program,
        maximize=not program.maximize,
        objective=-program.objective + 0.0,
        offset=-program.offset + 0.0,
    )


def repeat_row(program: LinearProgram, random: Random) -> LinearProgram | None:
    i = pick_row(program, random)
    if i is None:
        return None
    factor = random.choice(FACTORS)
    ends = program.row_lower[i] * factor, program.row_upper[i] * factor
    return add_row(program, program.matrix[i] * factor, *ends)


def add_weaker_row(program: LinearProgram, random: Random) -> LinearProgram | None:
    i = pick_row(program, random)
    if i is None:
        return None
    slack = random.choice([1.0, 5.0])
    return add_row(
        program, program.matrix[i], program.row_lower[i] - slack, program.row_upper[i] + slack
    )


def bounds_to_rows(program: LinearProgram, random: Random) -> LinearProgram | None:
    given = (program.lower > 0) | np.isfinite(program.upper)
    if not given.any():
        return None
    changed = program
    for j in np.flatnonzero(given):
        low = program.lower[j] if program.lower[j] > 0 else -np.inf
        changed = add_row(changed, np.eye(len(program.names))[j], low, program.upper[j])
    return replace(
        changed,
        lower=np.where(given, np.minimum(program.lower, 0), program.lower),
        upper=np.where(given, np.inf, program.upper),
    )


def rows_to_bounds(program: LinearProgram, random: Random) -> LinearProgram | None:
    """One single-variable row that says more than the bounds, as a bound."""
    for i in np.flatnonzero((program.matrix != 0).sum(axis=1) == 1):
        j = int(np.argmax(program.matrix[i] != 0))
        part = program.matrix[i, j]
        low, high = sorted((program.row_lower[i] / part, program.row_upper[i] / part))
        return replace(
            program.keep_rows(np.arange(len(program.matrix)) != i),
            lower=set_item(program.lower, j, max(low, program.lower[j])),
            upper=set_item(program.upper, j, min(high, program.upper[j])),
        )
    return None


def add_slack(program: LinearProgram, random: Random) -> LinearProgram | None:
    """An inequality as an equation with a slack variable."""
    open_rows = np.isinf(program.row_lower) != np.isinf(program.row_upper)
    open_rows = np.flatnonzero(open_rows & program.matrix.any(axis=1))
    if not len(open_rows) or "slack" in program.names:
        return None
    i = int(random.choice(open_rows.tolist()))
    at_most = np.isinf(program.row_lower[i])
    right = program.row_upper[i] if at_most else program.row_lower[i]
    changed = add_column(program, "slack", 0.0)
    return replace(
        changed,
        matrix=set_item(changed.matrix, (i, -1), random.choice(FACTORS) * (1 if at_most else -1)),
        row_lower=set_item(program.row_lower, i, right),
        row_upper=set_item(program.row_upper, i, right),
    )


def define_total(program: LinearProgram, random: Random) -> LinearProgram | None:
    """A new variable equal to the objective, or to a row's left side, in its place.

    Not beside other equations: there another variable may be the one to go.
    """
    places = [-1, *range(len(program.matrix))]
    i = random.choice(places)
    part = program.objective if i < 0 else program.matrix[i]
    if np.count_nonzero(part) < 2 or "total" in program.names or (program.lower < 0).any():
        return None
    if (program.row_lower == program.row_upper).any() or (program.lower == program.upper).any():
        return None
    if i < 0 and (part[~program.matrix.any(axis=0)] != 0).any():
        return None  # a variable that occurs nowhere else could be taken for the slack
    changed = add_column(program, "total", 0.0 if (part >= 0).all() else -np.inf)
    total = np.eye(len(changed.names))[-1]
    if i < 0:
        changed = replace(changed, objective=total)
    else:
        matrix = changed.matrix.copy()
        matrix[i] = total
        changed = replace(changed, matrix=matrix)
    return add_row(changed, total - np.append(part, 0.0), 0.0, 0.0)


EQUIVALENT: dict[str, Change] = {
    "renamed": rename,
    "renamed in Chinese": rename_in_chinese,
    "rows reordered": reorder_rows,
    "variables reordered": reorder_variables,
    "rows scaled": scale_rows,
    "rows times -1": turn_rows,
    "max f as min -f": turn_objective,
    "a row repeated": repeat_row,
    "a weaker row added": add_weaker_row,
    "bounds as rows": bounds_to_rows,
    "a row as a bound": rows_to_bounds,
    "a slack variable": add_slack,
    "a defined variable": define_total,
}


# -- single mistakes; None where one does not apply


def drop_row(program: LinearProgram, random: Random) -> LinearProgram | None:
    i = pick_row(program, random)
    return None if i is None else program.keep_rows(np.arange(len(program.matrix)) != i)


def flip_sense(program: LinearProgram, random: Random) -> LinearProgram | None:
    open_rows = np.flatnonzero(np.isinf(program.row_lower) != np.isinf(program.row_upper))
    if not len(open_rows):
        return None
    i = int(random.choice(open_rows.tolist()))
    low, high = program.row_lower[i], program.row_upper[i]
    ends = (high, np.inf) if np.isinf(low) else (-np.inf, low)
    return replace(
        program,
        row_lower=set_item(program.row_lower, i, ends[0]),
        row_upper=set_item(program.row_upper, i, ends[1]),
    )


def change_right_side(program: LinearProgram, random: Random) -> LinearProgram | None:
    i = pick_row(program, random)
    if i is None:
        return None
    step = random.choice([-2.0, -1.0, 1.0, 2.0, 10.0])
    return replace(
        program,
        row_lower=set_item(program.row_lower, i, program.row_lower[i] + step),
        row_upper=set_item(program.row_upper, i, program.row_upper[i] + step),
    )


def change_coefficient(program: LinearProgram, random: Random) -> LinearProgram | None:
    places = np.argwhere(program.matrix != 0).tolist()
    if not places:
        return None
    i, j = random.choice(places)
    value = program.matrix[i, j] * random.choice([-1.0, 0.5, 1.1, 2.0, 10.0])
    return replace(program, matrix=set_item(program.matrix, (i, j), value))


def drop_term(program: LinearProgram, random: Random) -> LinearProgram | None:
    places = np.argwhere(program.matrix != 0).tolist()
    if not places:
        return None
    return replace(program, matrix=set_item(program.matrix, tuple(random.choice(places)), 0.0))


def change_objective(program: LinearProgram, random: Random) -> LinearProgram | None:
    terms = np.flatnonzero(program.objective).tolist()
    if not terms:
        return None
    j = random.choice(terms)
    value = program.objective[j] * random.choice([-1.0, 0.0, 0.5, 1.1, 2.0])
    return replace(program, objective=set_item(program.objective, j, value))


def flip_objective(program: LinearProgram, random: Random) -> LinearProgram | None:
    return replace(program, maximize=not program.maximize) if program.objective.any() else None


def change_integrality(program: LinearProgram, random: Random) -> LinearProgram | None:
    integer = program.integer.copy()
    j = random.randrange(len(program.names))
    integer[j] = not integer[j]
    return replace(program, integer=integer)


def add_bound(program: LinearProgram, random: Random) -> LinearProgram | None:
    j = random.randrange(len(program.names))
    value = float(random.randint(1, 20))
    if random.random() < 0.5:
        return replace(program, upper=set_item(program.upper, j, value))
    return replace(program, lower=set_item(program.lower, j, value))


def invent_row(program: LinearProgram, random: Random) -> LinearProgram | None:
    row = np.array([float(random.randint(1, 9)) for _ in program.names])
    return add_row(program, row, -np.inf, float(random.randint(1, 99)))


EDITS: dict[str, Change] = {
    "constraint dropped": drop_row,
    "sense flipped": flip_sense,
    "right-hand side changed": change_right_side,
    "coefficient changed": change_coefficient,
    "term dropped": drop_term,
    "objective coefficient changed": change_objective,
    "max and min swapped": flip_objective,
    "integrality changed": change_integrality,
    "bound changed": add_bound,
    "constraint invented": invent_row,
}


# -- texts


def spell(program: LinearProgram, random: Random) -> str:
    """The program as one of many texts: keywords, spaces, split terms, moved terms, prose."""
    keyword = random.choice(["maximize", "MAX", "Maximise", "maximum"])
    if not program.maximize:
        keyword = random.choice(["minimize", "MIN", "Minimise", "minimum"])
    terms = spell_terms(program.objective, program.names, random)
    objective = spell_sum([*terms, *spell_constant(program.offset, random)], random)
    lines = [f"{keyword} \\ {random.choice(['', 'objective <= 3'])}", f"obj: {objective}"]
    lines.append(random.choice(["subject to", "Such That", "st", "S.T."]))
    for i in range(len(program.matrix)):
        lines += spell_row(program, i, random)
    binary = program.integer & (program.lower == 0) & (program.upper == 1)
    by_bounds = binary & (random.random() < 0.5)
    bounds = [
        spell_bound(name, low, high)
        for name, low, high, listed in zip(
            program.names,
            program.lower.tolist(),
            program.upper.tolist(),
            ~binary | by_bounds,
            strict=True,
        )
        if listed and (low != 0 or high != math.inf)
    ]
    lines += [random.choice(["bounds", "Bounds"]), *bounds] if bounds else []
    for words, members in (
        (["general", "Generals", "INT", "integers"], program.integer & (~binary | by_bounds)),
        (["binary", "Binaries", "bin"], binary & ~by_bounds),
    ):
        names = [name for name, m in zip(program.names, members, strict=True) if m]
        lines += [random.choice(words), *names] if names else []
    text = "\n".join([*lines, "end"])
    if random.random() < 0.3:
        fence = random.choice(["```", "```lp", "~~~"])
        text = f"Let x be what we make.\n{fence}\n{text}\n{fence[:3]}\nThis is the model."
    return text


def spell_terms(coefficients: Floats, names: tuple[str, ...], random: Random) -> list[str]:
    """Signed terms, some split in two."""
    terms = []
    for value, name in zip(coefficients.tolist(), names, strict=True):
        parts = [value]
        if value and random.random() < 0.2:
            parts = [value - 1.0, 1.0] if value != 1 else [3.0, -2.0]
        terms += [f"{'-' if v < 0 else '+'} {format_number(abs(v))} {name}" for v in parts if v]
    return terms


def spell_constant(value: float, random: Random) -> list[str]:
    return [f"{'-' if value < 0 else '+'} {format_number(abs(value))}"] if value else []


def spell_sum(terms: list[str], random: Random) -> str:
    shuffled = random.sample(terms, len(terms))
    return " ".join(shuffled) or "0"


def spell_row(program: LinearProgram, i: int, random: Random) -> list[str]:
    """A row as one line, or an equation or range as two."""
    low, high = program.row_lower[i], program.row_upper[i]
    if low == high and random.random() < 0.7:
        return [spell_side(program, i, random.choice(["=", "=="]), high, random)]
    lines = []
    if high < math.inf:
        lines.append(spell_side(program, i, random.choice(["<=", "=<", "<"]), high, random))
    if low > -math.inf:
        lines.append(spell_side(program, i, random.choice([">=", "=>", ">"]), low, random))
    return lines


def spell_side(program: LinearProgram, i: int, sense: str, right: float, random: Random) -> str:
    """``row sense right``, with some terms and a constant on the other side."""
    moved = np.array([random.random() < 0.2 for _ in program.names])
    row = program.matrix[i]
    constant = float(random.choice([0, 0, 0, 1, 5]))
    left = spell_terms(np.where(moved, 0.0, row), program.names, random)
    other = spell_terms(np.where(moved, -row, 0.0), program.names, random)
    left += spell_constant(constant, random)
    other += spell_constant(right + constant, random)
    return f"{spell_sum(left, random)} {sense} {spell_sum(other, random)}"


def spell_bound(name: str, low: float, high: float) -> str:
    """A variable's bounds, spelled out from both sides."""
    ends = [f"{v:.17g}" if math.isfinite(v) else f"{'-' * (v < 0)}inf" for v in (low, high)]
    return f"{ends[0]} <= {name} <= {ends[1]}"
