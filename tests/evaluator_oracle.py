"""Random checks of the evaluator against the enumeration of all integer points.

Each check takes a source of random numbers, makes one case and raises AssertionError with the case
if the evaluator is wrong about it. The tests run a few of each, `benchmarks/evaluator_fuzz.py`
many.
"""

from dataclasses import replace
from itertools import permutations
from random import Random

import numpy as np
from evaluator_programs import random_program
from evaluator_rewrites import EDITS, EQUIVALENT, add_column, add_row, spell

from glm_ppo_utils.evaluator import Evaluator, LinearProgram, format_lp
from glm_ppo_utils.evaluator.canonical_form import canonical, merge_columns, simplify
from glm_ppo_utils.evaluator.certificate import prove_equal
from glm_ppo_utils.evaluator.reward import Reference
from glm_ppo_utils.evaluator.solver import solve

EVALUATOR = Evaluator(cache_size=100)
NAMES = ("x", "y", "z")
# Bounds of a variable that an equation defines from small ones.
FAR = 60.0


def small_program(random: Random, variables: int = 0) -> LinearProgram:
    """Two or three integer variables of few values each; some right sides are fractional."""
    n = variables or random.choice([2, 2, 3])
    m = random.randint(1, 3)
    lower = np.array([float(random.choice([0, 0, 0, 1, -1])) for _ in range(n)])
    ends = [(random.choice(["<=", "<=", ">=", ">=", "="]), random.randint(-2, 9)) for _ in range(m)]
    part = random.choice([0.0, 0.0, 0.0, 0.5])
    return LinearProgram(
        maximize=random.random() < 0.5,
        objective=np.array([float(random.choice([1, 2, 3, -1, 0, 1])) for _ in range(n)]),
        offset=float(random.choice([0, 0, 0, 5])),
        matrix=np.array(
            [[float(random.choice([0, 1, 1, 2, 3, -1, -2])) for _ in range(n)] for _ in range(m)]
        ),
        row_lower=np.array([-np.inf if kind == "<=" else float(right) for kind, right in ends]),
        row_upper=np.array(
            [np.inf if kind == ">=" else right + part * (kind != "=") for kind, right in ends]
        ),
        lower=lower,
        upper=lower + [float(random.choice([1, 2, 3, 3, 3.5])) for _ in range(n)],
        integer=np.ones(n, dtype=bool),
        names=NAMES[:n],
        row_names=("",) * m,
    )


def define(program: LinearProgram, random: Random) -> LinearProgram:
    """The program with an integer variable that an equation relates to the others.

    It may stand in the place of a row or of the objective, and have bounds of its own; the equation
    may have any scale and need not give it whole values only.
    """
    name = "tuvw"[len(program.names) - len(set(program.names) & set(NAMES))]
    wide = replace(
        program,
        objective=np.append(program.objective, 0.0),
        matrix=np.column_stack([program.matrix, np.zeros(len(program.matrix))]),
        lower=np.append(program.lower, random.choice([-FAR, -FAR, 0.0, 1.0, 3.0])),
        upper=np.append(program.upper, random.choice([FAR, FAR, 4.0, 7.0])),
        integer=np.append(program.integer, True),
        names=(*program.names, name),
    )
    row = np.array([float(random.choice([0, 1, 1, 2, -1, 3])) for _ in program.names])
    kind = random.random()
    if kind < 0.4 and len(program.matrix):
        i = random.randrange(len(program.matrix))
        row = program.matrix[i]
        wide.matrix[i] = np.eye(len(wide.names))[-1]
    elif kind < 0.6:
        row = program.objective
        wide.objective[:] = np.eye(len(wide.names))[-1]
    equation = np.append(row, -float(random.choice([1, 1, 1, 1, 2])))
    scale = random.choice([1.0, -1.0, 0.1, 3.0])
    right = float(random.choice([0, 0, 0, 1])) * scale
    return add_row(wide, equation * scale, right, right)


