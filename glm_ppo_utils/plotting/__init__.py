"""Every figure of the series.

One colour per role, the same in all notebooks, from Okabe and Ito's palette, which readers with
any colour vision can tell apart; sizes are chosen for a projector.
"""

import html
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure

POLICY = "#0072B2"
REFERENCE = "#7F7F7F"
REWARD = "#D55E00"
KL = "#CC79A7"
VALUE = "#009E73"
EXACT = "#E69F00"

# Chinese names take their characters from this font, wherever a figure is drawn.
CHINESE_FONT = Path(__file__).parent / "fonts" / "NotoSansCJKsc-common.otf"
font_manager.fontManager.addfont(CHINESE_FONT)

plt.rcParams.update(
    {
        "figure.dpi": 100,
        "font.family": ["DejaVu Sans", font_manager.get_font(CHINESE_FONT).family_name],
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
    """Training and held-out loss of SFT over its steps, and the exact rates on the way."""
    figure, (ax, rates) = plt.subplots(1, 2, figsize=(13, 4), layout="constrained")
    ax.plot(*_column(log, "loss"), color=POLICY, label="training (demonstrations with errors)")
    ax.plot(*_column(log, "eval_loss"), color=EXACT, marker="o", label="held-out (correct answers)")
    ax.set(xlabel="SFT step", ylabel="loss (nats per answer token)", yscale="log")
    ax.set_title("SFT: loss on the answer's tokens")
    ax.legend()
    for way, style in (("greedy", "s--"), ("sampled", "o-")):
        rates.plot(*_column(log, f"{way}_exact"), style, color=POLICY, label=way)
    rates.set(xlabel="SFT step", ylabel="exact answers (share)", ylim=(0, 1))
    rates.set_title("held-out problems solved exactly")
    rates.legend()
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


def recorded_runs(runs: dict[str, pd.DataFrame], healthy: pd.DataFrame) -> Figure:
    """A row of four curves for each run, the healthy run in grey behind.

    The frames have a row per PPO step, as ``benchmarks/variants.py`` writes them.
    """
    columns = (
        ("reward", REWARD, "reward; exact (dashed)"),
        ("kl", KL, "KL (nats per response)"),
        ("entropy", POLICY, "entropy (nats per token)"),
        ("explained_variance", VALUE, "explained variance"),
    )
    figure, axes = plt.subplots(
        len(runs), 4, figsize=(14, 2.6 * len(runs)), layout="constrained", squeeze=False
    )
    for row, (name, run) in zip(axes, runs.items(), strict=True):
        for ax, (column, colour, _) in zip(row, columns, strict=True):
            ax.plot(healthy["step"], healthy[column], color=REFERENCE, alpha=0.6)
            ax.plot(run["step"], run[column], color=colour)
        row[0].plot(run["step"], run["exact"], "--", color=EXACT)
        row[0].set_ylabel(name)
        row[3].set_ylim(-1, 1)
    for ax, (_, _, title) in zip(axes[0], columns, strict=True):
        ax.set_title(title)
    for ax in axes[-1]:
        ax.set_xlabel("PPO step")
    return figure


def alternatives(table: pd.DataFrame, best: pd.DataFrame) -> Figure:
    """SFT, rejection sampling and PPO as bars, and best-of-n over n; a dot for each seed.

    `table` has a row per seed with columns such as ``ppo_greedy_exact``; `best` has ``n``,
    ``exact`` and ``seed``.
    """
    figure, (bars, curve) = plt.subplots(1, 2, figsize=(13, 4.5), layout="constrained", sharey=True)
    names = {"sft": "SFT", "rejection": "rejection\nsampling", "ppo": "PPO"}
    for offset, way, colour in ((-0.2, "sampled", POLICY), (0.2, "greedy", EXACT)):
        rates = [table[f"{name}_{way}_exact"] for name in names]
        places = [k + offset for k in range(len(names))]
        bars.bar(places, [r.mean() for r in rates], 0.36, color=colour, alpha=0.6, label=way)
        for place, rate in zip(places, rates, strict=True):
            bars.plot([place] * len(rate), rate, "o", color=colour, markeredgecolor="black")
    bars.set_xticks(range(len(names)), names.values())
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
        Of ``glm_ppo_utils.labs.versions.read_matrix()``.
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


# -- notebook 01


def rlhf_steps(evaluator: bool = False) -> Figure:
    """The three steps of RLHF as boxes and arrows; with `evaluator`, step 2 as this series has it.

    Boxes are coloured by role, as every figure after it.
    """
    figure, ax = plt.subplots(figsize=(13, 6), layout="constrained")
    _step(ax, 3, "1  supervised\n    fine-tuning")
    _box(ax, 0, 3, "demonstrations\nproblem → answer", "white")
    _box(ax, 1, 3, "imitate:\nloss on answer tokens", "white")
    _box(ax, 2, 3, "SFT policy", REFERENCE)
    if evaluator:
        _step(ax, 2, "2  an evaluator")
        _box(ax, 0, 2, "no people:\nparse, solve, compare", "white")
        _box(ax, 1, 2, "nothing to train:\none scale, 0 to 1", "white")
        _box(ax, 2, 2, "evaluator", REWARD)
    else:
        _step(ax, 2, "2  a reward model")
        _box(ax, 0, 2, "people compare\ntwo answers", "white")
        _box(ax, 1, 2, "train on pairs:\n−log σ(r₊ − r₋)", "white")
        _box(ax, 2, 2, "reward model", REWARD)
    _step(ax, 1, "3  PPO")
    _box(ax, 0, 1, "policy writes\nan answer", POLICY)
    _box(ax, 1, 1, "reward − β · KL", KL)
    _box(ax, 2, 1, "advantages,\nclipped update", VALUE)
    for row in (3, 2, 1):
        _arrow(ax, (0.4, row), (0.6, row))
        _arrow(ax, (1.4, row), (1.6, row))
    _arrow(
        ax,
        (2.4, 3),
        (2.75, 3),
        (2.75, 0.42),
        (-0.15, 0.42),
        (-0.15, 0.69),
        text="starts from, stays near",
    )
    _arrow(ax, (2, 1.69), (2, 1.5), (1, 1.5), (1, 1.31), text="scores each answer")
    _arrow(ax, (1.85, 0.69), (1.85, 0.56), (0.15, 0.56), (0.15, 0.69), text="better policy")
    ax.set(xlim=(-1.35, 2.85), ylim=(0.32, 3.4))
    ax.axis("off")
    return figure


def _step(ax: Axes, row: float, title: str) -> None:
    ax.text(-1.3, row, title, ha="left", va="center", fontsize=15, fontweight="bold")


def _box(ax: Axes, x: float, y: float, text: str, colour: str) -> None:
    place = dict(facecolor=colour, edgecolor="black", linewidth=1.5)
    ax.add_patch(plt.Rectangle((x - 0.4, y - 0.3), 0.8, 0.6, **place))
    ink = "black" if colour in ("white", KL) else "white"
    ax.text(x, y, text, ha="center", va="center", fontsize=13, color=ink)


def _arrow(ax: Axes, *points: tuple[float, float], text: str = "") -> None:
    """A line through `points` that ends in an arrow head, with `text` on its longest part."""
    ax.plot(*zip(*points[:-1], strict=True), color="black", linewidth=1.5)
    head = dict(arrowstyle="-|>", color="black", linewidth=1.5, shrinkA=0, shrinkB=0)
    ax.annotate("", points[-1], points[-2], arrowprops=head)
    (x0, y0), (x1, y1) = max(
        zip(points, points[1:], strict=False), key=lambda p: abs(p[1][0] - p[0][0])
    )
    back = dict(facecolor="white", edgecolor="none", pad=1)
    middle = ((x0 + x1) / 2, (y0 + y1) / 2)
    if text:
        ax.text(*middle, text, ha="center", va="center", fontsize=11, bbox=back)


def annotators(grades: pd.DataFrame) -> Figure:
    """Grades and ranks of the same answers (index) by several people (columns)."""
    figure, axes = plt.subplots(1, 2, figsize=(13, 4.5), layout="constrained")
    ranks = grades.rank(ascending=False)
    # People play no role in PPO, so their colours are those of no role.
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
    figure.legend(loc="outside right center", title="annotator")
    return figure


def common_scale(
    quality: Sequence[float], strength: Sequence[float], elo: Sequence[Sequence[float]]
) -> Figure:
    """Recovered strengths over true quality, all in log-odds and centred.

    Parameters
    ----------
    quality, strength
        ``[answers]``: true quality and Bradley-Terry strength.
    elo
        ``[orders, answers]``: Elo ratings, one row per order of the same comparisons.
    """
    centre = sum(quality) / len(quality)
    x = [q - centre for q in quality]
    figure, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
    ax.plot(x, x, color="black", linewidth=1, label="truth")
    for row in elo:
        ax.plot(x, row, "_", color=KL, markersize=18, markeredgewidth=2, alpha=0.5)
    ax.plot([], [], "_", color=KL, markersize=12, markeredgewidth=2, label="Elo, ten orders")
    ax.plot(x, strength, "o", color=POLICY, markersize=9, label="Bradley-Terry")
    ax.set(xlabel="true quality (log-odds)", ylabel="recovered (log-odds)")
    ax.set_title("One scale from comparisons alone")
    ax.legend()
    return figure


def calibration(curves: dict[str, tuple], mistakes: pd.Series) -> Figure:
    """Left: predicted and observed preference. Right: how often a wrong answer is liked as much.

    Parameters
    ----------
    curves
        Label to ``(predicted, observed, counts)`` of ``preferences.calibration``.
    mistakes
        Share of spoiled answers with at least the reference's reward, by error.
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
    return figure


def clipped_objective(surrogate, clip: float = 0.2, points: pd.DataFrame | None = None) -> Figure:
    """PPO's objective of one token over its probability ratio, for either sign of the advantage.

    Parameters
    ----------
    surrogate : callable
        ``(ratio, advantage, clip) -> objective`` on arrays.
    points : DataFrame, optional
        Columns ``ratio``, ``advantage``; index: the words to mark. Drawn per unit of advantage.
    """
    figure, axes = plt.subplots(1, 2, figsize=(13, 4.8), layout="constrained")
    ratio = pd.Series([i / 100 for i in range(40, 281)])
    for ax, sign, name in zip(axes, (1, -1), ("positive", "negative"), strict=True):
        ax.plot(ratio, sign * ratio, ":", color=REFERENCE, label="unclipped")
        ax.plot(ratio, surrogate(ratio, sign, clip), color=POLICY, label="clipped objective")
        ax.axvspan(1 - clip, 1 + clip, color=EXACT, alpha=0.15, label=f"within 1 ± {clip}")
        ax.set(xlabel="ratio: new / old probability", ylabel="objective per |advantage|")
        ax.set(title=f"{name} advantage", xscale="log")
        ax.set_xticks([0.4, 0.6, 0.8, 1, 1.2, 1.5, 2, 2.5], [0.4, 0.6, 0.8, 1, 1.2, 1.5, 2, 2.5])
        ax.margins(y=0.15)
        ax.minorticks_off()
        if points is not None:
            marked = points[points.advantage * sign > 0].sort_values("ratio")
            for i, (word, row) in enumerate(marked.iterrows()):
                at = (row.ratio, surrogate(row.ratio, sign, clip))
                ax.plot(*at, "o", color=REWARD, markersize=9)
                height = (22 + 11 * i) * (1 if i % 2 == 0 else -1)  # neighbours stay apart
                offset = dict(xytext=(0, height), textcoords="offset points")
                line = dict(arrowstyle="-", color=REWARD)
                ax.annotate(word, at, **offset, ha="center", va="center", arrowprops=line)
    axes[0].legend(loc="upper left")
    return figure


def rollout(table: pd.DataFrame) -> Figure:
    """Per token of one rollout: what the reward is made of, values and returns, advantages.

    Parameters
    ----------
    table
        Index: the tokens; columns ``penalty``, ``score``, ``value``, ``return``, ``advantage``.
    """
    figure, axes = plt.subplots(1, 3, figsize=(14, 4), layout="constrained")
    place = pd.Series(range(len(table)))
    axes[0].bar(place, table.penalty, color=KL, label="−β · KL")
    axes[0].bar(place, table.score, color=REWARD, label="score", bottom=table.penalty.clip(lower=0))
    axes[1].plot(place, table.value, "o--", color=VALUE, label="value (before)")
    axes[1].plot(place, table["return"], "s-", color="black", label="return (target)")
    axes[2].bar(place, table.advantage, color=POLICY)
    titles = ("reward of each token", "what the value head said", "advantage of each token")
    for ax, title in zip(axes, titles, strict=True):
        ax.axhline(0, color="black", linewidth=1)
        ax.set_xticks(place, table.index, fontsize=12)
        ax.set(title=title, xlabel="token")
    axes[0].set_ylabel("reward")
    axes[1].set_ylabel("reward still to come")
    axes[2].set_ylabel("advantage (reward)")
    axes[0].legend()
    axes[1].margins(y=0.3)
    axes[1].legend(loc="upper left")
    return figure


# -- notebook 03


def credit(curve, by_edits: pd.DataFrame, edge: float) -> Figure:
    """Left: reward over similarity. Right: mean credit over the number of mistakes.

    Parameters
    ----------
    curve : callable
        ``(similarity, agrees) -> reward`` of an answer that is not exact.
    by_edits
        Index: number of mistakes; one column per way to give credit, the evaluator's last.
    edge : float
        The most that an answer gets which is not exact.
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
    return figure


def blind_spots(tables: dict[str, pd.DataFrame]) -> Figure:
    """Heat maps, one per table: mistakes down, judges across, a share in each cell."""
    figure, axes = plt.subplots(
        1, len(tables), figsize=(14, 5.5), layout="constrained", sharey=True
    )
    for ax, (title, table) in zip(axes, tables.items(), strict=True):
        image = ax.imshow(table, cmap="cividis_r", vmin=0, vmax=1, aspect="auto")
        for i, row in enumerate(table.to_numpy()):
            for j, value in enumerate(row):
                ink = "white" if value > 0.55 else "black"
                ax.text(j, i, f"{value:.2f}", ha="center", va="center", color=ink)
        ax.set_xticks(range(table.shape[1]), table.columns)
        ax.set_yticks(range(len(table)), table.index)
        ax.set_title(title)
        ax.grid(False)
        ax.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, label="0: nothing, 1: full marks", shrink=0.8)
    return figure


def score_distribution(scores: Sequence) -> Figure:
    """Rewards of many answers; exact ones and those that are no LP have bars of their own.

    Parameters
    ----------
    scores
        ``evaluator.Score`` of each answer.
    """
    groups = {
        "not an LP": (REFERENCE, [s.reward for s in scores if not s.parsed]),
        "an LP, not exact": (REWARD, [s.reward for s in scores if s.parsed and not s.exact]),
        "exact": (EXACT, [s.reward for s in scores if s.exact]),
    }
    figure, ax = plt.subplots(figsize=(10, 4.5), layout="constrained")
    edges = [i / 40 - 0.0125 for i in range(42)]
    ax.hist(
        [rewards for _, rewards in groups.values()],
        bins=edges,
        stacked=True,
        color=[colour for colour, _ in groups.values()],
        label=[f"{name}: {len(rewards)}" for name, (_, rewards) in groups.items()],
    )
    ax.axvspan(0.6125, 0.9875, color="black", alpha=0.05)
    ax.text(0.8, 0.5, "nothing\nlives here", transform=ax.get_xaxis_transform(), ha="center")
    ax.set(xlabel="reward", ylabel="answers", xlim=(-0.02, 1.02))
    ax.set_title(f"Rewards of {len(scores)} sampled answers of the SFT policy")
    ax.legend(loc="upper center")
    return figure


def second_opinions(panels: dict[str, tuple]) -> Figure:
    """The same answers judged twice: one panel per pair of judges.

    Parameters
    ----------
    panels
        Title to ``(label of the first, scores, label of the second, scores)``.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(14, 4.8), layout="constrained")
    colours = (REFERENCE, REWARD, REWARD)  # a reward, whoever gives it
    for ax, colour, (title, (x_name, x, y_name, y)) in zip(
        axes, colours, panels.items(), strict=True
    ):
        ax.plot(x, y, "o", color=colour, alpha=0.35, markersize=8)
        ends = [min(*x, *y), max(*x, *y)]
        ax.plot(ends, ends, color="black", linewidth=1, label="the same number")
        ax.set(title=title, xlabel=x_name, ylabel=y_name)
        ax.legend(loc="upper left")
    return figure


def model_graphs(comparison) -> Figure:
    """An answer's graph beside its reference's, what differs in red and broken lines.

    Circles are variables, boxes the objective and the constraints, lines their coefficients.
    Vertices that correspond stand at the same height.

    Parameters
    ----------
    comparison
        Of ``glm_ppo_utils.evaluator.reward.compare``.
    """
    p, q, matching = comparison.candidate, comparison.reference, comparison.matching
    columns, rows = matching.columns.tolist(), matching.rows.tolist()
    figure, axes = plt.subplots(
        1, 2, figsize=(14, 1.7 * max(len(columns), len(rows) + 1)), layout="constrained"
    )
    sides = (
        ("the answer", p, list(range(len(columns))), list(range(len(rows)))),
        ("the reference", q, columns, rows),
    )
    for ax, (title, program, column_order, row_order) in zip(axes, sides, strict=True):
        marked = marked_parts(comparison.differences, of_reference=program is q)
        _model_graph(ax, program, column_order, row_order, marked)
        ax.set_title(title)
    edits = f"{matching.distance} edit{'s' * (matching.distance != 1)} apart"
    figure.suptitle(f"{edits}: {'; '.join(d.kind for d in comparison.differences) or 'equal'}")
    return figure


def marked_parts(differences: Sequence, of_reference: bool) -> set[tuple]:
    """The vertices and edges of one program that differences name.

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
        if d.kind == "coefficient" and variable is not None:
            marked.add((variable, row))
        elif d.kind == "objective" and variable is not None:
            marked.add((variable, -1))
        elif d.kind == "objective sense" or (
            d.kind == "objective" and d.variable is None and d.reference_variable is None
        ):
            marked.add(("row", -1))
        elif d.kind in ("constraint", "sense", "right-hand side") and row is not None:
            marked.add(("row", row))
            if d.kind == "constraint":
                marked.add(("all of", row))
        elif d.kind in ("variable", "bound", "integrality") and variable is not None:
            marked.add(("variable", variable))
    return marked


def _model_graph(ax: Axes, program, column_order: list, row_order: list, marked: set) -> None:
    """One program; `column_order` and `row_order` give the vertex that stands at each height."""
    tall = max(len(column_order), len(row_order) + 1)
    heights = {}
    for place, j in enumerate(column_order):
        heights["variable", j] = (tall + len(column_order)) / 2 - place
    top = (tall + len(row_order) + 1) / 2
    heights["row", -1] = top
    for place, i in enumerate(row_order):
        heights["row", i] = top - 1 - place
    share = 1 / (len(row_order) + 2)  # so that no two labels meet
    n, m = len(program.names), len(program.matrix)
    lines = [program.objective, *program.matrix]
    for i, line in enumerate(lines, -1):
        for j in range(n):
            if line[j]:
                y, z = heights["variable", j], heights["row", i]
                wrong = (j, i) in marked or ("all of", i) in marked
                look = (
                    dict(color=REWARD, linewidth=3, linestyle="--")
                    if wrong
                    else dict(color=REFERENCE, linewidth=1.2)
                )
                ax.plot([0, 1], [y, z], **look, zorder=1)
                ax.text(
                    share,
                    y + share * (z - y),
                    f"{line[j]:g}",
                    ha="center",
                    va="center",
                    color=REWARD if wrong else "black",
                    fontweight="bold" if wrong else "normal",
                    bbox=dict(facecolor="white", edgecolor="none", pad=1),
                )
    for j in range(n):
        wrong = ("variable", j) in marked
        _vertex(ax, 0, heights["variable", j], _variable_label(program, j), "circle", wrong)
    for i in range(-1, m):
        wrong = ("row", i) in marked
        _vertex(ax, 1, heights["row", i], _row_label(program, i), "square", wrong)
    ax.set(xlim=(-0.5, 1.35), ylim=(0.2, tall + 0.6))
    ax.axis("off")


def _vertex(ax: Axes, x: float, y: float, label: str, shape: str, wrong: bool) -> None:
    colour = REWARD if wrong else "black"
    face = POLICY if shape == "circle" else "white"
    style = dict(markeredgecolor=colour, markeredgewidth=4 if wrong else 1.5)
    ax.plot(x, y, "o" if shape == "circle" else "s", markersize=18, color=face, zorder=2, **style)
    side = -0.06 if x == 0 else 0.06
    weight = "bold" if wrong else "normal"
    align = "right" if x == 0 else "left"
    ax.text(x + side, y, label, ha=align, va="center", color=colour, fontweight=weight)


def _variable_label(program, j: int) -> str:
    """Name, integrality and bounds other than the default."""
    low, high, name = program.lower[j], program.upper[j], program.names[j]
    lines = [name]
    if program.integer[j]:
        lines.append("integer")
    if low != 0:
        lines.append(f"≥ {low:g}" if low > -float("inf") else "free below")
    if high < float("inf"):
        lines.append(f"≤ {high:g}")
    return "\n".join(lines)


def _row_label(program, i: int) -> str:
    if i < 0:
        return "maximise" if program.maximize else "minimise"
    low, high = program.row_lower[i], program.row_upper[i]
    if low == high:
        return f"= {high:g}"
    return f"≤ {high:g}" if low == -float("inf") else f"≥ {low:g}"
