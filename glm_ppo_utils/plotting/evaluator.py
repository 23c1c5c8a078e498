"""Notebook 03: what an answer earns, what other judges miss, and the graphs of two models."""

from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from glm_ppo_utils.evaluator import LinearProgram, Score
from glm_ppo_utils.evaluator.differences import Comparison, Difference

from .style import EXACT, POLICY, REFERENCE, REWARD
from .words import localised


def credit(curve: Callable[..., Any], by_edits: pd.DataFrame, edge: float) -> Figure:
    """Left: reward against similarity. Right: mean credit against the number of mistakes.

    Parameters
    ----------
    curve : callable
        ``(similarity, agrees) -> reward`` of an answer that is not exact.
    by_edits
        Index: number of mistakes. Two columns: another way to give credit, then the evaluator's.
    edge : float
        The highest reward of an answer that is not exact.
    """
    figure, axes = plt.subplots(1, 2, figsize=(13, 4.5), layout="constrained")
    share = pd.Series([i / 100 for i in range(101)])
    axes[0].plot(share, curve(share, True), color=REWARD, label="optimum agrees")
    axes[0].plot(share, curve(share, False), "--", color=REWARD, label="optimum differs")
    axes[0].axhline(edge, color="black", linewidth=1, linestyle=":")
    axes[0].plot(1, 1, "*", color=EXACT, markersize=18, label="exact")
    axes[0].set(xlabel="similarity to the reference", ylabel="reward", ylim=(0, 1.08))
    axes[0].set_title("What an answer earns")
    styles = zip(by_edits.columns, ("s--", "o-"), (REFERENCE, REWARD), strict=True)
    for name, style, colour in styles:
        axes[1].plot(by_edits.index, by_edits[name], style, color=colour, label=name, markersize=8)
    axes[1].set(xlabel="mistakes in the answer", ylabel="mean credit", ylim=(0, 1.08))
    axes[1].set_xticks(by_edits.index)
    axes[1].set_title("What correcting the last mistake pays")
    for ax in axes:
        ax.legend()
    return localised(figure)


