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
programs, symmetric, and with the triangle inequality. Three things bend it. Equality of numbers is
up to a relative 1e-9, which is not transitive. With more than `EXACT_VARIABLES` variables `match`
returns an upper bound: it is zero exactly when a renaming is found, but the triangle inequality may
fail. And matching a variable or row to a null one costs all its labels, so programs of different
size are compared as a whole.

The assignment of rows by the Hungarian method follows Riesen and Bunke, "Approximate graph edit
distance computation by means of bipartite graph matching" (Image and Vision Computing 27, 2009).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from glm_ppo_utils.evaluator.program import RELATIVE_TOLERANCE, Floats, LinearProgram, close

Ints = NDArray[np.int64]

EXACT_VARIABLES = 5
AT_MOST, AT_LEAST, EQUAL, NO_ROW = 1, -1, 2, 0


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


@dataclass(frozen=True)
class Graph:
    """Labels of a program padded to ``variables`` and ``rows``; nan and 0 mark what is absent."""

    cost: Floats
    offset: float
    labels: Floats  # [variables, 4]: present, lower bound, upper bound, integer
    rows: Floats  # [rows, variables + 1]: coefficients and right-hand side
    senses: Ints  # [rows]


def padded_graph(program: LinearProgram, variables: int, rows: int) -> Graph:
    """The graph of a canonical program with null variables and rows added."""
    m, n = program.matrix.shape
    cost = np.zeros(variables)
    cost[:n] = program.cost
    labels = np.tile([0.0, 0.0, np.inf, 0.0], (variables, 1))
    labels[:n] = np.stack([np.ones(n), program.lower, program.upper, program.integer], axis=1)
    padded = np.zeros((rows, variables + 1))
    padded[:, -1] = np.nan
    padded[:m, :n] = program.matrix
    low, high = program.row_lower, program.row_upper
    at_most = np.isfinite(high)
    padded[:m, -1] = np.where(at_most, high, low)
    senses = np.full(rows, NO_ROW)
    senses[:m] = np.where(low == high, EQUAL, np.where(at_most, AT_MOST, AT_LEAST))
    offset = -program.offset if program.maximize else program.offset
    return Graph(cost, offset, labels, padded, senses)


def match(candidate: LinearProgram, reference: LinearProgram) -> Matching:
    """The best matching of two programs in canonical form.

    Exact up to `EXACT_VARIABLES` variables, by trying every permutation; an upper bound beyond.
    """
    variables = max(len(candidate.names), len(reference.names))
    rows = max(len(candidate.matrix), len(reference.matrix))
    p = padded_graph(candidate, variables, rows)
    q = padded_graph(reference, variables, rows)
    if candidate.names != reference.names and set(candidate.names) == set(reference.names):
        by_name = [reference.names.index(name) for name in candidate.names]
    else:
        by_name = list(range(variables))
    # Most right answers use the reference's names: one look decides.
    matching = best_of(p, q, np.array([by_name], dtype=np.int64))
    if matching.distance == 0:
        return matching
    if variables <= EXACT_VARIABLES:
        return best_of(p, q, all_permutations(variables))
    return search(p, q, matching)


def distance(candidate: LinearProgram, reference: LinearProgram) -> int:
    """Number of edits between two programs in canonical form; see `match`."""
    return match(candidate, reference).distance


def size(program: LinearProgram) -> int:
    """Distance of a canonical program to the empty one: the number of its labels and edges."""
    bounds = (program.lower != 0).sum() + np.isfinite(program.upper).sum()
    objective = np.count_nonzero(program.objective) + (program.offset != 0)
    rows = 2 * len(program.matrix) + np.count_nonzero(program.matrix)
    return int(len(program.names) + bounds + program.integer.sum() + objective + rows)


@lru_cache
def all_permutations(n: int) -> Ints:
    return np.array(list(permutations(range(n))), dtype=np.int64).reshape(-1, n)


