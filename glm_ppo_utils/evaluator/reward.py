"""From an answer and its reference to one number in [0, 1], with a reason in words.

`judge` is the whole way: extract, parse, canonical form, match, solve, prove, add up.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from glm_ppo_utils.evaluator.canonical_form import eliminate, merge_columns, simplify
from glm_ppo_utils.evaluator.certificate import feasible_points, has_two_points, prove_equal
from glm_ppo_utils.evaluator.differences import list_differences
from glm_ppo_utils.evaluator.graph import Matching, match, size
from glm_ppo_utils.evaluator.lp_format import (
    Limits,
    LPError,
    extract_lp,
    parse_lp,
)
from glm_ppo_utils.evaluator.program import Floats, Ints, LinearProgram
from glm_ppo_utils.evaluator.references import read_reference
from glm_ppo_utils.evaluator.renaming import fingerprint
from glm_ppo_utils.evaluator.solver import Solution, solve

# The reward of an answer that is not exact: the parts add up to 0.6, well below the 1.0 of an exact
# one, or else the policy farms partial credit instead of getting answers right.
PARSE_PART = 0.05
SIMILARITY_PART = 0.35
AGREEMENT_PART = 0.20
# The most for an answer whose optimum is right because it states it outright.
TYPED_IN = 0.20
# A row this near to a multiple of the objective, and this near to the optimum, states it.
NEARLY = 1e-3
# Seconds that comparing and proving may take where solving has taken all of its own; a worker has a
# little more.
SPARE = 0.4
# The share of the time limit that a proof gets in any case.
PROOF_SHARE = 0.05
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
        Equivalent to the reference.
    message : str
        One sentence for a student.
    differences : tuple of str
        Every difference found, the weightiest first.
    decided_by : str or None
        How an exact model was found to be one: "canonical" if it has the reference's canonical
        form, "certified" if the solver proved that both have the same feasible points and the same
        objective on them. "optimum" where there was no reference to compare with. None for others.
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
    decided_by: str | None = None


@dataclass(frozen=True)
class Reference:
    """A reference read, reduced and solved once."""

    program: LinearProgram
    simple: LinearProgram
    reduced: LinearProgram
    solution: Solution
    size: int
    states_optimum: bool
    fingerprint: tuple[Any, ...]

    @classmethod
    def read(
        cls, source: str | Path, time_limit: float = 2.0, limits: Limits | None = None
    ) -> Reference:
        """Raises ValueError if the source is not an LP: that is the caller's mistake."""
        return cls.of(read_reference(source, limits), time_limit)

    @classmethod
    def of(cls, program: LinearProgram, time_limit: float = 2.0) -> Reference:
        """The reference for a program."""
        simple = simplify(program)
        reduced = eliminate(simple)
        solution = solve(program, time_limit)
        points = feasible_points(simple, solution)
        return cls(
            program=program,
            simple=simple,
            reduced=reduced,
            solution=solution,
            size=size(reduced),
            states_optimum=types_in_optimum(simple, reduced, solution, points, time_limit),
            fingerprint=fingerprint(program),
        )

    @cached_property
    def can_certify(self) -> bool:
        """Whether a proof of equality means anything: with one feasible point it does not."""
        feasible = bool(self.solution.x) or self.solution.status == "unbounded"
        return feasible and has_two_points(self.simple, self.solution)

    @cached_property
    def points(self) -> Floats:
        """Feasible points enough to see at once that most answers say something else."""
        return feasible_points(self.simple, self.solution, twice=True)


def zero(message: str, status: str = "not an LP") -> Score:
    """The score of an answer that could not be judged."""
    return Score(0.0, False, status, None, False, None, 0.0, False, message)


def read_answer(response: str, limits: Limits | None = None) -> LinearProgram | Score:
    """The program in a response, or the zero that it gets where there is none."""
    if not isinstance(response, str):
        return zero("the answer is not text")
    try:
        text = extract_lp(response, limits)
        return parse_lp(text, limits) if text.strip() else zero("the answer is empty")
    except LPError as error:
        return zero(f"the answer is not an LP: {error}")


