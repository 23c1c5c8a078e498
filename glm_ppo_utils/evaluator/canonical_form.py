"""The form in which programs that say the same look alike.

`simplify` keeps every variable, so its result can be shown to the writer. `eliminate` then removes
what need not be there. Every step is exact: the feasible points stay the same, or those of the
variables that stay do, and so does the objective on them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from glm_ppo_utils.evaluator.program import (
    WHOLE,
    Flags,
    Floats,
    Ints,
    LinearProgram,
    close,
    groups,
    round_bounds,
    value_classes,
)

# A sum of n terms is off by at most n times 1e-16 of the sum of their sizes: small beside this.
ROUNDING = 1e-14
_PROBE = np.random.default_rng(0).random(10_000)


@np.errstate(invalid="ignore")
def simplify(program: LinearProgram) -> LinearProgram:
    """The first half of `canonical`: every variable stays.

    In turn: single-variable rows become bounds; bounds of integer variables are rounded inwards;
    parallel rows are merged, so duplicates and weaker copies vanish, a range equals two rows and
    two opposite inequalities an equation; ranges are split into two rows.
    """
    return _split_ranges(_merge_parallel(round_bounds(_rows_to_bounds(program))))


@np.errstate(invalid="ignore", divide="ignore")
def eliminate(program: LinearProgram) -> LinearProgram:
    """The second half of `canonical`: rows and variables that need not be there go.

    Rows that the bounds imply; variables that nothing uses, or that have one possible value;
    slacks, which make an equation an inequality; and variables that an equation defines from
    others. Takes and returns the result of `simplify`, itself if there is nothing to eliminate.
    """
    while True:
        program = _drop_implied_rows(program)
        smaller = _drop_defined(program)
        if smaller is program:
            smaller = _drop_known(program)
        if smaller is program:
            return program
        program = simplify(smaller)  # with fewer variables: this ends


def canonical(program: LinearProgram) -> LinearProgram:
    """Reduce a program so that equivalent ones differ by order, names and scale of rows only.

    Exact, see above: programs with the same form are equivalent. The converse holds for common ways
    of writing (`tests/evaluator_rewrites.py`), not for all: a row implied by several others stays,
    and where an equation could define several variables, the choice can depend on the other rows.
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


def _merge_parallel(program: LinearProgram) -> LinearProgram:
    """Intersect the intervals of rows whose coefficients are multiples of each other."""
    if len(program.matrix) < 2 or not program.names:
        return program
    first = np.argmax(program.matrix != 0, axis=1)
    sign = np.sign(program.matrix[np.arange(len(first)), first])
    scale = np.abs(program.matrix).max(axis=1) * sign
    scale[scale == 0] = 1.0
    unit = program.matrix / scale[:, None]
    # Parallel rows have the same product with any vector: with a random one, hardly any others.
    if (np.diff(np.sort(unit @ _PROBE[: unit.shape[1]])) > 1e-9).all():
        return program
    alike = groups(*value_classes(unit)).values()
    ends = np.stack([program.row_lower / scale, program.row_upper / scale])
    ends = np.where(scale > 0, ends, ends[::-1])
    low, high = program.row_lower.copy(), program.row_upper.copy()
    keep = np.zeros(len(scale), dtype=bool)
    for rows in alike:
        i = rows[0]
        keep[i] = True
        if len(rows) > 1:
            tight = ends[0, rows].max() * scale[i], ends[1, rows].min() * scale[i]
            low[i], high[i] = tight if scale[i] > 0 else tight[::-1]
            if close(low[i], high[i]):
                low[i] = high[i]
    return replace(program, row_lower=low, row_upper=high).keep_rows(keep)


