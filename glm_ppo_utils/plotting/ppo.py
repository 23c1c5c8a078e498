"""Notebook 05: the curves of PPO, what one could do instead, and what a baseline does."""

import html
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .style import KL, POLICY, REFERENCE, REWARD, VALUE, by_step
from .words import localised


def ppo_curves(log: Sequence[dict], evals: Sequence[dict] = ()) -> Figure:
    """The six curves to read first: reward, exact rate, KL, entropy, clipping, value head."""
    figure, axes = plt.subplots(2, 3, figsize=(14, 7), layout="constrained", sharex=True)
    curves = (
        ("reward", REWARD, "mean reward of a batch", "reward (0 to 1)"),
        ("exact", REWARD, "exact answers", "share of answers"),
        ("kl", KL, "distance from the reference", "KL (nats per response)"),
        ("entropy", POLICY, "entropy of the policy", "nats per token"),
        ("clip_fraction", REFERENCE, "clipped ratios", "share of tokens"),
        ("explained_variance", VALUE, "value head", "explained variance"),
    )
    for ax, (name, colour, title, ylabel) in zip(axes.flat, curves, strict=True):
        ax.plot(by_step(log, name), color=colour, label="batch")
        ax.set(title=title, ylabel=ylabel)
    if evals:
        for way, style in (("sampled", "o-"), ("greedy", "s--")):
            rates = by_step(evals, f"{way}_exact")
            axes[0, 1].plot(rates, style, color=POLICY, label=f"held-out, {way}")
    axes[0, 1].legend()
    axes[1, 2].axhline(0, color="black", linewidth=1)
    axes[1, 2].set_ylim(-1, 1)
    for ax in axes[1]:
        ax.set_xlabel("PPO step")
    return localised(figure)


def why_rl(runs: pd.DataFrame, curve: pd.DataFrame) -> Figure:
    """Exact share of what each method samples, over the answers sampled; a panel per start.

    A line is the mean of the seeds and a band their range; the marks at the right end are the
    sampled exact rates on held-out problems. The dotted line is SFT on the references of all the
    problems. Frames are ``why_rl.csv`` and ``why_rl_curve.csv`` of ``benchmarks/why_rl.py``; a line
    of PPO is a mean over five steps.
    """
    figure, axes = plt.subplots(1, 2, figsize=(13, 4.8), layout="constrained", sharey=True)
    runs, curve = (
        frame[(frame["grader"] == "evaluator") & (frame["set"] == "-")] for frame in (runs, curve)
    )
    ends = runs.set_index(["start", "method"])["sampled_exact"].sort_index()
    total = runs["answers"].max()
    for ax, start in zip(axes, ("few", "rare"), strict=True):
        for method, (label, colour, mark) in METHODS.items():
            points = curve[(curve["start"] == start) & (curve["method"] == method)]
            if points.empty:
                continue
            rates = points.pivot(index="after", columns="seed", values="exact").dropna()
            rounds = method == "rejection"
            rates = _until(rates, total) if rounds else rates.rolling(5, 1, center=True).mean()
            how: dict[str, Any] = {"drawstyle": "steps-post"} if rounds else {}
            ax.plot(rates.mean(axis=1), color=colour, label=label, **how)
            band = {"step": "post"} if rounds else {}
            ax.fill_between(
                rates.index, rates.min(axis=1), rates.max(axis=1), color=colour, alpha=0.2, **band
            )
            held = ends.loc[(start, method)]
            ax.plot([total * 1.02] * len(held), held, mark, color=colour, markeredgecolor="black")
        best = ends.loc[("few", "references")].mean()
        ax.axhline(best, color="black", linestyle=":", label="SFT on all references")
        exact = ends.loc[(start, "none")].mean()
        count = runs.loc[runs["start"] == start, "demonstrations"].max()
        ax.set_title(f"from {count} demonstrations (exact at first: {exact:.2f})")
        ax.set(xlabel="answers sampled and graded", ylim=(0, 1.03))
        ax.tick_params(labelleft=True)
    axes[0].set_ylabel("exact answers (share)")
    axes[0].legend(loc="lower right")
    return localised(figure)


METHODS = {
    "replay": ("PPO with replay", POLICY, "o"),
    "ppo": ("PPO", VALUE, "s"),
    "rejection": ("rejection sampling", REWARD, "^"),
}


def _until(rates: pd.DataFrame, end: int) -> pd.DataFrame:
    """The rates of rounds, the last one drawn until all answers are sampled."""
    return pd.concat([rates, rates.iloc[-1:].set_axis([end])])