def judge(
    response: str, reference: Reference, time_limit: float = 2.0, limits: Limits | None = None
) -> Score:
    """Score one response; never raises on what the response says."""
    deadline = time.monotonic() + time_limit + SPARE
    program = read_answer(response, limits)
    if isinstance(program, Score):
        return program
    if fingerprint(program) == reference.fingerprint:
        return exact_score(program, reference.solution, reference)
    simple = simplify(program)
    matching = match(simple, reference.simple)
    if matching.distance == 0:
        return exact_score(program, reference.solution, reference)
    solution = solve(program, time_limit)
    agrees = agree(program, solution, reference)
    may_be_equal = agrees or "time limit" in (solution.status, reference.solution.status)
    edits, reduced = matching.distance, simple
    if may_be_equal or edits > 1:  # else at least one edit is left, whatever is eliminated
        reduced = eliminate(simple)
        edits = min([edits, *reduced_distances(reduced, simple, reference)])
    if edits == 0 and may_be_equal:
        return exact_score(program, solution, reference)
    if may_be_equal:
        points = feasible_points(simple, solution)
        if solution.status != "infeasible" and reference.can_certify:
            now = time.monotonic()
            until = min(max(deadline, now + PROOF_SHARE * time_limit), now + time_limit / 2)
            proofs = certify(simple, reduced, matching, points, reference, until)
            if proofs is not None:
                return certified_score(solution, edits, proofs, reference)
    edits = edits or matching.distance
    similarity = max(0.0, 1.0 - edits / max(1, reference.size))
    reward = PARSE_PART + (SIMILARITY_PART + AGREEMENT_PART * agrees) * similarity**SHARPNESS
    if agrees and reward > TYPED_IN and not reference.states_optimum:
        left = min(time_limit, max(0.0, deadline - time.monotonic()))
        if types_in_optimum(simple, reduced, solution, points, left):
            reward = TYPED_IN
    found = [d.text for d in list_differences(simple, reference.simple, matching)]
    return Score(
        reward=reward,
        parsed=True,
        status=solution.status,
        objective_value=solution.objective,
        objective_matches=agrees,
        graph_distance=edits,
        similarity=similarity,
        exact=False,
        message=and_more(found or ["the model differs from the reference"], "difference"),
        differences=tuple(found),
    )


def and_more(sentences: list[str], what: str) -> str:
    """The first sentence, and how many there are besides."""
    more = len(sentences) - 1
    return sentences[0] + (f" (and {more} more {what}{'s' * (more > 1)})" if more else "")


def exact_score(program: LinearProgram, solution: Solution, reference: Reference) -> Score:
    """Full marks for the same canonical form; of the same simple form the solution is known."""
    value = solution.objective
    if solution is reference.solution and value is not None:
        value = value if program.maximize == reference.program.maximize else -value
    message = "the model equals the reference"
    return Score(
        1.0, True, solution.status, value, True, 0, 1.0, True, message, decided_by="canonical"
    )


def certified_score(
    solution: Solution, edits: int, proofs: list[str], reference: Reference
) -> Score:
    """Full marks for a model that was proved to be equivalent."""
    similarity = max(0.0, 1.0 - edits / max(1, reference.size))
    message = "the model has the same solutions and the same objective as the reference"
    if proofs:
        message += f": {and_more(proofs, 'proof')}"
    return Score(
        1.0,
        True,
        solution.status,
        solution.objective,
        True,
        edits,
        similarity,
        True,
        message,
        decided_by="certified",
    )


def reduced_distances(
    reduced: LinearProgram, simple: LinearProgram, reference: Reference
) -> list[int]:
    """Distances to the reference once what need not be there is gone; none if nothing is."""
    found = []
    if reduced is not simple or reference.reduced is not reference.simple:
        found.append(match(reduced, reference.reduced).distance)
    before, after = reference.simple, reference.reduced
    if len(simple.names) > len(before.names) or len(reduced.names) > len(after.names):
        # The reference's own variables are never merged: bounds of each of them would be lost.
        found += [match(form, after).distance for form in merged_forms(simple, reduced)]
    return found


def merged_forms(simple: LinearProgram, reduced: LinearProgram) -> list[LinearProgram]:
    """Canonical forms with one variable for those that occur as a sum only, early or late."""
    early, late = merge_columns(simple), merge_columns(reduced)
    if early is simple and late is reduced:
        return []
    forms = [late, merge_columns(eliminate(simplify(early)))]
    return [eliminate(simplify(form)) for form in forms]


