"""Every figure of the series.

One colour per role, the same in all notebooks, from Okabe and Ito's palette, which readers with
any colour vision can tell apart; sizes are chosen for a projector.
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

POLICY = "#0072B2"
REFERENCE = "#7F7F7F"
REWARD = "#D55E00"
KL = "#CC79A7"
VALUE = "#009E73"
EXACT = "#E69F00"

plt.rcParams.update(
    {
        "figure.dpi": 100,
        "font.size": 12,
        "axes.titlesize": 13,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.3,
        "lines.linewidth": 2,
        "legend.frameon": False,
    }
)


def _column(rows: Sequence[dict], name: str) -> tuple[list, list]:
    """Steps and values of the rows that have a value called `name`."""
    points = [(r["step"], r[name]) for r in rows if name in r]
    return [p[0] for p in points], [p[1] for p in points]


def sft_loss(log: Sequence[dict]) -> Figure:
    """Training and held-out loss of SFT over its steps."""
    figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
    ax.plot(*_column(log, "loss"), color=POLICY, label="training (demonstrations with errors)")
    ax.plot(*_column(log, "eval_loss"), color=EXACT, marker="o", label="held-out (correct answers)")
    ax.set(xlabel="SFT step", ylabel="loss (nats per answer token)", yscale="log")
    ax.set_title("SFT: loss on the answer's tokens")
    ax.legend()
    return figure


def ppo_curves(log: Sequence[dict], evals: Sequence[dict] = ()) -> Figure:
    """The six curves to read first: reward, exact rate, KL, entropy, clipping, value head."""
    figure, axes = plt.subplots(2, 3, figsize=(14, 7), layout="constrained", sharex=True)
    _line(axes[0, 0], log, "reward", REWARD, "mean reward of a batch", "reward (0 to 1)")
    _line(axes[0, 1], log, "exact", EXACT, "exact answers", "share of answers", label="batch")
    for name, style in (("sampled_exact", "o-"), ("greedy_exact", "s--")):
        label = "held-out, " + name.split("_")[0]
        if evals:
            axes[0, 1].plot(*_column(evals, name), style, color=POLICY, label=label)
    axes[0, 1].legend()
    _line(axes[0, 2], log, "kl", KL, "distance from the reference", "KL (nats per response)")
    _line(axes[1, 0], log, "entropy", POLICY, "entropy of the policy", "nats per token")
    _line(axes[1, 1], log, "clip_fraction", REFERENCE, "clipped ratios", "share of tokens")
    _line(axes[1, 2], log, "explained_variance", VALUE, "value head", "explained variance")
    axes[1, 2].axhline(0, color="black", linewidth=1)
    axes[1, 2].set_ylim(-1, 1)
    for ax in axes[1]:
        ax.set_xlabel("PPO step")
    return figure


def _line(ax: Axes, rows, name, colour, title, ylabel, label=None) -> None:
    ax.plot(*_column(rows, name), color=colour, label=label)
    ax.set(title=title, ylabel=ylabel)


def learning(curve: pd.DataFrame) -> Figure:
    """Held-out exact rate over PPO steps: mean over seeds, with the range of the seeds."""
    figure, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for name, label, style in (
        ("greedy_exact", "greedy", "s--"),
        ("sampled_exact", "sampled, temperature 1", "o-"),
    ):
        by_step = curve.groupby("step")[name]
        ax.plot(by_step.mean(), style, color=POLICY, label=label)
        ax.fill_between(by_step.min().index, by_step.min(), by_step.max(), color=POLICY, alpha=0.15)
    ax.set(xlabel="PPO step (0 is the policy after SFT)", ylabel="exact answers (share)")
    seeds = curve["seed"].nunique()
    ax.set_title(f"held-out problems solved exactly: mean and range of {seeds} seeds")
    ax.set_ylim(0, 1)
    ax.legend(loc="lower right")
    return figure