def recorded_run(run: pd.DataFrame, healthy: pd.DataFrame, column: str, label: str) -> Figure:
    """Left: reward and exact rate of a recorded run. Right: another of its curves.

    The healthy run is grey. The frames are CSV files of ``benchmarks/variants.py``, a row per step.

    Parameters
    ----------
    run, healthy : DataFrame
    column : str
        The curve on the right: ``kl``, ``entropy`` or ``explained_variance``.
    label : str
        What to call it, with its unit.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4), layout="constrained")
    for name, colour, style in (("reward", REWARD, "-"), ("exact", POLICY, "--")):
        left.plot(healthy["step"], healthy[name], style, color=REFERENCE, label=f"healthy: {name}")
        left.plot(run["step"], run[name], style, color=colour, label=f"this run: {name}")
    left.set(title="reward and exact answers of a batch", ylabel="reward, or share of answers")
    left.legend(loc="best", fontsize=10)
    colour = {"kl": KL, "entropy": POLICY, "explained_variance": VALUE}[column]
    right.plot(healthy["step"], healthy[column], color=REFERENCE, label="healthy")
    right.plot(run["step"], run[column], color=colour, label="this run")
    right.legend(loc="best", fontsize=10)
    right.set(title=label.partition(" (")[0], ylabel=label)
    for ax in (left, right):
        ax.set_xlabel("PPO step")
    return localised(figure)


def over_kl(runs: dict[str, pd.DataFrame]) -> Figure:
    """Reward, and exact answers, of a batch over how far the policy has moved; a panel per run."""
    figure, axes = plt.subplots(1, len(runs), figsize=(12, 4), layout="constrained", sharey=True)
    for ax, (title, run) in zip(axes, runs.items(), strict=True):
        by_kl = run.dropna(subset=["reward"]).sort_values("kl")
        ax.plot(by_kl["kl"], by_kl["reward"], "o", color=REWARD, label="reward it was trained on")
        ax.plot(by_kl["kl"], by_kl["exact"], "s", color=POLICY, label="exact answers (share)")
        ax.set(title=title, xlabel="KL to the reference\n(nats per response)")
        ax.tick_params(labelleft=True)
    axes[0].set(ylabel="mean of a batch", ylim=(0, None))
    axes[0].legend(loc="lower right", fontsize=10)
    return localised(figure)


# A policy that knows three answers: their probabilities and rewards.
_THREE, _REWARDS = np.array([0.5, 0.3, 0.2]), np.array([1.0, 0.3, 0.3])


def baseline(spread: Callable[[float], float], marked: dict[str, float]) -> Figure:
    """Left: three answers after one update on a wrong one. Right: spread over the baseline.

    Parameters
    ----------
    spread : callable
        ``baseline -> spread`` of the gradient of single answers.
    marked : dict
        Baselines to mark, by name.
    """
    figure, (bars, curve) = plt.subplots(1, 2, figsize=(13, 4.2), layout="constrained")
    mean = float(_THREE @ _REWARDS)
    rows = (("before", None, REFERENCE), ("no baseline", 0.0, REWARD), ("mean", mean, POLICY))
    for place, (name, b, colour) in enumerate(rows):
        push = 0.0 if b is None else (_REWARDS[1] - b) * (np.eye(3)[1] - _THREE)
        after = _THREE * np.exp(2 * push)
        at = np.arange(3) + 0.27 * (place - 1)
        bars.bar(at, after / after.sum(), 0.25, color=colour, label=name)
    bars.set_xticks(range(3), [f"{'ABC'[i]}: {r:.1f}" for i, r in enumerate(_REWARDS)])
    bars.set(title="one update on B", xlabel="answer: reward", ylabel="probability", ylim=(0, 0.7))
    bars.legend()
    low, high = min(marked.values()) - 0.5, max(marked.values()) + 0.5
    grid = np.linspace(low, high, 41)
    curve.plot(grid, [spread(b) for b in grid], color=REFERENCE)
    for (name, b), marker in zip(marked.items(), "osD^", strict=False):
        curve.plot(b, spread(b), marker, color=POLICY, markersize=10, label=name)
    curve.set(title="spread of the gradient", xlabel="baseline", ylabel="root mean square length")
    curve.set_ylim(0, None)
    curve.legend()
    return localised(figure)


def advantage_tokens(tokens: Sequence[str], advantages: Sequence[float]) -> str:
    """HTML of an answer: blue tokens are pushed up, orange-red ones down, each with its advantage.

    Parameters
    ----------
    tokens : sequence of str
    advantages : sequence of float
        One per token; 2 and more have the full colour.
    """
    spans = []
    for token, advantage in zip(tokens, advantages, strict=True):
        alpha = min(abs(advantage) / 2, 1) * 0.8
        colour = f"rgba(0,114,178,{alpha:.2f})" if advantage > 0 else f"rgba(213,94,0,{alpha:.2f})"
        shown = html.escape(token.replace("\n", "↵").replace("▁", "·"))
        spans.append(
            f'<span style="background:white;margin:1px;display:inline-block;text-align:center">'
            f'<span style="background:{colour};color:black;padding:1px 3px;display:block;'
            f'font-family:monospace">{shown}</span>'
            f'<small style="color:black">{advantage:+.1f}</small></span>'
        )
    return "<div>" + "".join(spans) + "</div>"
