"""Notebook 01: the steps of RLHF, people's grades, the reward model, one PPO update by hand."""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .style import KL, POLICY, REFERENCE, REWARD, VALUE
from .words import localised

# Each step of RLHF: its title, and three boxes with their colours.
_STEPS = (
    (
        "1  supervised\n    fine-tuning",
        ("demonstrations\nproblem → answer", "white"),
        ("imitate:\nloss on answer tokens", "white"),
        ("SFT policy, kept as\nreference model", REFERENCE),
    ),
    (
        "2  a reward model",
        ("people compare\ntwo answers", "white"),
        ("train on pairs:\n−log σ(r₊ − r₋)", "white"),
        ("reward model", REWARD),
    ),
    (
        "3  PPO",
        ("policy writes\nan answer", POLICY),
        ("reward − β · KL", KL),
        ("minus value head's\nguess: update", VALUE),
    ),
)


def rlhf_steps() -> Figure:
    """The three steps of RLHF as boxes and arrows, coloured by role as in every later figure."""
    figure, ax = _canvas((13, 6), (-1.35, 2.85), (0.32, 3.4))
    for y, (title, *boxes) in zip((3, 2, 1), _STEPS, strict=True):
        ax.text(-1.3, y, title, ha="left", va="center", fontsize=15, fontweight="bold")
        for x, (text, colour) in enumerate(boxes):
            _box(ax, x, y, text, colour)
        _arrow(ax, (0.4, y), (0.6, y))
        _arrow(ax, (1.4, y), (1.6, y))
    around = ((2.4, 3), (2.75, 3), (2.75, 0.42), (-0.15, 0.42), (-0.15, 0.69))
    _arrow(ax, *around, text="starts from, stays near")
    _arrow(ax, (2, 1.69), (2, 1.5), (1, 1.5), (1, 1.31), text="scores each answer")
    _arrow(ax, (1.85, 0.69), (1.85, 0.56), (0.15, 0.56), (0.15, 0.69), text="better policy")
    return localised(figure)


def swap() -> Figure:
    """The reward model goes out, the evaluator comes in; policy and PPO stay."""
    figure, ax = _canvas((13, 4.8), (-0.5, 4.5), (0.1, 3))
    for x, y, text, colour in (
        (0, 1.5, "policy writes\nan answer", POLICY),
        (1.4, 0.9, "a reference LP\nfor each problem", "white"),
        (2.7, 0.9, "evaluator: parse,\nsolve, compare", REWARD),
        (4, 1.5, "PPO step", VALUE),
    ):
        _box(ax, x, y, text, colour)
    _box(ax, 1.4, 2.1, "people compare\nmany pairs", "white", out=True)
    _box(ax, 2.7, 2.1, "reward model\n(trained)", "white", out=True)
    _arrow(ax, (1.8, 2.1), (2.3, 2.1), out=True)
    _arrow(ax, (0, 1.8), (0, 2.65), (2.7, 2.65), (2.7, 2.4), out=True)
    _arrow(ax, (3.1, 2.1), (3.85, 2.1), (3.85, 1.8), out=True)
    _arrow(ax, (1.8, 0.9), (2.3, 0.9))
    _arrow(ax, (0.4, 1.5), (2.5, 1.5), (2.5, 1.2), text="answer")
    _arrow(ax, (3.1, 0.9), (3.85, 0.9), (3.85, 1.2), text="score, 0 to 1")
    _arrow(ax, (4.15, 1.2), (4.15, 0.3), (0, 0.3), (0, 1.2), text="better policy")
    ax.plot([2.2, 3.2], [1.75, 2.45], color=REWARD, linewidth=5, alpha=0.7)
    ax.plot([2.2, 3.2], [2.45, 1.75], color=REWARD, linewidth=5, alpha=0.7)
    return localised(figure)


