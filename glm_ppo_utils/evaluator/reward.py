"""From an answer and its reference to one number in [0, 1], with a reason in words."""

from __future__ import annotations

from dataclasses import dataclass

from glm_ppo_utils.evaluator.graph import match, size
from glm_ppo_utils.evaluator.lp_format import Limits, LPError, extract_lp, parse_lp
from glm_ppo_utils.evaluator.program import LinearProgram, canonical, close
from glm_ppo_utils.evaluator.solver import Solution, solve

# The reward of an answer that is not exact: parts add up to 0.6, well below the 1.0 of an exact
# one, or the policy farms partial credit instead of getting answers right.
PARSE_PART = 0.05
SIMILARITY_PART = 0.35
AGREEMENT_PART = 0.20
# Similarity counts by its fourth power: half the model right is worth nearly nothing.
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
        The solver's word on the answer: "optimal", "infeasible", "unbounded", "time limit",
        "solver error"; "not an LP" if it could not be read, "stopped" if its worker was.
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


def zero(message: str, status: str = "not an LP") -> Score:
    """The score of an answer that could not be judged."""
    return Score(0.0, False, status, None, False, None, 0.0, False, message)


@dataclass(frozen=True)
class Reference:
    """A reference read, reduced and solved once."""

    program: LinearProgram
    reduced: LinearProgram
    solution: Solution
    size: int

    @classmethod
    def read(cls, text: str, time_limit: float = 2.0, limits: Limits | None = None) -> Reference:
        """Raises ValueError if the text is not an LP: that is the caller's mistake."""
        try:
            program = parse_lp(extract_lp(text), limits)
        except LPError as error:
            raise ValueError(f"the reference is not an LP: {error}") from error
        reduced = canonical(program)
        return cls(program, reduced, solve(program, time_limit), size(reduced))


def grade(
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
    reduced = canonical(program)
    matching = match(reduced, reference.reduced)
    if matching.distance == 0:
        solution = reference.solution
        value = solution.objective
        if value is not None and program.maximize != reference.program.maximize:
            value = -value
        return Score(
            1.0, True, solution.status, value, True, 0, 1.0, True, "the model equals the reference"
        )
    solution = solve(program, time_limit)
    agrees = agree(program, solution, reference)
    similarity = max(0.0, 1.0 - matching.distance / max(1, reference.size))
    weight = SIMILARITY_PART + AGREEMENT_PART * agrees
    return Score(
        reward=PARSE_PART + weight * similarity**SHARPNESS,
        parsed=True,
        status=solution.status,
        objective_value=solution.objective,
        objective_matches=agrees,
        graph_distance=matching.distance,
        similarity=similarity,
        exact=False,
        message=f"the model differs from the reference in {matching.distance} places",
    )


def agree(program: LinearProgram, solution: Solution, reference: Reference) -> bool:
    """Whether status and optimum equal the reference's, both read as minimisation."""
    if solution.status != reference.solution.status:
        return False
    if solution.objective is None or reference.solution.objective is None:
        return solution.status in ("infeasible", "unbounded")
    mine = -solution.objective if program.maximize else solution.objective
    theirs = reference.solution.objective
    theirs = -theirs if reference.program.maximize else theirs
    return bool(abs(mine - theirs) <= 1e-6 * max(1.0, abs(theirs)))
