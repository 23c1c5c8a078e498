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
returns an upper bound, for which the triangle inequality can fail; it is still zero only for equal
programs. And beyond those sizes an equality hidden by many symmetries could be missed: the search
for a renaming tries `MAX_CHOICES` choices between variables that look alike.

The assignment of rows by the Hungarian method follows Riesen and Bunke, "Approximate graph edit
distance computation by means of bipartite graph matching" (Image and Vision Computing 27, 2009);
the search for a renaming is colour refinement (Weisfeiler and Leman, 1968) with individualisation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

from glm_ppo_utils.evaluator.program import Floats, LinearProgram, close

Ints = NDArray[np.int64]

EXACT_VARIABLES = 5
MAX_CHOICES = 200
MAX_ROUNDS = 8
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
    labels = np.zeros((variables, 4))
    labels[:, 2] = np.inf
    labels[:n, 0] = 1.0
    labels[:n, 1] = program.lower
    labels[:n, 2] = program.upper
    labels[:n, 3] = program.integer
    padded = np.zeros((rows, variables + 1))
    padded[:, -1] = np.nan
    padded[:m, :n] = program.matrix
    low, high = program.row_lower, program.row_upper
    at_most = high < np.inf
    padded[:m, -1] = np.where(at_most, high, low)
    senses = np.full(rows, NO_ROW)
    senses[:m] = np.where(low == high, EQUAL, np.where(at_most, AT_MOST, AT_LEAST))
    offset = -program.offset if program.maximize else program.offset
    return Graph(cost, offset, labels, padded, senses)


@np.errstate(divide="ignore", invalid="ignore")
def match(candidate: LinearProgram, reference: LinearProgram) -> Matching:
    """The best matching of two programs in canonical form.

    Exact up to `EXACT_VARIABLES` variables, by trying every permutation; an upper bound beyond.
    """
    variables = max(len(candidate.names), len(reference.names))
    rows = max(len(candidate.matrix), len(reference.matrix))
    p = padded_graph(candidate, variables, rows)
    q = padded_graph(reference, variables, rows)
    # Most answers use the reference's names, so they decide between matchings that are as good.
    by_name = np.array(align(candidate.names, reference.names, variables), dtype=np.int64)
    if variables <= 2:
        return best_of(p, q, by_name[all_permutations(variables)])
    matching = best_of(p, q, by_name[None])
    if matching.distance == 0:
        return matching
    if variables <= EXACT_VARIABLES:
        return best_of(p, q, by_name[all_permutations(variables)])
    return search(p, q, matching)


def align(names: Sequence[str], others: Sequence[str], variables: int) -> list[int]:
    """Where each name stands among the others; the rest in the order that is left."""
    place = {name: k for k, name in enumerate(others)}
    found = [place.get(name) for name in names] + [None] * (variables - len(names))
    left = iter([k for k in range(variables) if k not in set(found)])
    return [next(left) if k is None else k for k in found]


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
    """Every permutation of ``range(n)``, ``[n!, n]``."""
    return np.array(list(permutations(range(n))), dtype=np.int64)


# -- the costs of a matching


def variable_costs(p: Graph, q: Graph) -> Ints:
    """Differing labels of every pair of variables, ``[variables, variables]``."""
    return (~close(p.labels[:, None], q.labels)).sum(axis=2)


