"""Verdicts on pairs of models that are easily judged wrongly, and random pairs of all kinds.

The names say what is special about a pair.
"""

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from evaluator_oracle import (
    check_certificate,
    check_equivalent,
    check_exact_is_equal,
    check_reduction,
)
from evaluator_programs import random_program
from evaluator_rewrites import (
    rename,
    reorder_rows,
    reorder_variables,
    scale_rows,
)

from glm_ppo_utils.evaluator import Evaluator, Limits, format_lp, graph, parse_lp, renaming, reward
from glm_ppo_utils.evaluator.canonical_form import simplify
from glm_ppo_utils.evaluator.certificate import prove_equal
from glm_ppo_utils.evaluator.reward import Reference, judge
from glm_ppo_utils.evaluator.solver import solve

EVALUATOR = Evaluator()


def lp(objective: str, rows: str, general: str = "", tail: str = "") -> str:
    """LP text from an objective, rows separated by commas, and integer variables."""
    lines = [objective, "subject to", *(f" {row.strip()}" for row in rows.split(","))]
    lines += [tail] if tail else []
    return "\n".join([*lines, *(["general", f" {general}"] if general else []), "end"])


DIFFERENT = {
    # Where x and y occur as their difference only, a bound on y still counts.
    "a bound on one half of a difference": (
        lp("max x - y", "2 x - 2 y <= 3, x <= 2, y <= 3, u - y = 0, u >= 1, u <= 4", "x y u"),
        lp("max x - y", "2 x - 2 y <= 3, x <= 2, y <= 3", "x y"),
    ),
    "definitions in a ring that give fractions": (
        lp(
            "max z - w",
            "x + y - z = 0, 3 x + y - w = 0, x <= 20, y <= 10, z >= 10, w >= 62",
            "x y z w",
        ),
        lp(
            "max z - w",
            "w - z >= 0, w - z <= 40, 3 z - w >= 0, 3 z - w <= 20, z >= 10, w >= 62",
            "z w",
        ),
    ),
    "a row that matters between large numbers": (
        lp("max y", "x = 1000000000, x + y <= 1000000000, y <= 1"),
        lp("max y", "x = 1000000000, y <= 1"),
    ),
    "whole bounds that differ by 1 in 1e9": (
        lp("max x", "x <= 1000000000.5", "x"),
        lp("max x", "x <= 1000000001", "x"),
    ),
    "right sides that differ by 1 in 1e9": (
        lp("max x + 2 y", "x + y <= 1000000000, x - y <= 3"),
        lp("max x + 2 y", "x + y <= 1000000001, x - y <= 3"),
    ),
    "coefficients that differ by 1 in 1e9": (
        lp("max x + 2 y", "1000000000 x + y <= 5000000000, x - y <= 3, y <= 9"),
        lp("max x + 2 y", "1000000001 x + y <= 5000000000, x - y <= 3, y <= 9"),
    ),
    "unused variables with other bounds": (
        lp("max 3 x", "x + z <= 9, y <= 3"),
        lp("max 3 x", "x + z <= 9, y <= 8"),
    ),
    "a constant where every variable is fixed": (
        lp("max 29", "0 x >= -1"),
        lp("max 3 x + 5 y", "x = 3, y = 4"),
    ),
    "a binary's constant that cuts off a point": (
        lp("min 3 x + 100 b", "x + y >= 6, x - 40 b <= 0, x <= 50, b <= 1", "b"),
        lp("min 3 x + 100 b", "x + y >= 6, x - 50 b <= 0, x <= 50, b <= 1", "b"),
    ),
    "a row that only the integers keep": (
        lp("max 3 x + 5 y", "2 x + 2 y <= 13, x - y <= 2"),
        lp("max 3 x + 5 y", "x + y <= 6, x - y <= 2"),
    ),
}

