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
        ("max 3 * x st x <= 1", 1, 7, "no sign between them"),
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
        ("max x\nst\n x <= 1\ngeneral\n 3 x", 5, 2, "a variable's name"),
        ("max bin st bin <= 1", 1, 5, "a number or a variable"),
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


def assert_refused(text: str, line: int, expected: str) -> None:
    with pytest.raises(LPError) as caught:
        parse_lp(text)
    assert caught.value.line == line, str(caught.value)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "x[0]",
        "x[1,2]",
        "x(1)",
        "x(-1)",
        "ship_('A',_1)",
        "go_(('A',_1),_2)",
        "x#1",
        "x_{1}",
        "a.b@c",
    ],
)
def test_names_as_solvers_write_them(name):
    program = parse_lp(f"max 3 {name} + y st {name}: 2{name} + y <= 4 general {name}")
    assert program.names == (name, "y")
    assert program.matrix.tolist() == [[2, 1]]
    assert program.integer.tolist() == [True, False]
    assert parse_lp(format_lp(program)).names == program.names


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("1_060 <= x", "`1_060` is neither a number nor a name"),
        ("2_x <= 1", "`2_x` is neither"),
        ("x² <= 1", "only linear terms"),
        ("½chairs <= 1", "as in 0.5"),
        ("x① <= 1", "write 1"),
        ("2 (x + y) <= 1", "multiply out"),
        ("x(y + 2) <= 1", "no space"),
        ("x <= abs(y)", "only linear terms"),
        ("x <= max(x,y)", "only linear terms"),
        ("x + 2e1 + e1 <= 5", "`2e1` is a number, but `e1` is a variable"),
        ("x!=3", "operators are"),
        ("x&<=3", "not part of an LP"),
    ],
)
def test_what_is_no_name(row, expected):
    assert_refused(f"max x\nst\n {row}", 3, expected)


@pytest.mark.parametrize(
    ("tail", "integer"),
    [
        ("bounds\n 0 <= x <= 4\ngen\n x\n y\nsemi\nend", [True, True]),
        ("semi-continuous\ngen\n x\nend", [True, False]),
        ("General: x, y", [True, True]),
        ("Integers:\n x,\n y\nEnd", [True, True]),
        ("Bounds:\n x <= 3\nBinary: y", [False, True]),
    ],
)
def test_sections_as_solvers_and_people_write_them(tail, integer):
    program = parse_lp(f"max x + y\nst\n x + y <= 9\n{tail}")
    assert program.integer.tolist() == integer
    assert program.names == ("x", "y")


@pytest.mark.parametrize(
    ("tail", "line", "expected"),
    [
        ("general\n x z", 5, "`z` is not a variable"),
        ("general\n x and y", 5, "`and` is not a variable"),
        ("binary\n chairs", 5, "`chairs` is not a variable"),
        ("bounds\n z <= 3", 5, "`z` is not a variable"),
        ("bounds\n z free", 5, "`z` is not a variable"),
        ("gen\n x\nsemi\n y", 6, "semi-continuous"),
        ("semi-continuous\n x", 4, "semi-continuous"),
        ("semis\n y", 4, "semi-continuous"),
        ("sos1\n s1: x:1 y:2", 4, "special ordered sets"),
        ("general\n x\nSOS\n s1: x:1", 6, "special ordered sets"),
        ("lazy constraints\n c: x <= 1", 4, "lazy constraints"),
        ("user cuts\n c: x <= 1", 4, "user cuts"),
        ("general constraints\n c: x = 3", 4, "general constraints"),
        (" b = 1 -> x <= 3", 4, "indicator constraints"),
        (" [ x ^ 2 ] <= 3", 4, "only linear"),
        ("general\n x,\nend", 6, "a variable's name"),
    ],
)
def test_unknown_words_and_foreign_sections_are_errors(tail, line, expected):
    assert_refused(f"max x + y\nst\n x + y <= 9\n{tail}", line, expected)


def test_words_of_foreign_sections_may_be_names():
    assert parse_lp("min semi st semi + sos >= 3 general semi").names == ("semi", "sos")
    assert parse_lp("min\nst\n lazy + user >= 3").names == ("lazy", "user")


@pytest.mark.parametrize(
    ("row", "low", "high"),
    [
        ("x >= -inf", [], []),
        ("x + y <= 1e30", [], []),
        ("-1e20 <= x + y", [], []),
        ("inf >= x + y >= -infinity", [], []),
        ("-inf <= x + y <= 5", [-INF], [5]),
        ("2 <= x + y <= +inf", [2], [INF]),
    ],
)
def test_an_infinite_side_is_open(row, low, high):
    program = parse_lp(lp(row))
    assert (program.row_lower.tolist(), program.row_upper.tolist()) == (low, high)
    assert program.names == ("x", "y")


