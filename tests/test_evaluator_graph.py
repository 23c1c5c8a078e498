"""The distance: a metric where exact, an upper bound beyond, zero exactly for renamings."""

from dataclasses import replace
from itertools import permutations
from random import Random

import numpy as np
import pytest
from evaluator_programs import distance, random_program
from evaluator_rewrites import (
    EDITS,
    rename,
    reorder_rows,
    reorder_variables,
    scale_rows,
    turn_rows,
)

from glm_ppo_utils.evaluator import LinearProgram, canonical, graph, parse_lp
from glm_ppo_utils.evaluator.differences import list_differences
from glm_ppo_utils.evaluator.graph import match, size
from glm_ppo_utils.evaluator.program import close


def forms(random: Random, n: int, variables: int | None = None):
    return [canonical(random_program(random, variables)) for _ in range(n)]


def relatives(random: Random, n: int):
    """Programs near each other, where the triangle inequality is tight."""
    program = random_program(random, random.randint(2, 4))
    found = [program]
    while len(found) < n:
        changed = random.choice(list(EDITS.values()))(random.choice(found), random)
        found += [changed] if changed is not None else []
    return [canonical(p) for p in found]


@np.errstate(invalid="ignore")
def brute_force(p, q) -> int:
    """The definition: every matching of variables and rows, every factor that helps."""
    n, m = max(len(p.names), len(q.names)), max(len(p.matrix), len(q.matrix))
    a, b = graph.padded_graph(p, n, m), graph.padded_graph(q, n, m)
    best = 10**9
    for columns in permutations(range(n)):
        cost = sum(
            int((~close(a.labels[j, :4], b.labels[columns[j], :4])).sum()) for j in range(n)
        ) + min(
            int((~close(a.labels[:, 4], sign * b.labels[list(columns), 4])).sum())
            + int(not close(a.offset, sign * b.offset))
            + (sign < 0)
            for sign in (1, -1)
        )
        pairs = [[one_row(a, b, i, k, columns) for k in range(m)] for i in range(m)]
        rows = min(
            (sum(pairs[i][k] for i, k in enumerate(order)) for order in permutations(range(m))),
            default=0,
        )
        best = min(best, cost + rows)
    return best


def one_row(a, b, i, k, columns) -> int:
    mine, other = a.rows[i], b.rows[k][[*columns, len(columns)]]
    factors = [1.0, -1.0] + [
        x / y for x, y in zip(mine, other, strict=True) if x and y and not np.isnan(x * y)
    ]
    costs = []
    for factor in factors:
        sense = b.senses[k] if factor > 0 or b.senses[k] == graph.EQUAL else -b.senses[k]
        same = close(mine, factor * other)
        costs.append(int((~same).sum()) + int(a.senses[i] != sense))
    return min(costs)


def test_equals_exhaustive_search():
    random = Random(5)
    for _ in range(30):
        p, q = forms(random, 2, random.randint(2, 3))
        assert distance(p, q) == brute_force(p, q)
    for _ in range(15):
        p, q = relatives(random, 3)[1:]
        assert distance(p, q) == brute_force(p, q)


def test_is_a_metric():
    random = Random(6)
    for k in range(60):
        p, q, r = relatives(random, 3) if k % 2 else forms(random, 3)
        pq, qr, pr = distance(p, q), distance(q, r), distance(p, r)
        assert pq == distance(q, p)
        assert distance(p, p) == 0
        assert pr <= pq + qr
        assert abs(size(p) - size(q)) <= pq <= size(p) + size(q)


def test_size_is_the_distance_to_nothing():
    empty = parse_lp("min st")
    for p in forms(Random(7), 20):
        assert size(p) == distance(p, empty) == distance(empty, p)
    assert distance(empty, empty) == size(empty) == 0


@pytest.mark.parametrize("variables", [2, 3, 5, 6, 8])
def test_zero_for_every_renaming(variables):
    random = Random(8)
    for _ in range(15):
        p = random_program(random, variables)
        q = p
        for change in (rename, reorder_variables, reorder_rows, scale_rows, turn_rows):
            q = change(q, random)
        assert distance(canonical(p), canonical(q)) == 0


def symmetric(n: int, cycle: bool) -> str:
    """n look-alike variables: all pairs, or a ring of pairs, may not exceed 1 together."""
    pairs = [(i, (i + 1) % n) for i in range(n)]
    if not cycle:
        pairs = [(i, j) for i in range(n) for j in range(i)]
    rows = "\n".join(f" x{i} + x{j} <= 1" for i, j in pairs)
    return f"max {' + '.join(f'x{i}' for i in range(n))}\nst\n{rows}\nend"


