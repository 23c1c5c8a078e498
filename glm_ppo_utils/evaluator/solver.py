"""Solve a `LinearProgram` with HiGHS."""

from __future__ import annotations

from dataclasses import dataclass

import highspy
import numpy as np

from glm_ppo_utils.evaluator.program import LinearProgram

STATUS = {
    highspy.HighsModelStatus.kOptimal: "optimal",
    highspy.HighsModelStatus.kInfeasible: "infeasible",
    highspy.HighsModelStatus.kUnbounded: "unbounded",
    highspy.HighsModelStatus.kTimeLimit: "time limit",
}

OPTIONS = {
    "output_flag": False,
    # Another number of threads in the same process is an error in HiGHS: always 1.
    "threads": 1,
    # A MIP is optimal only when the gap is closed: the default of 1e-4 would let wrong optima agree.
    "mip_rel_gap": 0.0,
    "mip_abs_gap": 1e-9,
    # This heuristic takes 8 ms on the smallest MIP, all the rest 0.2 ms.
    "mip_heuristic_run_feasibility_jump": False,
}


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
        A solution, in the order of the program's variables; empty unless optimal.
    """

    status: str
    objective: float | None = None
    x: tuple[float, ...] = ()


def solve(program: LinearProgram, time_limit: float = 2.0) -> Solution:
    """Solve a program; ``time_limit`` in seconds is what HiGHS is asked to keep to."""
    solution = _run(program, program.objective, time_limit)
    if solution.status == "unbounded or infeasible":
        feasible = _run(program, np.zeros_like(program.objective), time_limit).status == "optimal"
        return Solution("unbounded" if feasible else "infeasible")
    return solution


def _run(program: LinearProgram, objective: np.ndarray, time_limit: float) -> Solution:
    highs = _highs(time_limit)
    rows, columns = np.nonzero(program.matrix)
    starts = np.searchsorted(rows, np.arange(len(program.matrix) + 1))
    sense = highspy.ObjSense.kMaximize if program.maximize else highspy.ObjSense.kMinimize
    passed = highs.passModel(
        len(program.names),
        len(program.matrix),
        len(rows),
        highspy.MatrixFormat.kRowwise.value,
        sense.value,
        program.offset,
        objective,
        program.lower,
        program.upper,
        program.row_lower,
        program.row_upper,
        starts.astype(np.int32),
        columns.astype(np.int32),
        program.matrix[rows, columns],
        program.integer.astype(np.int32),
    )
    if passed == highspy.HighsStatus.kError or highs.run() == highspy.HighsStatus.kError:
        return Solution("solver error")
    status = highs.getModelStatus()
    if status == highspy.HighsModelStatus.kUnboundedOrInfeasible:
        return Solution("unbounded or infeasible")
    value = highs.getInfo().objective_function_value
    if status != highspy.HighsModelStatus.kOptimal or not np.isfinite(value):
        return Solution(STATUS.get(status, "solver error") if status in STATUS else "solver error")
    return Solution("optimal", float(value) + 0.0, tuple(highs.getSolution().col_value))


def _highs(time_limit: float) -> highspy.Highs:
    """A fresh solver: the clock of a reused one would run on into the next time limit."""
    highs = highspy.Highs()
    for name, value in OPTIONS.items():
        highs.setOptionValue(name, value)
    highs.setOptionValue("time_limit", float(time_limit))
    return highs