BOTH = "x + y <= 8, x - y <= 2"
CANONICAL = {
    "a defined integer with a lower bound": (
        lp("min 13 h + 22 j", "t - h - 2 j = 0, t >= 15", "h j t"),
        lp("min 13 h + 22 j", "h + 2 j >= 15", "h j"),
    ),
    "a named objective with a lower bound": (
        lp("max p", "p - 3 x - 5 y = 0, p >= 10, 2 x + y <= 40, x + 3 y <= 60"),
        lp("max 3 x + 5 y", "2 x + y <= 40, x + 3 y <= 60, 3 x + 5 y >= 10"),
    ),
    "a definition times a tenth": (
        lp("min 2 x + 3 y", "0.1 t - 0.3 x - 0.1 y = 0, t >= 15, x - y <= 3", "x y t"),
        lp("min 2 x + 3 y", "3 x + y >= 15, x - y <= 3", "x y"),
    ),
    "two definitions, one of them times 2e8": (
        lp(
            "min 2 x + 3 y",
            "200000000 t - 600000000 x - 200000000 y = 0, u - x - 2 y = 0, "
            "t - x + u >= 15, x - y <= 3, t - 2 y - u <= 4",
        ),
        lp("min 2 x + 3 y", "3 x + 3 y >= 15, x - y <= 3, 2 x - 3 y <= 4"),
    ),
    "a column that nothing uses": (
        lp("max 4 x + 2 y + 0 z", BOTH),
        lp("max 4 x + 2 y", BOTH),
    ),
    "a constant as a fixed variable": (
        lp("max 4 x + 2 y + 12 ONE", f"{BOTH}, ONE = 1"),
        lp("max 4 x + 2 y + 12", BOTH),
    ),
    "a definition of two variables": (
        lp("max revenue - 2 x - y", f"revenue - 5 x = 0, {BOTH}"),
        lp("max 3 x - y", BOTH),
    ),
    "another name for a variable": (
        lp("max 3 x - y", "x + z <= 8, x - y <= 2, z = y"),
        lp("max 3 x - y", BOTH),
    ),
    "a variable defined as a sum of two": (
        lp("max 3 x - y", f"{BOTH}, x = a + b", "x y a b"),
        lp("max 3 x - y", BOTH, "x y"),
    ),
}

SPLIT = {
    "variables split in two": (
        lp("max 3 a + 3 b - c - d", "a + b + c + d <= 8, a + b - c - d <= 2", "a b c d"),
        lp("max 3 x - y", BOTH, "x y"),
    ),
    "a free variable as a difference": (
        lp("max 3 a - 3 b - y", "a - b + y <= 8, a - b - y <= 2"),
        lp("max 3 x - y", BOTH, tail="bounds\n x free"),
    ),
}

CERTIFIED = {
    "a rounded right side": (
        lp("max 3 x + 5 y", "wood: 2 x + 2 y <= 13, x - y <= 2", "x y"),
        lp("max 3 x + 5 y", "x + y <= 6, x - y <= 2", "x y"),
        "x + y <= 6 follows from wood because its terms are whole numbers",
    ),
    "a redundant row": (
        lp("max 3 x + 5 y", "x + y <= 6, x - y <= 2, 5 x + 4 y <= 50"),
        lp("max 3 x + 5 y", "x + y <= 6, x - y <= 2"),
        "the extra constraint 5 x + 4 y <= 50 follows from",
    ),
    "a tightened bound": (
        lp("max 3 x + 5 y", "land: x + y <= 6, x - y <= 2, y <= 6"),
        lp("max 3 x + 5 y", "land: x + y <= 6, x - y <= 2"),
        "the extra constraint y <= 6 follows from land",
    ),
    "another large constant": (
        lp("min 3 x + 5 y + 100 b", "x + y >= 6, x - 1000 b <= 0, x <= 50, b <= 1", "b"),
        lp("min 3 x + 5 y + 100 b", "x + y >= 6, x - 50 b <= 0, x <= 50, b <= 1", "b"),
        "- 50 b + x <= 0 follows from the other constraints because the variables are integers",
    ),
    "an objective that an equation rewrites": (
        lp("max 4 x + 3 y + z - 10", "x + y + z = 10, x - y <= 2, x - z >= 1"),
        lp("max 3 x + 2 y", "x + y + z = 10, x - y <= 2, x - z >= 1"),
        "",
    ),
    "an unbounded program with a redundant row": (
        lp("max x + y", "x - y <= 2, x - y <= 2.5, 2 x - y >= -1, 3 x - 2 y <= 9"),
        lp("max x + y", "x - y <= 2, 2 x - y >= -1, 3 x - 2 y <= 9, 4 x - 3 y <= 11"),
        "",
    ),
}