@pytest.mark.parametrize(("n", "cycle"), [(4, False), (5, True), (8, False), (9, True), (14, True)])
def test_symmetric_programs(n, cycle):
    random = Random(9)
    p = parse_lp(symmetric(n, cycle))
    q = rename(reorder_variables(reorder_rows(p, random), random), random)
    assert distance(canonical(p), canonical(q)) == 0


def test_look_alikes_that_are_not_equal():
    """Two rings of three and a ring of six look the same from every variable."""
    ring = parse_lp(symmetric(6, True))
    rows = [(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3)]
    text = "\n".join(f" x{i} + x{j} <= 1" for i, j in rows)
    rings = parse_lp(f"max {' + '.join(f'x{i}' for i in range(6))}\nst\n{text}\nend")
    assert distance(canonical(ring), canonical(rings)) > 0


def test_an_upper_bound_beyond_the_exact_size(monkeypatch):
    random = Random(10)
    pairs = [forms(random, 2, 5) for _ in range(20)] + [relatives(random, 2) for _ in range(20)]
    exact = [distance(p, q) for p, q in pairs]
    monkeypatch.setattr(graph, "EXACT_VARIABLES", 0)
    bounds = [distance(p, q) for p, q in pairs]
    assert all(e <= b for e, b in zip(exact, bounds, strict=True))
    assert [e == 0 for e in exact] == [b == 0 for b in bounds]
    # Near programs are what rewards are about: there the bound should be the distance.
    near = [(e, b) for e, b in zip(exact, bounds, strict=True) if 0 < e <= 3]
    assert sum(e == b for e, b in near) >= 0.9 * len(near)


def test_one_edit_seen_by_names_is_what_the_search_finds(monkeypatch):
    random = Random(12)
    pairs = [relatives(random, 2) for _ in range(150)]
    for p, q in (
        ("max x - y st x + y <= 4", "min x - y st x + y <= 4"),
        ("max x + y st 4 x + 2 y <= 0", "max x + y st x + 2 y <= 0"),
        ("max x + 2 y st 3 x <= 0", "max x + 2 y st 4 x <= 0"),
        ("max x + 2 y st 2 x + 3 y <= 6", "max x + 2 y st 2 x + 3 y >= 6"),
        ("max x + 2 y + 1 st x + y <= 6", "max 2 y + x + 2 st y + x <= 6"),
    ):
        pairs.append([parse_lp(text.replace(" st ", "\nst\n")) for text in (p, q)])
    quick = [match(p, q) for p, q in pairs]
    seen = [graph.match_names(p, q) is not None for p, q in pairs]
    assert 50 < sum(seen) < len(pairs)
    monkeypatch.setattr(graph, "match_names", lambda p, q: None)
    for matching, (p, q) in zip(quick, pairs, strict=True):
        searched = match(p, q)
        assert matching.distance == searched.distance
        assert matching.negated == searched.negated
        for name in ("columns", "rows", "scales"):
            assert np.array_equal(getattr(matching, name), getattr(searched, name)), name


def test_differences_add_up_to_the_distance():
    random = Random(11)
    for k in range(60):
        p, q = relatives(random, 2) if k % 2 else forms(random, 2)
        matching = match(p, q)
        found = list_differences(p, q, matching)
        assert sum(d.edits for d in found) == matching.distance, [d.text for d in found]


def test_a_large_wrong_answer_costs_bounded_work(monkeypatch):
    """110 dense rows are not all compared in full with each other, and still matched rightly."""
    random = np.random.default_rng(0)
    n = 110
    program = LinearProgram(
        maximize=True,
        objective=random.integers(1, 30, n).astype(float),
        offset=0.0,
        matrix=random.integers(1, 10, (n, n)).astype(float),
        row_lower=np.full(n, -np.inf),
        row_upper=random.integers(20, 400, n).astype(float),
        lower=np.zeros(n),
        upper=np.full(n, np.inf),
        integer=np.zeros(n, dtype=bool),
        names=tuple(f"x{j}" for j in range(n)),
        row_names=("",) * n,
    )
    wrong = reorder_variables(reorder_rows(program, Random(1)), Random(2))
    wrong = replace(wrong, maximize=False, names=program.names)
    compared = []
    costs = graph.row_costs

    def counted(p, q, columns):
        compared.append(len(p.rows) * len(q.rows) * columns.shape[1])
        return costs(p, q, columns)

    monkeypatch.setattr(graph, "row_costs", counted)
    assert distance(wrong, program) == 1
    assert sum(compared) < 5_000_000
