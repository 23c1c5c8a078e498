"""The numbers of a word problem, before any words: six families of small programs.

A draft is drawn around a hidden point: first the point, then rows that it satisfies, so every draft
is feasible. When maximizing, one row with positive coefficients bounds all variables from above;
when minimizing, all costs are positive: so every draft is bounded. Both ``<=`` and ``>=`` occur
with both objectives and in every kind of row: the policy has to read a row's sense from the words.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, permutations, product

import numpy as np

Cells = tuple[tuple[int, int], ...]  # (coefficient, number of the variable)


@dataclass(frozen=True)
class Relation:
    """A constraint, and how the text will express it.

    `kind` is ``weighted`` (a resource), ``total``, ``subset``, ``bound``, ``ratio`` (twice as
    many), ``more`` (five more than), ``half`` (of all), ``supply`` or ``demand`` (of a network),
    ``exclusive``, ``either`` or ``implies`` (of yes-no choices). `topic` is the number of the
    resource, or of the source or destination in a network.
    """

    kind: str
    cells: Cells
    sense: str
    rhs: int
    topic: int = 0

    @property
    def coefficients(self) -> tuple[int, ...]:
        """The coefficients of `cells`, in their order."""
        return tuple(coefficient for coefficient, _ in self.cells)


@dataclass(frozen=True)
class Draft:
    """A program whose variables have no names yet; each language puts it into words."""

    family: str
    sense: str
    objective: tuple[int, ...]
    relations: tuple[Relation, ...]
    kind: str  # the LP section of all its variables: "", "general" or "binary"
    network: bool = False  # its variables are the routes of a transportation problem


@dataclass(frozen=True)
class Family:
    """What the programs of a family are drawn from; every entry of a tuple is equally likely."""

    sizes: tuple[int, ...]  # numbers of variables
    kinds: tuple[str, ...]  # their LP section: "", "general" or "binary"
    mains: tuple[str, ...]  # the row that bounds the objective
    extras: tuple[str, ...]  # the other rows


# (point, sense, rng) -> a row that the hidden point satisfies, or None if none can be drawn.
RowDraw = Callable[[list[int], str, random.Random], Relation | None]

_MAINS = ("weighted", "weighted", "weighted", "total", "total")
_COUNTS = ("weighted", "weighted", "weighted", "total", "bound", "bound", "ratio", "more", "subset")
_AMOUNTS = ("weighted", "weighted", "weighted", "total", "bound", "bound", "ratio", "more", "half")
_CHOICES = ("weighted", "weighted", "weighted", "count", "exclusive", "either", "implies")

FAMILIES = {
    "mix": Family((2, 2, 2, 3, 3, 4), ("general", "general", ""), _MAINS, _COUNTS),
    "diet": Family((2, 2, 2, 3, 3, 4), ("", "", "general"), _MAINS, _AMOUNTS),
    "staffing": Family((2, 2, 2, 3, 3, 4), ("general",), _MAINS, _COUNTS),
    "transport": Family((2, 2, 3), ("general",), _MAINS, _COUNTS),
    "selection": Family((3, 3, 4), ("binary",), ("weighted",), _CHOICES),
    "knapsack": Family((2, 2, 2, 3, 3, 4), ("general",), ("weighted",), _COUNTS),
}


def draw_draft(family: str, rng: random.Random) -> Draft:
    """Draw one draft of `family`: feasible, bounded, and every row of it matters."""
    while True:
        network = family == "transport" and rng.random() < 0.4
        if draft := _draw_network(rng) if network else _draw(family, rng):
            return draft


def _draw(family: str, rng: random.Random) -> Draft | None:
    """Choose the kinds of rows first, then look for numbers with which every row matters."""
    plan = FAMILIES[family]
    size, kind = rng.choice(plan.sizes), rng.choice(plan.kinds)
    sense = rng.choice(("maximize", "minimize"))
    # The first row has the sense that bounds the objective; the others mostly have the opposite
    # one, so that the sense of a row cannot be guessed from the objective.
    main, other = ("<=", ">=") if sense == "maximize" else (">=", "<=")
    wishes = [(rng.choice(plan.mains), main)]
    for _ in range(rng.choice((0, 0, 1, 1, 1, 2, 2, 3) if size < 4 else (0, 1, 1, 2))):
        wishes.append((rng.choice(plan.extras), rng.choice((main, other, other, other))))
    names = [name for name, _ in wishes]
    if set(names) <= {"total", "bound"} or names.count("weighted") > 2:
        return None  # too easy, or too long to read
    for _ in range(60):
        point = _point(size, kind, rng)
        drawn = [_ROWS[name](point, row_sense, rng) for name, row_sense in wishes]
        relations = [relation for relation in drawn if relation]
        if len(relations) < len(wishes) or _too_narrow(relations):
            continue
        if _every_row_matters(relations, size, kind):
            return Draft(family, sense, _prices(size, rng), _numbered(relations, rng), kind)
    return None


def _too_narrow(relations: list[Relation]) -> bool:
    """Whether two rows leave the same quantity almost no choice."""
    pairs = combinations(relations, 2)
    return any(sorted(a.cells) == sorted(b.cells) and abs(a.rhs - b.rhs) < 3 for a, b in pairs)


def _point(size: int, kind: str, rng: random.Random) -> list[int]:
    """The hidden point; for binaries at least one 1 and one 0."""
    if kind == "binary":
        return rng.sample((1, 0, *rng.choices((0, 1), k=size - 2)), size)
    return [rng.randint(1, 12) for _ in range(size)]


def _numbered(relations: list[Relation], rng: random.Random) -> tuple[Relation, ...]:
    """The relations in random order, with their resources numbered."""
    topics = iter(range(len(relations)))
    numbered = [
        replace(relation, topic=next(topics)) if relation.kind == "weighted" else relation
        for relation in relations
    ]
    return tuple(rng.sample(numbered, len(numbered)))


def _prices(size: int, rng: random.Random) -> tuple[int, ...]:
    return tuple(rng.sample(range(2, rng.choice((10, 31))), size))


def _round(value: int, sense: str, rng: random.Random) -> int:
    """`value` moved a little, away from infeasibility; to a multiple of 5 if it is large."""
    step = -1 if sense == ">=" else 1
    value += step * rng.randint(0, 3)
    while value > 20 and value % 5:
        value += step
    return value


def _holds(value: int, sense: str, rhs: int) -> bool:
    return value <= rhs if sense == "<=" else value >= rhs


def _weighted(point: list[int], sense: str, rng: random.Random) -> Relation | None:
    values = [rng.randint(1, 9) for _ in point]
    activity = sum(a * x for a, x in zip(values, point, strict=True))
    rhs = _round(activity, sense, rng)
    if max(point) == 1:  # binaries: any limit between what the point uses and all, or nothing
        rhs = rng.randint(activity, sum(values)) if sense == "<=" else rng.randint(1, activity)
    if len(set(values)) == 1 or rhs < 2:
        return None
    return Relation("weighted", tuple((a, i) for i, a in enumerate(values)), sense, rhs)


def _total(point: list[int], sense: str, rng: random.Random) -> Relation | None:
    sense = rng.choice((sense, sense, sense, "="))
    rhs = sum(point) if sense == "=" else _round(sum(point), sense, rng)
    return _at_least_two("total", tuple((1, i) for i in range(len(point))), sense, rhs)


def _subset(point: list[int], sense: str, rng: random.Random) -> Relation | None:
    if len(point) < 3:
        return None
    pair = sorted(rng.sample(range(len(point)), 2))
    rhs = _round(sum(point[i] for i in pair), sense, rng)
    return _at_least_two("subset", tuple((1, i) for i in pair), sense, rhs)


def _bound(point: list[int], sense: str, rng: random.Random) -> Relation | None:
    i = rng.randrange(len(point))
    return _at_least_two("bound", ((1, i),), sense, _round(point[i], sense, rng))


def _at_least_two(kind: str, cells: Cells, sense: str, rhs: int) -> Relation | None:
    return Relation(kind, cells, sense, rhs) if rhs >= 2 else None


def _ratio(point: list[int], sense: str, rng: random.Random) -> Relation | None:
    times = rng.choice((1, 2, 2, 3))
    pairs = permutations(range(len(point)), 2)
    fits = [(i, j) for i, j in pairs if _holds(point[i] - times * point[j], sense, 0)]
    if not fits:
        return None
    i, j = rng.choice(fits)
    return Relation("ratio", ((1, i), (-times, j)), sense, 0)


def _more(point: list[int], sense: str, rng: random.Random) -> Relation | None:
    pairs = list(permutations(range(len(point)), 2))
    if sense == ">=":
        pairs = [(i, j) for i, j in pairs if point[i] - point[j] >= 2]
    if not pairs:
        return None
    i, j = rng.choice(pairs)
    rhs = point[i] - point[j] + rng.randint(0, 2) * (1 if sense == "<=" else -1)
    return _at_least_two("more", ((1, i), (-1, j)), sense, rhs)


def _half(point: list[int], sense: str, rng: random.Random) -> Relation | None:
    i = rng.randrange(len(point))
    if not _holds(2 * point[i] - sum(point), sense, 0):
        return None
    cells = ((1, i), *((-1, j) for j in range(len(point)) if j != i))
    return Relation("half", cells, sense, 0)


def _count(point: list[int], sense: str, rng: random.Random) -> Relation | None:
    return _at_least_two("total", tuple((1, i) for i in range(len(point))), sense, sum(point))


def _choice(kind: str, sign: int, sense: str, rhs: int) -> RowDraw:
    """Rows ``first + sign * second sense rhs`` on two binaries; the kind fixes the `sense`."""

    def draw_choice(point: list[int], _: str, rng: random.Random) -> Relation | None:
        i, j = rng.sample(range(len(point)), 2)
        cells = ((1, i), (sign, j))
        holds = _holds(point[i] + sign * point[j], sense, rhs)
        return Relation(kind, cells, sense, rhs) if holds else None

    return draw_choice


_ROWS: dict[str, RowDraw] = {
    "weighted": _weighted,
    "total": _total,
    "subset": _subset,
    "bound": _bound,
    "ratio": _ratio,
    "more": _more,
    "half": _half,
    "count": _count,
    "exclusive": _choice("exclusive", 1, "<=", 1),
    "either": _choice("either", 1, ">=", 1),
    "implies": _choice("implies", -1, "<=", 0),
}


def _draw_network(rng: random.Random) -> Draft | None:
    """Two sources, two destinations, four routes: the transportation problem."""
    point = [rng.randint(1, 30) for _ in range(4)]  # routes 0-0, 0-1, 1-0, 1-1
    sense, kind = rng.choice(("maximize", "minimize")), rng.choice(("general", ""))
    nodes = [("supply", (0, 1)), ("supply", (2, 3)), ("demand", (0, 2)), ("demand", (1, 3))]
    # Upper limits on both supplies, or on both demands, keep the profit finite. One lower limit is
    # enough to make the cheapest plan cost something.
    side = rng.choice((0, 2))
    fixed = {side, side + 1} if sense == "maximize" else {side}
    dropped = rng.choice([node for node in range(4) if node not in fixed])
    relations = []
    for number, (name, routes) in enumerate(nodes):
        row = rng.choice(("<=", ">="))
        if number in fixed:
            row = "<=" if sense == "maximize" else ">="
        rhs = _round(sum(point[i] for i in routes), row, rng)
        relations.append(Relation(name, tuple((1, i) for i in routes), row, rhs, number % 2))
    relations.pop(dropped)
    if min(r.rhs for r in relations) < 2 or not _every_row_matters(relations, 4, kind):
        return None
    return Draft("transport", sense, _prices(4, rng), tuple(relations), kind, network=True)


def _points(values: Iterable[int], size: int) -> np.ndarray:
    return np.array(list(product(values, repeat=size)), dtype=float).T.copy()


# Points on which to test whether a row matters, ``[size, points]`` by size: grids of whole numbers,
# and for binaries every combination.
_GRIDS = {
    2: _points(range(41), 2),
    3: _points((0, 1, 2, 3, 5, 7, 9, 12, 15, 19, 24, 30), 3),
    4: _points((0, 1, 3, 6, 10, 16, 25), 4),
}
_CHOICES_OF = {size: _points((0, 1), size) for size in (3, 4)}


def _every_row_matters(relations: Sequence[Relation], size: int, kind: str) -> bool:
    """Whether each row forbids some point that all the other rows allow.

    Then no row follows from the others, and leaving one out is always an error. Only the points of
    a grid are tried, so a few good drafts are rejected too.
    """
    points = _CHOICES_OF[size] if kind == "binary" else _GRIDS[size]
    rows = np.zeros((len(relations), size))
    for row, relation in zip(rows, relations, strict=True):
        for coefficient, i in relation.cells:
            row[i] = coefficient
    sides = np.array([-1 if relation.sense == ">=" else 1 for relation in relations])[:, None]
    gap = sides * (rows @ points - np.array([[relation.rhs] for relation in relations]))
    equal = np.array([[relation.sense == "="] for relation in relations])
    broken = (gap > 0) | (equal & (gap < 0))
    alone = broken & (broken.sum(axis=0) == 1)
    return bool(alone.any(axis=1).all())
