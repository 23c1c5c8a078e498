"""The grade of an answer where no reference model exists, only its optimal value.

Two models can have the same optimum by chance: of 726 wrong models of NL4Opt problems 176 did
(`benchmarks/evaluator_verdicts.py`). So the most that an answer can get here is what a compared
model gets that is nearly right.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from glm_ppo_utils.evaluator.canonical_form import eliminate, simplify
from glm_ppo_utils.evaluator.certificate import feasible_points
from glm_ppo_utils.evaluator.lp_format import Limits
from glm_ppo_utils.evaluator.program import LinearProgram
from glm_ppo_utils.evaluator.reward import (
    AGREEMENT_PART,
    PARSE_PART,
    SIMILARITY_PART,
    TYPED_IN,
    Score,
    read_answer,
    types_in_optimum,
)
from glm_ppo_utils.evaluator.solver import Solution, solve

NOT_COMPARED = PARSE_PART + SIMILARITY_PART + AGREEMENT_PART


@dataclass(frozen=True)
class Optimum:
    """An optimal value, as a data set gives it: in the sense of its problem, perhaps rounded."""

    value: float

    @property
    def tolerance(self) -> float:
        """How far an answer's optimum may be off: one unit of the last decimal, or 1e-6 of it."""
        exponent = Decimal(repr(self.value)).normalize().as_tuple().exponent
        last_digit = 10.0**exponent if isinstance(exponent, int) and exponent < 0 else 0.0
        return max(last_digit, 1e-6 * max(1.0, abs(self.value)))


def typed_in(program: LinearProgram, solution: Solution, time_limit: float) -> bool:
    """Whether a program was written from its optimum."""
    simple = simplify(program)
    points = feasible_points(simple, solution)
    return types_in_optimum(simple, eliminate(simple), solution, points, time_limit)


def judge_by_optimum(
    response: str, optimum: Optimum, time_limit: float = 2.0, limits: Limits | None = None
) -> Score:
    """Score one response by its optimum alone; never raises on what the response says.

    At most 0.6, and never ``exact``: the model is not compared with anything.
    """
    program = read_answer(response, limits)
    if isinstance(program, Score):
        return program
    solution = solve(program, time_limit)
    value = solution.objective
    agrees = value is not None and abs(value - optimum.value) <= optimum.tolerance
    right = f"{optimum.value:g}"
    if value is None:
        reward, message = PARSE_PART, f"the optimum should be {right}: {solution.status}"
    elif not agrees:
        reward = PARSE_PART
        message = f"the optimum should be {right}, not {value:g}"
    elif typed_in(program, solution, time_limit):
        reward, message = TYPED_IN, f"the answer states the optimum, {right}, instead of finding it"
    else:
        reward = NOT_COMPARED
        message = f"the optimum, {right}, is right; the model was not compared with a reference"
    return Score(
        reward=reward,
        parsed=True,
        status=solution.status,
        objective_value=value,
        objective_matches=agrees,
        graph_distance=None,
        similarity=0.0,
        exact=False,
        message=message,
        decided_by="optimum",
    )
