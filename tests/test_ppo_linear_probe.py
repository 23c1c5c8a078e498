"""What a value head could explain: what the states tell, and nothing of noise."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import policy_with_value_head

from glm_ppo_utils.ppo.linear_probe import explainable_variance, token_states
from glm_ppo_utils.rollout import respond

PROMPTS = [f"{word} {n}" for word in ("one", "two") for n in range(40)]


@pytest.fixture(scope="module", params=["chatglm", "gpt2"])
def sampled(request, tiny_folder, tokenizer):
    """A policy with a value head, and its responses."""
    policy = policy_with_value_head(request.param, tiny_folder, len(tokenizer))
    return policy, respond(policy, tokenizer, PROMPTS, 4)


def test_states_are_those_that_the_value_head_gets(sampled):
    """The head's own values, computed from the states, are those of a forward pass."""
    policy, rollouts = sampled
    policy.eval()
    for rollout in rollouts[:3]:
        states = token_states(policy, rollout)
        assert states.shape == (len(rollout.response), 32)
        _, _, values = policy(torch.cat([rollout.query, rollout.response])[None])
        mine = policy.v_head.summary(states)[:, 0]
        assert torch.allclose(mine, values[0, -len(states) - 1 : -1], atol=1e-5)


@pytest.mark.slow
def test_what_the_last_state_tells_is_explained(sampled):
    """The reward is read off the states, so a linear head has it."""
    policy, rollouts = sampled
    first = torch.stack([token_states(policy, r)[0] for r in rollouts])
    rewards = (first - first.mean(0)) @ torch.linspace(-1, 1, 32)
    one_token = [replace(r, response=r.response[:1]) for r in rollouts]  # whose state tells
    explained = explainable_variance(policy, one_token, rewards.tolist(), ridge=1e-6)
    assert explained > 0.95


def test_noise_is_not_explained(sampled):
    policy, rollouts = sampled
    noise = np.random.default_rng(0).random(len(rollouts))
    assert explainable_variance(policy, rollouts, noise.tolist(), ridge=1e-3) < 0.05


def test_equal_rewards_leave_nothing_to_explain(sampled):
    policy, rollouts = sampled
    assert np.isnan(explainable_variance(policy, rollouts, [1.0] * len(rollouts)))


def test_too_few_rollouts_are_a_clear_error(sampled):
    policy, rollouts = sampled
    with pytest.raises(ValueError, match="3 rollouts cannot be split into 4 folds"):
        explainable_variance(policy, rollouts[:3], [0.0, 1.0, 0.5])
