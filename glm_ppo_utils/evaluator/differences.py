"""What differs between an answer and its reference, in words that a student can act on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from glm_ppo_utils.evaluator.canonical_form import simplify
from glm_ppo_utils.evaluator.graph import Matching, match
from glm_ppo_utils.evaluator.lp_format import extract_lp, parse_lp
from glm_ppo_utils.evaluator.lp_writer import format_bound, format_number, format_row
from glm_ppo_utils.evaluator.program import LinearProgram, same

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


@np.errstate(invalid="ignore")
def list_differences(p: LinearProgram, q: LinearProgram, matching: Matching) -> list[Difference]:
    """The edits that turn ``p`` into ``q``, the weightiest first."""
    names = matched_names(p, q, matching)
    found = [
        *objective_differences(p, q, matching, names),
        *row_differences(p, q, matching, names),
        *variable_differences(p, q, matching, names),
    ]
    return sorted(found, key=lambda difference: KINDS.index(difference.kind))


def matched_names(p: LinearProgram, q: LinearProgram, matching: Matching) -> list[str]:
    """The writer's name for each variable of the reference, or its own where it has no match."""
    names = list(q.names)
    for j, k in enumerate(matching.columns):
        if j < len(p.names) and k < len(names):
            names[k] = p.names[j]
    return names


def value_text(what: str, where: str, mine: float, right: float) -> str:
    """How to correct a coefficient."""
    if not mine:
        return f"{what} is missing {where}, with coefficient {format_number(right)}"
    if not right:
        return f"{what} should not be {where}"
    return (
        f"the coefficient of {what} {where} should be {format_number(right)}, "
        f"not {format_number(mine)}"
    )


def objective_differences(
    p: LinearProgram, q: LinearProgram, matching: Matching, names: list[str]
) -> Iterator[Difference]:
    """What to change in the sense, the coefficients and the constant of the objective."""
    if matching.negated:
        worse, better = ("maximised", "minimised") if p.maximize else ("minimised", "maximised")
        yield Difference("objective sense", f"the objective should be {better}, not {worse}")
    sign = (-1.0 if p.maximize else 1.0) * (-1.0 if matching.negated else 1.0)
    ours, theirs = p.objective.tolist(), q.cost.tolist()
    for j, k in enumerate(matching.columns.tolist()):
        mine = ours[j] if j < len(ours) else 0.0
        right = sign * theirs[k] if k < len(theirs) else 0.0
        if not same(mine, right):
            what = p.names[j] if j < len(p.names) else names[k]
            yield Difference(
                "objective",
                value_text(what, "in the objective", mine, right),
                variable=j if j < len(p.names) else None,
                reference_variable=k if k < len(q.names) else None,
            )
    constant = sign * (-q.offset if q.maximize else q.offset)
    if not same(p.offset, constant):
        text = f"{format_number(constant)}, not {format_number(p.offset)}"
        yield Difference("objective", f"the constant in the objective should be {text}")


def row_differences(
    p: LinearProgram, q: LinearProgram, matching: Matching, names: list[str]
) -> Iterator[Difference]:
    """Rows that are missing or too many, and what to change in the others."""
    for i, k in enumerate(matching.rows.tolist()):
        if k >= len(q.matrix):
            edits = 2 + np.count_nonzero(p.matrix[i])
            text = f"the constraint {format_row(p, i)} is not in the reference"
            yield Difference("constraint", text, edits, row=i)
        elif i >= len(p.matrix):
            edits = 2 + np.count_nonzero(q.matrix[k])
            text = f"the constraint {row_text(q, k, names)} is missing"
            yield Difference("constraint", text, edits, reference_row=k)
        else:
            found = list(label_differences(p, q, matching, names, i, k))
            labels = 2 + max(np.count_nonzero(p.matrix[i]), np.count_nonzero(q.matrix[k]))
            if 2 * len(found) > labels:
                text = (
                    f"the constraint {row_text(q, k, names)} is missing: "
                    f"{format_row(p, i)} stands in its place"
                )
                yield Difference("constraint", text, len(found), row=i, reference_row=k)
            else:
                yield from found


def row_text(q: LinearProgram, k: int, names: list[str]) -> str:
    """A reference's row in the writer's names, with its label if that says something."""
    label = q.row_names[k]
    text = format_row(q, k, tuple(names))
    return f"{label} ({text})" if label and not label[-1].isdigit() else text


def label_differences(
    p: LinearProgram, q: LinearProgram, matching: Matching, names: list[str], i: int, k: int
) -> Iterator[Difference]:
    """What to change in row ``i`` so that it equals row ``k`` of the reference up to a factor."""
    scale, columns = float(matching.scales[i]), matching.columns.tolist()
    low, high = sorted((scale * float(q.row_lower[k]), scale * float(q.row_upper[k])))
    sense = "=" if low == high else ">=" if high == math.inf else "<="
    mine_low, mine_high = float(p.row_lower[i]), float(p.row_upper[i])
    right = low if sense == ">=" else high
    mine = mine_low if mine_high == math.inf else mine_high
    turned = (math.isinf(low), math.isinf(high)) != (math.isinf(mine_low), math.isinf(mine_high))
    ours, theirs = p.matrix[i].tolist(), q.matrix[k].tolist()
    pairs = [
        (ours[j] if j < len(ours) else 0.0, scale * theirs[m] if m < len(theirs) else 0.0)
        for j, m in enumerate(columns)
    ]
    wrong = [j for j, (a, b) in enumerate(pairs) if a != b and not same(a, b)]
    if not (turned or wrong or not same(mine, right)):
        return
    text = format_row(p, i)
    if turned:
        yield Difference("sense", f"the sense of {text} should be {sense}", row=i, reference_row=k)
    if not same(mine, right):
        text_right = f"{format_number(right)}, not {format_number(mine)}"
        text_right = f"the right-hand side of {text} should be {text_right}"
        yield Difference("right-hand side", text_right, row=i, reference_row=k)
    for j in wrong:
        column = columns[j]
        what = p.names[j] if j < len(p.names) else names[column]
        yield Difference(
            "coefficient",
            value_text(what, f"in {text}", *pairs[j]),
            variable=j if j < len(p.names) else None,
            reference_variable=column if column < len(q.names) else None,
            row=i,
            reference_row=k,
        )


def variable_differences(
    p: LinearProgram, q: LinearProgram, matching: Matching, names: list[str]
) -> Iterator[Difference]:
    """Variables that are missing or too many, and what to change in the bounds of the others."""
    for j, k in enumerate(matching.columns.tolist()):
        if j >= len(p.names):
            edits = 1 + int(q.lower[k] != 0) + int(q.upper[k] != np.inf) + int(q.integer[k])
            text = f"the variable {names[k]} is missing"
            yield Difference("variable", text, edits, reference_variable=k)
        elif k >= len(q.names):
            edits = 1 + int(p.lower[j] != 0) + int(p.upper[j] != np.inf) + int(p.integer[j])
            text = f"the variable {p.names[j]} is not in the reference"
            yield Difference("variable", text, edits, variable=j)
        else:
            yield from bound_differences(p, q, j, k)


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
