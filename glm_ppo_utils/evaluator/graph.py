"""The variable-constraint graph of a program, and the edit distance between two of them.

The graph has a vertex per variable (labels: lower bound, upper bound, integrality), a vertex per
row (labels: sense, right-hand side), an objective (labels: sense, constant), and an edge for every
nonzero coefficient. An edit changes one label or coefficient, or adds or removes a vertex or an
edge; the distance is the least number of edits that makes two canonical programs equal, whatever
their names and orders.

Formally, with variables matched by a permutation pi (the smaller program padded by null variables)
and rows by sigma (padded by null rows),

    d(P, Q) = min over pi, sigma of  objective(pi) + sum_j variable(j, pi j) + sum_i row(i, sigma i)

where `row` compares under the best nonzero factor t: how many of coefficients, right-hand side and
sense of row i differ from t times row sigma(i), a negative t turning the sense around. Each part
counts unequal labels (a Hamming distance) minimised over a group that acts by isometries (factors,
permutations, objective or its negative), so d is a metric: zero exactly for canonically equal
programs, symmetric, and with the triangle inequality.

Where this holds only in part:

* Numbers are equal up to a relative `RELATIVE_TOLERANCE`, which is not transitive.
* `match` is exact up to `EXACT_VARIABLES` variables and `EXACT_WORK` numbers to compare. Beyond, it
  returns an upper bound, for which the triangle inequality can fail; it is still zero only for
  equal programs.
* Beyond those sizes the search for a renaming gives up after `RENAMING_WORK` steps, so that an
  equality hidden by many symmetries can be missed.

These limits count work and look at no clock, so a busy machine changes no distance.

The assignment of rows by the Hungarian method follows Riesen and Bunke, "Approximate graph edit
distance computation by means of bipartite graph matching" (Image and Vision Computing 27, 2009);
the search for a renaming is in `renaming.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import permutations

import numpy as np
from scipy.optimize import linear_sum_assignment

from glm_ppo_utils.evaluator.program import (
    RELATIVE_TOLERANCE,
    Floats,
    Ints,
    LinearProgram,
    close,
    groups,
    same,
)
from glm_ppo_utils.evaluator.renaming import (
    AT_LEAST,
    AT_MOST,
    EQUAL,
    Graph,
    UnitRows,
    padded_graph,
    refine,
    renamings,
    unit_rows,
)

EXACT_VARIABLES = 5
MAX_ROUNDS = 8
# In numbers compared: what all permutations may cost, at once and in all; up to what size each row
# is compared in full with each, and a matching is improved.
AT_ONCE = 500_000
EXACT_WORK = 5_000_000
ROW_WORK = 1_000_000
DESCENT_WORK = 10_000_000
# With how many rows each is then compared in full: those that seem to be nearest.
NEAREST = 8
# What is tried before all other permutations, those with the cheapest variables: this many, or as
# many as cost so many numbers, if that is more.
FIRST = 6
FEW = 2_000


@dataclass(frozen=True)
class Matching:
    """A best correspondence between a candidate and a reference program.

    Attributes
    ----------
    distance : int
        Number of edits.
    columns : array of int
        Candidate variable ``j`` corresponds to reference variable ``columns[j]``; an index past the
        last variable of either program stands for none.
    rows : array of int
        The same for rows.
    scales : array
        Candidate row ``i`` is compared with ``scales[i]`` times its reference row.
    negated : bool
        The objective is compared with the negative of the reference's: the sense is the wrong one.
    """

    distance: int
    columns: Ints
    rows: Ints
    scales: Floats
    negated: bool


@np.errstate(divide="ignore", invalid="ignore")
def match(candidate: LinearProgram, reference: LinearProgram) -> Matching:
    """The best matching of two programs in canonical form.

    Exact up to `EXACT_VARIABLES` variables, by trying every permutation; an upper bound beyond.
    """
    matching = match_names(candidate, reference)
    if matching is not None:
        return matching
    variables = max(len(candidate.names), len(reference.names))
    rows = max(len(candidate.matrix), len(reference.matrix))
    p = padded_graph(candidate, variables, rows)
    q = padded_graph(reference, variables, rows)
    # Most answers use the reference's names, so they decide between matchings that are as good.
    by_name = np.array(align(candidate.names, reference.names, variables), dtype=np.int64)
    work = math.factorial(min(variables, 12)) * rows**2 * (variables + 1)
    exact = variables <= EXACT_VARIABLES and work <= EXACT_WORK
    if exact and work <= AT_ONCE:
        return best_of(p, q, by_name[all_permutations(variables)])
    units = unit_rows(p, q)
    matching = match_under(p, q, units, by_name)
    if matching.distance == 0:
        return matching
    history = refine(p, q, units)
    for columns in renamings(p, q, units, history):
        found = match_under(p, q, units, columns, only_equal=True)
        if found.distance == 0:
            return found
    if exact:
        return best_of(p, q, by_name[all_permutations(variables)])
    unlike = [a[:, None] != b for a, b in zip(*history, strict=True)]
    _, by_colour = linear_sum_assignment(np.sum(unlike, axis=0))
    starts = [matching, match_under(p, q, units, by_colour)]
    return min((descend(p, q, units, start) for start in starts), key=lambda m: m.distance)


def match_names(p: LinearProgram, q: LinearProgram) -> Matching | None:
    """The matching by names, if it leaves at most one edit and no other leaves less.

    Seen without a search, as most wrong answers have one mistake. A matching without edits takes
    each variable to one with the same labels. If no two of q's have the same ones, up to the sign
    of the cost, only one can be without edits: the one by names, which is not.
    """
    place = {name: k for k, name in enumerate(q.names)}
    if p.matrix.shape != q.matrix.shape or place.keys() != set(p.names):
        return None
    columns = [place[name] for name in p.names]
    mine, theirs = variable_labels(p), variable_labels(q)
    pairs = [(a, theirs[k]) for a, k in zip(mine, columns, strict=True)]
    labels = sum(unequal(a[:3], b[:3]) for a, b in pairs)
    costs = [*(a[3] for a, _ in pairs), -p.offset if p.maximize else p.offset]
    others = [*(b[3] for _, b in pairs), -q.offset if q.maximize else q.offset]
    as_is, negated = unequal(costs, others), 1 + unequal(costs, [-other for other in others])
    edits = labels + min(as_is, negated)
    distinct = {(*b[:3], abs(b[3])) for b in theirs}
    if edits > 1 or len(distinct) < len(theirs):
        return None
    rows, rows_of_q = written_rows(p, slice(None)), written_rows(q, columns)
    place_of = {row: k for k, row in enumerate(rows_of_q)}
    partners = [place_of.get(row, -1) for row in rows]
    left = [i for i, k in enumerate(partners) if k < 0]
    if len(left) + edits > 1 or len(set(partners)) < len(rows):
        return None
    if left:
        (free,) = set(range(len(rows))) - set(partners)
        a, b = rows[left[0]], rows_of_q[free]
        # Some number agrees, so no factor but 1 leaves as few edits.
        if unequal(a, b) != 1 or not any(x == y != 0 for x, y in zip(a[:-1], b, strict=False)):
            return None
        partners[left[0]] = free
    return Matching(
        edits + len(left),
        np.array(columns, dtype=np.int64),
        np.array(partners, dtype=np.int64),
        np.ones(len(rows)),
        negated < as_is,
    )


def variable_labels(program: LinearProgram) -> list[tuple[float, ...]]:
    """Lower bound, upper bound, integrality and cost of every variable."""
    columns = program.lower, program.upper, program.integer, program.cost
    return list(zip(*(column.tolist() for column in columns), strict=True))


def written_rows(program: LinearProgram, columns: list[int] | slice) -> list[tuple[float, ...]]:
    """Coefficients, right-hand side and a number for the sense of every row."""
    ends = zip(program.row_lower.tolist(), program.row_upper.tolist(), strict=True)
    return [
        (*row, high, EQUAL if low == high else AT_MOST)
        if high < math.inf
        else (*row, low, AT_LEAST)
        for row, (low, high) in zip(program.matrix[:, columns].tolist(), ends, strict=True)
    ]


def unequal(a: Sequence[float], b: Sequence[float]) -> int:
    """How many numbers differ."""
    return sum(x != y and not same(x, y) for x, y in zip(a, b, strict=True))


def align(names: Sequence[str], others: Sequence[str], variables: int) -> list[int]:
    """Where each name stands among the others; the rest in the order that is left."""
    place = {name: k for k, name in enumerate(others)}
    found = [place.get(name) for name in names] + [None] * (variables - len(names))
    left = iter([k for k in range(variables) if k not in set(found)])
    return [next(left) if k is None else k for k in found]


def size(program: LinearProgram) -> int:
    """Distance of a canonical program to the empty one: the number of its labels and edges."""
    bounds = (program.lower != 0).sum() + np.isfinite(program.upper).sum()
    objective = np.count_nonzero(program.objective) + (program.offset != 0)
    rows = 2 * len(program.matrix) + np.count_nonzero(program.matrix)
    return int(len(program.names) + bounds + program.integer.sum() + objective + rows)


@lru_cache
def all_permutations(n: int) -> Ints:
    """Every permutation of ``range(n)``, ``[n!, n]``."""
    return np.array(list(permutations(range(n))), dtype=np.int64)


# -- the costs of a matching


def variable_costs(p: Graph, q: Graph) -> Ints:
    """Differing labels of every pair of variables, with q's objective as it is and negated.

    Returns an array ``[2, variables, variables]``.
    """
    turned = q.labels * np.array([1, 1, 1, 1, -1])
    return (~close(p.labels[:, None], np.stack([q.labels, turned])[:, None])).sum(axis=3)


def objective_costs(p: Graph, q: Graph) -> Ints:
    """Edits to the objective's constant and sense, with q's as it is and negated: ``[2]``."""
    return np.array([not same(p.offset, q.offset), (not same(p.offset, -q.offset)) + 1])


def row_costs(p: Graph, q: Graph, columns: Ints) -> tuple[Ints, Floats]:
    """Edits between every pair of rows under each of ``k`` permutations, and the best factors.

    A factor that makes one label agree is the ratio of the two values; only these, and 1 and -1
    for rows that agree nowhere, need trying.

    Returns
    -------
    costs, scales : arrays ``[k, rows, rows]``
    """
    labels = q.rows.shape[1]
    columns = np.hstack([columns, np.full((len(columns), 1), labels - 1)])
    zero = p.rows == 0, q.rows == 0
    a, b = p.rows.copy(), q.rows.copy()
    a[zero[0]] = b[zero[1]] = np.nan
    ratios = a[:, None] / b[:, columns].transpose(1, 0, 2)[:, None]
    # Equal ratios stand side by side when sorted: count along each run.
    ratios.sort(axis=-1)
    place = np.arange(labels)
    starts = np.zeros(ratios.shape, dtype=np.int64)
    gaps = ratios[..., 1:] - ratios[..., :-1]
    starts[..., 1:] = place[1:] * ~(gaps <= RELATIVE_TOLERANCE * np.abs(ratios[..., 1:]))
    agreeing = place + 1 - np.maximum.accumulate(starts, axis=-1)
    alike = (p.senses[:, None] == q.senses)[..., None]
    flip = (p.senses[:, None] == np.where(q.senses == EQUAL, EQUAL, -q.senses))[..., None]
    # Of factors that are as good, 1 changes the numbers that were written.
    value = 2 * (agreeing + np.where(ratios > 0, alike, flip)) + (ratios == 1)
    value[np.isnan(ratios)] = -1
    best = value.argmax(axis=-1)
    at = np.arange(0, value.size, labels).reshape(best.shape) + best
    scales, count = ratios.ravel()[at], value.ravel()[at] // 2
    nowhere = np.isnan(scales)
    if nowhere.any():
        scales = np.where(nowhere, np.where(alike, 1.0, -1.0)[..., 0], scales)
        count = np.where(nowhere, (alike | flip)[..., 0], count)
    both_zero = zero[0].astype(np.int64) @ zero[1][:, columns].transpose(1, 2, 0)
    return labels + 1 - both_zero - count, scales


def best_of(p: Graph, q: Graph, columns: Ints) -> Matching:
    """The best matching over the given permutations ``[k, variables]``."""
    each = np.arange(columns.shape[1])
    costs = variable_costs(p, q)[:, each, columns].sum(axis=2) + objective_costs(p, q)[:, None]
    fixed = costs.min(axis=0)
    best: tuple[int, int] | None = None
    each_costs = len(p.rows) ** 2 * p.rows.shape[1] + 1
    at_once, few = max(1, AT_ONCE // each_costs), max(FIRST, FEW // each_costs)
    # The rows add to the fixed costs: permutations that can't win any more are skipped.
    order, start = np.argsort(fixed, kind="stable"), 0
    while start < len(order) and (best is None or fixed[order[start]] <= best[0]):
        piece = order[start : start + (min(few, at_once) if best is None else at_once)]
        start += len(piece)
        rows, scales = row_costs(p, q, columns[piece])
        # Every row costs at least its cheapest partner.
        bound = fixed[piece] + rows.min(axis=2, initial=10**6).sum(axis=1)
        for k in np.argsort(bound, kind="stable").tolist():
            if best is not None and (bound[k], piece[k]) > best:
                continue
            i, partners = linear_sum_assignment(rows[k])
            total = (int(fixed[piece[k]] + rows[k][i, partners].sum()), int(piece[k]))
            if best is None or total < best:
                best, matched, factors = total, partners, scales[k][i, partners]
    assert best is not None
    distance, k = best
    return Matching(distance, columns[k], matched, factors, bool(costs[1, k] < costs[0, k]))


# -- one permutation, with many rows


def match_under(
    p: Graph,
    q: Graph,
    units: tuple[UnitRows, UnitRows],
    columns: Ints,
    only_equal: bool = False,
) -> Matching:
    """The best matching under one permutation; with ``only_equal`` only if its distance is 0.

    Equal rows are matched first: rows at distance 0 can always be partners of a best matching, by
    the triangle inequality.
    """
    each = np.arange(len(columns))
    labels = variable_costs(p, q)[:, each, columns].sum(axis=1) + objective_costs(p, q)
    fixed = int(labels.min())
    with_right = np.append(columns, len(columns))
    a, sign_a = oriented(units[0].plus, units[0].minus, p.senses)
    b, sign_b = oriented(units[1].plus[:, with_right], units[1].minus[:, with_right], q.senses)
    partners = np.full(len(a), -1)
    waiting = groups(b)
    for key, rows in groups(a).items():
        for i, k in zip(rows, waiting.get(key, []), strict=False):
            partners[i] = k
    scales = sign_a * units[0].scale / (sign_b * units[1].scale)[partners]
    left = np.flatnonzero(partners < 0)
    if len(left) and not only_equal:
        free = np.setdiff1d(np.arange(len(b)), partners)
        costs, factors = costs_of(p, q, units, columns, left, free)
        i, k = linear_sum_assignment(costs)
        partners[left], scales[left] = free[k], factors[i, k]
        fixed += int(costs[i, k].sum())
    fixed += only_equal * len(left)
    return Matching(fixed, columns, partners, scales, bool(labels[1] < labels[0]))


def oriented(plus: Ints, minus: Ints, senses: Ints) -> tuple[Ints, Floats]:
    """Rows with their sense, equations with a positive first coefficient; and the signs used."""
    zero = np.where(plus == minus, 0, plus - minus)
    first = zero[np.arange(len(zero)), np.argmax(zero != 0, axis=1)]
    turn = (senses == EQUAL) & (first < 0)
    kind = np.where(senses == AT_LEAST, AT_MOST, senses)
    rows = np.where(turn[:, None], minus, plus)
    return np.column_stack([rows, kind]), np.where(turn, -1.0, 1.0)


def costs_of(
    p: Graph, q: Graph, units: tuple[UnitRows, UnitRows], columns: Ints, left: Ints, free: Ints
) -> tuple[Ints, Floats]:
    """Edits between the rows ``left`` of p and ``free`` of q, and the factors to compare under.

    With too many of them both rows are first divided by their largest coefficient, and a better
    factor is searched for only where the rows are nearest.
    """
    each = len(free) * (len(columns) + 1)
    coarse = len(left) * each > ROW_WORK
    if coarse:
        costs, factors = coarse_costs(p, q, units, columns, left, free)
    else:
        costs, factors = (
            np.empty((len(left), len(free)), np.int64),
            np.empty((len(left), len(free))),
        )
    at_once = 1 if coarse else max(1, AT_ONCE // max(1, each))
    for start in range(0, len(left), at_once):
        rows = left[start : start + at_once]
        piece = slice(start, start + len(rows))
        near = np.argsort(costs[start], kind="stable")[:NEAREST] if coarse else np.arange(len(free))
        part_p = replace(p, rows=p.rows[rows], senses=p.senses[rows])
        part_q = replace(q, rows=q.rows[free[near]], senses=q.senses[free[near]])
        cost, factor = row_costs(part_p, part_q, columns[None])
        costs[piece, near], factors[piece, near] = cost[0], factor[0]
    return costs, factors


def coarse_costs(
    p: Graph, q: Graph, units: tuple[UnitRows, UnitRows], columns: Ints, left: Ints, free: Ints
) -> tuple[Ints, Floats]:
    """Edits between unit rows, and the factors between them: an upper bound, by one comparison."""
    theirs = units[1].plus[free][:, np.append(columns, len(columns))]
    kinds = [np.where(g.senses == AT_LEAST, AT_MOST, g.senses) for g in (p, q)]
    costs = np.array([(row != theirs).sum(axis=1) for row in units[0].plus[left]])
    costs += kinds[0][left, None] != kinds[1][free]
    return costs, units[0].scale[left, None] / units[1].scale[free]


def descend(p: Graph, q: Graph, units: tuple[UnitRows, UnitRows], best: Matching) -> Matching:
    """Assign columns for the rows as matched, then rows for the columns, while it helps."""
    if p.rows.size * p.rows.shape[1] > DESCENT_WORK:
        return best
    for _ in range(MAX_ROUNDS):
        costs = variable_costs(p, q)[int(best.negated)]
        for i, k in enumerate(best.rows):
            costs += ~close(p.rows[i, :-1, None], best.scales[i] * q.rows[k, :-1])
        _, columns = linear_sum_assignment(costs)
        matching = match_under(p, q, units, columns)
        if matching.distance >= best.distance:
            break
        best = matching
    return best
