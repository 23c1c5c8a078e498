"""The score: its parts, its words, and what is not worth anything."""

import math
from random import Random

import pytest
from evaluator_programs import nl4opt_texts, random_program

from glm_ppo_utils.evaluator import Evaluator, Limits, format_lp, parse_lp
from glm_ppo_utils.evaluator.differences import compare_programs
from glm_ppo_utils.evaluator.solver import solve

REFERENCE = """maximize
 3 chairs + 5 tables
subject to
 wood: 2 chairs + tables <= 40
 tables - 2 chairs >= 0
 tables <= 30
general
 chairs tables
end"""


@pytest.fixture(scope="module")
def evaluator():
    return Evaluator()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            " wood: 2 chairs + tables <= 40\n",
            "",
            "the constraint wood (2 chairs + tables <= 40) is missing",
        ),
        (" tables - 2 chairs >= 0\n", "", "the constraint - 2 chairs + tables >= 0 is missing"),
        (
            "tables <= 30",
            "tables <= 30\n chairs + 7 tables <= 11",
            "the constraint chairs + 7 tables <= 11 is not in the reference",
        ),
        (
            "2 chairs + tables <= 40",
            "2 chairs + 6 tables <= 40",
            "the coefficient of tables in 2 chairs + 6 tables <= 40 should be 1, not 6",
        ),
        (
            "wood: 2 chairs + tables <= 40",
            "20 chairs + 10 tables <= 450",
            "the right-hand side of 20 chairs + 10 tables <= 450 should be 400, not 450",
        ),
        (
            "2 chairs + tables <= 40",
            "2 chairs + tables >= 40",
            "the sense of 2 chairs + tables >= 40 should be <=",
        ),
        (
            "2 chairs + tables <= 40",
            "2 chairs + tables = 40",
            "the sense of 2 chairs + tables = 40 should be <=",
        ),
        (
            "2 chairs + tables <= 40",
            "2 chairs <= 40",
            "the constraint wood (2 chairs + tables <= 40) is missing (and 1 more difference)",
        ),
        ("maximize", "minimize", "the objective should be maximised, not minimised"),
        (
            "3 chairs + 5",
            "4 chairs + 5",
            "the coefficient of chairs in the objective should be 3, not 4",
        ),
        ("3 chairs + ", "", "chairs is missing in the objective, with coefficient 3"),
        ("5 tables\n", "5 tables + 7\n", "the constant in the objective should be 0, not 7"),
        (" tables <= 30\n", "", "the bound tables <= 30 is missing"),
        (
            "tables <= 30",
            "tables <= 31",
            "the bound on tables should be tables <= 30, not tables <= 31",
        ),
        (
            "tables <= 30",
            "tables <= 30\n chairs <= 3",
            "the bound chairs <= 3 is not in the reference",
        ),
        ("chairs tables\nend", "tables\nend", "chairs should be an integer"),
        (
            "chairs + 5 tables",
            "chairs + 5 tables + 6 desks",
            "the variable desks is not in the reference (and 1 more difference)",
        ),
    ],
)
def test_the_message_names_the_edit(evaluator, old, new, message):
    answer = REFERENCE.replace(old, new, 1)
    assert answer != REFERENCE
    score = evaluator.score(answer, REFERENCE)
    assert score.message == message
    assert score.parsed and not score.exact
    assert 0 < score.reward <= 0.6


def test_messages_use_the_writers_names(evaluator):
    answer = (
        REFERENCE.replace("chairs", "x")
        .replace("tables", "y")
        .replace("2 x + y <=", "2 x + 3 y <=")
    )
    message = "the coefficient of y in 2 x + 3 y <= 40 should be 1, not 3"
    assert evaluator.score(answer, REFERENCE).message == message
    missing = answer.replace(" wood: 2 x + 3 y <= 40\n", "")
    expected = "the constraint wood (2 x + y <= 40) is missing"
    assert evaluator.score(missing, REFERENCE).message == expected