def ppo_step() -> Figure:
    """One PPO step: what is computed from what, and what is updated at its end."""
    figure, ax = _canvas((13, 5.4), (-0.5, 4.5), (0.1, 3.45))
    for x, y, text, colour in (
        (0, 2, "policy writes\nan answer", POLICY),
        (1.3, 3, "judge (our evaluator)\nscores the answer", REWARD),
        (1.3, 2, "reference model:\nKL of each token", REFERENCE),
        (1.3, 1, "baseline: value head,\nor mean of a group", VALUE),
        (2.65, 2.5, "reward of a token:\nscore at the end,\nminus β · KL", KL),
        (4, 2, "advantage: more\nthan the baseline?", "white"),
        (2.65, 1, "clipped policy loss\nand value loss", "white"),
    ):
        _box(ax, x, y, text, colour)
    for y in (1, 2, 3):
        _arrow(ax, (0.4, 2), (0.65, 2), (0.65, y), (0.9, y))
    for y in (2, 3):
        _arrow(ax, (1.7, y), (1.95, y), (1.95, 2.5), (2.25, 2.5))
    _arrow(ax, (3.05, 2.5), (4, 2.5), (4, 2.3))
    _arrow(ax, (1.3, 1.3), (1.3, 1.5), (3.4, 1.5), (3.4, 1.9), (3.6, 1.9))
    _arrow(ax, (4, 1.7), (4, 1), (3.05, 1))
    _arrow(ax, (2.65, 0.7), (2.65, 0.3), (0, 0.3), (0, 1.7), text="gradient step; next batch")
    return localised(figure)


def _canvas(
    size: tuple[float, float], x: tuple[float, float], y: tuple[float, float]
) -> tuple[Figure, Axes]:
    figure, ax = plt.subplots(figsize=size, layout="constrained")
    ax.set(xlim=x, ylim=y)
    ax.axis("off")
    return figure, ax


def _box(ax: Axes, x: float, y: float, text: str, colour: str, out: bool = False) -> None:
    """A box around (x, y); one that is `out` is pale and has a broken edge."""
    edge: dict[str, Any] = dict(ec=REFERENCE, linestyle="--") if out else dict(ec="black")
    ax.add_patch(Rectangle((x - 0.4, y - 0.3), 0.8, 0.6, facecolor=colour, linewidth=1.5, **edge))
    ink = REFERENCE if out else "black" if colour in ("white", KL) else "white"
    ax.text(x, y, text, ha="center", va="center", fontsize=12.5, color=ink)


def _arrow(ax: Axes, *points: tuple[float, float], text: str = "", out: bool = False) -> None:
    """A line through `points` that ends in an arrow head, with `text` on its longest part."""
    line: dict[str, Any] = dict(color=REFERENCE, linestyle="--") if out else dict(color="black")
    ax.plot(*zip(*points[:-1], strict=True), linewidth=1.5, **line)
    head: dict[str, Any] = dict(
        arrowstyle="-|>", linewidth=1.5, shrinkA=0, shrinkB=0, color=line["color"]
    )
    ax.annotate("", points[-1], points[-2], arrowprops=head)
    if text:
        (x0, y0), (x1, y1) = max(pairwise(points), key=lambda p: abs(p[1][0] - p[0][0]))
        back = dict(facecolor="white", edgecolor="none", pad=1)
        middle = ((x0 + x1) / 2, (y0 + y1) / 2)
        ax.text(*middle, text, ha="center", va="center", fontsize=11, bbox=back)


def annotators(grades: pd.DataFrame) -> Figure:
    """Grades and ranks of the same answers (index) by several people (columns)."""
    figure, axes = plt.subplots(1, 2, figsize=(13, 4.5), layout="constrained")
    ranks = grades.rank(ascending=False)
    # The palette's colours mean roles in PPO; people have none there, so they get other colours.
    styles = zip(grades, "osD^", ("#000000", "#56B4E9", "#8C510A", "#542788"), strict=True)
    for i, (name, marker, colour) in enumerate(styles):
        axes[0].plot(grades.index, grades[name], marker=marker, color=colour)
        shift = 0.08 * (i - 1.5)  # so that equal ranks stay visible
        axes[1].plot(grades.index, ranks[name] + shift, marker=marker, color=colour, label=name)
    axes[0].set(title="Raw grades disagree", ylabel="grade (log axis)", yscale="symlog")
    axes[0].set_yticks([0, 1, 2, 5, 10, 20, 50, 100], [0, 1, 2, 5, 10, 20, 50, 100])
    axes[1].set(title="Rankings agree", ylabel="rank (1 is best)")
    axes[1].invert_yaxis()
    for ax in axes:
        ax.set_xlabel("answer")
    figure.legend(loc="outside right center", title="annotator")
    return localised(figure)


