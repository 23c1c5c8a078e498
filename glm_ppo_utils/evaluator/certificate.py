"""Proof by solver that two programs say the same although they are written differently.

Two programs over the same variables are equivalent if they have the same feasible points and their
objectives agree on them. So each row and bound that one has and the other lacks must follow from
the other: it does if its left-hand side, maximised over the other program, stays within its
right-hand side. The linear relaxation is tried first. Its dual solution gives a bound that holds
whatever the tolerances of the solver are (Neumaier and Shcherbina, "Safe bounds in linear and
mixed-integer linear programming", Mathematical Programming 99, 2004). With integers this bound may
be rounded (Chvatal, 1973); only then comes branch and bound.

Nothing is concluded from a limit that was reached. The limits count work; that in seconds is a last
resort.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, replace

import highspy
import numpy as np

from glm_ppo_utils.evaluator.canonical_form import (
    equations_of,
    simplify,
    substitute,
    unused,
)
from glm_ppo_utils.evaluator.lp_writer import format_number, format_terms
from glm_ppo_utils.evaluator.program import (
    WHOLE,
    Flags,
    Floats,
    Ints,
    LinearProgram,
    close,
    value_classes,
)
from glm_ppo_utils.evaluator.solver import OPTIONS, Solution, is_plain, pass_model, solve, stop_at

# Rows that may be tried in one direction, iterations for each, for how many branch and bound is
# tried, and its nodes for each.
MAX_ROWS = 2_000
MAX_ITERATIONS = 5_000
MAX_BRANCHINGS = 20
MAX_NODES = 200
# Seconds for the search of a second feasible point in one direction.
QUICK = 0.2
# How far a left-hand side may exceed its right-hand side, in rows whose largest coefficient is 1:
# by the dual bound, by branch and bound, and at a point that is to show a difference.
BOUND_TOLERANCE = 1e-10
BRANCHING_TOLERANCE = 1e-7
POINT_TOLERANCE = 1e-6
# How far away points are looked for that are to show it, and how many are kept.
FAR = 100.0
MOST_POINTS = 500
# At most this many numbers are computed for the second round of points.
POINTS_WORK = 1_000_000
# Branch and bound is believed only where its tolerance is small beside every coefficient.
SMALLEST_COEFFICIENT = 1e-4

_this_thread = threading.local()


@dataclass(frozen=True)
class Inequalities:
    """The rows and bounds of a program as ``matrix @ x <= right``, the largest coefficient 1.

    Attributes
    ----------
    matrix : array ``[inequalities, variables]``
    right : array ``[inequalities]``
    """

    matrix: Floats
    right: Floats


@np.errstate(invalid="ignore", divide="ignore")
def prove_equal(
    candidate: LinearProgram,
    reference: LinearProgram,
    pairs: Ints,
    points: tuple[Floats, Floats],
    deadline: float = math.inf,
) -> list[str] | None:
    """What had to be proved to show that two programs are equivalent; None if it was not proved.

    Parameters
    ----------
    candidate, reference : LinearProgram
        Results of `simplify`.
    pairs : array of int ``[pairs, 2]``
        Variables of the candidate and the reference that correspond. The others must be defined by
        equations, and are eliminated.
    points : pair of arrays ``[points, variables]``
        Feasible points of each, in the order of its variables, as many as are known; the reference
        must be feasible.
    deadline : float
        What `time.monotonic` shows when the solver has to stop.

    Returns
    -------
    list of str
        A sentence for each row or bound that was proved, in the candidate's names. Empty if the
        programs are equal without the variables that are not in ``pairs``.
    """
    if (candidate.integer[pairs[:, 0]] != reference.integer[pairs[:, 1]]).any():
        return None
    p = only_columns(candidate, pairs[:, 0])
    q = only_columns(reference, pairs[:, 1])
    if p is None or q is None or contradicts_itself(p):
        return None
    mine, theirs = inequalities(p), inequalities(q)
    goals = objective_gap(p, q)
    if len(goals.right) and goals.matrix.size == 0:
        return None
    x, y = points[0][:, pairs[:, 0]], points[1][:, pairs[:, 1]]
    if breaks(theirs, x) or breaks(mine, y) or breaks(goals, y):
        return None
    found = []
    for program, have, want, what in (
        (p, mine, theirs, "{} follows"),
        (q, theirs, mine, "the extra constraint {} follows"),
        (q, theirs, goals, "{} follows"),
    ):
        rows = missing(have, want, program)
        reasons = prove(program, rows, deadline)
        if reasons is None:
            return None
        for row, right, reason in zip(rows.matrix, rows.right, reasons, strict=True):
            text = what.format(inequality_text(row, right, p.names))
            found.append(f"{text} {reason}")
    return found


def contradicts_itself(program: LinearProgram) -> bool:
    """Whether a row without variables says something false, such as ``0 >= 1``."""
    empty = ~program.matrix.any(axis=1)
    wrong = (program.row_lower > POINT_TOLERANCE) | (program.row_upper < -POINT_TOLERANCE)
    return bool((empty & wrong).any())


def breaks(rows: Inequalities, points: Floats) -> bool:
    """Whether one of the points shows that not all of the inequalities hold."""
    return bool((points @ rows.matrix.T > rows.right + POINT_TOLERANCE).any())


def has_two_points(program: LinearProgram, solution: Solution) -> bool:
    """Whether more than one point is feasible; of one point every program is equivalent.

    Not looked into where that takes long.
    """
    if solution.status == "unbounded" or len(feasible_points(program, solution)) > 1:
        return True
    known = np.array(solution.x)
    for direction in [program.cost, *np.eye(len(program.names))[:5]]:
        for maximize in (True, False):
            turned = replace(program, objective=direction, offset=0.0, maximize=maximize)
            found = solve(turned, QUICK)
            if found.status == "unbounded":
                return True
            if found.x and (np.abs(known - found.x) > POINT_TOLERANCE * (1 + np.abs(known))).any():
                return True
            if found.status == "time limit":
                return False
    return False


@np.errstate(invalid="ignore", divide="ignore")
def feasible_points(program: LinearProgram, solution: Solution, twice: bool = False) -> Floats:
    """The solution and other feasible points, ``[points, variables]``; none without a solution.

    Along every axis one step, and as far as rows and bounds allow, but at most `FAR`. With
    ``twice`` the same again from those points, or as many as `POINTS_WORK` allows.
    """
    if not solution.x:
        return np.zeros((0, len(program.names)))
    solved = np.array(solution.x)
    points = feasible_moves(program, np.where(program.integer, np.round(solved), solved)[None])
    if twice:
        cost_of_one = program.matrix.size + 4 * points.shape[1] ** 2
        starts = points[: POINTS_WORK // cost_of_one]
        points = np.vstack([points, feasible_moves(program, starts)])
    return np.vstack([solved, points[:MOST_POINTS]])


def feasible_moves(program: LinearProgram, starts: Floats) -> Floats:
    """Those of the moves along the axes that lead to another feasible point."""
    moves = along_axes(program, starts)
    points = (starts[:, None] + moves).reshape(-1, starts.shape[1])
    rows = points @ program.matrix.T
    inside = ((points >= program.lower) & (points <= program.upper)).all(axis=1)
    inside &= ((rows >= program.row_lower) & (rows <= program.row_upper)).all(axis=1)
    return points[inside & (np.abs(moves) > POINT_TOLERANCE).any(axis=2).ravel()]


def along_axes(program: LinearProgram, points: Floats) -> Floats:
    """Moves along each axis, both ways, by a small step and up to the boundary.

    Returns an array ``[points, 4 * variables, variables]``.
    """
    rows = points @ program.matrix.T
    ends = [
        (end - rows)[:, :, None] / program.matrix for end in (program.row_upper, program.row_lower)
    ]
    ends = [np.where(program.matrix == 0, np.nan, end) for end in ends]
    step = np.broadcast_to(np.where(program.integer, 1.0, 1e-3), points.shape)
    lengths = []
    for way, bound in ((1.0, program.upper), (-1.0, program.lower)):
        room = np.fmin.reduce(np.fmax(way * ends[0], way * ends[1]), axis=1, initial=FAR)
        room = np.fmin(room, way * (bound - points)) * (1 - WHOLE)
        room = np.where(program.integer, np.floor(room + 10 * FAR * WHOLE), room)
        lengths += [way * step, way * room]
    axes = np.eye(points.shape[1])
    return np.concatenate([length[:, :, None] * axes for length in lengths], axis=1)


# -- the same variables on both sides


def only_columns(program: LinearProgram, columns: Ints) -> LinearProgram | None:
    """The program with these variables, in this order; None if the others can't be eliminated."""
    if len(columns) == len(program.names):
        return program.keep_columns(columns)
    extra = np.ones(len(program.names), dtype=bool)
    extra[columns] = False
    place = np.full(len(program.names), -1)
    place[columns] = np.arange(len(columns))
    while extra.any():
        if (extra & unused(program)).any():
            keep = ~(extra & unused(program))
            program = program.keep_columns(keep)
        else:
            equations = equations_of(program)
            flags = equations.can_go & extra
            if not flags.any():
                return None
            first = np.zeros_like(flags)
            first[np.unravel_index(np.argmax(flags), flags.shape)] = True
            keep = ~first.any(axis=0)
            program = substitute(program, equations.rows, first)
            if len(program.names) == len(keep):
                return None
        extra, place = extra[keep], place[keep]
    return simplify(program.keep_columns(np.argsort(place)))


