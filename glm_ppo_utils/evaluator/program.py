"""A linear program as arrays, and when two of its numbers are the same.

Names carry no meaning here: they serve messages only. What counts is objective, rows, bounds and
integrality.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]

# Two numbers are the same when they differ by less than this share of the larger. Far above the
# rounding error of rescaling a row (1e-16), and below a difference of 1 between numbers near 1e11.
RELATIVE_TOLERANCE = 1e-12
# How far from a whole number a bound or a quotient of coefficients may be and still be one.
WHOLE = 1e-9


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

    def keep_rows(self, keep: Flags | Ints) -> LinearProgram:
        """The program with only the rows flagged in ``keep``, or at these places in turn."""
        return replace(
            self,
            matrix=self.matrix[keep],
            row_lower=self.row_lower[keep],
            row_upper=self.row_upper[keep],
            row_names=tuple(self.row_names[i] for i in np.arange(len(self.row_names))[keep]),
        )

    def keep_columns(self, keep: Flags | Ints) -> LinearProgram:
        """The program with only the variables flagged in ``keep``, or at these places in turn."""
        return replace(
            self,
            objective=self.objective[keep],
            matrix=self.matrix[:, keep],
            lower=self.lower[keep],
            upper=self.upper[keep],
            integer=self.integer[keep],
            names=tuple(self.names[j] for j in np.arange(len(self.names))[keep]),
        )


def close(a: Any, b: Any) -> Any:
    """Whether finite or infinite numbers agree up to ``RELATIVE_TOLERANCE``, elementwise.

    Callers silence numpy's warning about inf - inf: once for all their calls, as it is slow.
    """
    return (a == b) | (np.abs(a - b) < RELATIVE_TOLERANCE * np.maximum(np.abs(a), np.abs(b)))


def same(a: float, b: float) -> bool:
    """`close` for two single numbers, where numpy would be slow."""
    return math.isclose(a, b, rel_tol=RELATIVE_TOLERANCE)


def round_bounds(program: LinearProgram) -> LinearProgram:
    """The same program with whole bounds for its integer variables."""
    if not program.integer.any():
        return program
    # Far from 0 neighbouring floats are further apart than WHOLE.
    slack = np.maximum(WHOLE, 4e-16 * np.abs([program.lower, program.upper]))
    return replace(
        program,
        lower=np.where(program.integer, np.ceil(program.lower - slack[0]), program.lower),
        upper=np.where(program.integer, np.floor(program.upper + slack[1]), program.upper),
    )


def value_classes(*arrays: Floats) -> list[Ints]:
    """Integers in place of numbers, equal for numbers that are `close`, over all the arrays."""
    flat = np.concatenate([a.ravel() for a in arrays])
    used = np.flatnonzero(flat)  # most numbers are 0, and sorting is what takes long
    order = used[np.argsort(flat[used])]
    values = flat[order]
    classes = np.zeros(len(values), dtype=np.int64)
    classes[1:] = np.cumsum(~close(values[1:], values[:-1]))
    # First the classes of negative numbers, then that of 0, then those of positive ones.
    negative = int(np.searchsorted(values, 0.0))
    zero = int(classes[negative - 1]) + 1 if negative else 0
    if len(used) < len(flat):
        classes[negative:] += 1
    ids = np.full(len(flat), zero)
    ids[order] = classes
    parts = np.split(ids, np.cumsum([a.size for a in arrays])[:-1])
    return [part.reshape(a.shape) for part, a in zip(parts, arrays, strict=True)]


def groups(rows: Ints) -> dict[bytes, list[int]]:
    """The positions of equal rows, under a key for each different row."""
    found: dict[bytes, list[int]] = {}
    for i, row in enumerate(np.ascontiguousarray(rows)):
        found.setdefault(row.tobytes(), []).append(i)
    return found
