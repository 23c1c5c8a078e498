"""Every figure in Chinese: no English word left over, and a glyph for each character."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

from glm_ppo_utils import plotting
from glm_ppo_utils.evaluator import Score
from glm_ppo_utils.evaluator.differences import compare_programs
from glm_ppo_utils.labs.versions import read_matrix
from glm_ppo_utils.plotting import style, words
from glm_ppo_utils.preferences import ANNOTATORS, surrogate
from glm_ppo_utils.problems.mistakes import ERRORS

LP = "minimize\n 3 x + 5 y\nsubject to\n 2 x + y >= 4\ngeneral\n x y\nend"
OTHER = LP.replace("minimize", "maximize").replace("2 x", "7 x").replace(">= 4", "<= 9")
OTHER = OTHER.replace("general\n x y", "bounds\n x free\n 1 <= y <= 8")
STEPS = pd.DataFrame({"step": [0, 1], "reward": [0.1, 0.2], "exact": [0.0, 0.1], "kl": [0.0, 1.0]})
STEPS["entropy"] = STEPS["explained_variance"] = STEPS["reward"]
TOKENS = pd.DataFrame(
    np.ones((2, 6)), ["x", "y"], ["penalty", "score", "value", "return", "advantage", "whitened"]
)
SCORES = [
    Score(reward, parsed, "optimal", 1.0, False, 0, 0.0, exact, "")
    for reward, parsed, exact in ((0, False, False), (0.3, True, False), (1, True, True))
]
RUNS = pd.DataFrame(
    [("evaluator", "-", start, method, seed, 0.5, 64, 9) for seed in (0, 1)
     for start in ("few", "rare") for method in ("none", "references", *plotting.ppo.METHODS)],
    columns="grader set start method seed sampled_exact answers demonstrations".split(),
)  # fmt: skip
CURVE = pd.concat(RUNS.assign(after=after, exact=0.5) for after in (0, 64))

# What the notebooks draw, with the names that their cells give; as small as possible.
FIGURES = {
    "rlhf_steps": (),
    "swap": (),
    "ppo_step": (),
    "grading": (),
    "replay": (),
    "annotators": (pd.DataFrame({a.name: [1.0, 2.0] for a in ANNOTATORS}),),
    "common_scale": ([0, -1], [0.5, -0.5], [[0.4, -0.4]]),
    "calibration": (
        {f"{n} pairs, 50 steps": ([0.6], [0.7], [1]) for n in (60, 600)},
        pd.Series(0.5, index=list(ERRORS)),
    ),
    "clipped_objective": (surrogate,),
    "rollout_by_token": (TOKENS,),
    "token_credit": ([LP, OTHER], [1.0, 0.2], (0, 1)),
    "sft_loss": (
        [{"step": 0, "loss": 1.0, "eval_loss": 1.0, "greedy_exact": 0.1, "sampled_exact": 0.1}],
    ),
    "score_distribution": (SCORES,),
    "model_graphs": (compare_programs(OTHER, LP),),
    "credit": (
        lambda share, agrees: share * 0.6,
        pd.DataFrame({"similarity alone": [0.9], "the evaluator": [0.3]}),
        0.6,
    ),
    "blind_spots": (
        pd.DataFrame(0.5, list(ERRORS), ["objective only", "graph only", "both"]),
    ),
    "version_matrix": (read_matrix(),),
    "value_layouts": ([1.0, 0.5], [1.0, 0.9]),
    "baseline": (lambda b: 1 + b * b, {"no baseline": 0, "mean reward": 0.5}),
    "ppo_curves": (STEPS.to_dict("records"), [{"step": 0, "sampled_exact": 0, "greedy_exact": 0}]),
    "why_rl": (RUNS, CURVE),
    "recorded_run": (STEPS, STEPS, "entropy", "entropy (nats per token)"),
    "over_kl": (
        {k: STEPS for k in ("the evaluator's reward", "uncapped credit", "better optimum")},
    ),
}  # fmt: skip

# Names, symbols, units, code, and the texts of LPs.
STAY = re.compile(
    r"\b(LP|KL|log|entropy|SFT|PPO|Elo|Bradley-Terry|nat|ChatGLM3|transformers|clip|x|y|[A-EH]|gpt2|llama"
    r"|maximize|minimize|subject|to|general|bounds|free|end)\b|\w*_\w*|\bgenerate\b|\bforward\b"
)


def texts(figure: Figure) -> list[str]:
    axes = [axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)]
    found = [label for axis in axes for label in axis.get_ticklabels()]
    return [t.get_text() for t in [*found, *figure.findobj()] if isinstance(t, Text)]


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_speaks_chinese(name, monkeypatch):
    monkeypatch.setenv("GLM_PPO_LANGUAGE", "zh")
    found = texts(getattr(plotting, name)(*FIGURES[name]))
    plt.close("all")
    said = [text for text in found if not text.startswith("$")]  # powers of ten
    left = [text for text in said if re.search("[A-Za-z]{2}", STAY.sub("", text))]
    assert not left
    assert any(re.search("[\u4e00-\u9fff]", text) for text in found)


def test_the_fonts_have_every_character():
    fonts = (style.CHINESE_FONT, font_manager.findfont("DejaVu Sans"))
    drawn = {code for font in fonts for code in FT2Font(str(font)).get_charmap()}
    missing = {c for text in words.CHINESE.values() for c in text if ord(c) not in drawn}
    assert missing <= {"\n"}


def test_every_figure_is_looked_at():
    assert {*FIGURES} == {n for n in plotting.__all__ if not n.endswith(("_table", "_tokens"))}


def test_the_language_is_the_variables_or_else_the_folders(tmp_path, monkeypatch):
    (tmp_path / "zh").mkdir()
    monkeypatch.delenv("GLM_PPO_LANGUAGE", raising=False)
    monkeypatch.chdir(tmp_path)
    assert words.language() == "en"
    assert "PPO step" in texts(plotting.swap())
    monkeypatch.chdir(tmp_path / "zh")
    assert words.language() == "zh"
    monkeypatch.setenv("GLM_PPO_LANGUAGE", "en")
    assert words.language() == "en"
    plt.close("all")


@pytest.mark.parametrize(
    ("text", "chinese"),
    [
        ("3 edits apart: sense; bound", "相差 3 处：约束方向；上下界"),
        ("answer 3: reward 0.22, advantage of every token -0.10",
         "回答 3：奖励 0.22，每个词元的优势 -0.10"),
        ("skirts\ninteger\n≤ 4", "skirts\n整数\n≤ 4"),
        ("ChatGLM3 under 24 versions of transformers, measured 2026-11-23",
         "ChatGLM3 与 transformers 的 24 个版本，测于 2026-11-23"),
        ("3 chairs + 5 tables", "3 chairs + 5 tables"),
    ],
)  # fmt: skip
def test_numbers_and_names_are_kept(text, chinese):
    assert words.in_chinese(text) == chinese