def variable_costs(p: Graph, q: Graph) -> Ints:
    """Differing labels of every pair of variables, ``[variables, variables]``."""
    return (~close(p.labels[:, None], q.labels[None])).sum(axis=2)


def objective_costs(p: Graph, q: Graph) -> tuple[Ints, Ints]:
    """Differing coefficients per pair of variables, and the rest, for both signs of ``q``."""
    signs = np.array([1.0, -1.0])
    pairs = (~close(p.cost[:, None], signs[:, None, None] * q.cost)).astype(np.int64)
    return pairs, (~close(p.offset, signs * q.offset)).astype(np.int64) + [0, 1]


def row_costs(p: Graph, q: Graph, columns: Ints) -> tuple[Ints, Floats]:
    """Edits between every pair of rows under each of ``k`` permutations, and the best factors.

    Returns
    -------
    costs, scales : arrays ``[k, rows, rows]``
    """
    right = np.full((len(columns), 1), q.rows.shape[1] - 1)
    b = q.rows[:, np.hstack([columns, right])].transpose(1, 0, 2)[:, None]
    a = p.rows[None, :, None]
    zero_a, zero_b = a == 0, b == 0
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(zero_a | zero_b, np.nan, a / b)
    turned = np.where(q.senses == EQUAL, EQUAL, -q.senses)
    same = np.broadcast_to(p.senses[:, None] == q.senses, ratios.shape[:-1]).astype(np.int64)
    flip = np.broadcast_to(p.senses[:, None] == turned, ratios.shape[:-1]).astype(np.int64)
    best = np.maximum(same, flip)
    scales = np.where(same >= flip, 1.0, -1.0)
    for k in range(ratios.shape[-1]):
        scale = ratios[..., k]
        equal = np.abs(ratios - scale[..., None]) <= RELATIVE_TOLERANCE * np.abs(scale[..., None])
        agreeing = equal.sum(axis=-1) + np.where(scale > 0, same, flip)
        better = agreeing > best
        best = np.where(better, agreeing, best)
        scales = np.where(better, scale, scales)
    return ratios.shape[-1] + 1 - (zero_a & zero_b).sum(axis=-1) - best, scales


def best_of(p: Graph, q: Graph, columns: Ints) -> Matching:
    """The best matching over the given permutations ``[k, variables]``."""
    each = np.arange(columns.shape[1])
    by_objective, rest = objective_costs(p, q)
    objective = by_objective[:, each, columns].sum(axis=2) + rest[:, None]
    fixed = objective.min(axis=0) + variable_costs(p, q)[each, columns].sum(axis=1)
    rows, scales = row_costs(p, q, columns)
    bound = fixed + np.maximum(rows.min(axis=2, initial=99).sum(axis=1), 0) if rows.size else fixed
    best: tuple[int, int, Ints] | None = None
    for k in np.argsort(bound, kind="stable"):
        if best is not None and bound[k] >= best[0]:
            break
        i, matched = linear_sum_assignment(rows[k])
        total = int(fixed[k] + rows[k][i, matched].sum())
        if best is None or total < best[0]:
            best = total, int(k), matched
    assert best is not None
    total, k, matched = best
    negated = bool(objective[1, k] < objective[0, k])
    return Matching(
        total, columns[k], matched, scales[k][np.arange(len(matched)), matched], negated
    )


def search(p: Graph, q: Graph, start: Matching) -> Matching:
    """Improve a matching by assigning columns for fixed rows, then rows for fixed columns."""
    best, rounds = start, 8
    for _ in range(rounds):
        pairs, _ = objective_costs(p, q)
        costs = variable_costs(p, q) + pairs[int(best.negated)]
        for i, k in enumerate(best.rows):
            costs = costs + ~close(p.rows[i, :-1, None], best.scales[i] * q.rows[k, None, :-1])
        _, columns = linear_sum_assignment(costs)
        matching = best_of(p, q, columns[None].astype(np.int64))
        if matching.distance >= best.distance:
            return best
        best = matching
    return best
