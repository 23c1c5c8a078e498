"""The canonical form: what is reduced, that the optimum stays, and what must not be merged."""

from random import Random

import pytest
from evaluator_programs import distance, random_program

from glm_ppo_utils.evaluator import canonical, format_lp, parse_lp
from glm_ppo_utils.evaluator.canonical_form import simplify
from glm_ppo_utils.evaluator.solver import solve


def lp(rows: str, tail: str = "", objective: str = "3 x + 5 y") -> str:
    return f"maximize\n {objective}\nsubject to\n {rows}\n{tail}\nend"


REFERENCE = lp("2 x + y <= 40\n y - 2 x >= 0\n x <= 15")

SAME = [
    lp("4 x + 2 y <= 80\n 2 x - y <= 0\n 3 x <= 45"),
    lp("2 x + y <= 40\n 2 x <= y", "bounds\n x <= 15"),
    lp("2 x + y <= 40\n 2 x + y <= 41\n 2 x + y <= 40\n y >= 2 x\n x <= 15\n x <= 16"),
    lp("2 x + y + s = 40\n 2 x <= y\n x <= 15"),
    lp("2 x + y - 40 + 7 s = 0\n 2 x - y + 3 t = 0\n x + u = 15"),
    lp("total = 2 x + y\n total <= 40\n 2 x <= y\n x <= 15"),
    lp("z = 3 x + 5 y\n 2 x + y <= 40\n 2 x <= y\n x <= 15", objective="z"),
    lp("2 x + y <= 40\n 2 x <= y\n x <= k\n k = 15"),
    lp("2 x + y <= 40\n 2 x <= y\n x <= 15\n x + y >= 0\n x >= -3\n 0 x <= 5"),
    REFERENCE.replace("maximize\n 3 x + 5 y", "minimize\n - 3 x - 5 y"),
]

OTHER = [
    lp("2 x + y <= 40\n y - 2 x >= 0\n x <= 15", "general\n x"),
    lp("2 x + y <= 40\n y - 2 x >= 0\n x <= 15", "bounds\n y free"),
    lp("2 x + y <= 40\n y - 2 x >= 0\n x >= 15"),
    lp("2 x + y <= 40\n y - 2 x = 0\n x <= 15"),
    lp("2 x + y + s <= 40\n 2 x <= y\n x <= 15"),
    lp("2 x + y + s = 40\n 2 x <= y\n x <= 15", "general\n s"),
    lp("2 x + y + s = 40\n 2 x <= y\n x <= 15", "bounds\n s <= 9"),
    lp("2 x + y + s = 40\n 2 x <= y\n x <= 15", objective="3 x + 5 y + s"),
    lp("2 x + y + s = 40\n 2 x - s <= y\n x <= 15"),
    lp("total = 2 x - y\n total <= 40\n y >= 2 x\n x <= 15"),
    lp("2 x + y <= 40.0001\n y - 2 x >= 0\n x <= 15"),
    REFERENCE.replace("maximize", "minimize"),
    REFERENCE.replace("3 x + 5 y", "3 x + 5 y + 1"),
    REFERENCE.replace("3 x + 5 y", "6 x + 10 y"),
]


@pytest.mark.parametrize("text", SAME)
def test_equivalent_programs_have_one_form(text):
    assert distance(canonical(parse_lp(text)), canonical(parse_lp(REFERENCE))) == 0


@pytest.mark.parametrize("text", OTHER)
def test_other_programs_do_not(text):
    assert distance(canonical(parse_lp(text)), canonical(parse_lp(REFERENCE))) > 0


def test_opposite_inequalities_are_an_equation():
    assert format_lp(simplify(parse_lp(lp("x + y <= 4\n - 2 x - 2 y <= -8")))) == format_lp(
        parse_lp(lp("x + y = 4"))
    )


def test_integer_bounds_are_rounded_inwards():
    program = simplify(parse_lp(lp("2 x <= 15\n y >= 0.1", "general\n x y")))
    assert (program.upper[0], program.lower[1]) == (7, 1)
    assert simplify(parse_lp(lp("2 x <= 15"))).upper[0] == 7.5


def test_binary_is_integer_within_one():
    binary = canonical(parse_lp(lp("x + y <= 1", "binary\n x y")))
    integer = canonical(parse_lp(lp("x + y <= 1", "bounds\n x <= 1\n y <= 1.5\ngeneral\n x y")))
    assert distance(binary, integer) == 0


def test_of_two_variables_the_one_in_the_smaller_unit_goes():
    """Both are used as often: the choice depends on neither order nor scale."""
    for rows in ("x - 2 y = 0", "6 y - 3 x = 0", "0.1 x = 0.2 y"):
        assert canonical(parse_lp(lp(f"{rows}\n x + y <= 9"))).names == ("y",)


def test_an_infeasible_program_stays_infeasible():
    for rows in ("x + y <= 1\n x + y >= 2", "x <= 1\n x >= 2", "0 x >= 1", "x + y + s = -1"):
        assert solve(canonical(parse_lp(lp(rows)))).status == "infeasible", rows


def test_the_optimum_stays():
    random = Random(3)
    for _ in range(300):
        program = random_program(random)
        before, after = solve(program), solve(canonical(program))
        assert before.status == after.status, format_lp(program)
        if before.objective is not None:
            assert after.objective == pytest.approx(before.objective, abs=1e-6)


def test_the_form_is_its_own():
    random = Random(4)
    for _ in range(100):
        form = canonical(random_program(random))
        assert distance(canonical(form), form) == 0


def test_a_program_without_rows_or_with_everything_fixed():
    empty = canonical(parse_lp("max x st x <= 3"))
    assert (empty.names, empty.upper.tolist()) == (("x",), [3])
    fixed = canonical(parse_lp(lp("x = 3\n y = 4\n x + y <= 8", objective="x + 5")))
    # Put in, they would leave the bare optimum, and a typed-in number would have the same form.
    assert (fixed.names, fixed.offset, solve(fixed).objective) == (("x", "y"), 5, 8)
