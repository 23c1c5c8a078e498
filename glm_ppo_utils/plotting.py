"""Every figure of the series.

One colour per role, the same in all notebooks, from Okabe and Ito's palette, which readers with
any colour vision can tell apart; sizes are chosen for a projector.
"""

import html
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


# What an exception says, in the words of the table's legend. The first fitting one counts.
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
_OK, _NOT_REACHED = "#F2F2F2", "#FFFFFF"


def version_matrix(rows: Sequence[dict]) -> Figure:
    """Versions of transformers across, steps of the probe down, one letter per kind of failure.

    Parameters
    ----------
    rows
        Of ``glm_ppo_utils.chatglm.version_lab.read_matrix()``.
    """
    versions = list(dict.fromkeys(row["transformers"] for row in rows))
    chatglm = [row for row in rows if row["model"] == "chatglm"]
    steps = list(dict.fromkeys(row["step"] for row in chatglm))
    controls = list(
        dict.fromkeys(row["model"] for row in rows if row["model"] not in ("", "chatglm"))
    )
    lines = [*steps, *(f"{name}: all steps" for name in controls)]
    figure, ax = plt.subplots(figsize=(13, 0.33 * len(lines) + 2.5), layout="constrained")
    cells = [(row["transformers"], row["step"], row) for row in chatglm]
    cells += [
        (v, f"{name}: all steps", _worst(rows, v, name)) for v in versions for name in controls
    ]
    legend = {}
    for version, line, row in cells:
        letter, label, colour = _outcome(row)
        legend[label] = (letter, colour)
        x, y = versions.index(version), lines.index(line)
        ax.add_patch(plt.Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colour, edgecolor="white"))
        ink = "white" if letter in ("D", "x") else "black"
        ax.text(x, y, letter, ha="center", va="center", fontsize=8, color=ink)
    ax.set(xlim=(-0.5, len(versions) - 0.5), ylim=(len(lines) - 0.5, -0.5))
    ax.set_xticks(range(len(versions)), versions, rotation=60, ha="right", fontsize=9)
    ax.set_yticks(range(len(lines)), lines, fontsize=9)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.set(xlabel="version of transformers", ylabel="step of the probe")
    ax.set_title(
        f"ChatGLM3 under {len(versions)} versions of transformers, measured {rows[0]['date']}"
    )
    handles = [
        plt.Rectangle(
            (0, 0), 1, 1, facecolor=colour, edgecolor="#999999", label=f"{letter}  {label}"
        )
        for label, (letter, colour) in sorted(legend.items(), key=lambda item: item[1])
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=9)
    return figure


def _outcome(row: dict) -> tuple[str, str, str]:
    """Letter, label and colour of a row."""
    if row["result"] == "ok":
        return "", "works", _OK
    if row["result"] == "not reached":
        return "–", "not reached", _NOT_REACHED
    return next(found[1:] for found in _FAILURES if found[0] in row["exception"])


def _worst(rows: Sequence[dict], version: str, model: str) -> dict:
    """The first row of a model that is not ok, else any."""
    own = [row for row in rows if (row["transformers"], row["model"]) == (version, model)]
    return next(
        (row for row in own if row["result"] != "ok"), own[0] if own else {"result": "not reached"}
    )


def value_layouts(fixed: Sequence[float], transposed: Sequence[float]) -> Figure:
    """Value loss on square batches with values batch-first, and with values transposed."""
    figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
    ax.plot(transposed, color=REWARD, linestyle="--", label="as they come: [sequence, batch]")
    ax.plot(fixed, color=VALUE, label="batch-first")
    ax.set(xlabel="training step", ylabel="value loss (squared reward)", ylim=(0, None))
    ax.set_title("A batch as long as it is wide: nothing raises, nothing is learnt")
    ax.legend()
    return figure


def token_table(tokens: Sequence[str], carries_loss: Sequence[bool]) -> str:
    """HTML of a token sequence: prompt on grey, answer on blue, command tokens in bold."""
    spans = []
    for token, answer in zip(tokens, carries_loss, strict=True):
        colour = "#BFDDF0" if answer else "#E3E3E3"
        weight = "bold" if token.startswith(("<|", "[g", "sop", "</s>")) else "normal"
        shown = html.escape(token.replace("\n", "↵").replace("▁", "·"))
        spans.append(
            f'<span style="background:{colour};color:black;font-weight:{weight};'
            f'padding:1px 3px;margin:1px;display:inline-block;font-family:monospace">{shown}</span>'
        )
    return "<div>" + "".join(spans) + "</div>"