def common_scale(
    quality: Sequence[float], strength: Sequence[float], elo: Sequence[Sequence[float]]
) -> Figure:
    """Strengths recovered from comparisons against true quality, all in log-odds and centred.

    Parameters
    ----------
    quality, strength
        ``[answers]``: true quality and Bradley-Terry strength.
    elo
        ``[orders, answers]``: Elo ratings, one row per order of the same comparisons.
    """
    centre = sum(quality) / len(quality)
    x = [q - centre for q in quality]
    figure, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
    # As in `annotators`: no colour of a role.
    ax.plot(x, x, color=REFERENCE, linewidth=1, label="truth")
    for row in elo:
        ax.plot(x, row, "_", color="#8C510A", markersize=18, markeredgewidth=2, alpha=0.5)
    ax.plot([], [], "_", color="#8C510A", markersize=12, markeredgewidth=2, label="Elo, ten orders")
    ax.plot(x, strength, "o", color="black", markersize=9, label="Bradley-Terry")
    ax.set(xlabel="true quality (log-odds)", ylabel="recovered (log-odds)")
    ax.set_title("One scale from comparisons alone")
    ax.legend()
    return localised(figure)


def calibration(curves: dict[str, tuple], mistakes: pd.Series) -> Figure:
    """Left: predicted and observed preference. Right: how often a wrong answer is not rated lower.

    Parameters
    ----------
    curves
        Label to ``(predicted, observed, counts)`` of ``preferences.calibration_curve``.
    mistakes
        By kind of error: the share of answers with it that get at least the reference's reward.
    """
    figure, axes = plt.subplots(1, 2, figsize=(13, 4.5), layout="constrained")
    axes[0].plot([0.5, 1], [0.5, 1], color="black", linewidth=1, label="perfectly calibrated")
    for (label, (predicted, observed, _)), style, colour in zip(
        curves.items(), ("o-", "s--"), (REWARD, REFERENCE), strict=False
    ):
        axes[0].plot(predicted, observed, style, color=colour, label=label)
    axes[0].set(xlabel="predicted P(preferred)", ylabel="observed share", title="Calibration")
    axes[0].legend(loc="upper left")
    bars = axes[1].barh(mistakes.index, 100 * mistakes, color=REWARD)
    axes[1].bar_label(bars, fmt=" %.0f %%")
    axes[1].set(xlim=(0, 115), xlabel="rated at least as high as the reference (%)")
    axes[1].set_title("Wrong answers the reward model likes")
    axes[1].grid(axis="y", visible=False)
    return localised(figure)


# Of PPO's objective, by the sign of the advantage: what a token does left of the band of ratios
# that clipping leaves alone, inside it, and right of it; and where the words stand.
_CASES = {
    1: (
        ("1 moved the wrong\nway: pulled back", 1.0),
        ("2 pushed\nup", 0.4),
        ("3 flat: up enough", 0.95),
    ),
    -1: (
        ("4 flat:\ndown enough", -1.25),
        ("5 pushed\ndown", -2.2),
        ("6 moved the wrong\nway: pulled back", -1.0),
    ),
}


def clipped_objective(
    surrogate: Callable[..., Any], clip: float = 0.2, points: pd.DataFrame | None = None
) -> Figure:
    """PPO's objective of a token against its probability ratio, with the six cases of clipping.

    Parameters
    ----------
    surrogate : callable
        ``(ratio, advantage, clip) -> objective`` on arrays.
    clip : float
        Ratios within ``1 - clip`` and ``1 + clip`` are left alone.
    points : DataFrame, optional
        Tokens to mark: their text as index, columns ``ratio`` and ``advantage``, of which only the
        sign is used.
    """
    figure, axes = plt.subplots(1, 2, figsize=(13, 5.2), layout="constrained")
    ratio = pd.Series([i / 100 for i in range(40, 281)])
    ticks = [0.4, 0.6, 0.8, 1, 1.2, 1.5, 2, 2.5]
    for ax, sign, name in zip(axes, (1, -1), ("positive", "negative"), strict=True):
        ax.plot(ratio, sign * ratio, ":", color=REFERENCE, label="unclipped")
        ax.plot(ratio, surrogate(ratio, sign, clip), color=POLICY, label="clipped objective")
        ax.axvspan(1 - clip, 1 + clip, color=REFERENCE, alpha=0.15, label=f"within 1 ± {clip}")
        ax.set(xlabel="ratio: new / old probability", ylabel="objective per |advantage|")
        ax.set(title=f"{name} advantage", xscale="log")
        ax.set_xticks(ticks, ticks)
        ax.margins(y=0.15)
        ax.minorticks_off()
        for x, (case, height) in zip((0.55, 0.98, 1.8), _CASES[sign], strict=True):
            ax.text(x, height, case, ha="center", va="center", fontweight="bold")
        if points is not None:
            marked = points[points.advantage * sign > 0].sort_values("ratio")
            for i, (word, at) in enumerate(marked.ratio.items()):
                place = (at, surrogate(at, sign, clip))
                ax.plot(*place, "o", color=REWARD, markersize=9)
                height = (22 + 11 * i) * (1 if i % 2 == 0 else -1)  # neighbours stay apart
                offset = dict(xytext=(0, height), textcoords="offset points")
                line = dict(arrowstyle="-", color=REWARD)
                look = dict(ha="center", va="center", color=REWARD)
                ax.annotate(word, place, **offset, **look, arrowprops=line)
    axes[0].legend(loc="upper left")
    return localised(figure)


