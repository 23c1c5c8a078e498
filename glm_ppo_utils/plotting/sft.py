"""Notebook 02: the tokens that carry loss, and the curves of supervised fine-tuning."""

import html
from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from .style import POLICY, by_step
from .words import localised


def sft_loss(log: Sequence[dict]) -> Figure:
    """Left: training and held-out loss of SFT by step. Right: exact rates on the way."""
    figure, (ax, rates) = plt.subplots(1, 2, figsize=(13, 4), layout="constrained")
    ax.plot(by_step(log, "loss"), color=POLICY, label="training")
    held = by_step(log, "eval_loss")
    ax.plot(held, color="black", marker="o", label="held-out")
    ax.set(xlabel="SFT step", ylabel="loss (nats per answer token)", yscale="log")
    ax.set_title("SFT: loss on the answer's tokens")
    ax.legend()
    for way, style in (("greedy", "s--"), ("sampled", "o-")):
        rates.plot(by_step(log, f"{way}_exact"), style, color=POLICY, label=way)
    rates.set(xlabel="SFT step", ylabel="exact answers (share)", ylim=(0, 1))
    rates.set_title("held-out problems solved exactly")
    rates.legend()
    return localised(figure)


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