def both_ways(cases: dict) -> list:
    """Each pair as (answer, reference) and as (reference, answer)."""
    found = []
    for name, (first, second, *_) in cases.items():
        found.append(pytest.param(first, second, id=name))
        found.append(pytest.param(second, first, id=f"{name}, turned"))
    return found


@pytest.mark.parametrize(("answer", "reference"), both_ways(DIFFERENT))
def test_different_models_are_not_exact(answer, reference):
    score = EVALUATOR.score(answer, reference)
    assert not score.exact and score.decided_by is None
    assert score.reward <= 0.6


@pytest.mark.parametrize(("answer", "reference"), both_ways(CANONICAL))
def test_the_same_form(answer, reference):
    score = EVALUATOR.score(answer, reference)
    assert (score.reward, score.decided_by) == (1.0, "canonical"), score.message


@pytest.mark.parametrize(("answer", "reference"), SPLIT.values(), ids=SPLIT)
def test_variables_split_by_the_answer(answer, reference):
    score = EVALUATOR.score(answer, reference)
    assert (score.reward, score.decided_by) == (1.0, "canonical"), score.message


@pytest.mark.parametrize(("answer", "reference"), both_ways(CERTIFIED))
def test_a_proof(answer, reference):
    score = EVALUATOR.score(answer, reference)
    assert (score.reward, score.exact, score.decided_by) == (1.0, True, "certified"), score.message


@pytest.mark.parametrize("name", CERTIFIED)
def test_the_message_names_what_was_proved(name):
    answer, reference, message = CERTIFIED[name]
    score = EVALUATOR.score(answer, reference)
    assert score.message.startswith("the model has the same solutions and the same objective")
    assert message in score.message


def facility_location(customers: int, sites: int, strong: bool) -> str:
    """Which sites open and who goes where; strong: a row for each customer at each site."""
    everyone, places = range(customers), range(sites)
    demand = [5 + 7 * i % 11 for i in everyone]
    rows = [" + ".join(f"x{i}_{j}" for j in places) + " = 1" for i in everyone]
    for j in places:
        served = " + ".join(f"{demand[i]} x{i}_{j}" for i in everyone)
        rows.append(f"{served} - {sum(demand) // 2} y{j} <= 0")
    if strong:
        rows += [f"x{i}_{j} - y{j} <= 0" for i in everyone for j in places]
    costs = [f"{20 + 7 * j % 40} y{j}" for j in places]
    costs += [f"{1 + (11 * i + 17 * j) % 30} x{i}_{j}" for i in everyone for j in places]
    names = [*(f"y{j}" for j in places), *(f"x{i}_{j}" for i in everyone for j in places)]
    lines = [f"min {' + '.join(costs)}", "st", *rows, "binary", " ".join(names), "end"]
    return "\n".join(lines)


def test_a_proof_of_hundreds_of_rows():
    answer, reference = (facility_location(40, 8, strong) for strong in (True, False))
    score = Evaluator(time_limit=60).score(answer, reference)
    assert (score.reward, score.decided_by) == (1.0, "certified"), score.message
    assert "because its terms are whole numbers (and 319 more proofs)" in score.message