def rollout_by_token(table: pd.DataFrame) -> Figure:
    """Per token of one rollout: the parts of the reward, values and returns, and advantages.

    Parameters
    ----------
    table
        Index: the tokens; columns ``penalty``, ``score``, ``value``, ``return``, ``advantage``
        and ``whitened``.
    """
    figure, axes = plt.subplots(1, 3, figsize=(14, 4), layout="constrained")
    place = pd.Series(range(len(table)))
    axes[0].bar(place, table.penalty, color=KL, label="−β · KL")
    axes[0].bar(place, table.score, color=REWARD, label="score", bottom=table.penalty.clip(lower=0))
    axes[1].plot(place, table.value, "o--", color=VALUE, label="value (before)")
    axes[1].plot(place, table["return"], "s-", color="black", label="return (target)")
    axes[2].bar(place, table.whitened, color=POLICY, label="whitened: used by PPO")
    axes[2].plot(place, table.advantage, "kD", markersize=8, label="before whitening")
    titles = ("reward of each token", "what the value head said", "advantage of each token")
    labels = ("reward", "reward still to come", "advantage")
    for ax, title, label in zip(axes, titles, labels, strict=True):
        ax.axhline(0, color="black", linewidth=1)
        ax.set_xticks(place, table.index, fontsize=12)
        ax.set(title=title, xlabel="token", ylabel=label)
    axes[0].legend()
    for ax in axes[1:]:
        ax.margins(y=0.4)
        ax.legend(loc="upper left")
    return localised(figure)


def token_credit(answers: Sequence[str], rewards: Sequence[float], shown: Sequence[int]) -> Figure:
    """LP texts whose terms are coloured by the push that PPO gives them, a panel per answer.

    The answers are one batch, with lambda 1 and a value head that guesses the batch's mean. Then
    each token of an answer has the advantage reward minus mean, and the push on a term is the sum
    of the advantages of all answers that have it in the same place.

    Parameters
    ----------
    answers, rewards : sequences ``[answers]``
    shown : sequence of int
        Which answers get a panel.
    """
    mean = sum(rewards) / len(rewards)
    terms = [_terms(answer) for answer in answers]
    figure, axes = plt.subplots(1, len(shown), figsize=(14, 4.2), layout="constrained")
    for ax, i in zip(axes, shown, strict=True):
        column = 0
        for (row, place), term in terms[i].items():
            column = 0 if place == 0 else column
            pairs = zip(terms, rewards, strict=True)
            push = sum(r - mean for other, r in pairs if other.get((row, place)) == term)
            colour = to_rgba(POLICY if push > 0 else REWARD, min(1.0, abs(push)))
            look = dict(family="monospace", fontsize=12, va="center")
            box = dict(facecolor=colour, edgecolor="none", pad=2)
            ax.text(column, -row, term, bbox=box, **look)
            if abs(push) > 0.005:
                ax.text(column, -row - 0.45, f"{push:+.2f}", fontsize=10, va="center")
            column += len(term) + 2
        title = f"answer {i}: reward {rewards[i]:.2f}, advantage of every token"
        ax.set(title=f"{title} {rewards[i] - mean:+.2f}", xlim=(-1, 52), ylim=(-7, 0.6))
        ax.axis("off")
    return localised(figure)


def _terms(answer: str) -> dict[tuple[int, int], str]:
    """The terms of an LP text by row and place in the row."""
    rows = [re.split(r" \+ | (?=[<>=]=)", line.strip()) for line in answer.split("\n")]
    return {(i, k): term for i, row in enumerate(rows) for k, term in enumerate(row)}
