"""Word problems: sound references, natural and unambiguous texts, disjoint splits, loaders."""

import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import cycle
from statistics import mean

import highspy
import numpy as np
import pytest
from datasets import Dataset

from glm_ppo_utils.problems import (
    ERRORS,
    INSTRUCTION,
    Problem,
    fingerprint,
    generate,
    load_nl4opt,
    load_problems,
    prompt_text,
    save_problems,
    split_of,
    spoil,
)
from glm_ppo_utils.problems.nl4opt import number
from glm_ppo_utils.problems.numbers import FAMILIES, draw_draft
from glm_ppo_utils.problems.plain_lp import PlainLP, Row, read_plain_lp, write_plain_lp

LANGUAGES = ("en", "zh")
_cache: dict = {}


def problems(language: str, split: str = "train") -> list[Problem]:
    """Two thousand problems, made once."""
    if (language, split) not in _cache:
        _cache[language, split] = generate(2000, seed=5, language=language, split=split)
    return _cache[language, split]


def solve(model: PlainLP) -> highspy.HighsModelStatus:
    """What HiGHS says of `model`, given as arrays."""
    names = model.variables
    whole = {*model.general, *model.binary}
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = len(names), len(model.rows)
    lp.sense_ = (
        highspy.ObjSense.kMaximize if model.sense == "maximize" else highspy.ObjSense.kMinimize
    )
    lp.col_cost_ = np.array(
        [sum(float(c) for c, n in model.objective if n == name) for name in names]
    )
    lp.col_lower_ = np.zeros(len(names))
    lp.col_upper_ = np.array([1.0 if n in model.binary else highspy.kHighsInf for n in names])
    lp.row_lower_ = np.array(
        [-highspy.kHighsInf if r.sense == "<=" else float(r.rhs) for r in model.rows]
    )
    lp.row_upper_ = np.array(
        [highspy.kHighsInf if r.sense == ">=" else float(r.rhs) for r in model.rows]
    )
    lp.integrality_ = [
        highspy.HighsVarType.kInteger if n in whole else highspy.HighsVarType.kContinuous
        for n in names
    ]
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = np.cumsum([0, *(len(r.terms) for r in model.rows)])
    lp.a_matrix_.index_ = np.array([names.index(n) for r in model.rows for _, n in r.terms])
    lp.a_matrix_.value_ = np.array([float(c) for r in model.rows for c, _ in r.terms])
    solver = highspy.Highs()
    solver.silent()
    solver.passModel(lp)
    solver.run()
    return solver.getModelStatus()


