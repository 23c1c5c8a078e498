"""Notebook 05: the curves of PPO, and PPO beside its alternatives."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from .style import KL, POLICY, REFERENCE, REWARD, VALUE, by_step


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
    return figure


def learning(curve: pd.DataFrame) -> Figure:
    """Held-out exact rate at each PPO step: the mean of all seeds, and their range.

    `curve` has columns ``step``, ``seed``, ``greedy_exact`` and ``sampled_exact``.
    """
    figure, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for name, label, style in (
        ("greedy_exact", "greedy", "s--"),
        ("sampled_exact", "sampled, temperature 1", "o-"),
    ):
        rates = curve.groupby("step")[name]
        ax.plot(rates.mean(), style, color=POLICY, label=label)
        ax.fill_between(rates.min().index, rates.min(), rates.max(), color=POLICY, alpha=0.15)
    ax.set(xlabel="PPO step (0 is the policy after SFT)", ylabel="exact answers (share)")
    seeds = curve["seed"].nunique()
    ax.set_title(f"held-out problems solved exactly: mean and range of {seeds} seeds")
    ax.set_ylim(0, 1)
    ax.legend(loc="lower right")
    return figure


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
    return figure


def over_kl(runs: dict[str, pd.DataFrame]) -> Figure:
    """Reward, and exact answers, of a batch over how far the policy has moved; a panel per run."""
    figure, axes = plt.subplots(1, len(runs), figsize=(12, 4), layout="constrained", sharey=True)
    for ax, (title, run) in zip(axes, runs.items(), strict=True):
        by_kl = run.dropna(subset=["reward"]).sort_values("kl")
        ax.plot(by_kl["kl"], by_kl["reward"], "o", color=REWARD, label="reward it was trained on")
        ax.plot(by_kl["kl"], by_kl["exact"], "s", color=POLICY, label="exact answers (share)")
        ax.set(title=title, xlabel="KL to the reference (nats per response)")
    axes[0].set(ylabel="mean of a batch", ylim=(0, None))
    axes[0].legend(loc="lower right", fontsize=10)
    return figure


def alternatives(table: pd.DataFrame, best: pd.DataFrame) -> Figure:
    """SFT, rejection sampling and PPO as bars with a dot for each seed; best-of-n against n.

    `table` has a row per seed with columns such as ``ppo_greedy_exact``; `best` has ``n``,
    ``exact`` and ``seed``.
    """
    figure, (bars, curve) = plt.subplots(1, 2, figsize=(13, 4.5), layout="constrained", sharey=True)
    names = {"sft": "SFT", "rejection": "rejection\nsampling", "ppo": "PPO"}
    for offset, way, colour in ((-0.2, "sampled", POLICY), (0.2, "greedy", REFERENCE)):
        rates = [table[f"{name}_{way}_exact"] for name in names]
        places = [k + offset for k in range(len(names))]
        bars.bar(places, [r.mean() for r in rates], 0.36, color=colour, alpha=0.6, label=way)
        for place, rate in zip(places, rates, strict=True):
            bars.plot([place] * len(rate), rate, "o", color=colour, markeredgecolor="black")
    bars.set_xticks(range(len(names)), list(names.values()))
    bars.set(title="one answer to each problem", ylabel="exact answers (share)", ylim=(0, 1.03))
    bars.legend(loc="lower left", frameon=True, framealpha=0.9)
    by_n = best.groupby("n")["exact"]
    curve.plot(by_n.mean(), color=REFERENCE, label="SFT policy, best of n")
    curve.fill_between(by_n.min().index, by_n.min(), by_n.max(), color=REFERENCE, alpha=0.2)
    ppo = table["ppo_sampled_exact"].mean()
    curve.axhline(ppo, color=POLICY, linestyle="--", label="PPO, one sample")
    curve.set(title="n answers, and a grader to choose", xlabel="n (samples per problem)")
    curve.set_xscale("log", base=2)
    curve.xaxis.set_major_formatter("{x:.0f}")
    curve.legend(loc="lower right")
    return figure
