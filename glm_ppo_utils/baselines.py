"""Best of n and rejection sampling: what one could do with graded samples instead of PPO.

Both start from the same SFT policy and use the same grader. Best of n costs n samples, and a
grader, at every use; rejection sampling costs its samples once and then trains like SFT.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import comb
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from glm_ppo_utils.errors import BadInput
from glm_ppo_utils.rollout import EXACT, RewardFn, call_reward, respond
from glm_ppo_utils.sft import SFTSettings, train_sft


def best_of(counts: Sequence[int], n: int, k: int) -> float:
    """Expected share of problems with an exact answer among `k` samples.

    The unbiased estimate from `n` samples of each problem, `counts` of them exact: a problem
    counts ``1 - C(n - c, k) / C(n, k)`` (Chen et al. 2021, equation 1).

    Raises
    ------
    BadInput
        When `k` is not between 1 and `n`.
    """
    if not 1 <= k <= n:
        raise BadInput(f"best of {k} cannot be estimated from {n} samples; 1 <= k <= n")
    return float(np.mean([1 - comb(n - c, k) / comb(n, k) for c in counts]))


def rejection_sampling(
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    problems: Sequence,
    grader: RewardFn,
    settings: SFTSettings,
    out_dir: Path,
    max_new_tokens: int,
) -> list[tuple[str, str]]:
    """Sample one answer to each problem, keep the exact ones, and fine-tune on them in place.

    Parameters
    ----------
    policy
        The SFT policy, trained in place.
    settings : SFTSettings
        Settings of the fine-tuning; ``steps`` is cut to about two passes over the answers kept.

    Returns
    -------
    list of (str, str)
        The (prompt, answer) pairs that were kept.

    Raises
    ------
    BadInput
        When no answer was exact.
    """
    set_seed(settings.seed)
    prompts = [p.text for p in problems]
    rollouts = respond(policy, tokenizer, prompts, max_new_tokens)
    answers = [r.text for r in rollouts]
    graded = zip(prompts, answers, call_reward(grader, problems, answers), strict=True)
    kept = [(prompt, answer) for prompt, answer, reward in graded if reward >= EXACT]
    if not kept:
        raise BadInput(f"none of {len(prompts)} answers was exact; sample more, or train SFT on")
    steps = min(settings.steps, 2 * len(kept) // settings.batch_size + 1)
    train_sft(policy, tokenizer, kept, [], replace(settings, steps=steps), out_dir, progress=False)
    return kept
