"""A linear program as arrays, and the canonical form in which equivalent programs look alike.

Names carry no meaning here: they serve messages only. What counts is objective, rows, bounds and
integrality.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

# Two numbers are the same when they differ by less than this share of the larger. Far above the
# rounding error of rescaling a row (1e-15), far below any number a word problem changes.
RELATIVE_TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class LinearProgram:
    """Optimise ``objective @ x + offset`` subject to rows, bounds and integrality.

    Attributes
    ----------
    maximize : bool
        True for maximisation.
    objective : array ``[variables]``
    offset : float
        The constant in the objective.
    matrix : array ``[rows, variables]``
    row_lower, row_upper : array ``[rows]``
        ``row_lower <= matrix @ x <= row_upper``; equal for an equation, infinite where open.
    lower, upper : array ``[variables]``
    integer : array of bool ``[variables]``
        A binary variable is an integer one with bounds 0 and 1.
    names, row_names : tuple of str
        In the order of columns and rows; a row without a name has "".
    """

    maximize: bool
    objective: Floats
    offset: float
    matrix: Floats
    row_lower: Floats
    row_upper: Floats
    lower: Floats
    upper: Floats
    integer: Flags
    names: tuple[str, ...]
    row_names: tuple[str, ...]

    @property
    def cost(self) -> Floats:
        """The objective to be minimised: its negative where the program maximises."""
        return -self.objective if self.maximize else self.objective

    def keep_rows(self, keep: Flags) -> LinearProgram:
        """The program with only the rows flagged in ``keep``."""
        return replace(
            self,
            matrix=self.matrix[keep],
            row_lower=self.row_lower[keep],
            row_upper=self.row_upper[keep],
            row_names=tuple(n for n, k in zip(self.row_names, keep, strict=True) if k),
        )

    def keep_columns(self, keep: Flags) -> LinearProgram:
        """The program with only the variables flagged in ``keep``."""
        return replace(
            self,
            objective=self.objective[keep],
            matrix=self.matrix[:, keep],
            lower=self.lower[keep],
            upper=self.upper[keep],
            integer=self.integer[keep],
            names=tuple(n for n, k in zip(self.names, keep, strict=True) if k),
        )


def close(a: Any, b: Any) -> Any:
    """Whether finite or infinite numbers agree up to ``RELATIVE_TOLERANCE``, elementwise.

    Callers silence numpy's warning about inf - inf: once for all their calls, as it is slow.
    """
    gap = np.abs(a - b)
    near = gap <= RELATIVE_TOLERANCE * np.maximum(np.abs(a), np.abs(b))
    return (a == b) | (near & (gap < np.inf))


@np.errstate(invalid="ignore")
def simplify(program: LinearProgram) -> LinearProgram:
    """The first half of `canonical`: every variable stays.

    In turn: single-variable rows become bounds; bounds of integer variables are rounded inwards;
    parallel rows are merged, so duplicates and weaker copies vanish, a range equals two rows and
    two opposite inequalities an equation; ranges are split into two rows.
    """
    return _split_ranges(_merge_parallel(_round_integer_bounds(_rows_to_bounds(program))))


@np.errstate(invalid="ignore")
def eliminate(program: LinearProgram) -> LinearProgram:
    """The second half of `canonical`: rows and variables that need not be there go.

    Rows implied by the bounds; variables without cost that have one possible value; those without
    cost in a single equation, which are slacks and make it an inequality; those that an equation
    defines from the others. Takes and returns the result of `simplify`, itself if there is nothing
    to eliminate.
    """
    while True:
        program = _drop_implied_rows(program)
        smaller = _substitute(_drop_slacks(_insert_fixed(program)))
        if smaller is program:
            return program
        program = simplify(smaller)  # with fewer variables: this ends


def canonical(program: LinearProgram) -> LinearProgram:
    """Reduce a program so that equivalent ones differ by order, names and scale of rows only.

    Each step keeps the set of feasible points, or its projection on the variables that stay, and
    depends on neither the order of rows and columns nor the scale of rows, so the form is the same
    for every way of writing a program. It is not a normal form of feasible sets: a row implied by
    several others stays.
    """
    return eliminate(simplify(program))


def _split_ranges(program: LinearProgram) -> LinearProgram:
    """Write ``low <= row <= high`` with different ends as two rows."""
    low, high = program.row_lower, program.row_upper
    ranges = np.isfinite(low) & np.isfinite(high) & (low != high)
    if not ranges.any():
        return program
    names = tuple(n for n, r in zip(program.row_names, ranges, strict=True) if r)
    return replace(
        program,
        matrix=np.vstack([program.matrix, program.matrix[ranges]]),
        row_lower=np.concatenate([np.where(ranges, -np.inf, low), low[ranges]]),
        row_upper=np.concatenate([high, np.full(len(names), np.inf)]),
        row_names=program.row_names + names,
    )


def _rows_to_bounds(program: LinearProgram) -> LinearProgram:
    single = (program.matrix != 0).sum(axis=1) == 1
    if not single.any():
        return program
    lower, upper = program.lower.copy(), program.upper.copy()
    for i in np.flatnonzero(single):
        j = int(np.flatnonzero(program.matrix[i])[0])
        part = program.matrix[i, j]
        ends = program.row_lower[i] / part, program.row_upper[i] / part
        low, high = ends if part > 0 else ends[::-1]
        lower[j] = max(lower[j], low)
        upper[j] = min(upper[j], high)
    return replace(program.keep_rows(~single), lower=lower, upper=upper)


def _round_integer_bounds(program: LinearProgram) -> LinearProgram:
    if not program.integer.any():
        return program
    slack = RELATIVE_TOLERANCE
    lower, upper = program.lower, program.upper
    up = np.ceil(lower - slack * np.where(np.isfinite(lower), np.maximum(1, np.abs(lower)), 0))
    down = np.floor(upper + slack * np.where(np.isfinite(upper), np.maximum(1, np.abs(upper)), 0))
    return replace(
        program,
        lower=np.where(program.integer, up, lower),
        upper=np.where(program.integer, down, upper),
    )


def _merge_parallel(program: LinearProgram) -> LinearProgram:
    """Intersect the intervals of rows whose coefficients are multiples of each other."""
    if len(program.matrix) < 2 or not program.names:
        return program
    size = np.abs(program.matrix).max(axis=1)
    first = np.argmax(program.matrix != 0, axis=1)
    scale = size * np.sign(program.matrix[np.arange(len(size)), first])
    scale = np.where(scale == 0, 1.0, scale)
    unit = program.matrix / scale[:, None]
    parallel = close(unit[:, None], unit[None]).all(axis=2)
    if parallel.sum() == len(size):
        return program
    ends = np.stack([program.row_lower / scale, program.row_upper / scale])
    ends = np.where(scale > 0, ends, ends[::-1])
    low, high = program.row_lower.copy(), program.row_upper.copy()
    keep = np.argmax(parallel, axis=1) == np.arange(len(size))
    for i in np.flatnonzero(keep):
        if parallel[i].sum() > 1:
            tight = ends[0, parallel[i]].max() * scale[i], ends[1, parallel[i]].min() * scale[i]
            low[i], high[i] = tight if scale[i] > 0 else tight[::-1]
            if close(low[i], high[i]):
                low[i] = high[i]
    return replace(program, row_lower=low, row_upper=high).keep_rows(keep)


def _activity(matrix: Floats, lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
    """Least and greatest value of each row within the bounds."""
    ends = np.where(matrix == 0, 0.0, (matrix * lower, matrix * upper))
    return ends.min(axis=0).sum(axis=1), ends.max(axis=0).sum(axis=1)


def _at_most(a: Any, b: Any) -> Any:
    return (a <= b) | close(a, b)


def _drop_implied_rows(program: LinearProgram) -> LinearProgram:
    """Drop the side of an inequality that the bounds imply, and rows with no side left.

    Equations stay whole, and a row that the bounds hold to one value becomes one. Bounds that leave
    nothing imply nothing.
    """
    if (program.lower > program.upper).any():
        return program
    least, greatest = _activity(program.matrix, program.lower, program.upper)
    low_implied = (program.row_lower > -np.inf) & _at_most(program.row_lower, least)
    high_implied = (program.row_upper < np.inf) & _at_most(greatest, program.row_upper)
    equation = (program.row_lower == program.row_upper) & program.matrix.any(axis=1)
    low = np.where(low_implied & ~equation, -np.inf, program.row_lower)
    high = np.where(high_implied & ~equation, np.inf, program.row_upper)
    used = program.matrix.any(axis=1)
    low = np.where(used & close(high, least) & (high < np.inf), high, low)
    high = np.where(used & close(low, greatest) & (low > -np.inf), low, high)
    says_something = (low > -np.inf) | (high < np.inf)
    same = np.array_equal(low, program.row_lower) and np.array_equal(high, program.row_upper)
    if says_something.all() and same:
        return program
    return replace(program, row_lower=low, row_upper=high).keep_rows(says_something)


def _insert_fixed(program: LinearProgram) -> LinearProgram:
    """Put in the value of variables without cost whose bounds leave one."""
    fixed = (program.lower == program.upper) & (program.objective == 0)
    if not fixed.any():
        return program
    value = program.lower[fixed]
    shift = program.matrix[:, fixed] @ value
    return replace(
        program.keep_columns(~fixed),
        row_lower=_sum(program.row_lower, -shift),
        row_upper=_sum(program.row_upper, -shift),
    )


def _drop_slacks(program: LinearProgram) -> LinearProgram:
    """Project out a continuous variable without cost that occurs in one equation only.

    An equation with several such variables is left alone: none of them is *the* slack. In one that
    defines the whole objective, as `profit - 3 x - 5 y = 0`, only a variable without bounds but 0
    is taken for one.
    """
    equation = program.row_lower == program.row_upper
    if not equation.any():
        return program
    used = program.matrix != 0
    local = ~program.integer & (used.sum(axis=0) == 1)
    free_to_go = local & (program.objective == 0) & (program.lower <= program.upper)
    objective = program.objective != 0
    defines_objective = (_defined(program) & local & objective).any(axis=1) & (objective.sum() == 1)
    plain = (program.lower == 0) & (program.upper == np.inf)
    slack = used & equation[:, None] & free_to_go & (plain | ~defines_objective[:, None])
    rows = np.flatnonzero((slack.sum(axis=1) == 1) & (used.sum(axis=1) > 1))
    if not len(rows):
        return program
    columns = np.argmax(slack[rows], axis=1)
    part = program.matrix[rows, columns]
    ends = np.stack([part * program.lower[columns], part * program.upper[columns]])
    low, high = program.row_lower.copy(), program.row_upper.copy()
    low[rows] -= ends.max(axis=0)
    high[rows] -= ends.min(axis=0)
    keep = np.ones(len(program.names), dtype=bool)
    keep[columns] = False
    return replace(program, row_lower=low, row_upper=high).keep_columns(keep)


def _defined(program: LinearProgram) -> Flags:
    """Where a row is an equation that defines a variable from the others, ``[rows, variables]``.

    The variable must be used elsewhere, its lower bound must follow from the equation, and if it is
    an integer its integrality too. Of `total - chairs - tables = 0` that is `total` alone.
    """
    found = np.zeros(program.matrix.shape, dtype=bool)
    for i in np.flatnonzero(program.row_lower == program.row_upper):
        row, right = program.matrix[i], program.row_upper[i]
        for j in np.flatnonzero(row):
            others = -row / row[j]
            others[j] = 0.0
            least, greatest = _activity(others[None], program.lower, program.upper)
            shift = right / row[j]
            lower_follows = _at_most(program.lower[j], least[0] + shift)
            upper_follows = _at_most(greatest[0] + shift, program.upper[j])
            used = (
                (program.matrix[:, j] != 0).sum() > 1 or program.objective[j] or not upper_follows
            )
            whole = not program.integer[j] or (
                program.integer[others != 0].all() and (others % 1 == 0).all() and shift % 1 == 0
            )
            found[i, j] = used and whole and lower_follows
    return found


def _substitute(program: LinearProgram) -> LinearProgram:
    """Eliminate all defined variables at once: the result depends on no order.

    An equation with two such variables, or a variable with two such equations, is left alone.
    """
    if not (program.row_lower == program.row_upper).any():
        return program
    found = _defined(program)
    alone = (found.sum(axis=1) == 1)[:, None] & (found.sum(axis=0) == 1)
    rows, columns = np.nonzero(found & alone)
    if not len(rows):
        return program
    keep = np.ones(len(program.names), dtype=bool)
    keep[columns] = False
    others = np.ones(len(program.matrix), dtype=bool)
    others[rows] = False
    pivot = program.matrix[np.ix_(rows, columns)]
    if np.linalg.cond(pivot) > 1e8:
        return program
    # x[columns] = weights @ x[keep] + shift
    weights = -np.linalg.solve(pivot, program.matrix[np.ix_(rows, keep)])
    shift = np.linalg.solve(pivot, program.row_upper[rows])
    moved = program.matrix[np.ix_(others, columns)]
    return replace(
        program.keep_columns(keep),
        objective=_sum(program.objective[keep], program.objective[columns] @ weights),
        offset=float(_sum(program.offset, program.objective[columns] @ shift)),
        matrix=np.vstack([_sum(program.matrix[np.ix_(others, keep)], moved @ weights), weights]),
        row_lower=np.concatenate(
            [_sum(program.row_lower[others], -moved @ shift), program.lower[columns] - shift]
        ),
        row_upper=np.concatenate(
            [_sum(program.row_upper[others], -moved @ shift), program.upper[columns] - shift]
        ),
        row_names=tuple(n for n, k in zip(program.row_names, others, strict=True) if k)
        + tuple(program.names[j] for j in columns),
    )


def _sum(a: Any, b: Any) -> Any:
    """``a + b``, exactly 0 where the two cancel up to rounding."""
    return np.where(close(a, -b), 0.0, a + b)
