"""The door: rows with a reference, a file or an optimum only; limits; what is remembered."""

from pathlib import Path
from random import Random

import highspy
import numpy as np
import pytest
from evaluator_edges import check_edge_text, check_whole_interval

from glm_ppo_utils.evaluator import Evaluator, Limits, parse_lp
from glm_ppo_utils.evaluator.optimum import Optimum
from glm_ppo_utils.evaluator.references import read_reference
from glm_ppo_utils.evaluator.reward import Reference

REFERENCE = "maximize\n 3 x + 5 y\nsubject to\n 2 x + y <= 40\n x + 4 y <= 60\ngeneral\n x y\nend"
OPTIMUM = 97.0  # x = 14, y = 11


@pytest.fixture(scope="module")
def evaluator():
    return Evaluator()


# -- an optimum in place of a reference


@pytest.mark.parametrize(
    ("answer", "reward", "message"),
    [
        (REFERENCE, 0.6, "not compared"),
        (REFERENCE.replace(" x", " chairs"), 0.6, "not compared"),
        ("max z st z <= 97", 0.2, "states the optimum"),
        ("max 97 st", 0.2, "states the optimum"),
        ("max 3 x + 5 y st 3 x + 5 y <= 97 general x y", 0.2, "states the optimum"),
        ("max 3 x + 5 y st x = 14\n y = 11", 0.2, "states the optimum"),
        (REFERENCE.replace("40", "41"), 0.05, "should be 97, not "),
        ("max x st x >= 1", 0.05, "unbounded"),
        ("max x st x >= 1\n x <= 0", 0.05, "infeasible"),
        ("no LP", 0.0, "not an LP"),
        ("", 0.0, "empty"),
    ],
)
def test_an_answer_by_its_optimum(evaluator, answer, reward, message):
    score = evaluator.score(answer, optimum=OPTIMUM)
    assert score.reward == pytest.approx(reward)
    assert message in score.message
    assert not score.exact and score.graph_distance is None
    assert score.objective_matches == (reward > 0.05)


@pytest.mark.parametrize(
    ("optimum", "value", "agrees"),
    [
        (1333.33, 1333.3333333, True),
        (1333.33, 1333.339, True),
        (1333.33, 1333.35, False),
        (240000.0, 240000.2, True),
        (240000.0, 240001.0, False),
        (0.0, 1e-7, True),
        (0.0, 1e-5, False),
        (1e9, 1e9 + 2000, False),
        (-12.5, -12.45, True),
        (-12.5, 12.5, False),
    ],
)
def test_a_published_optimum_may_be_rounded(optimum, value, agrees):
    assert (abs(value - optimum) <= Optimum(optimum).tolerance) == agrees


def test_rows_with_and_without_a_reference(evaluator):
    texts = [REFERENCE, REFERENCE, REFERENCE, "max x st x <= 1"]
    references = [REFERENCE, None, float("nan"), REFERENCE]
    rewards = evaluator([""] * 4, texts, reference=references, optimum=[None, 97, 97.0, 1.0])
    assert rewards[:3] == [1.0, pytest.approx(0.6), pytest.approx(0.6)]
    assert rewards[3] < 0.6
    assert evaluator([""], [REFERENCE], optimum=["97"], id=["a"]) == [pytest.approx(0.6)]


def test_a_row_without_anything_is_an_error(evaluator):
    with pytest.raises(ValueError, match="row 1 has neither a reference nor an optimum"):
        evaluator([""] * 2, [REFERENCE] * 2, reference=[REFERENCE, None])
    with pytest.raises(ValueError, match="row 0: the optimum 'none' is not a finite number"):
        evaluator([""], [REFERENCE], optimum=["none"])
    with pytest.raises(ValueError, match="2 responses but 1 optima"):
        evaluator.score_batch([REFERENCE] * 2, optima=[1.0])
    with pytest.raises(ValueError, match="2 responses but 1 references"):
        evaluator.score_batch([REFERENCE] * 2, [REFERENCE])


def test_workers_judge_by_the_optimum_too():
    with Evaluator(workers=1) as elsewhere:
        scores = elsewhere.score_batch([REFERENCE] * 2, [None, REFERENCE], [OPTIMUM, None])
    assert scores == Evaluator().score_batch([REFERENCE] * 2, [None, REFERENCE], [OPTIMUM, None])


# -- references from files


def write_mps(text: str, path: Path) -> Path:
    """The program in MPS, as HiGHS writes what it reads from LP text."""
    source = path.with_suffix(".source.lp")
    source.write_text(text, encoding="utf-8")
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    assert highs.readModel(str(source)) == highspy.HighsStatus.kOk
    highs.writeModel(str(path))
    return path