def test_an_exact_answer(evaluator):
    score = evaluator.score(f"Here:\n```lp\n{REFERENCE}\n```", REFERENCE)
    assert (score.reward, score.exact, score.graph_distance, score.similarity) == (
        1.0,
        True,
        0,
        1.0,
    )
    assert (score.status, score.objective_matches, score.differences) == ("optimal", True, ())
    turned = REFERENCE.replace("maximize\n 3 chairs + 5", "minimize\n - 3 chairs - 5")
    assert evaluator.score(turned, REFERENCE).objective_value == pytest.approx(
        -score.objective_value
    )


def test_reward_is_its_parts(evaluator):
    """0.05 for parsing, (0.35 + 0.20 if status and optimum agree) times similarity^4."""
    wrong = evaluator.score(REFERENCE.replace("<= 40", "<= 50"), REFERENCE)
    assert not wrong.objective_matches
    assert wrong.reward == pytest.approx(0.05 + 0.35 * wrong.similarity**4)
    harmless = evaluator.score(
        REFERENCE.replace("tables <= 30", "tables <= 30\n chairs <= 9"), REFERENCE
    )
    assert harmless.objective_matches
    assert harmless.reward == pytest.approx(0.05 + 0.55 * harmless.similarity**4)
    assert wrong.similarity == pytest.approx(1 - 1 / 15)


def test_more_mistakes_are_worth_less(evaluator):
    answer = REFERENCE
    rewards = [evaluator.score(answer, REFERENCE).reward]
    for old, new in [("3 c", "4 c"), ("5 t", "6 t"), ("<= 40", "<= 41"), (" tables <= 30\n", "")]:
        answer = answer.replace(old, new, 1)
        rewards.append(evaluator.score(answer, REFERENCE).reward)
    assert rewards == sorted(rewards, reverse=True)
    assert (
        rewards[0] - rewards[1]
        > 0.4
        > max(a - b for a, b in zip(rewards[1:], rewards[2:], strict=False))
    )


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("", "the answer is empty"),
        (" \n", "the answer is empty"),
        ("```lp\n```", "the answer is empty"),
        ("I cannot", "line 1, column 1: expected `minimize`"),
        ("max 1e999 x st x <= 1", "too large"),
        ("max nan st x <= 1\n 2 x y", "line 1, column 5"),
        ("max x st x <= 1\n 2 x y", "line 2"),
        ("\ud800", "line 1"),
        ("max x st x <= 1 end\n" + "x" * Limits().characters, "longer than"),
        (None, "empty"),
        (b"max x", "empty"),
    ],
)
def test_no_lp_is_worth_nothing(evaluator, answer, expected):
    score = evaluator.score(answer, REFERENCE)
    assert (score.reward, score.parsed, score.graph_distance) == (0.0, False, None)
    assert expected in score.message


def test_a_bad_reference_is_the_callers_mistake(evaluator):
    with pytest.raises(ValueError, match="reference is not an LP: line 1"):
        evaluator.score(REFERENCE, "no LP")
    with pytest.raises(ValueError, match="give one for each"):
        evaluator.score_batch([REFERENCE], [])
    with pytest.raises(ValueError, match="at least 0"):
        Evaluator(time_limit=0)


def typed_in(reference: str) -> list[str]:
    """Answers that know the optimum instead of the model."""
    program = parse_lp(reference)
    solution = solve(program)
    if solution.objective is None:
        return []
    word = "maximize" if program.maximize else "minimize"
    value = f"{solution.objective:.12g}".replace("e+", "e")
    objective = format_lp(program).split("\n")[1]
    names = " ".join(program.names)
    rows = "\n".join(f" {n} = {x:.12g}" for n, x in zip(program.names, solution.x, strict=True))
    sense = "<=" if program.maximize else ">="
    return [
        f"{word}\n {value}\nsubject to\nend",
        f"{word}\n z\nsubject to\n z {sense} {value}\nbounds\n z free\nend",
        f"{word}\n z\nsubject to\n z = {value}\nbounds\n z free\nend",
        f"{word}\n {value}\nsubject to\n {names.replace(' ', ' + ')} >= 0\ngeneral\n {names}\nend",
        f"{word}\n {objective}\nsubject to\n{rows}\ngeneral\n {names}\nend",
        f"{word}\n {objective}\nsubject to\n {objective} = {value}\ngeneral\n {names}\nend",
    ]


