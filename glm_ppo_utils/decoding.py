"""Sample token by token: what ``generate`` does, and what PPO needs besides.

Equal prompts are encoded once, answers that have ended are dropped, and the log-probabilities and
values of the sampled tokens are kept: they are those of the policy before it learns, for which PPO
would need another pass over the batch.
"""

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from glm_ppo_utils.errors import BadInput

FULLEST = 7 / 8  # answers that have ended are dropped when no larger share goes on: dropping copies
ARGUMENTS = {"input_ids", "attention_mask", "position_ids", "past_key_values", "use_cache"}

Cache = tuple[tuple[Tensor, Tensor], ...]  # keys and values of each layer


@dataclass(frozen=True)
class Layout:
    """Which dimension is the batch in what a model returns: 1 in ChatGLM2 and 3, 0 in others."""

    cache: int  # in keys and values
    states: int  # in hidden states
    last_only: bool  # whether the model can be asked for the logits of the last token only


@torch.no_grad()
def find_layout(model: Any) -> Layout | None:
    """The layout of a causal language model, found by trying it on two rows of three tokens.

    None for a model that `decode` cannot call: its ``forward`` has other arguments, or its cache is
    not keys and values of each layer.
    """
    core = model.get_base_model() if hasattr(model, "get_base_model") else model
    arguments = inspect.signature(core.forward).parameters
    if not ARGUMENTS | {"output_hidden_states"} <= set(arguments):
        return None
    ids = torch.zeros(2, 3, dtype=torch.long, device=next(model.parameters()).device)
    output = model(input_ids=ids, use_cache=True, output_hidden_states=True, return_dict=True)
    cache, states = output.past_key_values, output.hidden_states[-1]
    if not isinstance(cache, (tuple, list, Tensor)) or len(cache[0]) != 2:
        return None
    shapes = list(cache[0][0].shape[:2]), list(states.shape[:2])
    if not all(2 in shape for shape in shapes):
        return None
    return Layout(shapes[0].index(2), shapes[1].index(2), "return_last_logit" in arguments)


@dataclass(frozen=True)
class Decoded:
    """Sampled tokens, on the CPU, ``[rows, columns]``; what follows a row's end means nothing.

    Log-probabilities and values are float32, and None where nobody knows them.
    """

    tokens: Tensor  # ids
    logprobs: Tensor | None = None  # of the tokens, at temperature 1
    values: Tensor | None = None  # what the value head says before each token


@torch.no_grad()
def decode(
    model: Any,
    layout: Layout,
    prompts: dict[str, Tensor],
    copies: Tensor,
    stops: list[int],
    max_new_tokens: int,
    temperature: float = 1.0,
    value_head: nn.Module | None = None,
) -> Decoded:
    """Sample an answer for each entry of `copies`, which is a row of `prompts`.

    Parameters
    ----------
    model : callable
        In evaluation mode.
    prompts : dict
        ``input_ids`` and ``attention_mask``, padded on the left, ``[prompts, length]``.
    copies : torch.Tensor
        ``[rows]``: for each answer the row of its prompt.
    stops : list of int
        Tokens that end an answer.
    temperature : float
        0 takes the most probable token.
    value_head : module, optional
        From hidden states ``[rows, hidden]`` to values ``[rows, 1]``.

    Raises
    ------
    BadInput
        When the probabilities are not numbers, as after training that has diverged.
    """
    mask = prompts["attention_mask"]
    device, rows = mask.device, torch.arange(len(copies), device=mask.device)
    ends, going = torch.tensor(stops, device=device), torch.ones_like(rows, dtype=torch.bool)
    tokens = torch.zeros(len(rows), max_new_tokens, dtype=torch.long, device=device)
    logprobs = torch.zeros_like(tokens, dtype=torch.float32)
    values = None if value_head is None else torch.zeros_like(logprobs)
    options = {"use_cache": True, "output_hidden_states": values is not None, "return_dict": True}
    options |= {"return_last_logit": True} if layout.last_only else {}

    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    output = model(
        input_ids=prompts["input_ids"], attention_mask=mask, position_ids=positions, **options
    )
    logits, states = _last(output, layout)
    logits, states = logits[copies], None if states is None else states[copies]
    cache = _rows_of(output.past_key_values, copies, layout.cache)
    mask, positions = mask[copies], positions[copies, -1:]
    for column in range(max_new_tokens):
        # A number for each row of the batch, so that a row's answer doesn't depend on the others'.
        uniform = torch.rand(len(copies), dtype=torch.float64, device=device)[rows]
        new = draw(logits, temperature, uniform)
        tokens[rows, column] = new
        logprobs[rows, column] = logits.log_softmax(-1).gather(1, new[:, None])[:, 0]
        if value_head is not None and values is not None and states is not None:
            # Until a trainer moves it, TRL's head is on the CPU, wherever the model is.
            found = value_head(states.to(next(value_head.parameters()).device))[:, 0]
            values[rows, column] = found.to(values)
        going &= ~torch.isin(new, ends)
        left = int(going.sum())
        if not left or column + 1 == max_new_tokens:
            break
        if left <= FULLEST * len(rows):
            keep = going.nonzero()[:, 0]
            cache = _rows_of(cache, keep, layout.cache)
            rows, going, new = rows[keep], going[keep], new[keep]
            mask, positions = mask[keep], positions[keep]
        mask, positions = nn.functional.pad(mask, (0, 1), value=1), positions + 1
        output = model(
            input_ids=new[:, None],
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            **options,
        )
        (logits, states), cache = _last(output, layout), output.past_key_values
    if not logprobs.isfinite().all():
        raise BadInput(
            "the policy's probabilities are not numbers: its weights have diverged; go back to an "
            "earlier checkpoint and lower the learning rate"
        )
    return Decoded(tokens.cpu(), logprobs.cpu(), None if values is None else values.cpu())


def _last(output: Any, layout: Layout) -> tuple[Tensor, Tensor | None]:
    """Logits ``[rows, vocabulary]`` in float32, and hidden states, of the last token."""
    states = output.hidden_states
    states = None if states is None else states[-1].select(1 - layout.states, -1)
    return output.logits[:, -1].float(), states


def draw(logits: Tensor, temperature: float, uniform: Tensor) -> Tensor:
    """A token per row of logits ``[rows, vocabulary]``, by inverting the distribution function.

    One number between 0 and 1 per row decides; ``torch.multinomial`` draws one per entry.
    """
    if not temperature:
        return logits.argmax(-1)
    sums = (logits / temperature).softmax(-1).double().cumsum(-1)
    found = torch.searchsorted(sums, uniform[:, None] * sums[:, -1:], right=True)
    return found[:, 0].clamp(max=logits.shape[-1] - 1)  # rounding may lead past the last token


def _rows_of(cache: Any, rows: Tensor, dim: int) -> Cache:
    """Some rows of the cache; some published code returns it as one tensor."""
    return tuple((k.index_select(dim, rows), v.index_select(dim, rows)) for k, v in cache)
