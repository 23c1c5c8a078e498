"""What a PPO step needs, computed from its shapes: operations, bytes and tokens of each phase.

Counted are the matrix products (a multiplication and an addition are two operations) of the tokens
that there are, without padding, and the bytes of weights, keys and values that have to be read.
`tests/test_needs.py` compares the operations with those that torch counts.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import torch

from glm_ppo_utils.profiles import PPOSettings


@dataclass(frozen=True)
class Shape:
    """The sizes of a ChatGLM that decide what a token costs, in multiplications."""

    layers: int
    attention: int  # width of all heads together
    cached: int  # numbers per layer and token in the cache of keys and values
    body: int  # weights of the layers
    head: int  # weights of the output layer
    hidden: int
    vocabulary: int

    @classmethod
    def of(cls, c) -> "Shape":
        """The shape of a ``ChatGLMConfig``."""
        attention, cached = c.num_attention_heads * c.kv_channels, 2 * c.kv_channels
        cached *= c.multi_query_group_num
        layer = c.hidden_size * (2 * attention + cached + 3 * c.ffn_hidden_size)
        head = c.hidden_size * c.padded_vocab_size
        sizes = c.hidden_size, c.padded_vocab_size
        return cls(c.num_layers, attention, cached, c.num_layers * layer, head, *sizes)

    def attend(self, pairs: int) -> int:
        """Operations of attention, for so many pairs of a token that asks and one that is read."""
        return 4 * self.layers * self.attention * pairs


@dataclass(frozen=True)
class Need:
    """What a phase needs."""

    tokens: int
    flop: int
    bytes: int


def step_needs(
    shape: Shape,
    prompts: Sequence[int],
    responses: Sequence[int],
    settings: PPOSettings,
    number: int = 4,
    lora: bool = False,
) -> dict[str, Need]:
    """The needs of a step's phases, named as in the log.

    Parameters
    ----------
    shape : Shape
    prompts, responses : sequence of int
        Lengths in tokens, of each response and of its prompt.
    settings : PPOSettings
    number : int
        Bytes per number: 4 in float32, where sampling spares the policy's pass, 2 in bfloat16.
    lora : bool
        Whether the weights need no gradients of their own.
    """
    pairs = list(zip(prompts, responses, strict=True))
    weights = (shape.body + shape.head) * number
    distinct = list(prompts)[:: settings.samples_per_problem]
    flop = sum(2 * (p * shape.body + shape.head) + shape.attend(p * p) for p in distinct)
    later = sum(r - 1 for r in responses)  # the prompt's pass gives the first token
    read = sum((r - 1) * p + r * (r - 1) // 2 for p, r in pairs)
    flop += 2 * later * (shape.body + shape.head) + shape.attend(read)
    flop += 2 * shape.hidden * sum(responses)  # the value head
    passes = ceil(len(pairs) / settings.rollout_batch_size) * max(responses)
    cached = shape.layers * shape.cached * number * read
    found = {"generate": Need(sum(distinct) + sum(responses), flop, passes * weights + cached)}

    tokens = sum(p + r for p, r in pairs)
    one = sum(
        2 * ((p + r) * (shape.body + shape.hidden) + (r + 1) * shape.head)
        + shape.attend((p + r) ** 2)
        for p, r in pairs
    )
    minis = ceil(len(pairs) / settings.mini_batch_size)
    before = (number != 4) + bool(settings.kl_coef)
    found["logprobs"] = Need(before * tokens, before * one, before * minis * weights)
    # Backward costs twice the forward pass, once where weights have no gradient; checkpointing
    # makes the forward pass again.
    times = (2 if lora else 3) + settings.gradient_checkpointing
    learn = settings.epochs * times
    found["optimise"] = Need(settings.epochs * tokens, learn * one, learn * minis * weights)
    return found


def peak_flops(device: str = "cpu", dtype: torch.dtype = torch.float32, size: int = 1024) -> float:
    """Operations per second of a large matrix product: the best of several."""
    a = torch.randn(size, size, device=device).to(dtype)
    seconds = []
    for _ in range(8):
        _wait(device)
        start = time.perf_counter()
        a @ a
        _wait(device)
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def memory_gb(
    shape: Shape, settings: PPOSettings, rows: int, prompt: int, response: int, weights: float
) -> dict[str, float]:
    """Peak memory in GB that `PPOSettings` foretells, in bfloat16 under LoRA.

    Parameters
    ----------
    shape : Shape
    settings : PPOSettings
    rows : int
        Responses generated at a time.
    prompt, response : int
        Tokens.
    weights : float
        GB of the weights.
    """
    length, mini = prompt + response, settings.mini_batch_size
    cache = shape.layers * shape.cached * rows * length * 2
    logits = mini * response * shape.vocabulary
    layers = shape.layers * mini * length * shape.hidden * 2
    if not settings.gradient_checkpointing:
        layers = shape.layers * mini * length * shape.hidden * 46
    # Logits and TRL's copy, the gradients of both, and three float32 arrays of log-probabilities.
    learning = logits * (2 * (2 + 4) + 3 * 4) + layers
    return {"generate": weights + cache / 1e9, "optimise": weights + learning / 1e9}