@np.errstate(invalid="ignore")
def merge_columns(program: LinearProgram) -> LinearProgram:
    """Write one variable for several that occur as their sum (or difference) only.

    ``x1 + x2`` in every row and in the objective is one variable between the sums of their bounds.
    A rule for the answer and not for `canonical`: a reference may have two products that happen to
    have the same numbers, and an answer that leaves one of them out is wrong.
    """
    matrix = np.vstack([program.matrix, program.objective])
    first = np.argmax(matrix != 0, axis=0)
    sign = np.sign(matrix[first, np.arange(len(first))])
    (ids,) = value_classes(matrix * sign)
    proper = (program.lower <= program.upper) & (sign != 0)
    alike = groups(np.vstack([ids, program.integer, proper]).T).values()
    merged = [columns for columns in alike if len(columns) > 1 and proper[columns].all()]
    if not merged:
        return program
    ends = np.stack([program.lower * sign, program.upper * sign])
    ends = np.where(sign > 0, ends, ends[::-1])
    lower, upper = program.lower.copy(), program.upper.copy()
    keep = np.ones(len(sign), dtype=bool)
    for columns in merged:
        j = columns[0]
        total = np.array([ends[0, columns].sum(), ends[1, columns].sum()]) * sign[j]
        lower[j], upper[j] = total if sign[j] > 0 else total[::-1]
        keep[columns[1:]] = False
    return replace(program, lower=lower, upper=upper).keep_columns(keep)


# -- what need not be there


def _terms(program: LinearProgram, rows: Any = slice(None)) -> tuple[Floats, Floats]:
    """Least and greatest value of every term of the rows within the bounds."""
    matrix = program.matrix[rows]
    by_lower = np.where(matrix, matrix * program.lower, 0.0)
    by_upper = np.where(matrix, matrix * program.upper, 0.0)
    positive = matrix > 0
    return np.where(positive, by_lower, by_upper), np.where(positive, by_upper, by_lower)


def _size(*parts: Floats) -> Floats:
    """The sum of the sizes of the finite numbers in each row."""
    sizes = np.abs(np.column_stack(parts))
    return np.where(sizes < np.inf, sizes, 0.0).sum(axis=1)


def _drop_implied_rows(program: LinearProgram) -> LinearProgram:
    """Drop the side of an inequality that the bounds imply, and rows with no side left.

    Equations stay whole, and a row that the bounds hold to one value becomes one.
    """
    low, high = program.row_lower, program.row_upper
    smallest, largest = _terms(program)
    slack = ROUNDING * _size(smallest, largest, low, high)
    least, greatest = smallest.sum(axis=1), largest.sum(axis=1)
    used = program.matrix.any(axis=1)
    equation = (low == high) & used
    low_implied = (low <= least + slack) & ~equation
    high_implied = (greatest <= high + slack) & ~equation
    low, high = np.where(low_implied, -np.inf, low), np.where(high_implied, np.inf, high)
    low = np.where(used & (np.abs(high - least) <= slack) & (high < np.inf), high, low)
    high = np.where(used & (np.abs(low - greatest) <= slack) & (low > -np.inf), low, high)
    says_something = (low > -np.inf) | (high < np.inf)
    same = (low == program.row_lower) & (high == program.row_upper)
    if (says_something & same).all():
        return program
    return replace(program, row_lower=low, row_upper=high).keep_rows(says_something)


def _drop_known(program: LinearProgram) -> LinearProgram:
    """Drop variables that nothing uses; put in the value of those whose bounds leave one.

    If all have one value they stay: a program is more than its optimum. An unused variable with
    bounds of its own stays too: somebody meant something by them.
    """
    if unused(program).any():
        return program.keep_columns(~unused(program))
    fixed = program.lower == program.upper
    if not fixed.any() or fixed.all():
        return program
    value = program.lower[fixed]
    shift = program.matrix[:, fixed] @ value
    return replace(
        program.keep_columns(~fixed),
        offset=float(_sum(program.offset, program.objective[fixed] @ value)),
        row_lower=_sum(program.row_lower, -shift),
        row_upper=_sum(program.row_upper, -shift),
    )


def unused(program: LinearProgram) -> Flags:
    """Variables without cost, rows and bounds but 0."""
    plain = (program.lower == 0) & (program.upper == np.inf)
    return plain & (program.objective == 0) & ~program.matrix.any(axis=0)