FILE = """maximize
 3 x + 5 y - z + 7
subject to
 wood: 2 x + y <= 40
 r: x + 4 y - z >= -60
 e: x - z = 2
bounds
 1 <= x <= 30
 z >= -5
 y <= 9
general
 x
binary
 b
end""".replace("- z + 7", "- z + 2 b + 7")


def test_an_mps_file_is_the_same_program(tmp_path):
    ours, theirs = parse_lp(FILE), read_reference(write_mps(FILE, tmp_path / "model.mps"))
    order = [theirs.names.index(name) for name in ours.names]
    np.testing.assert_array_equal(theirs.matrix[:, order], ours.matrix)
    for name in ("objective", "lower", "upper", "integer"):
        np.testing.assert_array_equal(getattr(theirs, name)[order], getattr(ours, name), name)
    for name in ("row_lower", "row_upper", "offset", "maximize", "row_names"):
        np.testing.assert_array_equal(getattr(theirs, name), getattr(ours, name), name)


def test_references_by_path(evaluator, tmp_path):
    lp = tmp_path / "model.lp"
    lp.write_text(FILE, encoding="utf-8")
    mps = write_mps(FILE, tmp_path / "model.mps")
    for reference in (lp, str(lp), mps, str(mps)):
        assert evaluator.score(FILE, reference).exact
        assert not evaluator.score(FILE.replace("40", "39"), reference).exact


def test_bad_files_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"the reference .*none\.mps does not exist"):
        read_reference(tmp_path / "none.mps")
    bad = tmp_path / "bad.mps"
    bad.write_text("hello", encoding="utf-8")
    with pytest.raises(ValueError, match=r"cannot read the reference .*bad\.mps"):
        read_reference(bad)
    bad = tmp_path / "bad.lp"
    bad.write_text("max 2 * x", encoding="utf-8")
    with pytest.raises(ValueError, match=r"the reference .*bad\.lp is not an LP: line 1"):
        read_reference(bad)
    semi = tmp_path / "semi.mps"
    write_mps("max x\nst\n x <= 4\nbounds\n x <= 3\nsemi\n x\nend", semi)
    with pytest.raises(ValueError, match=r"semi\.mps is not linear"):
        read_reference(semi)


# -- limits


@pytest.mark.parametrize("setting", ["variables", "rows", "nonzeros", "characters", "response"])
def test_a_reference_over_a_limit_names_the_setting(setting, tmp_path):
    small = Limits(**{setting: 1})
    with pytest.raises(ValueError, match=rf"too large: .*; raise {setting} in Evaluator\(limits="):
        Evaluator(limits=small).score(REFERENCE, REFERENCE)
    if setting in ("variables", "rows"):
        with pytest.raises(ValueError, match=rf"raise {setting} in Evaluator"):
            read_reference(write_mps(REFERENCE, tmp_path / "m.mps"), small)


def test_five_hundred_variables_and_rows():
    rows = "\n".join(f" x{k} + 2 x{(k + 1) % 500} + y <= {k + 3}" for k in range(499))
    objective = " + ".join(f"{k + 1} x{k}" for k in range(499))
    text = f"max {objective}\nst\n{rows}\n x499 + y <= 5"
    with pytest.raises(ValueError, match="more than 500 variables; raise variables"):
        Evaluator().score("", text)
    text = text.replace("x499", "x0")
    renamed = text.replace("x", "chairs_")
    assert Evaluator().score(renamed.replace("ma" + "chairs_", "max"), text).exact


# -- what is remembered


def test_references_are_read_once_beforehand(monkeypatch):
    texts = [f"maximize\n 3 a + {k} b\nsubject to\n a + b <= {k}\nend" for k in (4, 5)]
    evaluator = Evaluator()
    evaluator.prepare([*texts, None])
    monkeypatch.setattr(Reference, "read", lambda *_: pytest.fail("read again"))
    assert evaluator.score(texts[0], texts[1]).reward < 1 == evaluator.score(*texts[:1] * 2).reward
    monkeypatch.undo()
    with pytest.raises(ValueError, match="reference 1: the reference is not an LP"):
        evaluator.prepare([texts[0], "no idea"])


# -- numbers at the edges; `benchmarks/evaluator_fuzz.py` runs more of them


@pytest.mark.parametrize("check", [check_edge_text, check_whole_interval])
def test_numbers_at_the_edges(check):
    outcomes = {check(Random(seed)) for seed in range(200)}
    assert len(outcomes) > 1  # not all refused
