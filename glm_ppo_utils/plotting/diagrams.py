"""The diagrams: boxes, coloured by role as in every other figure, and arrows."""

from itertools import pairwise
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .style import EXACT, KL, POLICY, REFERENCE, REWARD, VALUE
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


def grading() -> Figure:
    """How the evaluator decides what an answer earns."""
    figure, ax = _canvas((13, 4.2), (-0.5, 4.9), (0.55, 3))
    for x, y, text, colour in (
        (0, 2.5, "answer", POLICY),
        (1.1, 2.5, "a legal LP?", "white"),
        (2.2, 2.5, "canonical form:\nscaled, no repeats,\nno helper variables", "white"),
        (3.3, 2.5, "equal to the\nreference's?", "white"),
        (4.4, 2.5, "same optimum, and\nproved to be the\nsame program?", "white"),
        (1.1, 1, "reward 0", REWARD),
        (3.3, 1, "exact: reward 1", REWARD),
        (4.4, 1, "0.05 + similarity,\nat most 0.6", REWARD),
    ):
        _box(ax, x, y, text, colour)
    for x, text in ((0, ""), (1.1, "yes"), (2.2, ""), (3.3, "no")):
        _arrow(ax, (x + 0.4, 2.5), (x + 0.7, 2.5), text=text)
    for x, text in ((1.1, "no"), (3.2, "yes"), (4.5, "no")):
        _arrow(ax, (x, 2.2), (x, 1.3), text=text)
    _arrow(ax, (4.2, 2.2), (4.2, 1.75), (3.5, 1.75), (3.5, 1.3), text="yes")
    return localised(figure)


def replay() -> Figure:
    """What replay adds to a PPO step."""
    figure, ax = _canvas((13, 4), (-0.5, 4.5), (0.55, 2.85))
    for x, y, text, colour in (
        (0, 2.4, "PPO step: sample,\ngrade, update", POLICY),
        (2, 2.4, "store: each answer\nwith its surprise,\n−log p(answer)", EXACT),
        (4, 2.4, "draw a few: the more\nsurprising, the\nmore often", "white"),
        (2, 1, "supervised update\non these answers", "white"),
    ):
        _box(ax, x, y, text, colour)
    _arrow(ax, (0.4, 2.4), (1.6, 2.4), text="exact ones")
    _arrow(ax, (2.4, 2.4), (3.6, 2.4))
    _arrow(ax, (4, 2.1), (4, 1), (2.4, 1))
    _arrow(ax, (2, 1.3), (2, 2.1), text="new surprise")
    _arrow(ax, (1.6, 1), (0, 1), (0, 2.1), text="better policy")
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
    ink = REFERENCE if out else "black" if colour in ("white", KL, EXACT) else "white"
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
