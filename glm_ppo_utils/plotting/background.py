"""Notebook 01: people's grades, the reward model, one PPO update by hand."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from .style import KL, POLICY, REFERENCE, REWARD, VALUE
from .words import localised


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
    axes[1].legend(loc="upper right", title="annotator")
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
    figure, ax = plt.subplots(figsize=(7.4, 4.5), layout="constrained")
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


_ON_WHITE = dict(facecolor="white", edgecolor="none", alpha=0.8, pad=1)
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
                look = dict(ha="center", va="center", color=REWARD, bbox=_ON_WHITE)
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
                ax.text(column, -row - 0.45, f"{push:+.2f}", fontsize=11, va="center")
            column += len(term) + 2
        title = f"answer {i}: reward {rewards[i]:.2f}, advantage of every token"
        ax.set(title=f"{title} {rewards[i] - mean:+.2f}", xlim=(-1, 52), ylim=(-7, 0.6))
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set(visible=True, color=REFERENCE, alpha=0.5)
    return localised(figure)


def _terms(answer: str) -> dict[tuple[int, int], str]:
    """The terms of an LP text by row and place in the row."""
    rows = [re.split(r" \+ | (?=[<>=]=)", line.strip()) for line in answer.split("\n")]
    return {(i, k): term for i, row in enumerate(rows) for k, term in enumerate(row)}