def inequalities(program: LinearProgram) -> Inequalities:
    """Every finite side of every row and bound."""
    eye = np.eye(len(program.names))
    matrix = np.vstack([program.matrix, -program.matrix, eye, -eye])
    right = np.concatenate([program.row_upper, -program.row_lower, program.upper, -program.lower])
    keep = (right < np.inf) & matrix.any(axis=1)  # see `contradicts_itself` for the other rows
    size = np.abs(matrix[keep]).max(axis=1, initial=0.0)
    return Inequalities(matrix[keep] / size[:, None] + 0.0, right[keep] / size)


def missing(have: Inequalities, want: Inequalities, program: LinearProgram) -> Inequalities:
    """Those of ``want`` that neither stand in ``have`` nor follow from the program's bounds."""
    a, b = value_classes(have.matrix, want.matrix)
    tightest: dict[bytes, float] = {}
    for row, right in zip(a, have.right.tolist(), strict=True):
        key = row.tobytes()
        tightest[key] = min(right, tightest.get(key, np.inf))
    stands = np.array([tightest.get(row.tobytes(), np.inf) for row in b])
    ends = np.where(
        want.matrix == 0, 0.0, (want.matrix * program.lower, want.matrix * program.upper)
    )
    best = np.minimum(stands, ends.max(axis=0).sum(axis=1))
    keep = ~((best <= want.right) | close(best, want.right))
    return Inequalities(want.matrix[keep], want.right[keep])


