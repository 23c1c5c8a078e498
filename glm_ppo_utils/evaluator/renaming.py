"""The graph of a program as arrays, and renamings that make one such graph the other.

A renaming is searched for by colour refinement (Weisfeiler and Leman, 1968): variables with the
same labels get the same colour, and in every round a variable's colour takes in those of its rows,
and a row's those of its variables. Where look-alikes are left, one is set apart and refinement goes
on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from glm_ppo_utils.evaluator.program import Floats, Ints, LinearProgram, value_classes

AT_MOST, AT_LEAST, EQUAL, NO_ROW = 1, -1, 2, 0
# How many visits of an edge the search for a renaming may cost.
RENAMING_WORK = 5_000_000


@dataclass(frozen=True)
class Graph:
    """Labels of a program padded to ``variables`` and ``rows``; nan and 0 mark what is absent."""

    offset: float
    labels: Floats  # [variables, 5]: present, lower bound, upper bound, integer, cost
    rows: Floats  # [rows, variables + 1]: coefficients and right-hand side
    senses: Ints  # [rows]


def padded_graph(program: LinearProgram, variables: int, rows: int) -> Graph:
    """The graph of a canonical program with null variables and rows added."""
    m, n = program.matrix.shape
    labels = np.zeros((variables, 5))
    labels[:, 2] = np.inf
    labels[:n, 0] = 1.0
    labels[:n, 1] = program.lower
    labels[:n, 2] = program.upper
    labels[:n, 3] = program.integer
    labels[:n, 4] = program.cost
    padded = np.zeros((rows, variables + 1))
    padded[:, -1] = np.nan
    padded[:m, :n] = program.matrix
    low, high = program.row_lower, program.row_upper
    at_most = high < np.inf
    padded[:m, -1] = np.where(at_most, high, low)
    senses = np.full(rows, NO_ROW)
    senses[:m] = np.where(low == high, EQUAL, np.where(at_most, AT_MOST, AT_LEAST))
    offset = -program.offset if program.maximize else program.offset
    return Graph(offset, labels, padded, senses)


def fingerprint(program: LinearProgram) -> tuple[Any, ...]:
    """A description without names, equal only for programs that differ by order, names and scale.

    A quick way to see that two programs are the same, of any size: unequal fingerprints say
    nothing, because look-alikes may stand in another order and numbers may be rounded differently.
    """
    rows = []
    uses: list[list[Any]] = [[] for _ in program.names]
    ends = zip(program.row_lower.tolist(), program.row_upper.tolist(), strict=True)
    for (low, high), line in zip(ends, program.matrix.tolist(), strict=True):
        terms = {j: c for j, c in enumerate(line) if c}
        size = max(map(abs, terms.values()), default=1.0)
        # A row is written for the smaller of its sides, whatever the order of its variables.
        if (low, high, sorted(terms.values())) < (-high, -low, sorted(-c for c in terms.values())):
            size, low, high = -size, high, low
        rows.append((low / size, high / size, {j: c / size for j, c in terms.items()}))
        for j, c in rows[-1][2].items():
            uses[j].append((c, rows[-1][0], rows[-1][1]))
    labels = zip(
        program.cost.tolist(),
        program.lower.tolist(),
        program.upper.tolist(),
        program.integer.tolist(),
        map(sorted, uses),
        strict=True,
    )
    found = sorted((label, j) for j, label in enumerate(labels))
    place = {j: k for k, (_, j) in enumerate(found)}
    written = sorted(
        (low, high, sorted((place[j], c) for j, c in terms.items())) for low, high, terms in rows
    )
    return (program.offset * (-1) ** program.maximize, [label[:4] for label, _ in found], written)


@dataclass(frozen=True)
class UnitRows:
    """The rows of a padded graph written as <= and divided by their largest coefficient.

    Numbers are replaced by their class over both graphs, as in `value_classes`.

    Attributes
    ----------
    plus, minus : array of int ``[rows, variables + 1]``
        Classes of the numbers and of their negatives.
    scale : array ``[rows]``
        The row is ``scale`` times the unit row.
    rows, columns : array of int ``[nonzeros]``
        Row and variable of every nonzero coefficient.
    """

    plus: Ints
    minus: Ints
    scale: Floats
    rows: Ints
    columns: Ints


def unit_rows(p: Graph, q: Graph) -> tuple[UnitRows, UnitRows]:
    """The unit rows of two graphs, with common classes."""
    scales, units = [], []
    for graph in (p, q):
        size = np.abs(graph.rows[:, :-1]).max(axis=1, initial=0)
        scales.append(np.where(graph.senses == AT_LEAST, -1.0, 1.0) * np.where(size == 0, 1, size))
        units.append(np.nan_to_num(graph.rows / scales[-1][:, None]))
    *plus, minus_p, minus_q = value_classes(*units, *(-unit for unit in units))
    first, second = (np.nonzero(graph.rows[:, :-1]) for graph in (p, q))
    return (
        UnitRows(plus[0], minus_p, scales[0], first[0], first[1]),
        UnitRows(plus[1], minus_q, scales[1], second[0], second[1]),
    )


Colours = NDArray[np.uint64]


def mix(*parts: Colours | Ints | int) -> Colours:
    """One well-spread 64-bit number per element from several (the finaliser of splitmix64)."""
    mixed = np.zeros(1, dtype=np.uint64)
    for part in parts:
        mixed = mixed * np.uint64(0x9E3779B97F4A7C15) + np.asarray(part).astype(np.uint64)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = mixed ^ (mixed >> np.uint64(31))
    return mixed


History = tuple[list[Colours], list[Colours]]


def refine(
    p: Graph,
    q: Graph,
    units: tuple[UnitRows, UnitRows],
    seeds: tuple[Colours, Colours] | None = None,
) -> History:
    """Colours of the variables of both graphs after each round of colour refinement.

    Equal colours after the last round are necessary, not sufficient, for two variables to
    correspond in a renaming.
    """
    history: History = ([], [])
    if seeds is None:
        labels = [value_classes(a, b) for a, b in zip(p.labels.T, q.labels.T, strict=True)]
        seeds = mix(*(pair[0] for pair in labels)), mix(*(pair[1] for pair in labels))
    for g in range(2):
        history[g].append(seeds[g])
    count = 0
    while True:
        found = len(np.unique(np.concatenate([history[0][-1], history[1][-1]])))
        if found == count:
            return history
        count = found
        for g, graph in enumerate((p, q)):
            history[g].append(refine_once(history[g][-1], units[g], graph.senses))


def refine_once(colours: Colours, unit: UnitRows, senses: Ints) -> Colours:
    """Colour rows by their coefficients and variables, then variables by their rows."""
    rows, columns = unit.rows, unit.columns
    sides, labels = [], [side[rows, columns] for side in (unit.plus, unit.minus)]
    for label, right in zip(labels, (unit.plus[:, -1], unit.minus[:, -1]), strict=True):
        side = mix(right, 1)
        np.add.at(side, rows, mix(label, colours[columns]))
        sides.append(side)
    # An equation has no direction: it takes the side with the smaller colour, if there is one.
    undirected = senses == EQUAL
    swap = undirected & (sides[1] < sides[0])
    tie = undirected & (sides[1] == sides[0])
    row = mix(np.where(senses == AT_LEAST, AT_MOST, senses), np.where(swap, sides[1], sides[0]))
    label = np.where(swap[rows], labels[1], labels[0])
    label = np.where(tie[rows], np.minimum(*labels), label)
    edges = np.zeros(len(colours), dtype=np.uint64)
    np.add.at(edges, columns, mix(label, row[rows]))
    return mix(colours, edges)


def renamings(
    p: Graph, q: Graph, units: tuple[UnitRows, UnitRows], history: History
) -> Iterator[Ints]:
    """Permutations that respect the colours, setting one pair of look-alikes apart at a time.

    Ends after `RENAMING_WORK` visits of an edge.
    """
    work = RENAMING_WORK
    stack: list[Iterator[History]] = [iter([history])]
    while stack and work > 0:
        found = next(stack[-1], None)
        if found is None:
            stack.pop()
            continue
        work -= len(found[0]) * (len(units[0].rows) + len(units[1].rows) + 100)
        a, b = found[0][-1], found[1][-1]
        order_a, order_b = np.argsort(a, kind="stable"), np.argsort(b, kind="stable")
        if not np.array_equal(a[order_a], b[order_b]):
            continue
        columns = np.empty(len(a), dtype=np.int64)
        columns[order_a] = order_b
        yield columns
        colours, counts = np.unique(a, return_counts=True)
        if counts.max() > 1:
            alike = colours[counts > 1][np.argmin(counts[counts > 1])]
            stack.append(set_apart(p, q, units, a, b, alike))


def set_apart(
    p: Graph,
    q: Graph,
    units: tuple[UnitRows, UnitRows],
    a: Colours,
    b: Colours,
    alike: np.uint64,
) -> Iterator[History]:
    """The first look-alike of p with each of q in turn, refined when it is asked for."""
    for j in np.flatnonzero(b == alike):
        marks_a, marks_b = a.copy(), b.copy()
        marks_a[np.argmax(a == alike)] += np.uint64(1)
        marks_b[j] += np.uint64(1)
        yield refine(p, q, units, (marks_a, marks_b))
