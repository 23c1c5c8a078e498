"""The parser: what it reads, what it refuses and where, and that HiGHS reads the same."""

from pathlib import Path
from random import Random

import highspy
import numpy as np
import pytest
from evaluator_programs import nl4opt_texts, random_program

from glm_ppo_utils.evaluator import Limits, LPError, extract_lp, format_lp, parse_lp
from glm_ppo_utils.evaluator.solver import solve

INF = np.inf


def lp(rows: str, objective: str = "x + y", tail: str = "") -> str:
    return f"maximize\n {objective}\nsubject to\n {rows}\n{tail}\nend"


@pytest.mark.parametrize("word", ["max", "MAXIMIZE", "Maximise", "maximum", "Max"])
def test_maximize(word):
    assert parse_lp(f"{word} x st x <= 1 end").maximize


@pytest.mark.parametrize("word", ["min", "MINIMIZE", "Minimise", "minimum"])
def test_minimize(word):
    assert not parse_lp(f"{word} x st x >= 1 end").maximize


@pytest.mark.parametrize(
    "word", ["subject to", "Subject  To", "such that", "st", "s.t.", "ST.", "S.T."]
)
def test_subject_to(word):
    assert parse_lp(f"max x\n{word}\nx <= 1").row_upper.tolist() == [1]


@pytest.mark.parametrize("word", ["general", "Generals", "gen", "INTEGER", "integers", "int"])
def test_general(word):
    assert parse_lp(lp("x + y <= 1", tail=f"{word}\n y")).integer.tolist() == [False, True]


@pytest.mark.parametrize("word", ["binary", "Binaries", "BIN"])
def test_binary(word):
    program = parse_lp(lp("x + y <= 1", tail=f"{word} y"))
    assert program.integer.tolist() == [False, True]
    assert program.upper.tolist() == [INF, 1]


@pytest.mark.parametrize(
    ("row", "coefficients", "low", "high"),
    [
        ("2 x + 3y <= 4", [2, 3], -INF, 4),
        ("2 x < 4", [2, 0], -INF, 4),
        ("2 x =< 4", [2, 0], -INF, 4),
        ("2 x => 4", [2, 0], 4, INF),
        ("2 x > 4", [2, 0], 4, INF),
        ("2 x == 4", [2, 0], 4, 4),
        ("wood: - x + - 2 y >= -1", [-1, -2], -1, INF),
        ("木材: x <= 1", [1, 0], -INF, 1),
        ("x <= y", [1, -1], -INF, 0),
        ("x + 3 <= 2 y + 5", [1, -2], -INF, 2),
        ("x + x + 0.5 x - y + y <= 1", [2.5, 0], -INF, 1),
        ("0.1 x + 0.2 x - 0.3 x + y <= 1", [0, 1], -INF, 1),
        ("1e2 x + 1.5E-1 y <= .5", [100, 0.15], -INF, 0.5),
        ("1 <= x + y <= 5", [1, 1], 1, 5),
        ("5 >= x + y + 1 >= 2", [1, 1], 1, 4),
        ("5 <= x <= 1", [1, 0], 5, 1),
        ("x\n + y\n <=\n 4", [1, 1], -INF, 4),
        ("x <= 4 \\ at most 3", [1, 0], -INF, 4),
        ("empty: >= 3", [0, 0], 3, INF),
    ],
)
def test_rows(row, coefficients, low, high):
    program = parse_lp(lp(row))
    assert program.matrix.tolist() == [coefficients]
    assert (program.row_lower.tolist(), program.row_upper.tolist()) == ([low], [high])


@pytest.mark.parametrize(
    ("bound", "low", "high"),
    [
        ("x <= 5", 0, 5),
        ("x >= 2", 2, INF),
        ("2 <= x <= 5", 2, 5),
        ("5 >= x >= 2", 2, 5),
        ("x free", -INF, INF),
        ("x Free", -INF, INF),
        ("x >= -inf", -INF, INF),
        ("-infinity <= x <= +inf", -INF, INF),
        ("x = 3", 3, 3),
        ("3 <= x", 3, INF),
        ("x >= 1\n x <= 2", 1, 2),
        ("x >= -1e3", -1000, INF),
    ],
)
def test_bounds(bound, low, high):
    program = parse_lp(lp("x + y <= 9", tail=f"bounds\n {bound}"))
    assert (program.lower[0], program.upper[0]) == (low, high)


def test_objective_and_layout():
    program = parse_lp("MIN obj:\n 2 x\n + 10 - x + 变量.a st c1: x <= 3 c2: x >= 1 end")
    assert program.names == ("x", "变量.a")
    assert program.objective.tolist() == [1, 1]
    assert program.offset == 10
    assert program.row_names == ("c1", "c2")
    assert not parse_lp("min st x >= 1").objective.any()


