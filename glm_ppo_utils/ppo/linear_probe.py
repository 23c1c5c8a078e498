"""How much of the rewards a linear value head could explain at best."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from glm_ppo_utils.rollout import Rollout, device_of, evaluation_mode

FOLDS = 4


@torch.no_grad()
def token_states(policy: nn.Module, rollout: Rollout) -> torch.Tensor:
    """The hidden states that a value head sees, one per token of the response.

    One rollout at a time, so that the model's layout (``[sequence, 1, hidden]`` for ChatGLM2 and
    3, ``[1, sequence, hidden]`` for others) does not matter.

    Returns
    -------
    torch.Tensor
        ``[response length, hidden]``: as in PPO, the state *before* each token of the response.
    """
    model = getattr(policy, "pretrained_model", policy)
    ids = torch.cat([rollout.query, rollout.response]).to(device_of(model))
    with evaluation_mode(model):
        states = model(ids[None], output_hidden_states=True).hidden_states[-1]
    return states.reshape(len(ids), -1)[-len(rollout.response) - 1 : -1].float().cpu()


def explainable_variance(
    policy: nn.Module,
    rollouts: Sequence[Rollout],
    rewards: Sequence[float],
    ridge: float = 10.0,
) -> float:
    """Share of the rewards' variance that the best linear value head would explain.

    The head is fitted by ridge regression on the tokens of some rollouts and judged on those of
    others (cross-validation, `FOLDS` parts), so that neither learning rates nor overfitting affect
    the result. It is a limit for a head on the policy as it is now: PPO also changes the states.

    Parameters
    ----------
    policy : module
        A causal language model, with or without a value head.
    rollouts, rewards : sequence
        Responses of the policy, and one reward each. The target of every token is the reward of
        its response, as in PPO with gamma and lambda 1 where the KL is still 0.
    ridge : float
        Penalty on the squared weights of the head.

    Returns
    -------
    float
        At most 1; about 0 where nothing about the reward can be read off the states; nan where
        all rewards are the same, so that there is nothing to explain.

    Raises
    ------
    ValueError
        When there are fewer rollouts than folds.
    """
    if len(rollouts) < FOLDS:
        raise ValueError(f"{len(rollouts)} rollouts cannot be split into {FOLDS} folds")
    if len(set(rewards)) < 2:
        return float("nan")
    states = [token_states(policy, r) for r in rollouts]
    lengths = [len(s) for s in states]
    x = torch.cat([torch.cat(states), torch.ones(sum(lengths), 1)], dim=1).double().numpy()
    y = np.repeat(np.asarray(rewards, dtype=float), lengths)
    fold = np.repeat(np.arange(len(rollouts)) % FOLDS, lengths)
    error = np.empty_like(y)
    for k in range(FOLDS):
        a, b = x[fold != k], y[fold != k]
        head = np.linalg.solve(a.T @ a + ridge * np.eye(a.shape[1]), a.T @ b)
        error[fold == k] = y[fold == k] - x[fold == k] @ head
    return float(1 - np.mean(error**2) / y.var())
