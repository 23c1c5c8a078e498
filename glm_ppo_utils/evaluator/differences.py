"""What differs between an answer and its reference, in words that a student can act on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from glm_ppo_utils.evaluator.canonical_form import simplify
from glm_ppo_utils.evaluator.graph import Matching, match
from glm_ppo_utils.evaluator.lp_format import extract_lp, parse_lp
from glm_ppo_utils.evaluator.lp_writer import format_bound, format_number, format_row
from glm_ppo_utils.evaluator.program import Floats, LinearProgram, same

# In the order in which a student should hear of them.
KINDS = [
    "constraint",
    "variable",
    "objective sense",
    "sense",
    "right-hand side",
    "coefficient",
    "objective",
    "bound",
    "integrality",
]


@dataclass(frozen=True)
class Difference:
    """One thing to change in an answer.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    text : str
        The change in words.
    edits : int
        How much of the distance it is.
    variable, row : int or None
        Position in the answer's canonical form.
    reference_variable, reference_row : int or None
        Position in the reference's canonical form.
    """

    kind: str
    text: str
    edits: int = 1
    variable: int | None = None
    reference_variable: int | None = None
    row: int | None = None
    reference_row: int | None = None


@dataclass(frozen=True)
class Comparison:
    """Two simplified programs, their matching and the differences it shows.

    ``sum(d.edits for d in differences) == matching.distance``.
    """

    candidate: LinearProgram
    reference: LinearProgram
    matching: Matching
    differences: list[Difference]


def compare_programs(response: str, reference: str) -> Comparison:
    """Where an answer differs from its reference, to be drawn; raises LPError on a bad text.

    Slacks and defined variables stay, as the writer knows them.
    """
    p, q = (simplify(parse_lp(extract_lp(text))) for text in (response, reference))
    matching = match(p, q)
    return Comparison(p, q, matching, list_differences(p, q, matching))


class Pair(NamedTuple):
    """Two variables that are matched, by position; None for one that is matched with nothing.

    The name is the writer's, or else the reference's.
    """

    ours: int | None
    theirs: int | None
    name: str


@np.errstate(invalid="ignore")
def list_differences(p: LinearProgram, q: LinearProgram, matching: Matching) -> list[Difference]:
    """The edits that turn ``p`` into ``q``, the weightiest first."""
    n, m = len(p.names), len(q.names)
    pairs = [
        Pair(j if j < n else None, k if k < m else None, p.names[j] if j < n else q.names[k])
        for j, k in enumerate(matching.columns.tolist())
    ]
    found = [
        *objective_differences(p, q, matching, pairs),
        *row_differences(p, q, matching, pairs),
        *variable_differences(p, q, pairs),
    ]
    return sorted(found, key=lambda difference: KINDS.index(difference.kind))


def changed_terms(
    ours: Floats, theirs: Floats, pairs: list[Pair]
) -> list[tuple[Pair, float, float]]:
    """The variables whose coefficients differ, with both coefficients."""
    mine, right = ours.tolist(), theirs.tolist()
    terms = [
        (
            pair,
            0.0 if pair.ours is None else mine[pair.ours],
            0.0 if pair.theirs is None else right[pair.theirs],
        )
        for pair in pairs
    ]
    return [(pair, a, b) for pair, a, b in terms if a != b and not same(a, b)]


def term_differences(
    kind: str, where: str, changed: list[tuple[Pair, float, float]], **place: int
) -> Iterator[Difference]:
    """What to change in the coefficients of the objective or of a row."""
    for (j, k, name), mine, right in changed:
        if not mine:
            text = f"{name} is missing {where}, with coefficient {format_number(right)}"
        elif not right:
            text = f"{name} should not be {where}"
        else:
            numbers = f"{format_number(right)}, not {format_number(mine)}"
            text = f"the coefficient of {name} {where} should be {numbers}"
        yield Difference(kind, text, variable=j, reference_variable=k, **place)


def objective_differences(
    p: LinearProgram, q: LinearProgram, matching: Matching, pairs: list[Pair]
) -> Iterator[Difference]:
    """What to change in the sense, the coefficients and the constant of the objective."""
    if matching.negated:
        worse, better = ("maximised", "minimised") if p.maximize else ("minimised", "maximised")
        yield Difference("objective sense", f"the objective should be {better}, not {worse}")
    sign = (-1.0 if p.maximize else 1.0) * (-1.0 if matching.negated else 1.0)
    changed = changed_terms(p.objective, sign * q.cost, pairs)
    yield from term_differences("objective", "in the objective", changed)
    constant = sign * (-q.offset if q.maximize else q.offset)
    if not same(p.offset, constant):
        text = f"{format_number(constant)}, not {format_number(p.offset)}"
        yield Difference("objective", f"the constant in the objective should be {text}")


def row_differences(
    p: LinearProgram, q: LinearProgram, matching: Matching, pairs: list[Pair]
) -> Iterator[Difference]:
    """Rows that are missing or too many, and what to change in the others."""
    for i, k in enumerate(matching.rows.tolist()):
        if k >= len(q.matrix):
            text = f"the constraint {format_row(p, i)} is not in the reference"
            yield Difference("constraint", text, row_edits(p, i), row=i)
        elif i >= len(p.matrix):
            text = f"the constraint {row_text(q, k, pairs)} is missing"
            yield Difference("constraint", text, row_edits(q, k), reference_row=k)
        else:
            found = list(label_differences(p, q, matching, pairs, i, k))
            if found and 2 * len(found) > max(row_edits(p, i), row_edits(q, k)):
                text = (
                    f"the constraint {row_text(q, k, pairs)} is missing: "
                    f"{format_row(p, i)} stands in its place"
                )
                yield Difference("constraint", text, len(found), row=i, reference_row=k)
            else:
                yield from found


def row_edits(program: LinearProgram, i: int) -> int:
    """How many edits it takes to write a row."""
    return 2 + np.count_nonzero(program.matrix[i])


def row_text(q: LinearProgram, k: int, pairs: list[Pair]) -> str:
    """A reference's row in the writer's names, with its label if that says something."""
    names = {pair.theirs: pair.name for pair in pairs}
    text = format_row(q, k, tuple(names[j] for j in range(len(q.names))))
    label = q.row_names[k]
    return f"{label} ({text})" if label and not label[-1].isdigit() else text


def label_differences(
    p: LinearProgram, q: LinearProgram, matching: Matching, pairs: list[Pair], i: int, k: int
) -> Iterator[Difference]:
    """What to change in row ``i`` so that it equals row ``k`` of the reference up to a factor."""
    scale = float(matching.scales[i])
    low, high = sorted((scale * float(q.row_lower[k]), scale * float(q.row_upper[k])))
    sense = "=" if low == high else ">=" if high == math.inf else "<="
    mine_low, mine_high = float(p.row_lower[i]), float(p.row_upper[i])
    right = low if sense == ">=" else high
    mine = mine_low if mine_high == math.inf else mine_high
    turned = (math.isinf(low), math.isinf(high)) != (math.isinf(mine_low), math.isinf(mine_high))
    changed = changed_terms(p.matrix[i], scale * q.matrix[k], pairs)
    if not (turned or changed or not same(mine, right)):
        return
    row, place = format_row(p, i), {"row": i, "reference_row": k}
    if turned:
        yield Difference("sense", f"the sense of {row} should be {sense}", **place)
    if not same(mine, right):
        numbers = f"{format_number(right)}, not {format_number(mine)}"
        text = f"the right-hand side of {row} should be {numbers}"
        yield Difference("right-hand side", text, **place)
    yield from term_differences("coefficient", f"in {row}", changed, **place)


def variable_differences(
    p: LinearProgram, q: LinearProgram, pairs: list[Pair]
) -> Iterator[Difference]:
    """Variables that are missing or too many, and what to change in the bounds of the others."""
    for j, k, name in pairs:
        if j is not None and k is not None:
            yield from bound_differences(p, q, j, k)
        elif j is not None:
            text = f"the variable {name} is not in the reference"
            yield Difference("variable", text, variable_edits(p, j), variable=j)
        elif k is not None:
            text = f"the variable {name} is missing"
            yield Difference("variable", text, variable_edits(q, k), reference_variable=k)


def variable_edits(program: LinearProgram, j: int) -> int:
    """How many edits it takes to declare a variable with its bounds."""
    bounds = int(program.lower[j] != 0) + int(program.upper[j] != np.inf)
    return 1 + bounds + int(program.integer[j])


def bound_differences(p: LinearProgram, q: LinearProgram, j: int, k: int) -> Iterator[Difference]:
    """What to change in the bounds and the integrality of variable ``j`` of ``p``."""
    name = p.names[j]
    edits = int(not same(p.lower[j], q.lower[k])) + int(not same(p.upper[j], q.upper[k]))
    if edits:
        mine = format_bound(name, p.lower[j], p.upper[j])
        right = format_bound(name, q.lower[k], q.upper[k])
        text = f"the bound on {name} should be {right}, not {mine}"
        if (p.lower[j], p.upper[j]) == (0, np.inf):
            text = f"the bound {right} is missing"
        elif (q.lower[k], q.upper[k]) == (0, np.inf):
            text = f"the bound {mine} is not in the reference"
        yield Difference("bound", text, edits, variable=j, reference_variable=k)
    if p.integer[j] != q.integer[k]:
        text = f"{name} should {'be' if q.integer[k] else 'not have to be'} an integer"
        yield Difference("integrality", text, variable=j, reference_variable=k)