def test_two_rows_on_two_lines_are_two_rows():
    program = parse_lp(lp("x <= 3\n - y >= -2"))
    assert program.matrix.tolist() == [[1, 0], [0, -1]]


@pytest.mark.parametrize(
    ("text", "line", "column", "expected"),
    [
        ("", 1, 1, "`minimize` or `maximize`"),
        ("hello", 1, 1, "`minimize` or `maximize`"),
        ("maximize x", 1, 11, "`subject to`"),
        ("max 3 * x st x <= 1", 1, 7, "without `*`"),
        ("max x y st x <= 1", 1, 7, "operator"),
        ("max 3 4 x st x <= 1", 1, 7, "operator"),
        ("max x^2 st x <= 1", 1, 6, "linear"),
        ("max [ x ] st x <= 1", 1, 5, "linear"),
        ("max 2 (x + y) st x <= 1", 1, 7, "multiply out"),
        ("max x / 2 st x <= 1", 1, 7, "quotient"),
        ("max 30% x st x <= 1", 1, 7, "percentage"),
        ("max $3 x st x <= 1", 1, 5, "currency"),
        ("max x\nst\n x != 3", 3, 4, "operators are"),
        ("max x\nst\n x ≤ 3", 3, 4, "write <="),
        ("max x\nst\n x + y", 3, 7, "one of <=, >=, ="),
        ("max x\nst\n x <= ", 3, 7, "a number or a variable"),
        ("max x\nst\n <= 3", 3, 2, "a number or a variable"),
        ("max x\nst\n x + <= 3", 3, 6, "a number or a variable"),
        ("max x\nst\n x <= 3 4", 3, 9, "end of the constraint"),
        ("max x\nst\n x <= 3 y >= 2", 3, 11, "range"),
        ("max x\nst\n 2 <= x >= 1", 3, 9, "range"),
        ("max x\nst\n y <= x <= 1", 3, 2, "range is"),
        ("max x\nst\n x = 1 = 1", 3, 8, "range"),
        ("max x\nst\n x <= inf", 3, 7, "a number or a variable"),
        ("max x\nmin y\nst\n x <= 3", 2, 1, "`subject to`"),
        ("max x\nst\n x <= 1\nmax y", 4, 1, "`bounds`, `general`"),
        ("max x\nst\n x <= nan y z", 3, 7, "neither a number nor a name"),
        ("max 1e400 x st x <= 1", 1, 5, "too large"),
        ("max 1e16 x st x <= 1", 1, 5, "too large"),
        ("max 1e-400 x st x <= 1", 1, 5, "too small"),
        ("max 9e14 x + 9e14 x st x <= 1", 1, 5, "add up"),
        ("max x st x <= 1 end x", 1, 21, "nothing after `end`"),
        ("max x st x <= 1\nend\nend", 3, 1, "nothing after `end`"),
        ("max x\nst\n x <= 1\nbounds\n x + y <= 3", 5, 2, "expected a bound"),
        ("max x\nst\n x <= 1\nbounds\n 2 x <= 3", 5, 4, "without coefficient"),
        ("max x\nst\n x <= 1\nbounds\n x <= 3\n x <= 4", 6, 2, "already"),
        ("max x\nst\n x <= 1\nbounds\n x >= inf", 5, 2, "no value"),
        ("max x\nst\n x <= 1\nbounds\n x", 5, 2, "expected a bound"),
        ("max x\nst\n x <= 1\ngeneral\n x, y", 5, 3, "separate by spaces"),
        ("max x\nst\n x <= 1\ngeneral\n 3 x", 5, 2, "a variable's name"),
        ("max x\nst\n x <= 1\nsos1\n", 5, 1, "one of <=, >=, =, found end of text"),
        ("maximize: x st x <= 1", 1, 1, "remove the colon"),
        ("max x\nsubject to: x <= 1", 2, 11, "colon"),
        ("max bin st bin <= 1", 1, 5, "a number or a variable"),
        ("max x st x[1] <= 1", 1, 11, "no brackets"),
        ("max 1,000 x st x <= 1", 1, 6, "thousands"),
        ("max x\nst\n x <= 1\0", 3, 8, "not part of an LP"),
    ],
)
def test_errors_name_place_and_expectation(text, line, column, expected):
    with pytest.raises(LPError) as caught:
        parse_lp(text)
    assert (caught.value.line, caught.value.column) == (line, column), str(caught.value)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(characters=20), "longer than 20 characters"),
        (Limits(variables=1), "more than 1 variables"),
        (Limits(rows=1), "more than 1 constraints"),
        (Limits(nonzeros=3), "more than 3 terms"),
        (Limits(largest=5), "at most 5"),
    ],
)
def test_size_limits_are_settings(limits, expected):
    text = lp("x + y <= 9\n x <= 4")
    parse_lp(text)
    with pytest.raises(LPError, match=expected):
        parse_lp(text, limits)