def rewritten(program: LinearProgram, random: Random) -> LinearProgram:
    """Another program that often has the same points: rounded, redundant or tightened."""
    kind = random.randrange(5)
    n = len(program.names)
    if kind == 0:
        step = random.choice([0.25, 0.5, 0.9, 1.0])
        whole = (program.matrix == np.round(program.matrix)).all(axis=1)
        return replace(program, row_upper=program.row_upper + step * whole)
    if kind == 1:
        row = np.array([float(random.choice([0, 1, 1, 2, -1])) for _ in range(n)])
        return add_row(program, row, -np.inf, float(random.randint(-1, 9)))
    if kind == 2 and len(program.matrix) > 1:
        weights = [random.choice([0.0, 1.0, 2.0]) for _ in program.matrix]
        right = np.array(weights) @ np.where(np.isinf(program.row_upper), 0.0, program.row_upper)
        used = np.where(np.isinf(program.row_upper), 0.0, weights)
        return add_row(program, used @ program.matrix, -np.inf, float(right))
    if kind == 3:
        bounds = program.upper - np.array([random.choice([0.0, 0.0, 1.0]) for _ in range(n)])
        return replace(program, upper=np.maximum(bounds, program.lower))
    return program.keep_rows(np.array([random.random() < 0.7 for _ in program.matrix], dtype=bool))


def points(program: LinearProgram) -> tuple[np.ndarray, np.ndarray]:
    """All integer points of a bounded all-integer program and the objective there, minimised."""
    ranges = [
        np.arange(np.ceil(low), np.floor(high) + 1)
        for low, high in zip(program.lower, program.upper, strict=True)
    ]
    grid = np.stack(np.meshgrid(*ranges, indexing="ij")).reshape(len(ranges), -1).T
    values = grid @ program.matrix.T
    inside = (values >= program.row_lower - 1e-9) & (values <= program.row_upper + 1e-9)
    grid = grid[inside.all(axis=1)]
    offset = -program.offset if program.maximize else program.offset
    return grid, grid @ program.cost + offset


def same_points(p: LinearProgram, q: LinearProgram) -> bool:
    """Whether p has the points of q, with their values, on the variables that matter.

    Those are the ones that both have by name, or those that q's canonical form keeps. Which
    variables of p the latter are is found by trying: names play no part.
    """
    (a, cost_a), (b, cost_b) = points(p), points(q)
    common = [name for name in NAMES if name in p.names and name in q.names]
    mine, theirs = ([program.names.index(name) for name in common] for program in (p, q))
    if valued(a[:, mine], cost_a) == valued(b[:, theirs], cost_b):
        return True
    kept = [q.names.index(name) for name in canonical(q).names]
    target = valued(b[:, kept], cost_b)
    choices = permutations(range(len(p.names)), len(kept))
    return any(valued(a[:, list(columns)], cost_a) == target for columns in choices)


def valued(grid: np.ndarray, cost: np.ndarray) -> set[tuple[float, ...]]:
    """Each point once, with its value."""
    return {(*x, round(v, 6)) for x, v in zip(grid.tolist(), cost.tolist(), strict=True)}


def random_pair(random: Random) -> tuple[LinearProgram, LinearProgram]:
    """Two programs over the same variables that are equal or nearly so, each with definitions."""
    base = small_program(random)
    other = base
    for _ in range(random.choice([0, 1, 1, 2])):
        if random.random() < 0.5:
            other = rewritten(other, random)
        else:
            other = EDITS[random.choice(list(EDITS))](other, random) or other
    other = replace(
        other, integer=base.integer, upper=np.minimum(other.upper, 9), lower=other.lower
    )
    pair = []
    for program in (base, other):
        for _ in range(random.choice([0, 0, 1, 2])):
            program = define(program, random)
        pair.append(program)
    return pair[0], pair[1]


def check_exact_is_equal(random: Random) -> str:
    """A score of 1 only for the same points with the same values; returns how it was decided."""
    p, q = random_pair(random)
    score = EVALUATOR.score(format_lp(p), format_lp(q))
    if score.exact:
        assert same_points(p, q), (score, format_lp(p), format_lp(q))
    return score.decided_by or "not exact"


def check_certificate(random: Random) -> str:
    """A proof only where the points and the values on them are the same."""
    p = simplify(small_program(random))
    q = p
    for _ in range(random.choice([1, 1, 2])):
        q = simplify(rewritten(q, random))
    if random.random() < 0.3:
        q = replace(q, objective=q.objective + random.choice([0.0, 1.0, *q.matrix]))
    if len(points(p)[0]) == 0 or len(points(q)[0]) == 0:
        return "infeasible"
    pairs = np.repeat(np.arange(len(p.names))[:, None], 2, axis=1)
    proved = prove_equal(p, q, pairs, (np.zeros((0, len(p.names))),) * 2) is not None
    a, b = (
        {(*x, v) for x, v in zip(*map(np.ndarray.tolist, points(r)), strict=True)} for r in (p, q)
    )
    assert not proved or a == b, (format_lp(p), format_lp(q))
    return f"{'equal' if a == b else 'different'}, {'proved' if proved else 'not proved'}"


