"""Every figure of the series: one file for each notebook, and the style that they share."""

from .background import (
    annotators,
    calibration,
    clipped_objective,
    common_scale,
    rlhf_steps,
    rollout_by_token,
)
from .evaluator import (
    blind_spots,
    credit,
    marked_parts,
    model_graphs,
    score_distribution,
    second_opinions,
)
from .ppo import alternatives, learning, ppo_curves, recorded_runs
from .sft import sft_loss, token_table
from .versions import value_layouts, version_matrix

__all__ = [
    "alternatives",
    "annotators",
    "blind_spots",
    "calibration",
    "clipped_objective",
    "common_scale",
    "credit",
    "learning",
    "marked_parts",
    "model_graphs",
    "ppo_curves",
    "recorded_runs",
    "rlhf_steps",
    "rollout_by_token",
    "score_distribution",
    "second_opinions",
    "sft_loss",
    "token_table",
    "value_layouts",
    "version_matrix",
]
