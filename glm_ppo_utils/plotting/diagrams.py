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
        "1  supervised fine-tuning",
        ("demonstrations\nproblem → answer", "white"),
        ("imitate: loss on\nanswer tokens", "white"),
        ("SFT policy,\nkept as\nreference model", REFERENCE),
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
        ("minus value\nhead's guess:\nupdate", VALUE),
    ),
)


def rlhf_steps() -> Figure:
    """The three steps of RLHF as boxes and arrows, coloured by role as in every later figure."""
    figure, ax = _canvas((-0.45, 2.65), (0.3, 4.3))
    for y, (title, *boxes) in zip((3.6, 2.3, 1), _STEPS, strict=True):
        ax.text(-0.4, y + 0.48, title, ha="left", va="center", fontsize=15, fontweight="bold")
        for x, (text, colour) in enumerate(boxes):
            _box(ax, x, y, text, colour)
        _arrow(ax, (0.4, y), (0.6, y))
        _arrow(ax, (1.4, y), (1.6, y))
    around = ((2.4, 3.6), (2.55, 3.6), (2.55, 0.4), (-0.15, 0.4), (-0.15, 0.7))
    _arrow(ax, *around, text="starts from, stays near")
    _arrow(ax, (2, 2), (2, 1.65), (1, 1.65), (1, 1.3), text="scores each answer")
    _arrow(ax, (1.85, 0.7), (1.85, 0.57), (0.15, 0.57), (0.15, 0.7), text="better policy")
    return localised(figure)


def swap() -> Figure:
    """The reward model goes out, the evaluator comes in; policy and PPO stay."""
    figure, ax = _canvas((-0.45, 3.75), (0.1, 2.85))
    _box(ax, 0, 1.5, "policy writes\nan answer", POLICY)
    _box(ax, 1.1, 0.9, "a reference\nLP for each\nproblem", "white")
    _box(ax, 2.1, 0.9, "evaluator:\nparse, solve,\ncompare", REWARD)
    _box(ax, 3.3, 1.5, "PPO step", "white")
    _box(ax, 1.1, 2.1, "people\ncompare\nmany pairs", "white", out=True)
    _box(ax, 2.1, 2.1, "reward model\n(trained)", "white", out=True)
    _arrow(ax, (1.5, 2.1), (1.7, 2.1), out=True)
    _arrow(ax, (0, 1.8), (0, 2.65), (2.1, 2.65), (2.1, 2.4), out=True)
    _arrow(ax, (2.5, 2.1), (3.15, 2.1), (3.15, 1.8), out=True)
    _arrow(ax, (1.5, 0.9), (1.7, 0.9))
    _arrow(ax, (0.4, 1.5), (1.95, 1.5), (1.95, 1.2), text="answer")
    _arrow(ax, (2.5, 0.9), (3.15, 0.9), (3.15, 1.2), text="score,\n0 to 1")
    _arrow(ax, (3.45, 1.2), (3.45, 0.3), (0, 0.3), (0, 1.2), text="better policy")
    for low, high in ((1.78, 2.42), (2.42, 1.78)):
        ax.plot([1.66, 2.54], [low, high], color=REWARD, linewidth=5, alpha=0.7)
    return localised(figure)


def ppo_step() -> Figure:
    """One PPO step: what is computed from what, and what is updated at its end."""
    figure, ax = _canvas((-0.45, 3.75), (0.15, 3.4))
    _box(ax, 0, 2, "policy writes\nan answer", POLICY)
    _box(ax, 1.15, 3, "judge (our\nevaluator)\nscores it", REWARD)
    _box(ax, 1.15, 2, "reference\nmodel: KL of\neach token", REFERENCE)
    _box(ax, 1.15, 1, "baseline:\nvalue head or\ngroup mean", VALUE)
    _box(ax, 2.25, 2.5, "token reward:\n−β · KL, plus\nscore at end", KL)
    _box(ax, 3.3, 2, "advantage:\nabove the\nbaseline?", "white")
    _box(ax, 2.25, 1, "clipped policy\nloss and\nvalue loss", "white")
    for y in (1, 2, 3):
        _arrow(ax, (0.4, 2), (0.57, 2), (0.57, y), (0.75, y))
    for y in (2, 3):
        _arrow(ax, (1.55, y), (1.68, y), (1.68, 2.5), (1.85, 2.5))
    _arrow(ax, (2.65, 2.5), (3.3, 2.5), (3.3, 2.3))
    _arrow(ax, (1.15, 1.3), (1.15, 1.5), (2.78, 1.5), (2.78, 1.9), (2.9, 1.9))
    _arrow(ax, (3.3, 1.7), (3.3, 1), (2.65, 1))
    _arrow(ax, (2.25, 0.7), (2.25, 0.3), (0, 0.3), (0, 1.7), text="gradient step; next batch")
    return localised(figure)


