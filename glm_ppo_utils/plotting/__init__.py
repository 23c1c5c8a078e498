"""Every figure of the series: one file for each notebook, and the style that they share."""

from .background import (
    annotators,
    calibration,
    clipped_objective,
    common_scale,
    ppo_step,
    rlhf_steps,
    rollout_by_token,
    swap,
    token_credit,
)
from .evaluator import (
    blind_spots,
    credit,
    marked_parts,
    model_graphs,
    score_distribution,
)
from .ppo import over_kl, ppo_curves, recorded_run, why_rl
from .sft import sft_loss, token_table
from .update import advantage_tokens, baseline
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
    "marked_parts",
    "model_graphs",
    "over_kl",
    "ppo_curves",
    "ppo_step",
    "recorded_run",
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
