"""What transposed values do to PPO: loudly when batch and length differ, silently when not."""

import copy
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase
from trl import AutoModelForCausalLMWithValueHead, PPOConfig, PPOTrainer

from glm_ppo_utils.chatglm.head import add_value_head, expose_head


def without_layout_fix(model: Any, **options: Any) -> AutoModelForCausalLMWithValueHead:
    """TRL's own wrapper, which takes values as they come: ``[sequence, batch]`` on ChatGLM3."""
    expose_head(model)
    return AutoModelForCausalLMWithValueHead.from_pretrained(model, **options)


def value_losses(model: Any, fixed: bool, steps: int) -> list[float]:
    """Train a policy's value head on square batches and return the value loss of each step.

    Every batch is new: eight rows of eight random tokens. The first token of a row decides
    whether its episode ends with a reward of +1 or -1, and the return of a token is that reward,
    discounted by 0.9 for each token still to come; so a value head that reads the right row can
    learn it. With values transposed, row ``b`` gets the values of other rows, and nothing raises.

    Parameters
    ----------
    model
        A causal language model without a value head. It is copied.
    fixed
        Wrap it with `add_value_head`, or with TRL's class as it is.

    Returns
    -------
    list of float
        ``0.5 * mean((value - return)^2)``, the value loss of PPO without clipping.
    """
    size = 8
    torch.manual_seed(0)
    wrap = add_value_head if fixed else without_layout_fix
    policy = wrap(copy.deepcopy(model), summary_dropout_prob=0.0).train()
    policy.v_head.summary.reset_parameters()
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-3)
    discount = 0.9 ** torch.arange(size - 1, -1, -1)
    losses = []
    for _ in range(steps):
        input_ids = torch.randint(3, model.config.vocab_size, (size, size))
        good = torch.rand(size, 1) < 0.5
        input_ids[:, :1] = torch.where(good, 3, 4)
        returns = torch.where(good, 1.0, -1.0) * discount
        values = policy(input_ids)[2]
        loss = 0.5 * (values - returns).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def one_ppo_step(
    policy: AutoModelForCausalLMWithValueHead,
    tokenizer: PreTrainedTokenizerBase,
    rows: int,
    length: int,
) -> dict:
    """One step of TRL's PPO on random queries and responses that fill ``[rows, length]``.

    Half of each row is the query. Returns TRL's statistics.
    """
    torch.manual_seed(0)
    config = PPOConfig(batch_size=rows, mini_batch_size=rows, ppo_epochs=1)
    trainer = PPOTrainer(config, policy, tokenizer=tokenizer)
    input_ids = torch.randint(3, len(tokenizer), (rows, length))
    queries, responses = input_ids.split([length // 2, length - length // 2], dim=1)
    return trainer.step(list(queries), list(responses), list(torch.rand(rows)))