@pytest.mark.parametrize(
    ("response", "text"),
    [
        ("max x", "max x"),
        ("Here:\n```lp\nmax x\n```\nDone.", "max x"),
        ("```\nmax x\n```", "max x"),
        ("```LP\r\nmax x\n```", "max x"),
        ("```\nfirst\n```\n```lp\nsecond\n```\n```python\nthird\n```", "second"),
        ("~~~\nmax x\n~~~", "max x"),
        ("````\n```\nmax x\n````", "```\nmax x"),
        ("```lp\nmax x\nst", "max x\nst"),
        ("```python\nmax x\n```", "```python\nmax x\n```"),
        ("a ``` b", "a ``` b"),
    ],
)
def test_extraction(response, text):
    assert extract_lp(response) == text


def test_round_trip_is_exact():
    random = Random(1)
    for _ in range(200):
        program = random_program(random)
        again = parse_lp(format_lp(program))
        assert format_lp(again) == format_lp(program)
        assert again.names == program.names or not program.objective.all()
        for field in ("matrix", "objective", "row_lower", "row_upper", "lower", "upper", "integer"):
            assert np.array_equal(getattr(again, field), getattr(program, field)), field


# -- HiGHS's reader, on texts that both should accept (it is lenient, so it can't judge the others)


def read_by_highs(text: str, path: Path) -> tuple[highspy.HighsLp, highspy.Highs]:
    path.write_text(text, encoding="utf-8")
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    # An empty domain is a warning.
    assert highs.readModel(str(path)) != highspy.HighsStatus.kError
    return highs.getLp(), highs


def assert_same_arrays(text: str, path: Path) -> None:
    theirs, highs = read_by_highs(text, path)
    ours = parse_lp(text)
    order = [theirs.col_names_.index(name) for name in ours.names]
    assert sorted(order) == list(range(len(theirs.col_names_)))
    rows = np.zeros((theirs.num_row_, theirs.num_col_))
    starts = theirs.a_matrix_.start_
    assert theirs.a_matrix_.format_ == highspy.MatrixFormat.kColwise
    for j in range(theirs.num_col_):
        part = slice(starts[j], starts[j + 1])
        rows[theirs.a_matrix_.index_[part], j] = theirs.a_matrix_.value_[part]
    np.testing.assert_allclose(ours.matrix, rows[:, order], rtol=1e-12)
    np.testing.assert_allclose(ours.objective, np.array(theirs.col_cost_)[order], rtol=1e-12)
    np.testing.assert_allclose(ours.row_lower, theirs.row_lower_, rtol=1e-12)
    np.testing.assert_allclose(ours.row_upper, theirs.row_upper_, rtol=1e-12)
    np.testing.assert_allclose(ours.lower, np.array(theirs.col_lower_)[order])
    np.testing.assert_allclose(ours.upper, np.array(theirs.col_upper_)[order])
    assert ours.maximize == (theirs.sense_ == highspy.ObjSense.kMaximize)
    assert ours.offset == pytest.approx(theirs.offset_)
    kinds = theirs.integrality_ or [highspy.HighsVarType.kContinuous] * theirs.num_col_
    assert ours.integer.tolist() == [kinds[k] == highspy.HighsVarType.kInteger for k in order]
    highs.run()
    if highs.getModelStatus() == highspy.HighsModelStatus.kOptimal:
        assert solve(ours).objective == pytest.approx(highs.getObjectiveValue(), rel=1e-6, abs=1e-6)


def test_highs_reads_the_same_from_random_programs(tmp_path):
    random = Random(2)
    for _ in range(60):
        program = random_program(random)
        # Its reader loses rows without terms and takes a range for two other rows, or for an error.
        one_sided = np.isinf(program.row_upper - program.row_lower)
        plain = one_sided | (program.row_upper == program.row_lower)
        text = format_lp(program.keep_rows(plain & program.matrix.any(axis=1)))
        assert_same_arrays(text, tmp_path / "program.lp")


def test_highs_reads_the_same_from_nl4opt(nl4opt_path, tmp_path):
    texts = nl4opt_texts(nl4opt_path)
    # One text repeats an objective term, of which HiGHS's reader keeps the last only.
    repeated = "150 premium_mobile + 400 premium_mobile"
    assert sum(repeated in text for text in texts) == 1
    for text in texts:
        if repeated not in text and ":  >=" not in text:
            assert_same_arrays(text, tmp_path / "program.lp")


@pytest.mark.parametrize("text", ["min x\nst\nx <= nan\nend", "min NaN x\nst\nx >= 1\nend"])
def test_nan_is_no_name(text):
    with pytest.raises(LPError, match="nan.* neither a number nor a name"):
        parse_lp(text)