def test_a_proof_where_the_optimum_is_not_known(monkeypatch):
    """A model too hard to solve in time can still be proved to be the same; no other one can."""

    def out_of_time(program, time_limit):
        return replace(solve(program, time_limit), status="time limit", objective=None)

    monkeypatch.setattr(reward, "solve", out_of_time)
    answer, reference = (facility_location(6, 3, strong) for strong in (True, False))
    score = Evaluator(time_limit=60).score(answer, reference)
    assert (score.reward, score.decided_by) == (1.0, "certified"), score.message
    assert (score.status, score.objective_value) == ("time limit", None)
    wrong = answer.replace("x0_0 - y0 <= 0", "x0_0 + x1_0 - y0 <= 0")
    assert not Evaluator(time_limit=60).score(wrong, reference).exact


@pytest.mark.parametrize("row", ["0 x >= 1", "x - x >= 1", "x >= 20", "x + y <= 9"])
def test_another_model_where_the_optimum_of_the_reference_is_not_known(row):
    text = lp("max 3 x + 2 y", "a: x + y <= 10, b: x + 3 y <= 15", "x y")
    known = Reference.read(text)
    hard = replace(known, solution=replace(known.solution, status="time limit", objective=None))
    answer = text.replace("general", f" e: {row}\ngeneral")
    assert judge(text.replace("general", " e: x <= 10\ngeneral"), hard).exact
    assert not judge(answer, hard).exact


def test_one_product_in_the_place_of_two():
    """Two variables may stand for one of the reference, but not one for two of the reference's."""
    one, two = lp("max 3 x", "x <= 10, x >= 1"), lp("max 3 x + 3 y", "x + y <= 10, x + y >= 1")
    assert EVALUATOR.score(two, one).exact
    assert not EVALUATOR.score(one, two).exact


def test_one_point_is_no_reason_for_a_proof():
    """Where one point is feasible, every program of that point would be proved to be equal."""
    reference = lp("max 3 x + 5 y", "x + y >= 7, x <= 3, y <= 4")
    answer = lp("max 3 x + 5 y", "x = 3, y = 4")
    assert Reference.read(reference).can_certify is False
    assert EVALUATOR.score(answer, reference).decided_by != "certified"


def test_a_limit_that_is_reached_proves_nothing(monkeypatch):
    answer, reference, _ = CERTIFIED["another large constant"]
    assert Evaluator().score(answer, reference).exact
    monkeypatch.setattr("glm_ppo_utils.evaluator.certificate.MAX_BRANCHINGS", 0)
    assert not Evaluator().score(answer, reference).exact
    monkeypatch.setattr("glm_ppo_utils.evaluator.certificate.MAX_ROWS", 0)
    answer, reference, _ = CERTIFIED["a rounded right side"]
    assert not Evaluator().score(answer, reference).exact


def test_variables_correspond_only_with_the_same_integrality():
    p, q = (
        simplify(parse_lp(lp("max x", "2 x + y <= 5, x + y <= 9", general)))
        for general in ("x y", "x")
    )
    pairs = np.array([[0, 0], [1, 1]])
    none = np.zeros((0, 2)), np.zeros((0, 2))
    assert prove_equal(p, p, pairs, none) == []
    assert prove_equal(p, q, pairs, none) is None


THREE = lp(
    "max 3 x + 5 y + 2 z",
    "2 x + y + z <= 40, x + 3 y + z <= 45, x + y + 4 z <= 50",
)


@pytest.mark.parametrize(
    "answer",
    [
        lp("max 3 x + 5 y + 2 z", "3 x + 5 y + 2 z - s = 0, s <= 95"),
        lp("max s", "3 x + 5 y + 2 z - s = 0, s <= 95, 2 x + y + z <= 40, x + 3 y + z <= 45"),
        lp(
            "max 3 x + 5 y + 2 z",
            "3 x + 5.0000001 y + 2 z <= 95, 2 x + y + z <= 40, x + 3 y + z <= 45",
        ),
        lp(
            "max 3 x + 5 y + 2 z",
            "2 x + y + z <= 40, x + 3 y + z <= 45, x + y + 4 z <= 50, x + y = 25, x - y = 5, z = 0",
        ),
    ],
)
def test_an_optimum_typed_in_by_a_detour(answer):
    assert EVALUATOR.score(THREE, THREE).objective_value == pytest.approx(95)
    assert EVALUATOR.score(answer, THREE).reward <= 0.2