def parallel_to_objective(reference: str) -> bool:
    """Whether a row is a multiple of the objective: the reference itself may say its optimum."""
    program = parse_lp(reference)
    c = program.objective
    return any(
        math.isclose(abs(c @ row), math.sqrt((c @ c) * (row @ row)), rel_tol=1e-9)
        for row in program.matrix
    )


def check_hacks(evaluator, reference):
    for answer in typed_in(reference):
        if not parallel_to_objective(reference):
            assert evaluator.score(answer, reference).reward <= 0.2, (answer, reference)
    empty = evaluator.score("maximize\n 0\nsubject to\nend", reference)
    assert empty.reward <= 0.06
    stuffed = [reference] + [f"{k} a{k} + {k + 1} b{k} <= {k}" for k in range(8)]
    body, tail = (
        reference.replace("\nbinary", "\ngeneral").split("\ngeneral")[:2]
        if ("\ngeneral" in reference or "\nbinary" in reference)
        else (reference.removesuffix("end"), "")
    )
    rows = "\n".join(stuffed[1:])
    answer = f"{body}\n{rows}\n" + (f"general{tail}" if tail else "end")
    assert evaluator.score(answer, reference).reward <= 0.06, answer


@pytest.mark.slow
def test_reward_hacks_on_nl4opt(evaluator, nl4opt_path):
    for text in nl4opt_texts(nl4opt_path):
        check_hacks(evaluator, text)


def test_reward_hacks_on_generated_problems(evaluator):
    problems = pytest.importorskip("glm_ppo_utils.problems")
    for problem in problems.generate(40, seed=11):
        check_hacks(evaluator, problem.reference)


def test_nl4opt_references_score_one_against_themselves(evaluator, nl4opt_path):
    scores = [evaluator.score(text, text) for text in nl4opt_texts(nl4opt_path)]
    assert len(scores) == 94
    assert all(score.exact and score.reward == 1.0 for score in scores)


def test_the_callable_is_a_reward_function(evaluator):
    chat = [{"role": "assistant", "content": REFERENCE}]
    rewards = evaluator(["p"] * 3, [REFERENCE, chat, "no"], reference=[REFERENCE] * 3, other=[1])
    assert rewards == [1.0, 1.0, 0.0]
    assert all(type(r) is float for r in rewards)


def test_cache_is_bounded_and_answers_the_same():
    small = Evaluator(cache_size=3)
    answers = [REFERENCE.replace("<= 40", f"<= {k}") for k in range(10)]
    first = small.score_batch(answers + answers, [REFERENCE] * 20)
    assert first[:10] == first[10:]
    assert len(small._scores) <= 3
    assert small.score_batch(answers, [REFERENCE] * 10) == first[:10]


def test_limits_are_settings():
    strict = Evaluator(limits=Limits(rows=3))
    assert strict.score(REFERENCE, REFERENCE).exact
    assert (
        strict.score(
            REFERENCE.replace("tables <= 30", "tables <= 30\n chairs <= 9"), REFERENCE
        ).reward
        == 0
    )


def test_compare_shows_what_to_draw():
    shown = compare_programs(
        REFERENCE.replace("2 chairs + tables <=", "2 chairs + 6 tables <="), REFERENCE
    )
    (difference,) = shown.differences
    assert difference.kind == "coefficient"
    assert shown.candidate.names[difference.variable] == "tables"
    assert shown.candidate.matrix[difference.row].tolist() == [2, 6]
    assert shown.reference.matrix[difference.reference_row].tolist() == [2, 1]


def test_scores_are_plain_numbers(evaluator):
    random = Random(12)
    for _ in range(50):
        p, q = format_lp(random_program(random)), format_lp(random_program(random))
        score = evaluator.score(p, q)
        assert type(score.reward) is float and type(score.similarity) is float
        assert type(score.objective_matches) is bool and type(score.exact) is bool
        assert type(score.graph_distance) is int
        assert score.objective_value is None or math.isfinite(score.objective_value)
        assert 0.05 <= score.reward <= 0.6 or score.exact
