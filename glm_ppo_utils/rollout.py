"""Let a policy answer prompts, and grade the answers."""

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields

import torch
from transformers import PreTrainedTokenizerBase

from glm_ppo_utils.chat import decode_answer, encode_prompt, stop_ids

RewardFn = Callable[..., list[float]]
"""``(prompts, completions, **columns) -> list[float]``, the signature of TRL's reward functions."""


class RewardError(ValueError):
    """What a reward function returned cannot be learnt from."""


@dataclass(frozen=True)
class Rollout:
    """One prompt and the policy's response to it.

    Attributes
    ----------
    query, response : torch.Tensor
        Token ids ``[prompt length]`` and ``[response length]``; the response holds its end token,
        unless it was cut at the length limit.
    text : str
        The response as text.
    """

    query: torch.Tensor
    response: torch.Tensor
    text: str


@torch.no_grad()
def respond(
    policy: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    max_new_tokens: int,
    temperature: float = 1.0,
    batch_size: int = 64,
) -> list[Rollout]:
    """Responses of `policy` to `prompts`, in their order.

    Parameters
    ----------
    policy : module with ``generate``
        A causal language model, with or without a value head.
    temperature : float
        0 decodes greedily. Otherwise the full softmax is sampled: no top-k or top-p cut, so that
        PPO's log-probabilities are those of the distribution that was sampled.
    batch_size : int
        Prompts decoded together. Prompts of similar length share a batch, to save padding.
    """
    queries = [encode_prompt(tokenizer, text) for text in prompts]
    order = sorted(range(len(queries)), key=lambda i: len(queries[i]))
    choice = (
        {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
        if temperature > 0
        else {"do_sample": False}
    )
    stops = stop_ids(tokenizer)
    rollouts: list[Rollout | None] = [None] * len(queries)
    with evaluation_mode(policy):
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = tokenizer.pad(
                [{"input_ids": queries[i]} for i in rows], padding=True, return_tensors="pt"
            ).to(device_of(policy))
            output = policy.generate(
                **batch,
                **choice,
                max_new_tokens=max_new_tokens,
                pad_token_id=tokenizer.pad_token_id,
                eos_token_id=stops,
            )
            for i, ids in zip(rows, output[:, batch["input_ids"].shape[1] :], strict=True):
                response = _until_stop(ids.cpu(), stops)
                # ChatGLM's published tokenizer does not count the roles as special tokens.
                text = decode_answer(tokenizer, [i for i in response.tolist() if i not in stops])
                rollouts[i] = Rollout(torch.tensor(queries[i]), response, text)
    return rollouts


def evaluate(
    policy: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    problems: Sequence,
    grader: RewardFn,
    max_new_tokens: int,
    temperature: float = 1.0,
    batch_size: int = 64,
) -> dict[str, float]:
    """Mean reward, exact rate and parse rate of a policy over `problems`.

    A reward of 1 means exact and a reward above 0 means parsed, as the evaluator defines them.
    """
    prompts = [p.text for p in problems]
    rollouts = respond(policy, tokenizer, prompts, max_new_tokens, temperature, batch_size)
    rewards = grade(grader, problems, [r.text for r in rollouts])
    return summary(rewards)


def grade(grader: RewardFn, problems: Sequence, answers: Sequence[str]) -> list[float]:
    """Call a reward function the way TRL does: prompts, completions, and columns by name.

    Every field of the problems but ``text`` is a column, ``reference`` among them.

    Raises
    ------
    RewardError
        When the reward function returns another number of rewards, or one that is not finite.
    """
    columns = [f.name for f in fields(problems[0]) if f.name != "text"] if problems else []
    rewards = grader(
        prompts=[p.text for p in problems],
        completions=list(answers),
        **{name: [getattr(p, name) for p in problems] for name in columns},
    )
    rewards = [float(r) for r in rewards]
    if len(rewards) != len(answers):
        raise RewardError(
            f"the reward function returned {len(rewards)} rewards for {len(answers)} responses; "
            "it must return one for each, in order"
        )
    bad = [i for i, r in enumerate(rewards) if not abs(r) < float("inf")]
    if bad:
        raise RewardError(
            f"the reward of response {bad[0]} is {rewards[bad[0]]}; it must be finite"
        )
    return rewards


def summary(rewards: Sequence[float]) -> dict[str, float]:
    """Mean and spread of rewards, and the shares that are 1 (exact) and above 0 (parsed)."""
    r = torch.tensor(rewards, dtype=torch.float64)
    return {
        "reward": r.mean().item(),
        "reward_sd": r.std(unbiased=False).item(),
        "exact": (r >= 1 - 1e-9).double().mean().item(),
        "parsed": (r > 0).double().mean().item(),
    }


def _until_stop(ids: torch.Tensor, stops: list[int]) -> torch.Tensor:
    """Cut a padded row after its first stop token."""
    ends = torch.isin(ids, torch.tensor(stops)).nonzero()
    return ids[: int(ends[0]) + 1] if len(ends) else ids


def device_of(policy: torch.nn.Module) -> torch.device:
    return next(policy.parameters()).device


@contextmanager
def evaluation_mode(policy: torch.nn.Module):
    """Evaluation mode for the duration, then back to what it was."""
    was_training = policy.training
    policy.eval()
    try:
        yield
    finally:
        policy.train(was_training)