class Equations(NamedTuple):
    """The equations of a program and what each says of its variables, ``[equations, variables]``.

    Attributes
    ----------
    rows : array ``[equations]``
        Their positions in the program.
    matrix : array
        Their coefficients.
    can_go : array of bool
        The variable can be replaced by the others: it is continuous, or the others are integers
        and give it whole values only.
    lower_follows : array of bool
        The bounds of the others give the variable's lower bound, or a higher one.
    places : array of int
        In how many other rows, and the objective, the variable occurs.
    """

    rows: Ints
    matrix: Floats
    can_go: Flags
    lower_follows: Flags
    places: Ints


def equations_of(program: LinearProgram) -> Equations:
    """The equations of a program, and what each says of its variables."""
    rows = np.flatnonzero(program.row_lower == program.row_upper)
    matrix, right = program.matrix[rows], program.row_upper[rows]
    used = matrix != 0
    # In multiples of the smallest coefficient: only that can divide all the others.
    size = np.where(used, np.abs(matrix), np.inf)
    smallest = size.min(axis=1, initial=np.inf)
    smallest[smallest == np.inf] = 1.0
    multiples = np.column_stack([matrix, right]) / smallest[:, None]
    whole = (np.abs(multiples - np.round(multiples)) <= WHOLE).all(axis=1)
    others_integer = (used & ~program.integer).sum(axis=1)[:, None] - (used & ~program.integer) == 0
    divides = close(size, smallest[:, None]) & whole[:, None] & others_integer
    can_go = used & (~program.integer | divides)
    # x_j = (right - rest) / coefficient, the rest being all other terms.
    least, greatest = _terms(program, rows)
    slack = (ROUNDING * _size(least, greatest, right))[:, None]
    ends = [(right[:, None] - _without_each(part)) / matrix for part in (greatest, least)]
    lowest = np.where(matrix > 0, *ends)
    lower_follows = used & (program.lower <= lowest + slack / np.abs(matrix))
    places = (program.matrix != 0).sum(axis=0) + (program.objective != 0) - 1
    return Equations(rows, matrix, can_go, lower_follows, places)


def _without_each(terms: Floats) -> Floats:
    """For every term the sum of the others in its row; infinite terms are all of one sign."""
    infinite = np.isinf(terms)
    finite = np.where(infinite, 0.0, terms)
    others = finite.sum(axis=1, keepdims=True) - finite
    elsewhere = infinite.sum(axis=1, keepdims=True) - infinite > 0
    sign = np.sign(np.where(infinite, terms, 0.0).sum(axis=1, keepdims=True))
    return np.where(elsewhere, sign * np.inf, others)


def _drop_defined(program: LinearProgram) -> LinearProgram:
    """Eliminate variables by equations, by the first of these rules that applies anywhere.

    Which variable of an equation is the one to go should not depend on how the program is written.
    In turn: one of two variables that are equal; the only variable of the objective, if one
    equation defines it; slacks; a variable whose lower bound follows from the others, as `total`
    in ``total = chairs + tables``; the one with the sign that no other has, as `total` with a bound
    of its own; the one that is used least, or between two the one in the smaller unit.
    """
    if not (program.row_lower == program.row_upper).any():
        return program
    equations = equations_of(program)
    for rule in (_equal, _objective_name, None, _lower_follows, _odd_sign, _least_used):
        if rule is None:
            smaller = _drop_slacks(program, equations)
        else:
            flags = equations.can_go & rule(program, equations)
            smaller = substitute(program, equations.rows, flags) if flags.any() else program
        if smaller is not program:
            return smaller
    return program


def _equal(program: LinearProgram, equations: Equations) -> Flags:
    """The first variable that can go of the first equation ``x = y``: the choice is no matter."""
    matrix = equations.matrix
    same = ((matrix != 0).sum(axis=1) == 2) & close(matrix.max(axis=1), -matrix.min(axis=1))
    same &= program.row_upper[equations.rows] == 0
    flags = equations.can_go & same[:, None]
    first = np.zeros_like(flags)
    if flags.any():
        first[np.unravel_index(np.argmax(flags), flags.shape)] = True
    return first


