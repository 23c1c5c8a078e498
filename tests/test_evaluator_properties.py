"""What must hold for every program: equivalents score 1, mistakes at most 0.6, nothing breaks."""

import math
import os
from random import Random

import pytest
from evaluator_programs import (
    PIECES,
    garble,
    nl4opt_texts,
    random_program,
    really_different,
)
from evaluator_rewrites import EDITS, EQUIVALENT, spell
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glm_ppo_utils.evaluator import Evaluator, format_lp, parse_lp

# More by EVALUATOR_EXAMPLES=2000 pytest tests/test_evaluator_properties.py
EXAMPLES = int(os.environ.get("EVALUATOR_EXAMPLES", "60"))
settings.register_profile(
    "evaluator",
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
EVALUATOR = Evaluator()
REFERENCE = "maximize\n 3 x + 5 y\nsubject to\n 2 x + y <= 40\n x - y >= 0\ngeneral\n x y\nend"

seeds = st.integers(0, 2**32).map(Random)
profile = settings.get_profile("evaluator")


@profile
@given(seeds, st.lists(st.sampled_from(list(EQUIVALENT)), max_size=5))
def test_equivalent_programs_score_one(random, names):
    program = random_program(random)
    changed = program
    for name in names:
        changed = EQUIVALENT[name](changed, random) or changed
    text = spell(changed, random)
    assert EVALUATOR.score(text, format_lp(program)).reward == 1.0, text


@profile
@given(seeds, st.sampled_from(list(EDITS)))
def test_real_mistakes_score_at_most_06(random, name):
    program = random_program(random)
    changed = EDITS[name](program, random)
    if changed is None:
        return
    score = EVALUATOR.score(spell(changed, random), format_lp(program))
    if score.exact:
        assert not really_different(program, changed), format_lp(changed)
    else:
        assert 0 < score.reward <= 0.6
        assert score.message


def check_texts(texts: list[str], edits: dict, random: Random) -> None:
    for text in texts:
        program = parse_lp(text)
        for name, change in EQUIVALENT.items():
            changed = change(program, random)
            if changed is not None:
                answer = spell(changed, random)
                assert EVALUATOR.score(answer, text).reward == 1.0, (name, answer, text)
        for name, change in edits.items():
            changed = change(program, random)
            if changed is not None:
                score = EVALUATOR.score(spell(changed, random), text)
                if score.exact:
                    assert not really_different(program, changed), (name, format_lp(changed), text)
                else:
                    assert score.reward <= 0.6


@pytest.mark.slow
def test_nl4opt_references(nl4opt_path):
    check_texts(nl4opt_texts(nl4opt_path), EDITS, Random(13))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_generated_references(language):
    problems = pytest.importorskip("glm_ppo_utils.problems")
    found = problems.generate(EXAMPLES // 2, seed=3, language=language)
    check_texts([p.reference for p in found], EDITS, Random(14))


def assert_harmless(answer: str) -> None:
    score = EVALUATOR.score(answer, REFERENCE)
    assert math.isfinite(score.reward) and 0 <= score.reward <= 1
    assert isinstance(score.message, str) and "\n" not in score.message
    assert score.parsed or score.reward == 0


@profile
@given(st.binary(max_size=300))
def test_random_bytes(data):
    assert_harmless(data.decode("latin-1"))
    assert_harmless(data.decode("utf-8", "surrogateescape"))


@profile
@given(st.text(max_size=300))
def test_random_text(text):
    assert_harmless(text)
    assert_harmless(f"max {text} st {text} <= 1 end")


@profile
@given(st.lists(st.sampled_from(PIECES), max_size=60), st.sampled_from(["", " "]))
def test_random_tokens(pieces, joint):
    assert_harmless(joint.join(pieces))
    assert_harmless("max x st " + joint.join(pieces))


@profile
@given(seeds)
def test_damaged_programs(random):
    assert_harmless(garble(REFERENCE, random))
    assert_harmless(garble(format_lp(random_program(random)), random))


@pytest.mark.parametrize(
    "piece", ["x <= 1 ", "\n\n", "\\ ", "- ", "``` ", "9", "x.", "st ", "a b:"]
)
def test_long_repetitions_are_read_in_no_time(piece):
    assert_harmless("max x st " + piece * (20_000 // len(piece) - 10))