def blind_spots(marks: pd.DataFrame) -> Figure:
    """Heat map of the mean mark of a wrong model: kinds of mistake down, judges across."""
    figure, ax = plt.subplots(figsize=(7.4, 4.2), layout="constrained")
    image = ax.imshow(marks, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(marks.to_numpy()):
        ink = "white" if value > 0.55 else "black"
        ax.text(j, i, f"{value:.2f}", ha="center", va="center", color=ink)
    ax.set_xticks(range(marks.shape[1]), marks.columns)
    ax.set_yticks(range(len(marks)), marks.index)
    ax.set_title("mean mark of a wrong model (1: full marks)")
    ax.grid(False)
    ax.spines[:].set_visible(False)
    figure.colorbar(image, ax=ax)
    return localised(figure)


def score_distribution(scores: Sequence[Score]) -> Figure:
    """Rewards of many answers; exact ones and those that are no LP have bars of their own."""
    groups = {
        "not an LP": (REFERENCE, [s.reward for s in scores if not s.parsed]),
        "an LP, not exact": (REWARD, [s.reward for s in scores if s.parsed and not s.exact]),
        "exact": (EXACT, [s.reward for s in scores if s.exact]),
    }
    figure, ax = plt.subplots(figsize=(7.4, 4.2), layout="constrained")
    ax.hist(
        [rewards for _, rewards in groups.values()],
        bins=[i / 40 - 0.0125 for i in range(42)],
        stacked=True,
        color=[colour for colour, _ in groups.values()],
        label=[f"{name}: {len(rewards)}" for name, (_, rewards) in groups.items()],
    )
    ax.axvspan(0.6125, 0.9875, color="black", alpha=0.05)
    ax.text(0.8, 0.5, "nothing\nlives here", transform=ax.get_xaxis_transform(), ha="center")
    ax.set(xlabel="reward", ylabel="answers", xlim=(-0.02, 1.02))
    ax.set_title(f"Rewards of {len(scores)} sampled answers of the SFT policy")
    ax.legend(loc="upper left")
    return localised(figure)


def model_graphs(comparison: Comparison) -> Figure:
    """An answer's graph beside its reference's, with the differences in red and dashed.

    Circles are variables, boxes the objective and the constraints, lines their coefficients.
    Vertices that are matched with each other stand at the same height.
    """
    p, q, matching = comparison.candidate, comparison.reference, comparison.matching
    columns, rows = matching.columns.tolist(), matching.rows.tolist()
    tall = max(len(columns), len(rows) + 1)
    figure, axes = plt.subplots(1, 2, figsize=(14, 1.7 * tall), layout="constrained")
    own = marked_parts(comparison.differences, of_reference=False)
    _model_graph(axes[0], p, list(range(len(columns))), list(range(len(rows))), own)
    own = marked_parts(comparison.differences, of_reference=True)
    _model_graph(axes[1], q, columns, rows, own)
    edits = f"{matching.distance} edit{'s' * (matching.distance != 1)} apart"
    kinds = "; ".join(d.kind for d in comparison.differences) or "equal"
    axes[0].set_title(f"the answer\n{edits}: {kinds}")
    axes[1].set_title("the reference\n")
    return localised(figure)


def marked_parts(differences: Sequence[Difference], of_reference: bool) -> set[tuple]:
    """The vertices and edges of one of the two programs that `differences` are about.

    Returns
    -------
    set
        Vertices ``("variable", j)`` and ``("row", i)``, edges ``(j, i)`` from variable j to row i,
        and ``("all of", i)`` for every edge of row i. The objective is row -1.
    """
    marked: set[tuple] = set()
    for d in differences:
        variable = d.reference_variable if of_reference else d.variable
        row = d.reference_row if of_reference else d.row
        nowhere = d.variable is None and d.reference_variable is None
        if d.kind == "objective sense" or (d.kind == "objective" and nowhere):
            marked.add(("row", -1))
        elif d.kind in ("coefficient", "objective") and variable is not None:
            marked.add((variable, row if d.kind == "coefficient" else -1))
        elif d.kind in ("constraint", "sense", "right-hand side") and row is not None:
            marked |= {("row", row)} | ({("all of", row)} if d.kind == "constraint" else set())
        elif d.kind in ("variable", "bound", "integrality") and variable is not None:
            marked.add(("variable", variable))
    return marked


def _model_graph(
    ax: Axes, program: LinearProgram, columns: list[int], rows: list[int], marked: set[tuple]
) -> None:
    """One program; `columns` and `rows` say which vertex stands at each height, from the top."""
    tall = max(len(columns), len(rows) + 1)
    top = {"variable": (tall + len(columns)) / 2, "row": (tall + len(rows) + 1) / 2}
    heights = {("variable", j): top["variable"] - place for place, j in enumerate(columns)}
    heights |= {("row", i): top["row"] - place for place, i in enumerate([-1, *rows])}
    share = 1 / (len(rows) + 2)  # how far along its line a label stands, so that no two overlap
    for i, line in enumerate([program.objective, *program.matrix], -1):
        for j in np.flatnonzero(line).tolist():
            y, z = heights["variable", j], heights["row", i]
            wrong = (j, i) in marked or ("all of", i) in marked
            width, style = (3, "--") if wrong else (1.2, "-")
            colour = REWARD if wrong else REFERENCE
            ax.plot([0, 1], [y, z], color=colour, linewidth=width, linestyle=style, zorder=1)
            ax.text(
                share,
                y + share * (z - y),
                f"{line[j]:g}",
                ha="center",
                va="center",
                rotation=np.degrees(np.arctan2(z - y, 1)),  # along its line
                transform_rotates_text=True,
                color=REWARD if wrong else "black",
                fontweight="bold" if wrong else "normal",
                bbox=dict(facecolor="white", edgecolor="none", pad=4 if wrong else 1),
            )
    for j in range(len(program.names)):
        label = _variable_label(program, j)
        _vertex(ax, 0, heights["variable", j], label, ("variable", j) in marked)
    for i in range(-1, len(program.matrix)):
        _vertex(ax, 1, heights["row", i], _row_label(program, i), ("row", i) in marked)
    ax.set(xlim=(-0.5, 1.35), ylim=(0.2, tall + 0.6))
    ax.axis("off")


def _vertex(ax: Axes, x: int, y: float, label: str, wrong: bool) -> None:
    """A circle and its label on the left (x = 0), or a box and its label on the right (x = 1)."""
    marker, face = ("s", "white") if x else ("o", POLICY)
    edge, width, weight = (REWARD, 4.0, "bold") if wrong else ("black", 1.5, "normal")
    look: dict[str, Any] = dict(markeredgecolor=edge, markeredgewidth=width, markersize=18)
    ax.plot(x, y, marker, color=face, zorder=2, **look)
    at, align = (1.06, "left") if x else (-0.06, "right")
    ax.text(at, y, label, ha=align, va="center", color=edge, fontweight=weight)


def _variable_label(program: LinearProgram, j: int) -> str:
    """Name, integrality and bounds other than the default."""
    low, high = program.lower[j], program.upper[j]
    lines = [program.names[j]]
    if program.integer[j]:
        lines.append("integer")
    if low != 0:
        lines.append(f"≥ {low:g}" if low > -float("inf") else "free below")
    if high < float("inf"):
        lines.append(f"≤ {high:g}")
    return "\n".join(lines)


def _row_label(program: LinearProgram, i: int) -> str:
    if i < 0:
        return "maximise" if program.maximize else "minimise"
    low, high = program.row_lower[i], program.row_upper[i]
    if low == high:
        return f"= {high:g}"
    return f"≤ {high:g}" if low == -float("inf") else f"≥ {low:g}"