def check_reduction(random: Random) -> str:
    """The canonical form has the program's optimum, and all its objective values."""
    program = small_program(random)
    for _ in range(random.choice([1, 1, 2])):
        program = define(program, random)
    form = canonical(program)
    assert len(form.names) <= len(program.names)
    before = set(np.round(points(program)[1], 6))
    if np.isfinite(form.lower).all() and np.isfinite(form.upper).all():
        after = set(np.round(points(form)[1], 6)) if form.names else None
        if after is None:
            solution = solve(form)
            after = set() if solution.objective is None else {round(form.offset, 6)}
            after = {-v if form.maximize else v for v in after}
        assert before == after, (format_lp(program), format_lp(form))
        return "smaller" if len(form.names) < len(program.names) else "same size"
    return "unbounded"


def unused_column(program: LinearProgram, random: Random) -> LinearProgram | None:
    return add_column(program, "unused", 0.0) if "unused" not in program.names else None


def constant_as_variable(program: LinearProgram, random: Random) -> LinearProgram | None:
    """The constant of the objective as the cost of a variable that is 1."""
    if not program.offset or "one" in program.names:
        return None
    changed = add_column(program, "one", 1.0)
    changed.objective[-1], changed.upper[-1] = program.offset, 1.0
    return replace(changed, offset=0.0)


def split_variable(program: LinearProgram, random: Random) -> LinearProgram | None:
    """Two variables for one that has no upper bound."""
    open_columns = np.flatnonzero(np.isinf(program.upper))
    if not len(open_columns) or "part" in program.names:
        return None
    j = int(random.choice(open_columns.tolist()))
    changed = add_column(program, "part", 0.0)
    changed.objective[-1], changed.integer[-1] = program.objective[j], program.integer[j]
    changed.matrix[:, -1] = program.matrix[:, j]
    return changed


def second_name(program: LinearProgram, random: Random) -> LinearProgram | None:
    """Another variable that equals one, in its place in the objective."""
    if "alias" in program.names or (program.lower < 0).any():
        return None
    j = random.randrange(len(program.names))
    changed = add_column(program, "alias", 0.0)
    changed.objective[[j, -1]] = 0.0, program.objective[j]
    row = np.zeros(len(changed.names))
    row[[j, -1]] = 1.0, -1.0
    return add_row(changed, row, 0.0, 0.0)


def bounded_total(program: LinearProgram, random: Random) -> LinearProgram | None:
    """A variable for a row's left side, with the row's right side as its bound."""
    rows = np.flatnonzero((program.matrix != 0).sum(axis=1) > 1)
    if not len(rows) or "sum" in program.names:
        return None
    i = int(random.choice(rows.tolist()))
    row = program.matrix[i]
    changed = add_column(program, "sum", program.row_lower[i])
    changed.upper[-1] = program.row_upper[i]
    changed = changed.keep_rows(np.arange(len(program.matrix)) != i)
    return add_row(changed, np.append(row, -1.0), 0.0, 0.0)


MORE_EQUIVALENT = {
    **EQUIVALENT,
    "a column that nothing uses": unused_column,
    "a constant as a variable": constant_as_variable,
    "a variable split in two": split_variable,
    "a second name for a variable": second_name,
    "a total with bounds": bounded_total,
}


def check_equivalent(random: Random) -> str:
    """Rewrites in sequence, spelled in a random way, keep the score at 1.

    Left out are programs with one feasible point, of which little is left to compare, and those in
    which two variables already stand for their sum or difference: split further, it is ambiguous
    which belong together. Of those without any feasible point a loss is counted.
    """
    program = random_program(random)
    reference = Reference.of(program)
    if reference.solution.status == "optimal" and not reference.can_certify:
        return "one point"
    if any(merge_columns(form) is not form for form in (reference.simple, reference.reduced)):
        return "a sum"
    changed, names = program, random.choices(list(MORE_EQUIVALENT), k=random.randint(1, 5))
    if "a second name for a variable" in names:  # a half with a name of its own is no half
        names = [name for name in names if name != "a variable split in two"]
    for name in names:
        changed = MORE_EQUIVALENT[name](changed, random) or changed
    text = spell(changed, random)
    score = EVALUATOR.score(text, format_lp(program))
    if score.reward < 1.0 and reference.solution.status == "infeasible":
        return "lost, where nothing is feasible"
    assert score.reward == 1.0, (names, score, text, format_lp(program))
    return score.decided_by or ""