def certify(
    simple: LinearProgram,
    reduced: LinearProgram,
    matching: Matching,
    points: Floats,
    reference: Reference,
    deadline: float,
) -> list[str] | None:
    """What the solver proved to show that an answer is equivalent; None if it could not.

    Variables correspond by their names if they can, else as in the best matching.
    """
    theirs = reference.simple
    common = sorted(set(simple.names) & set(theirs.names))
    forms = []
    if len(common) == min(len(simple.names), len(theirs.names)):
        pairs = [(simple.names.index(name), theirs.names.index(name)) for name in common]
        forms.append((simple, theirs, np.array(pairs, dtype=np.int64).reshape(-1, 2)))
    if len(common) < max(len(simple.names), len(theirs.names)):
        forms.append((simple, theirs, matched_pairs(simple, theirs, matching)))
        if reduced is not simple or reference.reduced is not theirs:
            again = match(reduced, reference.reduced)
            paired = matched_pairs(reduced, reference.reduced, again)
            forms.append((reduced, reference.reduced, paired))
    for p, q, paired in forms:
        known = points[:, places(p, simple)], reference.points[:, places(q, theirs)]
        proofs = prove_equal(p, q, paired, known, deadline)
        if proofs is not None:
            return proofs
    return None


def matched_pairs(p: LinearProgram, q: LinearProgram, matching: Matching) -> Ints:
    """Pairs of a variable of each program, ``[pairs, 2]``, without those that have no partner."""
    pairs = np.column_stack([np.arange(len(matching.columns)), matching.columns])
    return pairs[(pairs[:, 0] < len(p.names)) & (pairs[:, 1] < len(q.names))]


def places(form: LinearProgram, program: LinearProgram) -> list[int]:
    """Where the variables of a form of a program stand in the program."""
    return [program.names.index(name) for name in form.names]


def agree(program: LinearProgram, solution: Solution, reference: Reference) -> bool:
    """Whether status and optimum equal the reference's, both read as minimisation."""
    theirs = reference.solution
    if solution.objective is None or theirs.objective is None:
        return solution.status == theirs.status and solution.status in ("infeasible", "unbounded")
    mine = -solution.objective if program.maximize else solution.objective
    goal = -theirs.objective if reference.program.maximize else theirs.objective
    return abs(mine - goal) <= 1e-6 * max(1.0, abs(goal))


def types_in_optimum(
    simple: LinearProgram,
    reduced: LinearProgram,
    solution: Solution,
    points: Floats,
    time_limit: float = 2.0,
) -> bool:
    """Whether a program with these feasible points was, in any form, written from its optimum."""
    stated = states_optimum(simple, solution)
    if reduced is not simple and np.count_nonzero(reduced.objective) > 1:
        # With one variable left, every model ends at a bound of the objective.
        stated = stated or states_optimum(reduced, solution)
    return stated or leaves_no_choice(simple, solution, points, time_limit)


@np.errstate(invalid="ignore")
def states_optimum(program: LinearProgram, solution: Solution) -> bool:
    """Whether a simplified program says its optimum instead of letting it follow.

    In the constant of an objective without variables, by fixing all variables, or in a row or bound
    that is nearly a multiple of the objective and ends near the optimum.
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
    factors = c[k] / np.where(program.matrix[:, k] == 0, np.nan, program.matrix[:, k])
    gaps = np.abs(program.matrix * factors[:, None] - c).max(axis=1, initial=0.0)
    for i in np.flatnonzero(gaps <= NEARLY * np.abs(c[k])):
        ends += [program.row_lower[i] * factors[i], program.row_upper[i] * factors[i]]
    goal = solution.objective - program.offset
    return any(abs(end - goal) <= NEARLY * max(1.0, abs(goal)) for end in ends)


def leaves_no_choice(
    program: LinearProgram, solution: Solution, points: Floats, time_limit: float
) -> bool:
    """Whether the objective has one value only, so that the optimum is stated by the rows."""
    near = points @ program.objective + program.offset
    if (np.abs(near - (solution.objective or 0.0)) > 1e-6).any():
        return False
    turned = solve(replace(program, maximize=not program.maximize), time_limit)
    if solution.objective is None or turned.objective is None:
        return False
    gap = abs(turned.objective - solution.objective)
    return gap <= 1e-6 * max(1.0, abs(solution.objective))