def test_an_optimum_that_follows_is_not_typed_in():
    """Elimination leaves one variable, and then every bound of it is the optimum of something."""
    reference = lp("min 3 x + 7 y", "x + y = 15, x - y <= 3")
    score = EVALUATOR.score(lp("min 3 x + 7 y", "x + y = 15, x - y <= 3", "x"), reference)
    assert score.objective_matches and score.graph_distance == 1
    assert score.reward == pytest.approx(0.05 + 0.55 * score.similarity**4)


# -- size


def another_way(program, random):
    """The program renamed, reordered and with scaled rows."""
    for change in (scale_rows, reorder_rows, reorder_variables, rename):
        program = change(program, random)
    return program


def large_program(matrix: np.ndarray, low: np.ndarray, high: np.ndarray, integer: bool):
    m, n = matrix.shape
    return replace(
        random_program(Random(0), 2),
        objective=np.ones(n) if integer else np.arange(1.0, n + 1),
        matrix=matrix,
        row_lower=low,
        row_upper=high,
        lower=np.zeros(n),
        upper=np.ones(n) if integer else np.full(n, np.inf),
        integer=np.full(n, integer),
        names=tuple(f"x{j}" for j in range(n)),
        row_names=("",) * m,
    )


def ring(n: int):
    """n binary variables of which no two neighbours in a ring may be chosen: all look alike."""
    matrix = np.eye(n) + np.roll(np.eye(n), 1, axis=1)
    return large_program(matrix, np.full(n, -np.inf), np.ones(n), True)


def ranges(n: int, m: int):
    random = np.random.default_rng(0)
    matrix = random.integers(1, 10, (m, n)).astype(float)
    high = matrix.sum(axis=1) * 7
    return large_program(matrix, high - 40, high, False)


LARGE = {"a ring of 100": ring(100), "5 variables in 100 ranges": ranges(5, 100)}


@pytest.mark.parametrize("name", LARGE)
def test_large_right_answers(name):
    program = LARGE[name]
    limits = Limits(characters=200_000, variables=500, rows=500, nonzeros=100_000)
    answer = format_lp(another_way(program, Random(1)))
    score = judge(answer, Reference.of(program), limits=limits)
    assert (score.reward, score.decided_by) == (1.0, "canonical")


@pytest.mark.parametrize("n", [10, 40])
def test_few_colours_are_refined_for_a_ring(n, monkeypatch):
    """The work is counted: one look-alike is set apart for each pair, not all at once."""
    calls = []
    refine = renaming.refine
    monkeypatch.setattr(renaming, "refine", lambda *a: calls.append(1) or refine(*a))
    p = ring(n)
    assert graph.match(p, another_way(p, Random(2))).distance == 0
    assert len(calls) <= 4


def test_many_permutations_are_compared_in_pieces(monkeypatch):
    """The permutations of 5 variables give the same result in large pieces and in small ones."""
    random = Random(3)
    p, q = (simplify(random_program(random, 5)) for _ in range(2))
    sizes = []
    costs = graph.row_costs
    monkeypatch.setattr(graph, "row_costs", lambda p, q, c: sizes.append(len(c)) or costs(p, q, c))
    whole = graph.match(p, q)
    assert max(sizes) > 10
    sizes.clear()
    monkeypatch.setattr(graph, "AT_ONCE", 10 * len(p.matrix) ** 2 * 6)
    columns = np.array([range(5)])[:, :]
    padded = [graph.padded_graph(x, 5, max(len(p.matrix), len(q.matrix))) for x in (p, q)]
    pieces = graph.best_of(*padded, graph.all_permutations(5)[:, columns[0]])
    assert pieces.distance == whole.distance
    assert max(sizes) <= 10


# -- random cases; `benchmarks/evaluator_fuzz.py` runs any number of them


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize(
    "check", [check_exact_is_equal, check_certificate, check_reduction, check_equivalent]
)
def test_random_cases(check, seed):
    check(Random(seed))
