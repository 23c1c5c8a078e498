"""Every figure of the series: a file for each notebook, one for diagrams, and the common style."""

from .background import (
    annotators,
    calibration,
    clipped_objective,
    common_scale,
    rollout_by_token,
    token_credit,
)
from .diagrams import grading, ppo_step, replay, rlhf_steps, swap
from .evaluator import blind_spots, credit, model_graphs, score_distribution
from .ppo import advantage_tokens, baseline, over_kl, ppo_curves, recorded_run, why_rl
from .sft import sft_loss, token_table
from .versions import value_layouts, version_matrix

__all__ = [
    "advantage_tokens",
    "annotators",
    "baseline",
    "blind_spots",
    "calibration",
    "clipped_objective",
    "common_scale",
    "credit",
    "grading",
    "model_graphs",
    "over_kl",
    "ppo_curves",
    "ppo_step",
    "recorded_run",
    "replay",
    "rlhf_steps",
    "rollout_by_token",
    "score_distribution",
    "sft_loss",
    "swap",
    "token_credit",
    "token_table",
    "value_layouts",
    "version_matrix",
    "why_rl",
]