def grading() -> Figure:
    """How the evaluator decides what an answer earns."""
    figure, ax = _canvas((-0.45, 2.45), (0.6, 3.95))
    _box(ax, 0, 3.6, "answer", POLICY)
    _box(ax, 1, 3.6, "a legal LP?", "white")
    _box(ax, 2, 3.6, "canonical form:\nscaled, no repeats,\nno helper variables", "white")
    _box(ax, 0, 2.3, "reward 0", REWARD)
    _box(ax, 1, 2.3, "same optimum, and\nproved to be the\nsame program?", "white")
    _box(ax, 2, 2.3, "equal to the\nreference's?", "white")
    _box(ax, 1, 1, "0.05 + similarity,\nat most 0.6", REWARD)
    _box(ax, 2, 1, "exact: reward 1", EXACT)
    _arrow(ax, (0.4, 3.6), (0.6, 3.6))
    _arrow(ax, (1.4, 3.6), (1.6, 3.6), text="yes")
    _arrow(ax, (1, 3.3), (1, 2.95), (0, 2.95), (0, 2.6), text="no")
    _arrow(ax, (2, 3.3), (2, 2.6))
    _arrow(ax, (1.6, 2.3), (1.4, 2.3), text="no")
    _arrow(ax, (2.1, 2), (2.1, 1.3), text="yes")
    _arrow(ax, (1.2, 2), (1.2, 1.65), (1.85, 1.65), (1.85, 1.3), text="yes")
    _arrow(ax, (0.9, 2), (0.9, 1.3), text="no")
    return localised(figure)


def replay() -> Figure:
    """What replay adds to a PPO step."""
    figure, ax = _canvas((-0.45, 2.75), (0.6, 2.75))
    _box(ax, 0, 2.3, "PPO step: sample,\ngrade, update", POLICY)
    _box(ax, 1.15, 2.3, "store: answer and\nits surprise,\n−log p(answer)", EXACT)
    _box(ax, 2.3, 2.3, "draw a few: the\nmore surprising,\nthe more often", "white")
    _box(ax, 1.15, 1, "supervised\nupdate on these\nanswers", "white")
    _arrow(ax, (0.4, 2.3), (0.75, 2.3), text="exact\nones")
    _arrow(ax, (1.55, 2.3), (1.9, 2.3))
    _arrow(ax, (2.3, 2), (2.3, 1), (1.55, 1))
    _arrow(ax, (1.15, 1.3), (1.15, 2), text="new surprise")
    _arrow(ax, (0.75, 1), (0, 1), (0, 2), text="better policy")
    return localised(figure)


def _canvas(x: tuple[float, float], y: tuple[float, float]) -> tuple[Figure, Axes]:
    """Axes for boxes and arrows; narrow, so that the words can be read on a phone too."""
    figure, ax = plt.subplots(figsize=(7.5, 1.45 * (y[1] - y[0])), layout="constrained")
    ax.set(xlim=x, ylim=y)
    ax.axis("off")
    return figure, ax


def _box(ax: Axes, x: float, y: float, text: str, colour: str, out: bool = False) -> None:
    """A box around (x, y); one that is `out` is pale and has a broken edge."""
    edge: dict[str, Any] = dict(ec=REFERENCE, linestyle="--") if out else dict(ec="black")
    ax.add_patch(Rectangle((x - 0.4, y - 0.3), 0.8, 0.6, facecolor=colour, linewidth=1.5, **edge))
    ink = REFERENCE if out else "white" if colour == POLICY else "black"  # by contrast
    ax.text(x, y, text, ha="center", va="center", fontsize=13, color=ink)


def _arrow(ax: Axes, *points: tuple[float, float], text: str = "", out: bool = False) -> None:
    """A line through `points` that ends in an arrow head, with `text` on its longest part."""
    line: dict[str, Any] = dict(color=REFERENCE, linestyle="--") if out else dict(color="black")
    ax.plot(*zip(*points[:-1], strict=True), linewidth=1.5, **line)
    head = dict(arrowstyle="-|>", linewidth=1.5, shrinkA=0, shrinkB=0, color=line["color"])
    ax.annotate("", points[-1], points[-2], arrowprops=head)
    if text:
        (x0, y0), (x1, y1) = max(pairwise(points), key=lambda p: abs(p[1][0] - p[0][0]))
        back = dict(facecolor="white", edgecolor="none", pad=1)
        middle = ((x0 + x1) / 2, (y0 + y1) / 2)
        ax.text(*middle, text, ha="center", va="center", fontsize=12, bbox=back)