@pytest.mark.parametrize("language", LANGUAGES)
class TestGenerate:
    @pytest.mark.slow
    def test_families_in_turn_and_sizes(self, language):
        made = problems(language)
        assert [p.family for p in made[:12]] == 2 * list(FAMILIES)
        assert len(FAMILIES) >= 6
        models = [read_plain_lp(p.reference) for p in made]
        assert {len(m.variables) for m in models} == {2, 3, 4}
        assert {len(m.rows) for m in models} == {1, 2, 3, 4}
        assert {"general", "binary", ""} == {
            "general" if m.general else "binary" if m.binary else "" for m in models
        }
        for family in FAMILIES:
            senses = Counter(
                m.sense for p, m in zip(made, models, strict=True) if p.family == family
            )
            assert min(senses["maximize"], senses["minimize"]) > 0.35 * sum(senses.values())

    @pytest.mark.slow
    def test_every_reference_is_optimal(self, language):
        for problem in problems(language)[:600]:
            status = solve(read_plain_lp(problem.reference))
            assert status == highspy.HighsModelStatus.kOptimal, problem

    @pytest.mark.slow
    def test_reference_is_in_the_plain_layout(self, language):
        for problem in problems(language):
            assert write_plain_lp(read_plain_lp(problem.reference)) == problem.reference

    def test_same_arguments_same_problems(self, language):
        assert generate(60, 5, language) == problems(language)[:60]
        others = {p.text for p in generate(60, 6, language)}
        assert not others & {p.text for p in problems(language)}

    @pytest.mark.slow
    def test_splits_share_nothing(self, language):
        train, heldout = problems(language), problems(language, "heldout")
        assert not {p.text for p in train} & {p.text for p in heldout}
        prints = [
            {fingerprint(read_plain_lp(p.reference)) for p in side} for side in (train, heldout)
        ]
        assert [len(side) for side in prints] == [2000, 2000], "a program occurs twice"
        assert not prints[0] & prints[1]
        # Not by luck: the split is decided by the program itself.
        assert {split_of(key) for key in prints[0]} == {"train"}
        assert {split_of(key) for key in prints[1]} == {"heldout"}

    def test_sense_is_not_given_away(self, language):
        """Both senses of rows occur with both senses of the objective, in each kind of row."""
        seen = Counter()
        for problem in problems(language):
            model = read_plain_lp(problem.reference)
            for row in model.rows:
                if row.sense != "=" and not model.binary:
                    seen[_kind(row), model.sense, row.sense] += 1
        for kind in ("bound", "difference", "sum", "weighted"):
            for sense in ("maximize", "minimize"):
                counts = [seen[kind, sense, row_sense] for row_sense in ("<=", ">=")]
                assert min(counts) > 0.15 * sum(counts), (kind, sense, counts)

    def test_numbers_and_names_come_from_the_text(self, language):
        for problem in problems(language):
            numbers = Counter(re.findall(r"\d+", problem.text))
            model = read_plain_lp(problem.reference)
            rows = [term for row in model.rows for term in row.terms if abs(term[0]) != 1]
            needed = Counter(str(c) for c, _ in [*model.objective, *rows] if c > 0)
            needed += Counter(str(row.rhs) for row in model.rows if row.rhs > 1)
            assert needed <= numbers, problem
            for coefficient, _ in rows:
                if coefficient < 0:
                    assert TIMES[language][int(-coefficient)] in problem.text
            for name in model.variables:
                assert all(part in problem.text.lower() for part in name.split("_")), problem

    def test_variables_in_order_of_the_text(self, language):
        for problem in problems(language):
            names = read_plain_lp(problem.reference).variables
            if "_" not in names[0]:
                places = [problem.text.lower().index(name) for name in names]
                assert places == sorted(places), problem

    def test_integrality_is_said(self, language):
        said, unsaid = INTEGRALITY[language]
        for problem in problems(language):
            model = read_plain_lp(problem.reference)
            assert bool(re.search(said, problem.text)) == bool(model.general or model.binary), (
                problem
            )
            if unsaid_match := re.search(unsaid, problem.text):
                assert not model.general + model.binary, (unsaid_match, problem)

    def test_size_of_texts(self, language):
        made = problems(language)
        longest, average = LENGTHS[language]
        lengths = [len(re.findall(LENGTH_UNIT[language], p.text)) for p in made]
        assert max(lengths) <= longest and mean(lengths) <= average
        tokens = [len(re.findall(r"\d|[^\W\d_]+|[<>]?=|[^\w ]|_", p.reference)) for p in made]
        assert max(tokens) <= 85 and mean(tokens) <= 45


TIMES = {"en": {2: "twice", 3: "three times"}, "zh": {2: "两倍", 3: "三倍"}}
INTEGRALITY = {
    "en": (
        r"nly whole|in full or not|in part\b|cannot be (cut|split)|may be left unfinished"
        r"|are not allowed|cannot be used",
        r"are fine|Any fraction|partly|are allowed|may be split",
    ),
    "zh": (r"只能\w*整|必须是整数|不能拆开|要么|选择[建修]或不", r"不必|只完成一部分"),
}
LENGTH_UNIT = {"en": r"\S+", "zh": r"."}
LENGTHS = {"en": (90, 75), "zh": (170, 125)}