def objective_costs(p: Graph, q: Graph) -> tuple[Ints, Ints]:
    """For ``q`` as it is and negated: differing coefficients per pair of variables, and the rest.

    Returns arrays ``[2, variables, variables]`` and ``[2]``.
    """
    signs = np.array([1.0, -1.0])
    pairs = ~close(p.cost[:, None], signs[:, None, None] * q.cost)
    return pairs.astype(np.int64), ~close(p.offset, signs * q.offset) + np.array([0, 1])


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
    b = q.rows[:, columns].transpose(1, 0, 2)[:, None]
    turned = np.where(q.senses == EQUAL, EQUAL, -q.senses)
    a = p.rows[None, :, None]
    ratios = a / b
    both_zero = ((a == 0) & (b == 0)).sum(axis=-1)
    ratios[(ratios == 0) | np.isinf(ratios)] = np.nan
    # Equal ratios stand side by side when sorted: count along each run.
    ratios.sort(axis=-1)
    place = np.arange(labels)
    starts = np.ones(ratios.shape, dtype=bool)
    starts[..., 1:] = ~close(ratios[..., 1:], ratios[..., :-1])
    agreeing = place + 1 - np.maximum.accumulate(np.where(starts, place, 0), axis=-1)
    same, flip = p.senses[:, None] == q.senses, p.senses[:, None] == turned
    agreeing = agreeing + np.where(ratios > 0, same[..., None], flip[..., None])
    # Of factors that are as good, 1 changes the numbers that were written.
    value = np.where(np.isnan(ratios), -1, 2 * agreeing + (ratios == 1))
    best = value.argmax(axis=-1)
    scale = ratios.reshape(-1, labels)[np.arange(best.size), best.ravel()].reshape(best.shape)
    nowhere = np.isnan(scale)
    scales = np.where(nowhere, np.where(same, 1.0, -1.0), scale)
    count = np.where(nowhere, same | flip, value.max(axis=-1) // 2)
    return labels + 1 - both_zero - count, scales


def best_of(p: Graph, q: Graph, columns: Ints) -> Matching:
    """The best matching over the given permutations ``[k, variables]``."""
    each = np.arange(columns.shape[1])
    pairs, rest = objective_costs(p, q)
    objective = pairs[:, each, columns].sum(axis=2) + rest[:, None]
    fixed = objective.min(axis=0) + variable_costs(p, q)[each, columns].sum(axis=1)
    rows, scales = row_costs(p, q, columns)
    # Every row costs at least its cheapest partner: permutations that can't win are not assigned.
    bound = fixed + rows.min(axis=2, initial=rows.shape[2] * columns.shape[1] + 9).sum(axis=1)
    least: tuple[int, int] | None = None
    for k in np.argsort(bound, kind="stable").tolist():
        if least is not None and bound[k] > least[0]:
            break
        i, partners = linear_sum_assignment(rows[k])
        total = int(fixed[k] + rows[k][i, partners].sum())
        if least is None or (total, k) < least:
            least, matched = (total, k), partners
    assert least is not None
    distance, k = least
    factors = scales[k][np.arange(len(matched)), matched]
    return Matching(distance, columns[k], matched, factors, bool(objective[1, k] < objective[0, k]))


# -- more variables than can be permuted


def search(p: Graph, q: Graph, by_name: Matching) -> Matching:
    """An upper bound: a renaming if one is found, else the best of two descents."""
    history_p, history_q = refine(p, q)
    for choice in renamings(p, q, history_p[-1], history_q[-1]):
        matching = best_of(p, q, choice[None])
        if matching.distance == 0:
            return matching
    unlike = [a[:, None] != b for a, b in zip(history_p, history_q, strict=True)]
    _, by_colour = linear_sum_assignment(np.sum(unlike, axis=0))
    starts = [by_name, best_of(p, q, by_colour[None])]
    return min((descend(p, q, start) for start in starts), key=lambda m: m.distance)


def descend(p: Graph, q: Graph, best: Matching) -> Matching:
    """Assign columns for the rows as matched, then rows for the columns, while it helps."""
    for _ in range(MAX_ROUNDS):
        costs = variable_costs(p, q) + objective_costs(p, q)[0][int(best.negated)]
        for i, k in enumerate(best.rows):
            costs += ~close(p.rows[i, :-1, None], best.scales[i] * q.rows[k, :-1])
        _, columns = linear_sum_assignment(costs)
        matching = best_of(p, q, columns[None])
        if matching.distance >= best.distance:
            break
        best = matching
    return best


Colours = NDArray[np.uint64]


def classes(*arrays: Floats) -> list[Colours]:
    """Integers in place of numbers, equal for numbers that are `close`, over all arrays."""
    flat = np.concatenate([a.ravel() for a in arrays])
    order = np.argsort(flat)
    ids = np.zeros(len(flat), dtype=np.uint64)
    ids[order[1:]] = np.cumsum(~close(flat[order[1:]], flat[order[:-1]]))
    parts = np.split(ids, np.cumsum([a.size for a in arrays])[:-1])
    return [part.reshape(a.shape) for part, a in zip(parts, arrays, strict=True)]


def mix(*parts: Colours | int) -> Colours:
    """One well-spread 64-bit number per element from several (the finaliser of splitmix64)."""
    mixed = np.zeros(1, dtype=np.uint64)
    for part in parts:
        mixed = mixed * np.uint64(0x9E3779B97F4A7C15) + np.asarray(part, dtype=np.uint64)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = mixed ^ (mixed >> np.uint64(31))
    return mixed


def refine(
    p: Graph, q: Graph, seeds: tuple[Colours, Colours] | None = None
) -> tuple[list[Colours], list[Colours]]:
    """Colours of the variables of both graphs after each round of colour refinement.

    Equal colours after the last round are necessary, not sufficient, for two variables to
    correspond in a renaming.
    """
    units = []
    for graph in (p, q):
        scale = np.abs(graph.rows[:, :-1]).max(axis=1, initial=0)
        turn = np.where(graph.senses == AT_LEAST, -1.0, 1.0)
        units.append(np.nan_to_num(graph.rows / (turn * np.where(scale == 0, 1, scale))[:, None]))
    signed = classes(*units, *(-unit for unit in units))
    plus, minus = signed[:2], signed[2:]
    labels = [classes(a, b) for a, b in zip(p.labels.T, q.labels.T, strict=True)]
    costs = classes(p.cost, q.cost)
    history: tuple[list[Colours], list[Colours]] = ([], [])
    for g in range(2):
        colour = mix(*(label[g] for label in labels), costs[g])
        history[g].append(colour if seeds is None else mix(colour, seeds[g]))
    while True:
        for g, graph in enumerate((p, q)):
            history[g].append(
                refine_once(history[g][-1], units[g] != 0, plus[g], minus[g], graph.senses)
            )
        counts = [len(np.unique(np.concatenate([history[0][t], history[1][t]]))) for t in (-2, -1)]
        if counts[0] == counts[1]:
            return history


def refine_once(
    colours: Colours, present: NDArray[np.bool_], plus: Colours, minus: Colours, senses: Ints
) -> Colours:
    """Colour rows by their coefficients and variables, then variables by their rows."""
    columns = np.append(colours, np.uint64(1))
    sides = []
    for label in (plus, minus):
        sides.append(np.where(present, mix(label, columns), 0).sum(axis=1, dtype=np.uint64))
    # An equation has no direction: it takes the side with the smaller colour, if there is one.
    undirected = senses == EQUAL
    swap = undirected & (sides[1] < sides[0])
    tie = undirected & (sides[1] == sides[0])
    kind = mix(np.where(senses == AT_LEAST, AT_MOST, senses).astype(np.uint64))
    row = mix(kind, np.where(swap, sides[1], sides[0]))
    label = np.where(swap[:, None], minus, plus)
    label = np.where(tie[:, None], np.minimum(plus, minus), label)
    edges = np.where(present, mix(label, row[:, None]), 0)[:, :-1]
    return mix(colours, edges.sum(axis=0, dtype=np.uint64))


def renamings(p: Graph, q: Graph, first: Colours, second: Colours) -> Iterator[Ints]:
    """Permutations that respect the colours, setting one pair of look-alikes apart at a time."""
    stack = [(first, second)]
    for _ in range(MAX_CHOICES):
        if not stack:
            return
        a, b = stack.pop()
        order_a, order_b = np.argsort(a, kind="stable"), np.argsort(b, kind="stable")
        if not np.array_equal(a[order_a], b[order_b]):
            continue
        columns = np.empty(len(a), dtype=np.int64)
        columns[order_a] = order_b
        yield columns
        colours, counts = np.unique(a, return_counts=True)
        if counts.max() == 1:
            continue
        alike = colours[counts > 1][np.argmin(counts[counts > 1])]
        for j in np.flatnonzero(b == alike)[::-1]:
            marks_a, marks_b = a.copy(), b.copy()
            marks_a[np.argmax(a == alike)] += np.uint64(1)
            marks_b[j] += np.uint64(1)
            refined = refine(p, q, (marks_a, marks_b))
            stack.append((refined[0][-1], refined[1][-1]))
