"""From an answer and its reference to one number in [0, 1], with a reason in words.

`judge` is the whole way: extract, parse, canonical form, match, solve, add up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from glm_ppo_utils.evaluator.differences import list_differences
from glm_ppo_utils.evaluator.graph import match, size
from glm_ppo_utils.evaluator.lp_format import (
    Limits,
    LPError,
    extract_lp,
    parse_lp,
)
from glm_ppo_utils.evaluator.program import LinearProgram, close, eliminate, simplify
from glm_ppo_utils.evaluator.solver import Solution, solve

# The reward of an answer that is not exact: the parts add up to 0.6, well below the 1.0 of an exact
# one, or else the policy farms partial credit instead of getting answers right.
PARSE_PART = 0.05
SIMILARITY_PART = 0.35
AGREEMENT_PART = 0.20
# The most for an answer whose optimum is right because it states it outright.
TYPED_IN = 0.20
# Similarity counts by its fourth power: a model half right is worth next to nothing, and the step
# from one wrong number to none is the largest.
SHARPNESS = 4


@dataclass(frozen=True)
class Score:
    """The verdict on one answer.

    Attributes
    ----------
    reward : float
        In [0, 1]; 1 exactly for a model equal to the reference.
    parsed : bool
        Whether the answer is an LP.
    status : str
        The solver's word on the answer: "optimal", "infeasible", "unbounded", "time limit" or
        "solver error"; "not an LP" if it could not be read, "stopped" if its worker was stopped.
    objective_value : float or None
        The answer's optimum in its own sense.
    objective_matches : bool
        Status and optimum agree with the reference's (a maximum of f is a minimum of -f).
    graph_distance : int or None
        Number of edits to the reference; None if not parsed.
    similarity : float
        ``max(0, 1 - graph_distance / size of the reference)``.
    exact : bool
        Equal to the reference up to the equivalences of `program.canonical`.
    message : str
        One sentence for a student.
    differences : tuple of str
        Every difference found, the weightiest first.
    """

    reward: float
    parsed: bool
    status: str
    objective_value: float | None
    objective_matches: bool
    graph_distance: int | None
    similarity: float
    exact: bool
    message: str
    differences: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reference:
    """A reference read, reduced and solved once."""

    program: LinearProgram
    simple: LinearProgram
    reduced: LinearProgram
    solution: Solution
    size: int
    states_optimum: bool

    @classmethod
    def read(cls, text: str, time_limit: float = 2.0, limits: Limits | None = None) -> Reference:
        """Raises ValueError if the text is not an LP: that is the caller's mistake."""
        try:
            program = parse_lp(extract_lp(text), limits)
        except LPError as error:
            raise ValueError(f"the reference is not an LP: {error}") from error
        simple = simplify(program)
        reduced = eliminate(simple)
        solution = solve(program, time_limit)
        stated = states_optimum(simple, solution)
        return cls(program, simple, reduced, solution, size(reduced), stated)


def zero(message: str, status: str = "not an LP") -> Score:
    """The score of an answer that could not be judged."""
    return Score(0.0, False, status, None, False, None, 0.0, False, message)


def judge(
    response: str, reference: Reference, time_limit: float = 2.0, limits: Limits | None = None
) -> Score:
    """Score one response; never raises on what the response says."""
    if not isinstance(response, str):
        return zero("the answer is not text")
    text = extract_lp(response)
    if not text.strip():
        return zero("the answer is empty")
    try:
        program = parse_lp(text, limits)
    except LPError as error:
        return zero(f"the answer is not an LP: {error}")
    simple = simplify(program)
    reduced = eliminate(simple)
    matching = match(simple, reference.simple)
    edits = matching.distance
    if edits and (reduced is not simple or reference.reduced is not reference.simple):
        edits = match(reduced, reference.reduced).distance
    if edits == 0:
        return exact_score(program, reference)
    solution = solve(program, time_limit)
    agrees = agree(program, solution, reference)
    similarity = max(0.0, 1.0 - edits / max(1, reference.size))
    reward = PARSE_PART + (SIMILARITY_PART + AGREEMENT_PART * agrees) * similarity**SHARPNESS
    if agrees and states_optimum(simple, solution) and not reference.states_optimum:
        reward = min(reward, TYPED_IN)
    found = [d.text for d in list_differences(simple, reference.simple, matching)]
    more = len(found) - 1
    return Score(
        reward=reward,
        parsed=True,
        status=solution.status,
        objective_value=solution.objective,
        objective_matches=agrees,
        graph_distance=edits,
        similarity=similarity,
        exact=False,
        message=found[0] + (f" (and {more} more difference{'s' * (more > 1)})" if more else ""),
        differences=tuple(found),
    )


def exact_score(program: LinearProgram, reference: Reference) -> Score:
    """Full marks; the reference's solution is the answer's too, so nothing is solved."""
    solution = reference.solution
    value = solution.objective
    if value is not None and program.maximize != reference.program.maximize:
        value = -value
    message = "the model equals the reference"
    return Score(1.0, True, solution.status, value, True, 0, 1.0, True, message)


def agree(program: LinearProgram, solution: Solution, reference: Reference) -> bool:
    """Whether status and optimum equal the reference's, both read as minimisation."""
    theirs = reference.solution
    if solution.objective is None or theirs.objective is None:
        return solution.status == theirs.status and solution.status in ("infeasible", "unbounded")
    mine = -solution.objective if program.maximize else solution.objective
    goal = -theirs.objective if reference.program.maximize else theirs.objective
    return abs(mine - goal) <= 1e-6 * max(1.0, abs(goal))


@np.errstate(invalid="ignore")
def states_optimum(program: LinearProgram, solution: Solution) -> bool:
    """Whether a simplified program says its optimum instead of letting it follow.

    In the constant of an objective without variables, by fixing all variables, or in a row or bound
    that is a multiple of the objective and ends at the optimum.
    """
    if solution.objective is None:
        return False
    c = program.objective
    if not c.any() or (program.lower == program.upper).all():
        return True
    k = int(np.argmax(np.abs(c)))
    ends = []
    if np.count_nonzero(c) == 1:
        ends += [c[k] * program.lower[k], c[k] * program.upper[k]]
    for row, low, high in zip(program.matrix, program.row_lower, program.row_upper, strict=True):
        if row[k] and close(row * (c[k] / row[k]), c).all():
            ends += [low * (c[k] / row[k]), high * (c[k] / row[k])]
    goal = solution.objective - program.offset
    return any(abs(end - goal) <= 1e-6 * max(1.0, abs(goal)) for end in ends)