def _kind(row: Row) -> str:
    values = [c for c, _ in row.terms]
    if len(values) == 1:
        return "bound"
    if min(values) < 0:
        return "difference"
    return "sum" if set(values) == {1} else "weighted"


def test_a_longer_list_only_adds():
    assert generate(30, 1) == generate(90, 1)[:30]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 0), "ask for 0 or more"),
        ((1, 0, "fr"), "'fr' is unknown; choose from en, zh"),
        ((1, 0, "en", "test"), "'test' is unknown; choose from train, heldout"),
        ((1, 0, "en", "train", ("mix", "milp")), "'milp' is unknown; choose from mix, diet"),
        ((1, 0, "en", "train", ()), "nothing is asked for"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        generate(*arguments)
    assert generate(0, 0) == []


# Read by hand, sentence by sentence. They also hold the generator to the same problems under
# every version of Python and of numpy.
READ_BY_HAND = {
    ("en", 4): (
        "A student chooses among logic, chemistry and biology. Maximize the total number of"
        " credits. Logic gives 4 credits, chemistry 9 and biology 6. Biology cannot be taken"
        " without logic. Logic costs $4, chemistry $7 and biology $9. No more than $18 can be"
        " spent. Each course is taken in full or not at all.",
        "maximize\n 4 logic + 9 chemistry + 6 biology\nsubject to\n biology - logic <= 0\n"
        " 4 logic + 7 chemistry + 9 biology <= 18\nbinary\n logic chemistry biology\nend",
    ),
    ("en", 7): (
        "A farmer mixes feed from rye, wheat and barley. Per kilogram, rye contains 4 grams of"
        " protein, wheat 8 and barley 3. At least half of the mix must be rye. Per kilogram, rye"
        " contains 7 grams of fiber, wheat 4 and barley 5. The total fiber content cannot be more"
        " than 105 grams. In total, at least 13 kilograms must be used. The total protein content"
        " should be as high as possible.",
        "maximize\n 4 rye + 8 wheat + 3 barley\nsubject to\n rye - wheat - barley >= 0\n"
        " 7 rye + 4 wheat + 5 barley <= 105\n rye + wheat + barley >= 13\nend",
    ),
    ("zh", 5): (
        "一名童子军往背包里装地图和绳子。目标是使总占用空间最小。地图和绳子的占用空间分别为每件8和5升。"
        "每张地图重5千克，每根绳子3千克。总重量不能少于25千克。绳子的数量减去地图的数量不得低于5根。"
        "每张地图价格为8元，每根绳子9元。总费用不能超过85元。只能装整件物品。",
        "minimize\n 8 地图 + 5 绳子\nsubject to\n 5 地图 + 3 绳子 >= 25\n 绳子 - 地图 >= 5\n"
        " 8 地图 + 9 绳子 <= 85\ngeneral\n 地图 绳子\nend",
    ),
}


@pytest.mark.parametrize(("language", "place"), READ_BY_HAND)
def test_read_by_hand(language, place):
    problem = generate(place + 1, 2026, language)[place]
    assert (problem.text, problem.reference) == READ_BY_HAND[language, place]


def test_no_program_twice(monkeypatch):
    """Even when the families are drawn so that each draft comes twice."""
    draws = cycle((True, False))
    drawn = []

    def twice(family, rng):
        if next(draws):
            drawn.append(draw_draft("knapsack", rng))
        return drawn[-1]

    monkeypatch.setattr("glm_ppo_utils.problems.generator.draw_draft", twice)
    made = generate(30, 0)
    assert len(drawn) > 30
    assert len({fingerprint(read_plain_lp(p.reference)) for p in made}) == 30


def test_families_can_be_chosen():
    made = generate(6, 0, families=("diet", "knapsack"))
    assert [p.family for p in made] == 3 * ["diet", "knapsack"]


def _reordered(model, rng):
    names = model.variables
    new = dict(zip(names, rng.sample([f"v{i}" for i in range(9)], len(names)), strict=True))

    def renamed(terms):
        return tuple((c, new[n]) for c, n in rng.sample(terms, len(terms)))

    rows = []
    for row in rng.sample(model.rows, len(model.rows)):
        scale = rng.choice((1, 2, 5))
        terms = tuple((scale * c, n) for c, n in renamed(row.terms))
        rows.append(replace(row, terms=terms, rhs=scale * row.rhs))
    return replace(
        model,
        objective=renamed(model.objective),
        rows=tuple(rows),
        general=tuple(new[n] for n in model.general),
        binary=tuple(new[n] for n in model.binary),
    )


def test_fingerprint_ignores_names_order_and_scale():
    rng = random.Random(0)
    for problem in problems("en")[:300]:
        model = read_plain_lp(problem.reference)
        assert fingerprint(_reordered(model, rng)) == fingerprint(model)


def _spoiled(made: Sequence[Problem], seed: int = 0) -> list[tuple[Problem, str, str]]:
    """Each problem with a spoiled reference and the name of the error."""
    rng = random.Random(seed)
    return [(problem, *spoil(problem, rng)) for problem in made]


class TestMistakes:
    def test_each_kind_is_what_it_says(self):
        made = _spoiled(problems("en")[:1000])
        kinds = Counter(error for _, _, error in made)
        assert set(kinds) == set(ERRORS) and min(kinds.values()) > 100
        for problem, text, error in made:
            truth, answer = read_plain_lp(problem.reference), read_plain_lp(text)
            assert fingerprint(answer) != fingerprint(truth)
            assert write_plain_lp(answer) == text
            assert _differs_only_as(error, truth, answer), (problem, text)

    def test_they_follow_from_the_seed(self):
        assert _spoiled(problems("en")[:50], 1) == _spoiled(problems("en")[:50], 1)
        assert _spoiled(problems("en")[:50], 1) != _spoiled(problems("en")[:50], 2)

    @pytest.mark.slow
    def test_the_evaluator_agrees(self):
        evaluator = pytest.importorskip("glm_ppo_utils.evaluator").Evaluator()
        made = _spoiled(problems("en")[:250])
        harmless = 0  # an error in a row that other rows imply leaves the model what it was
        for problem, text, error in made:
            assert evaluator.score(problem.reference, problem.reference).exact
            score = evaluator.score(text, problem.reference)
            harmless += score.decided_by == "certified"
            assert score.decided_by == "certified" or not score.exact, (problem, error, score)
        assert harmless <= 0.06 * len(made)

    @pytest.mark.slow
    def test_no_row_may_be_left_out(self):
        """Every row of a reference matters: without it the evaluator sees another program."""
        evaluator = pytest.importorskip("glm_ppo_utils.evaluator").Evaluator()
        for problem in problems("en")[:300]:
            model = read_plain_lp(problem.reference)
            for i in range(len(model.rows)):
                rest = replace(model, rows=model.rows[:i] + model.rows[i + 1 :])
                assert not evaluator.score(write_plain_lp(rest), problem.reference).exact, (
                    i,
                    problem,
                )

    def test_bad_reference(self):
        with pytest.raises(ValueError, match="problem mine: .*plain layout"):
            spoil(Problem("mine", "?", "max 3 x st x <= 1 end"), random.Random(0))

    def test_nl4opt_references_can_be_spoiled(self, nl4opt_path):
        for problem, text, _ in _spoiled(load_nl4opt(nl4opt_path)):
            truth = fingerprint(read_plain_lp(problem.reference))
            assert fingerprint(read_plain_lp(text)) != truth


def _differs_only_as(error: str, truth, answer) -> bool:
    rows = len(truth.rows), len(answer.rows)
    integers = (truth.general, truth.binary) == (answer.general, answer.binary)
    if error == "dropped constraint":
        return rows[1] == rows[0] - 1 and set(answer.rows) < set(truth.rows) and integers
    if error == "missing integrality":
        same = (truth.objective, truth.rows) == (answer.objective, answer.rows)
        return same and not answer.general and not answer.binary
    changed = [(a, b) for a, b in zip(truth.rows, answer.rows, strict=True) if a != b]
    changed_goal = (truth.sense, truth.objective) != (answer.sense, answer.objective)
    if not integers or len(changed) + changed_goal != 1:
        return False
    if error == "wrong sense":
        return truth.sense != answer.sense or (
            changed != [] and changed[0][0].sense != changed[0][1].sense
        )
    before, after = (
        (changed[0][0].terms, changed[0][1].terms)
        if changed
        else (truth.objective, answer.objective)
    )
    numbers = [sorted(c for c, _ in terms) for terms in (before, after)]
    return (numbers[0] == numbers[1] and before != after) == (error == "swapped coefficients")


def test_prompt_text():
    problem = Problem("a", "How many?", "")
    assert prompt_text(problem) == "How many?"
    assert prompt_text(problem, INSTRUCTION) == f"{INSTRUCTION}\n\nHow many?"


class TestFiles:
    def test_round_trip(self, tmp_path):
        made = generate(12, 0)
        save_problems(tmp_path / "mine.jsonl", made)
        assert load_problems(tmp_path / "mine.jsonl") == made

    def test_only_line_feeds_end_a_line(self, tmp_path):
        """JSON allows U+2028, U+0085 and the like inside a text; editors add carriage returns."""
        made = [replace(generate(1, 0)[0], text="one\u2028two\x85three\x0bfour")]
        path = tmp_path / "mine.jsonl"
        save_problems(path, made)
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
        assert load_problems(path) == made

    def test_nl4opt(self, nl4opt_path):
        loaded = load_nl4opt(nl4opt_path)
        assert len(loaded) == 95
        assert loaded[0].id == "nl4opt-dev-0" and loaded[0].reference.startswith("maximize")

    GOOD = {"id": "a", "text": "How many?", "reference": "maximize"}

    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            ("{", "line 2: not JSON"),
            ("[1]", "line 2: a list, not an object"),
            (json.dumps({"id": "b", "text": "?"}), 'line 2: "reference" is missing'),
            (json.dumps({"id": "b", "optimum": 3}), 'line 2: "text" is missing'),
            (json.dumps({**GOOD, "id": [3]}), 'line 2: "id" is neither a text nor a whole number'),
            (json.dumps({**GOOD, "id": 2, "optimum": "none"}), "line 2: \"optimum\" is 'none'"),
            (json.dumps(GOOD), "line 2: the id 'a' is that of line 1"),
        ],
    )
    def test_bad_line(self, tmp_path, bad, message):
        path = tmp_path / "mine.jsonl"
        path.write_text(json.dumps(self.GOOD) + "\n" + bad + "\n", encoding="utf-8")
        with pytest.raises(ValueError) as caught:
            load_problems(path)
        text = str(caught.value)
        assert message in text and str(path) in text and "\n" not in text

    def test_answers_alone_under_names_of_their_own(self, tmp_path):
        """As NL4OPT with optima, MAMO and IndustryOR have them."""
        path = tmp_path / "mamo.jsonl"
        path.write_text(
            '{"en_question": "How many?", "en_answer": "6.50", "difficulty": "Easy"}\n'
            '{"en_question": "How much?", "en_answer": -3, "id": 7}\n'
        )
        first, second = load_problems(path, text="en_question", optimum="en_answer")
        assert (first.id, first.text, first.reference) == ("1", "How many?", "")
        assert (first.optimum, first.extra) == (6.5, {"difficulty": "Easy"})
        assert (second.id, second.optimum) == ("7", -3.0)
        save_problems(tmp_path / "again.jsonl", [first, second])
        assert load_problems(tmp_path / "again.jsonl") == [first, second]

    def test_a_json_list_a_list_of_dicts_and_a_dataset(self, tmp_path):
        rows = [self.GOOD, {"id": 3, "text": "?", "reference": "minimize", "source": "me"}]
        (tmp_path / "mine.json").write_text(json.dumps(rows, indent=1))
        expected = [
            Problem("a", "How many?", "maximize"),
            Problem("3", "?", "minimize", extra={"source": "me"}),
        ]
        assert load_problems(rows) == load_problems(tmp_path / "mine.json") == expected
        table = Dataset.from_list([{**row, "id": str(row["id"])} for row in rows])
        assert [p.text for p in load_problems(table)] == ["How many?", "?"]
        with pytest.raises(ValueError, match="problem 1 of the list: a str, not an object"):
            load_problems([self.GOOD, "How many?"])

    def test_references_by_path_are_those_beside_the_file(self, tmp_path):
        path = tmp_path / "mine.jsonl"
        path.write_text(json.dumps({**self.GOOD, "reference": "models/a.mps"}))
        assert load_problems(path)[0].reference == str(tmp_path / "models" / "a.mps")

    ANNOTATED = {
        "document": "Cars and trucks ...",
        "order_mapping": {"car": 0, "truck": 1, "Cars": 0, "2-axle trucks": 1},
        "obj_declaration": {"direction": "reduce", "terms": {"car": "half", "truck": "4,000"}},
        "const_declarations": [
            {"type": "linear", "limit": "$90", "terms": {"car": "15%", "truck": "twice"},
             "operator": "LESS_OR_EQUAL"},
            {"type": "sum", "limit": "one hundred thousand", "operator": "LESS_OR_EQUAL"},
            {"type": "lowerbound", "limit": "twenty-five", "var": "Cars",
             "operator": "GREATER_OR_EQUAL"},
            {"type": "xby", "x_var": "2-axle trucks", "param": "three times", "y_var": "car",
             "operator": "GREATER_OR_EQUAL"},
            {"type": "xy", "x_var": "car", "y_var": "truck", "operator": "LESS_OR_EQUAL"},
            {"type": "ratio", "limit": "a third", "var": "Cars", "operator": "LESS_OR_EQUAL"},
        ],
    }  # fmt: skip

    def test_nl4opt_as_published(self, tmp_path):
        path = tmp_path / "dev.jsonl"
        none = {**self.ANNOTATED, "const_declarations": [{"type": "root", "operator": "EQUAL"}]}
        lines = [{"-12": self.ANNOTATED}, {"-13": none}]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        with pytest.warns(UserWarning, match="left out, not annotated well: .*, line 2 "):
            (problem,) = load_nl4opt(path)
        assert (problem.id, problem.text) == ("-12", "Cars and trucks ...")
        assert problem.family == "nl4opt"
        assert problem.reference.splitlines() == [
            "minimize",
            " 0.5 car + 4000 truck",
            "subject to",
            " 0.15 car + 2 truck <= 90",
            " car + truck <= 100000",
            " car >= 25",
            " truck - 3 car >= 0",
            " car - truck <= 0",
            " 0.666666666667 car - 0.333333333333 truck <= 0",
            "general",
            " car truck",
            "end",
        ]

    @pytest.mark.parametrize(
        ("words", "value"),
        [("7.5%", "0.075"), ("1/4", "0.25"), ("35 percent", "0.35"), ("8000 minutes", "8000"),
         ("three hundred", "300"), ("two thousand five hundred", "2500"), ("thrice", "3"),
         ("two thirds", "0.666666666667"), ("two and a half", "2.5"), ("-4", "-4")],
    )  # fmt: skip
    def test_numbers_in_words(self, words, value):
        assert number(words) == Decimal(value)

    def test_a_word_that_is_no_number(self):
        with pytest.raises(ValueError, match="no number: 'several'"):
            number("several")

    def test_empty_and_binary_files(self, tmp_path):
        path = tmp_path / "mine.jsonl"
        path.write_text("\n\n")
        with pytest.raises(ValueError, match="holds no problem"):
            load_problems(path)
        path.write_bytes(b"\xff\xfe\x00")
        with pytest.raises(ValueError, match="not UTF-8"):
            load_problems(path)