def _objective_name(program: LinearProgram, equations: Equations) -> Flags:
    objective = program.objective != 0
    # With ``profit + s = 3 x`` the row says ``profit <= 3 x``, and `s` is the one to go.
    plain = ~program.integer & (program.lower == 0) & (program.upper == np.inf)
    slack = (equations.matrix != 0) & (equations.places == 0) & plain
    alone = objective & (objective.sum() == 1) & (equations.places == 1)
    return alone & ~slack.any(axis=1)[:, None]


def _lower_follows(program: LinearProgram, equations: Equations) -> Flags:
    return equations.lower_follows


def _odd_sign(program: LinearProgram, equations: Equations) -> Flags:
    positive, negative = equations.matrix > 0, equations.matrix < 0
    many = [(side.sum(axis=1) > 1)[:, None] for side in (positive, negative)]
    return np.where(many[0], ~many[1] & negative, many[1] & positive)


def _least_used(program: LinearProgram, equations: Equations) -> Flags:
    size = np.abs(equations.matrix)
    places = np.where(equations.can_go, equations.places, np.inf)
    least = places == places.min(axis=1, initial=np.inf)[:, None]
    two = ((equations.matrix != 0).sum(axis=1) == 2)[:, None]
    smallest = np.where(least & (size > 0), size, np.inf).min(axis=1, initial=np.inf)[:, None]
    return least & (~two | (size == smallest))


def _drop_slacks(program: LinearProgram, equations: Equations) -> LinearProgram:
    """Turn an equation into a range by the variables that occur nowhere else."""
    local = equations.can_go & (equations.places == 0) & (program.lower <= program.upper)
    slack = local & ((equations.matrix != 0) & ~local).any(axis=1)[:, None]
    if not slack.any():
        return program
    least, greatest = _terms(program, equations.rows)
    low, high = program.row_lower.copy(), program.row_upper.copy()
    low[equations.rows] -= np.where(slack, greatest, 0.0).sum(axis=1)
    high[equations.rows] -= np.where(slack, least, 0.0).sum(axis=1)
    return replace(program, row_lower=low, row_upper=high).keep_columns(~slack.any(axis=0))


def substitute(program: LinearProgram, rows: Ints, flags: Flags) -> LinearProgram:
    """Eliminate all flagged variables at once, so that the result depends on no order.

    An equation with two flagged variables, or a variable with two such equations, is left alone.
    """
    chosen = (flags.sum(axis=1) == 1)[:, None] & (flags.sum(axis=0) == 1) & flags
    pairs = np.argwhere(chosen)
    while len(pairs):
        at, columns = rows[pairs[:, 0]], pairs[:, 1]
        keep = np.ones(len(program.names), dtype=bool)
        keep[columns] = False
        parts = program.matrix[at, columns][:, None]
        pivot = program.matrix[np.ix_(at, columns)] / parts
        if len(pairs) > 1 and np.linalg.cond(pivot) > 1e6:
            return program
        # x[columns] = weights @ x[keep] + shift
        right = np.column_stack([-program.matrix[np.ix_(at, keep)], program.row_upper[at]]) / parts
        solved = np.linalg.solve(pivot, right) if len(pairs) > 1 else right
        nearest = np.round(solved)
        solved = np.where(np.abs(solved - nearest) <= 1e-11 * np.abs(solved), nearest, solved) + 0.0
        # Definitions in a ring can make a variable a fraction of the others.
        whole = (solved == np.round(solved)).all(axis=1)
        whole &= (solved[:, :-1] == 0)[:, ~program.integer[keep]].all(axis=1)
        bad = program.integer[columns] & ~whole
        if not bad.any():
            return _put_in(program, at, columns, solved[:, :-1], solved[:, -1])
        pairs = pairs[~bad]
    return program


def _put_in(
    program: LinearProgram, rows: Ints, columns: Ints, weights: Floats, shift: Floats
) -> LinearProgram:
    """Put ``x[columns] = weights @ x[others] + shift`` into all but the defining rows."""
    keep = np.ones(len(program.names), dtype=bool)
    keep[columns] = False
    others = np.ones(len(program.matrix), dtype=bool)
    others[rows] = False
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