def objective_gap(p: LinearProgram, q: LinearProgram) -> Inequalities:
    """The difference of the objectives, which must be 0, as two inequalities; none if it is 0."""
    offset = (q.offset if not q.maximize else -q.offset) - (
        p.offset if not p.maximize else -p.offset
    )
    row = np.where(close(p.cost, q.cost), 0.0, p.cost - q.cost)
    size = np.abs(row).max(initial=0.0)
    if size == 0:
        same = close(p.offset, q.offset if p.maximize == q.maximize else -q.offset)
        return Inequalities(np.zeros((0, len(row))), np.zeros(0 if same else 1))
    return Inequalities(np.stack([row, -row]) / size, np.array([offset, -offset]) / size)


# -- the proofs


def prove(program: LinearProgram, rows: Inequalities, deadline: float) -> list[str] | None:
    """Why each inequality holds at every feasible point of the program; None if one may not."""
    if not len(rows.right):
        return []
    if len(rows.right) > MAX_ROWS:
        return None
    highs = _prover()
    stop_at(highs, deadline, np.zeros_like(program.integer))
    load(highs, program, np.zeros_like(program.integer))
    found: list[str] = []
    left = []
    for row, right in zip(rows.matrix, rows.right.tolist(), strict=True):
        set_objective(highs, row)
        if highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            return None
        bound, used = dual_bound(highs, program, row)
        grid = step(program, row)
        limit = right + BOUND_TOLERANCE + 1e-12 * abs(right)
        if bound <= limit:
            found.append(reason_text(program, used))
        elif grid and np.floor(bound / grid + WHOLE) * grid <= limit:
            found.append(reason_text(program, used) + " because its terms are whole numbers")
        else:
            x = np.array(highs.getSolution().col_value)[program.integer]
            if (np.abs(x - np.round(x)) <= WHOLE).all():
                return None  # a feasible point breaks the row
            left.append((row, right))
    if not left or len(left) > MAX_BRANCHINGS:
        return None if left else found
    load(highs, program, program.integer)
    for row, right in left:
        if np.abs(row[row != 0]).min() < SMALLEST_COEFFICIENT:
            return None
        stop_at(highs, deadline, program.integer)
        set_objective(highs, row)
        if highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            return None
        if highs.getInfo().mip_dual_bound > right + BRANCHING_TOLERANCE:
            return None
        found.append("from the other constraints because the variables are integers")
    return found


