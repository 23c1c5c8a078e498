"""Solve a `LinearProgram` with HiGHS."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import highspy
import numpy as np

from glm_ppo_utils.evaluator.program import Flags, Floats, LinearProgram, round_bounds

STATUS = {
    highspy.HighsModelStatus.kOptimal: "optimal",
    highspy.HighsModelStatus.kInfeasible: "infeasible",
    highspy.HighsModelStatus.kUnbounded: "unbounded",
    highspy.HighsModelStatus.kUnboundedOrInfeasible: "unbounded or infeasible",
    highspy.HighsModelStatus.kTimeLimit: "time limit",
}

FEASIBLE = int(highspy.SolutionStatus.kSolutionStatusFeasible)

# Coefficients, zeros included, and the largest number of an integer program that needs no presolve.
SMALL = 2_500
MODERATE = 1e6

OPTIONS = {
    "output_flag": False,
    # Another number of threads in the same process is an error in HiGHS: always 1.
    "threads": 1,
    # Close the gap of a MIP: the default of 1e-4 would let wrong optima agree.
    "mip_rel_gap": 0.0,
    "mip_abs_gap": 1e-9,
    # This heuristic takes 8 ms on the smallest MIP; all the rest takes 0.2 ms.
    "mip_heuristic_run_feasibility_jump": False,
}


_this_thread = threading.local()


@dataclass(frozen=True)
class Solution:
    """What the solver says of a program.

    Attributes
    ----------
    status : str
        "optimal", "infeasible", "unbounded", "time limit" or "solver error".
    objective : float or None
        The optimum in the program's own sense; None unless optimal.
    x : tuple of float
        A solution, in the order of the program's variables; at a time limit the best point that was
        found. Empty where there is none.
    """

    status: str
    objective: float | None = None
    x: tuple[float, ...] = ()


def solve(program: LinearProgram, time_limit: float = 2.0) -> Solution:
    """Solve a program.

    ``time_limit`` in seconds is what HiGHS is asked to keep to; it can overshoot, and only a worker
    process has a hard limit.
    """
    # The presolve of HiGHS 1.15.1 returns fractional values where the bounds of an integer variable
    # are fractional and a row says something of it alone.
    program = round_bounds(program)
    if (program.lower > program.upper).any() or (program.row_lower > program.row_upper).any():
        return Solution("infeasible")
    if not program.names:
        feasible = ((program.row_lower <= 0) & (program.row_upper >= 0)).all()
        return Solution("optimal", program.offset) if feasible else Solution("infeasible")
    highs = _solver()
    deadline = time.monotonic() + time_limit
    relaxed = _run(highs, deadline, program, program.objective, np.zeros_like(program.integer))
    x = np.array(relaxed.x)
    solved = relaxed.status == "optimal"
    whole = np.abs(x - np.round(x)) <= 1e-9 if solved else ~program.integer
    if relaxed.status == "infeasible" or whole[program.integer].all():
        solution = relaxed
    else:
        solution = _run(highs, deadline, program, program.objective, program.integer)
    if solution.status in ("unbounded", "infeasible", "unbounded or infeasible"):
        # HiGHS 1.15.1 calls some unbounded programs with parallel rows infeasible: ask for a point.
        point = _run(highs, deadline, program, np.zeros_like(program.objective), program.integer)
        solution = Solution("unbounded" if point.status == "optimal" else point.status)
    if solution.status == "solver error":
        del _this_thread.highs
    return solution


def stop_at(highs: highspy.Highs, deadline: float, integer: Flags) -> None:
    """Let the next run end when `time.monotonic` shows ``deadline``.

    HiGHS compares its limit with the time of all runs so far for a linear program, and with that of
    the run alone for an integer one.
    """
    left = max(0.0, deadline - time.monotonic())
    highs.setOptionValue("time_limit", left if integer.any() else highs.getRunTime() + left)


def is_plain(program: LinearProgram, objective: Floats) -> bool:
    """Whether an integer program is better solved without presolve.

    HiGHS 1.15.1 looks at no limit in two cases: its presolve never ends on some small programs, and
    its branch and bound never ends without presolve on some with numbers from 1e9 to 1e15.
    """
    if program.matrix.size > SMALL:
        return False
    ends = program.lower, program.upper, program.row_lower, program.row_upper
    numbers = np.abs(np.concatenate([objective, program.matrix.ravel(), *ends]))
    return bool((numbers[np.isfinite(numbers)] <= MODERATE).all())


def _run(
    highs: highspy.Highs, deadline: float, program: LinearProgram, objective: Floats, integer: Flags
) -> Solution:
    stop_at(highs, deadline, integer)
    presolve = "off" if integer.any() and is_plain(program, objective) else "choose"
    highs.setOptionValue("presolve", presolve)
    sense = highspy.ObjSense.kMaximize if program.maximize else highspy.ObjSense.kMinimize
    passed = pass_model(highs, program, sense, objective, program.offset, integer)
    if passed == highspy.HighsStatus.kError or highs.run() == highspy.HighsStatus.kError:
        return Solution("solver error")
    status = STATUS.get(highs.getModelStatus(), "solver error")
    if status == "time limit" and highs.getInfo().primal_solution_status == FEASIBLE:
        return Solution(status, None, tuple(highs.getSolution().col_value))
    if status != "optimal":
        return Solution(status)
    value = highs.getObjectiveValue()
    if not np.isfinite(value):
        return Solution("solver error")
    return Solution("optimal", float(value), tuple(highs.getSolution().col_value))


def pass_model(
    highs: highspy.Highs,
    program: LinearProgram,
    sense: highspy.ObjSense,
    objective: Floats,
    offset: float,
    integer: Flags,
) -> highspy.HighsStatus:
    """Give HiGHS the rows and bounds of a program, with another objective or integrality."""
    rows, columns = np.nonzero(program.matrix)
    starts = np.searchsorted(rows, np.arange(len(program.matrix) + 1))
    return highs.passModel(
        len(program.names),
        len(program.matrix),
        len(rows),
        highspy.MatrixFormat.kRowwise.value,
        sense.value,
        offset,
        objective,
        program.lower,
        program.upper,
        program.row_lower,
        program.row_upper,
        starts.astype(np.int32),
        columns.astype(np.int32),
        program.matrix[rows, columns],
        integer.astype(np.int32),
    )


def _solver() -> highspy.Highs:
    """This thread's solver: making one takes longer than a small solve."""
    if not hasattr(_this_thread, "highs"):
        _this_thread.highs = highspy.Highs()
        for name, value in OPTIONS.items():
            _this_thread.highs.setOptionValue(name, value)
    return _this_thread.highs
