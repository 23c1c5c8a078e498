"""Notebook 05: what a baseline does to PPO's update, and an answer with its tokens' advantages."""

import html
from collections.abc import Callable, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from .style import POLICY, REFERENCE, REWARD
from .words import localised

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