def step(program: LinearProgram, row: Floats) -> float:
    """The number whose multiples are the only values of the row; 0 if there is none."""
    used = row != 0
    if not program.integer[used].all():
        return 0.0
    smallest = float(np.abs(row[used]).min())
    ratios = row[used] / smallest
    return smallest if (np.abs(ratios - np.round(ratios)) <= WHOLE).all() else 0.0


def dual_bound(highs: highspy.Highs, program: LinearProgram, row: Floats) -> tuple[float, Flags]:
    """An upper bound on the row that holds by the rows that are flagged, and the bounds.

    For any multipliers y, ``row @ x = y @ (matrix @ x) + (row - y @ matrix) @ x``.
    """
    y = np.array(highs.getSolution().row_dual)
    ends = np.where(y > 0, program.row_upper, program.row_lower)
    y = np.where(np.isfinite(ends) & (np.abs(y) > 1e-12), y, 0.0)
    rest = row - y @ program.matrix
    rest[np.abs(rest) <= 1e-13 * (np.abs(row) + np.abs(y) @ np.abs(program.matrix))] = 0.0
    sides = np.where(rest > 0, program.upper, program.lower)
    total = np.where(y == 0, 0.0, y * ends).sum() + np.where(rest == 0, 0.0, rest * sides).sum()
    return float(total), y != 0


def load(highs: highspy.Highs, program: LinearProgram, integer: Flags) -> None:
    """Give the solver a program without its objective."""
    nothing = np.zeros(len(program.names))
    presolve = integer.any() and not is_plain(program, nothing)
    highs.setOptionValue("presolve", "choose" if presolve else "off")
    pass_model(highs, program, highspy.ObjSense.kMaximize, nothing, 0.0, integer)


def set_objective(highs: highspy.Highs, row: Floats) -> None:
    """Maximise the row."""
    highs.changeColsCost(len(row), np.arange(len(row), dtype=np.int32), row)
    highs.run()


def _prover() -> highspy.Highs:
    """This thread's solver for proofs, with limits that count work."""
    if not hasattr(_this_thread, "highs"):
        _this_thread.highs = highspy.Highs()
        limits = {"simplex_iteration_limit": MAX_ITERATIONS, "mip_max_nodes": MAX_NODES}
        for name, value in {**OPTIONS, **limits}.items():
            _this_thread.highs.setOptionValue(name, value)
    return _this_thread.highs


# -- in words


def inequality_text(row: Floats, right: float, names: tuple[str, ...]) -> str:
    """``chairs + tables <= 40`` in round numbers where there are any."""
    smallest = np.abs(row[row != 0]).min()
    for factor in np.arange(1, 13) / smallest:
        if (np.abs(row * factor - np.round(row * factor)) <= WHOLE).all():
            row, right = np.round(row * factor), right * factor
            break
    sense = "<="
    if (row <= 0).all():
        row, right, sense = -row, -right, ">="
    return f"{format_terms(row, names)} {sense} {format_number(float(f'{right:.10g}'))}"


def reason_text(program: LinearProgram, used: Flags) -> str:
    """Which rows a bound rests on."""
    names = [program.row_names[i] for i in np.flatnonzero(used)]
    if not names:
        return "from the bounds"
    if all(names) and len(names) <= 3:
        return f"from {' and '.join(names)}"
    return "from another constraint" if len(names) == 1 else f"from {len(names)} other constraints"
