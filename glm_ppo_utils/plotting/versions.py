"""Notebook 04: which version of transformers fails where, and what transposed values do."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .style import REWARD, VALUE
from .words import localised

# Part of an exception's text, then letter, legend and colour. The first that matches counts.
_FAILURES = (
    ("too many values to unpack", "A", "too many values to unpack", "#D55E00"),
    ("no attribute 'shape'", "A", "too many values to unpack", "#D55E00"),
    ("standardize_cache_format", "B", "no standardize_cache_format", "#E69F00"),
    ("_extract_past_from_model_output", "C", "no _extract_past_...", "#CC79A7"),
    ("num_hidden_layers", "D", "no num_hidden_layers", "#0072B2"),
    ("padding_side", "E", "_pad() has no padding_side", "#56B4E9"),
    ("language model head", "H", "the head: none, moved or shared", "#999999"),
    ("shared tensors", "H", "the head: none, moved or shared", "#999999"),
    ("output_layer", "H", "the head: none, moved or shared", "#999999"),
    ("", "x", "another error", "#4D4D4D"),
)
_OK, _NOT_REACHED = ("", "works", "#F2F2F2"), ("–", "not reached", "#FFFFFF")


def version_matrix(rows: Sequence[dict]) -> Figure:
    """Versions of transformers across, steps of the probe down, one letter per kind of failure.

    Parameters
    ----------
    rows
        As ``glm_ppo_utils.labs.versions.read_matrix()`` returns them.
    """
    versions = list(dict.fromkeys(row["transformers"] for row in rows))
    chatglm = [row for row in rows if row["model"] == "chatglm"]
    cells = [(row["transformers"], row["step"], row) for row in chatglm]
    others = dict.fromkeys(row["model"] for row in rows if row["model"] not in ("", "chatglm"))
    cells += [(v, f"{name}: all steps", _worst(rows, v, name)) for v in versions for name in others]
    lines = list(dict.fromkeys(line for _, line, _ in cells))
    figure, ax = plt.subplots(figsize=(7.5, 0.3 * len(lines) + 3.6), layout="constrained")
    legend = {}
    for version, line, row in cells:
        letter, label, colour = _outcome(row)
        legend[label] = (letter, colour)
        x, y = versions.index(version), lines.index(line)
        ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colour, edgecolor="white"))
        ink = "white" if letter in ("D", "x") else "black"
        ax.text(x, y, letter, ha="center", va="center", fontsize=12, color=ink)
    ax.set(xlim=(-0.5, len(versions) - 0.5), ylim=(len(lines) - 0.5, -0.5))
    ax.set_xticks(range(len(versions)), versions, rotation=90)
    ax.set_yticks(range(len(lines)), lines)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.set(xlabel="version of transformers", ylabel="step of the probe")
    date = rows[0]["date"]
    title = f"ChatGLM3 under {len(versions)} versions of transformers, measured {date}"
    figure.suptitle(title, fontsize=13)
    handles = [
        Rectangle((0, 0), 1, 1, fc=colour, ec="#999999", label=f"{letter}  {label}")
        for label, (letter, colour) in sorted(legend.items(), key=lambda item: item[1])
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return localised(figure)


def _outcome(row: dict) -> tuple[str, str, str]:
    """Letter, label and colour of a row."""
    if row["result"] in ("ok", "not reached"):
        return _OK if row["result"] == "ok" else _NOT_REACHED
    return next(found[1:] for found in _FAILURES if found[0] in row["exception"])


def _worst(rows: Sequence[dict], version: str, model: str) -> dict:
    """The first step that failed for a model, or its first step if all worked."""
    own = [row for row in rows if (row["transformers"], row["model"]) == (version, model)]
    failed = [row for row in own if row["result"] != "ok"]
    return (failed or own or [{"result": "not reached"}])[0]


def value_layouts(fixed: Sequence[float], transposed: Sequence[float]) -> Figure:
    """Value loss on square batches with values batch-first, and with values transposed."""
    figure, ax = plt.subplots(figsize=(7.4, 4), layout="constrained")
    ax.plot(transposed, color=REWARD, linestyle="--", label="as they come: [sequence, batch]")
    ax.plot(fixed, color=VALUE, label="batch-first")
    ax.set(xlabel="training step", ylabel="value loss (squared reward)", ylim=(0, None))
    ax.set_title("A batch as long as it is wide: nothing raises, nothing is learnt")
    ax.legend()
    return localised(figure)