@pytest.mark.parametrize(
    ("bound", "low", "high"),
    [("x <= 1e20", 0, INF), ("x >= -1e30", -INF, INF), ("-1e+20 <= x <= 1E30", -INF, INF)],
)
def test_a_bound_of_1e20_is_infinite(bound, low, high):
    program = parse_lp(lp("x + y <= 9", tail=f"bounds\n {bound}"))
    assert (program.lower[0], program.upper[0]) == (low, high)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("x = inf", "infinity is on its wrong side"),
        ("x >= 1e30", "infinity is on its wrong side"),
        ("x <= -inf", "infinity is on its wrong side"),
        ("inf <= inf", "infinity on both sides"),
        ("x + inf <= 3", "a number or a variable"),
        ("1e20 x <= 3", "too large"),
        ("x <= 9e19", "too large"),
    ],
)
def test_where_infinity_makes_no_sense(row, expected):
    assert_refused(lp(row), 4, expected)


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffmax 3 x + 2 y\nst\n x + 2 y <= 4",
        "max 3\n x + 2\n y\nst\n x + 2\n y <=\n 4",
        "Maximize:\n 3 x + 2 y\nSubject To:\n c1: x + 2 y <= 4",
        "Max Z = 3x + 2y\ns.t.: x + 2y <= 4",
        "maximize profit = 3x + 2y\nsuch that :\n x + 2y <= 4",
        "\\Problem name: p\n\\* chairs *\\\nmax 3 x + 2 y \\ a sum\nst\n x + 2 y <= 4\\",
    ],
)
def test_layouts(text):
    program = parse_lp(text)
    assert program.objective.tolist() == [3, 2]
    assert program.matrix.tolist() == [[1, 2]]
    assert program.row_upper.tolist() == [4]


def test_the_objective_is_no_variable():
    assert_refused("max Z = 3 x\nst\n x + Z <= 4", 1, "`Z` is the objective")
    assert parse_lp("max z: 3 x\nst\n x + z <= 4").names == ("x", "z")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (r"2 x + y \leq 40", "write <="),
        (r"2 x + y \ge 40", "write >="),
        (r"3 \cdot x <= 40", "LaTeX"),
        (r"3 \times x <= 40", "LaTeX"),
        (r"3\,x <= 40", "LaTeX"),
        (r"x <= 40 \\ y <= 3", "LaTeX"),
        (r"\quad x <= 40", "LaTeX"),
        (r"\text{wood} x <= 40", "LaTeX"),
        (r"\[ x <= 40 \]", "LaTeX"),
        ("x ≤ 3", "write <="),
        ("x − y <= 3", "write - for minus"),
        ("2 × x <= 3", "no sign between them"),
        ("2·x <= 3", "no sign between them"),
        ("x <= 3 # wood", "a comment starts with \\"),
        ("x <= 3 // wood", "a comment starts with \\"),
        ("x <= 3;", "leave out the semicolon"),
        ("x ＜ 3", "write <"),
        ("x <= ３", "write 3"),
    ],
)
def test_what_to_write_instead(row, expected):
    assert_refused(f"max x\nst\n {row}\n x + 4 y <= 60", 3, expected)


@pytest.mark.parametrize(
    "piece", ["```a{}b", "a{}b", "x[{}", "x((((({}", "\\{}", "subject{}b", "a.{}", "1{}"]
)
def test_long_texts_take_linear_time(piece):
    """A quadratic search would take minutes for each; nothing is said of how long this takes."""
    for filler in (" ", "a", "a.", "(", "[", "\\", "`", "1", ",'"):
        text = "max x\nst\n" + piece.format(filler * 100_000) + "\n<="
        with pytest.raises(LPError):
            parse_lp(extract_lp(text))


def test_the_length_is_looked_at_first():
    with pytest.raises(LPError, match="response is longer than 50 characters"):
        extract_lp("```\n" * 20, Limits(response=50))


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
        ("```lp\nfirst\n```\n```\nsecond\n```", "first"),
        ("```lp\nfirst\n```\n```lp\nsecond\n```", "second"),
        ("   ```lp\nmax x\n   ```", "max x"),
        ("    ```lp\nmax x", "    ```lp\nmax x"),
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


def test_unused_variables_are_written():
    text = "max 4 x + 2 y + 0 z st x + y <= 4 bounds z <= 3 general z"
    program = parse_lp(text)
    again = parse_lp(format_lp(program))
    assert again.names == program.names == ("x", "y", "z")
    assert again.upper.tolist() == program.upper.tolist() == [INF, INF, 3]
    assert again.integer.tolist() == [False, False, True]
    nothing = parse_lp("max 0 z st")
    assert parse_lp(format_lp(nothing)).names == ("z",)


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
    for text in nl4opt_texts(nl4opt_path):
        if ":  >=" not in text:
            assert_same_arrays(text, tmp_path / "program.lp")


@pytest.mark.parametrize("text", ["min x\nst\nx <= nan\nend", "min NaN x\nst\nx >= 1\nend"])
def test_nan_is_no_name(text):
    with pytest.raises(LPError, match="(nan|NaN).* neither a number nor a name"):
        parse_lp(text)


LONG_WORDS = {
    "two names": f"max {'x' * 5_000} {'y' * 5_000}",
    "a number": f"max {'9' * 5_000} x",
    "an unknown variable": f"max x st x <= 1\nbounds\n{'w' * 5_000} <= 1",
    "neither number nor name": f"max x st x <= 1_{'0' * 5_000}",
    "LaTeX": f"max x \\{'a' * 5_000}\nst x <= 1",
    "no keyword": "m" * 5_000,
}


@pytest.mark.parametrize("name", LONG_WORDS)
def test_an_error_quotes_the_start_of_a_long_word(name):
    with pytest.raises(LPError) as found:
        parse_lp(LONG_WORDS[name])
    assert len(str(found.value)) < 200
