"""From prompt to reward: encode, let a policy answer, decode, and call the reward function."""

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from glm_ppo_utils.decoding import Decoded, decode, find_layout
from glm_ppo_utils.errors import BadInput

RewardFn = Callable[..., list[float]]
"""``(prompts, completions, **columns) -> list[float]``, the signature of TRL's reward functions."""

EXACT = 1 - 1e-9  # a reward of at least this is that of an exact answer
LARGEST_REWARD = 3e38  # PPO computes in float32
DECODINGS = {"sampled": 1.0, "greedy": 0.0}  # the two ways to evaluate, and their temperatures


class RewardError(BadInput):
    """What a reward function returned cannot be learnt from."""


# -- the chat format: text in, token ids out, for every tokenizer the series meets


def encode_prompt(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of a one-turn chat prompt, up to the point where the assistant answers.

    The tokenizer builds the prompt, each family in its own way: ChatGLM3 by ``build_chat_input``,
    ChatGLM2 by ``build_prompt``, GLM-4 and others by ``apply_chat_template``, with the template in
    the configuration or in the tokenizer's code. A tokenizer with none of these, such as GPT-2's,
    gets the plain text and a newline.

    Raises
    ------
    BadInput
        When the tokenizer of a ChatGLM has none of these: without the role tokens the model cannot
        tell a question from a text to continue.
    """
    if hasattr(tokenizer, "build_chat_input"):
        return _flat(tokenizer.build_chat_input(text))
    if hasattr(tokenizer, "build_prompt"):
        return tokenizer.encode(tokenizer.build_prompt(text))
    own = type(tokenizer).apply_chat_template is not PreTrainedTokenizerBase.apply_chat_template
    if own or getattr(tokenizer, "chat_template", None):
        messages = [{"role": "user", "content": text}]
        return _flat(tokenizer.apply_chat_template(messages, add_generation_prompt=True))
    if _token_id(tokenizer, "[gMASK]") is not None:
        raise BadInput(
            f"{type(tokenizer).__name__} has no chat format: no build_chat_input, build_prompt or "
            "chat template; take a later revision of its code, or set tokenizer.chat_template"
        )
    return tokenizer.encode(text + "\n")


def _flat(ids: object) -> list[int]:
    """Token ids as one list; prompt builders return them nested, as tensors or in a dict."""
    ids = ids["input_ids"] if isinstance(ids, Mapping) else ids
    return torch.as_tensor(ids).flatten().tolist()


def _token_id(tokenizer: PreTrainedTokenizerBase, token: str) -> int | None:
    """Id of a token; None if the vocabulary has none of that name."""

    def look_up(token: str) -> int | None:
        try:
            return tokenizer.convert_tokens_to_ids(token)
        except KeyError:  # GLM-4's code
            return None

    index = look_up(token)
    return None if index == look_up("<|no such token|>") else index


def encode_answer(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of an answer: the newline that ends the assistant's role line, text, end token.

    ChatGLM2 has no role lines, so there the newline is left out.
    """
    roles = hasattr(tokenizer, "build_chat_input") or not hasattr(tokenizer, "build_prompt")
    newline = tokenizer.encode("\n", add_special_tokens=False) if roles else []
    return newline + tokenizer.encode(text, add_special_tokens=False) + [tokenizer.eos_token_id]


def decode_answer(tokenizer: PreTrainedTokenizerBase, ids: list[int] | torch.Tensor) -> str:
    """Text of a response, without the leading newline and the end token."""
    # `skip_special_tokens` does the same, but lists the special tokens again for every id.
    special = set(tokenizer.all_special_ids)
    return tokenizer.decode([i for i in map(int, ids) if i not in special]).strip()


def stop_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Tokens that end an answer: the end token, and the role tokens that would start a new turn."""
    turns = [_token_id(tokenizer, t) for t in ("<|user|>", "<|observation|>")]
    return [tokenizer.eos_token_id, *(t for t in turns if t is not None)]


def check_lengths(
    model: Any, tokenizer: PreTrainedTokenizerBase, problems: Sequence, max_new_tokens: int
) -> None:
    """Make sure that every prompt and its response fit into the model's context.

    Beyond the context that it was trained on, a model raises no error but writes noise.

    Raises
    ------
    BadInput
        Naming the first problem that is too long, and the lengths.
    """
    names = ("seq_length", "max_position_embeddings", "n_positions")
    limit = next((getattr(model.config, n) for n in names if hasattr(model.config, n)), math.inf)
    for place, problem in enumerate(problems):
        # A quick bound first: a token is at least a byte, and the role tokens are fewer than 64.
        if len(problem.text.encode()) + 64 + max_new_tokens <= limit:
            continue
        tokens = len(encode_prompt(tokenizer, problem.text))
        if tokens + max_new_tokens > limit:
            raise BadInput(
                f"problem {getattr(problem, 'id', place)}: its prompt has {tokens} tokens, and "
                f"with max_new_tokens={max_new_tokens} that is more than the model's context of "
                f"{limit}; shorten it, leave it out, or lower max_new_tokens"
            )


@dataclass(frozen=True)
class Prompt:
    """A prompt and its columns, made of a mapping such as a row of a ``datasets.Dataset``."""

    text: str
    others: Mapping[str, Any]

    def columns(self) -> dict[str, Any]:
        """What a reward function gets of it."""
        return dict(self.others)


def as_prompts(rows: Iterable[Any]) -> list[Any]:
    """Objects with ``text`` as they are, and mappings with a ``"text"`` as `Prompt`.

    Raises
    ------
    BadInput
        Naming the first row that is neither.
    """
    prompts = []
    for place, row in enumerate(rows):
        if isinstance(row, Mapping) and isinstance(row.get("text"), str):
            row = Prompt(row["text"], {name: v for name, v in row.items() if name != "text"})
        elif not isinstance(getattr(row, "text", None), str):
            raise BadInput(
                f"problem {place} has no text; give an object with `text`, or a mapping with "
                '"text", to which a column of another name can be renamed'
            )
        prompts.append(row)
    return prompts


# -- responses


@dataclass(frozen=True)
class Rollout:
    """One prompt and the policy's response to it.

    The response holds its end token, unless it was cut at the length limit. Log-probabilities (at
    temperature 1) and values are those at sampling, ``[response length]`` in float32; None where
    the model's own ``generate`` had to sample.
    """

    query: torch.Tensor  # token ids [prompt length]
    response: torch.Tensor  # token ids [response length]
    text: str  # the response as text
    logprobs: torch.Tensor | None = None
    values: torch.Tensor | None = None  # before each token, if there is a value head


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
        A causal language model, with or without a value head. Where `decoding` cannot call it, its
        own ``generate`` samples.
    temperature : float
        0 decodes greedily. Otherwise the full softmax is sampled: no top-k or top-p cut, so that
        PPO's log-probabilities are those of the distribution that was sampled.
    batch_size : int
        Responses decoded together. Prompts of similar length share a batch, to save padding, and a
        prompt that is in a batch more than once is encoded once.
    """
    queries = [tuple(encode_prompt(tokenizer, text)) for text in prompts]
    order = sorted(range(len(queries)), key=lambda i: (len(queries[i]), queries[i]))
    stops = stop_ids(tokenizer)
    rollouts: dict[int, Rollout] = {}
    with evaluation_mode(policy):
        sample = _sampler(policy, tokenizer, stops, max_new_tokens, temperature)
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            found = sample([queries[i] for i in rows])
            for row, i in enumerate(rows):
                response = _until_stop(found.tokens[row], stops)
                # ChatGLM's published tokenizer does not count the roles as special tokens.
                text = decode_answer(tokenizer, [t for t in response.tolist() if t not in stops])
                known = [
                    None if x is None else x[row, : len(response)].clone()
                    for x in (found.logprobs, found.values)
                ]
                rollouts[i] = Rollout(torch.tensor(queries[i]), response, text, *known)
    return [rollouts[i] for i in range(len(queries))]


def _sampler(
    policy: Any,
    tokenizer: PreTrainedTokenizerBase,
    stops: list[int],
    max_new_tokens: int,
    temperature: float,
) -> Callable[[list[tuple[int, ...]]], Decoded]:
    """A function from the token ids of prompts to what is sampled for them."""
    model, head = getattr(policy, "pretrained_model", policy), getattr(policy, "v_head", None)
    layout = find_layout(model)

    def pad(rows: Iterable[tuple[int, ...]]) -> Any:
        features = [{"input_ids": list(ids)} for ids in rows]
        return tokenizer.pad(features, padding=True, return_tensors="pt").to(device_of(policy))

    def by_generate(rows: list[tuple[int, ...]]) -> Decoded:
        batch = pad(rows)
        choice = {"temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature > 0 else {}
        output = policy.generate(
            **batch,
            **choice,
            do_sample=temperature > 0,
            max_new_tokens=max_new_tokens,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=stops,
        )
        return Decoded(output[:, batch["input_ids"].shape[1] :].cpu())

    if layout is None:
        return by_generate

    def by_decode(rows: list[tuple[int, ...]]) -> Decoded:
        places = {ids: place for place, ids in enumerate(dict.fromkeys(rows))}
        copies = torch.tensor([places[ids] for ids in rows], device=device_of(policy))
        return decode(model, layout, pad(places), copies, stops, max_new_tokens, temperature, head)

    return by_decode


def _until_stop(ids: torch.Tensor, stops: list[int]) -> torch.Tensor:
    """Cut a padded row after its first stop token."""
    ends = torch.isin(ids, torch.tensor(stops)).nonzero()
    return ids[: int(ends[0]) + 1] if len(ends) else ids


def device_of(policy: torch.nn.Module) -> torch.device:
    """The device of the model's parameters."""
    return next(policy.parameters()).device


@contextmanager
def evaluation_mode(policy: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block, then back to the mode before."""
    training = policy.training
    policy.eval()
    try:
        yield
    finally:
        policy.train(training)


# -- rewards


def call_reward(reward_fn: RewardFn, problems: Sequence, answers: Sequence[str]) -> list[float]:
    """Call a reward function the way TRL does: prompts, completions, and columns by name.

    A problem's ``columns()`` are the columns, for example ``reference``; where it has no such
    method, all fields except ``text``.

    Raises
    ------
    RewardError
        When the function cannot be called with these columns, or does not return one finite number
        per response; the message names the function and the first bad response. Errors that the
        function itself raises are passed on.
    """
    rows = [_columns(problem) for problem in problems]
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in names}
    own = {"prompts": [p.text for p in problems], "completions": list(answers)}
    arguments = own | {name: column for name, column in columns.items() if name not in own}
    who = f"the reward function {getattr(reward_fn, '__qualname__', type(reward_fn).__name__)}"
    try:
        inspect.signature(reward_fn).bind(**arguments)
    except TypeError as error:
        raise RewardError(
            f"{who} cannot be called with {', '.join(arguments)} ({error}); let it take "
            "(prompts, completions, **columns)"
        ) from error
    except ValueError:
        pass  # the signature of a built-in function may be unknown
    return _checked_rewards(reward_fn(**arguments), len(answers), who)


def _columns(problem: Any) -> dict[str, Any]:
    """What a reward function gets of one problem, by name."""
    if hasattr(problem, "columns"):
        return problem.columns()
    return {f.name: getattr(problem, f.name) for f in fields(problem) if f.name != "text"}


def _checked_rewards(returned: object, count: int, who: str) -> list[float]:
    """What a reward function returned, as one finite number per response."""
    if inspect.iscoroutine(returned):
        returned.close()
        raise RewardError(f"{who} is async; give one that returns its rewards")
    if isinstance(returned, (str, bytes, Mapping)) or not isinstance(returned, Iterable):
        raise RewardError(f"{who} returned {_short(returned)}, not a list of {count} numbers")
    values: list[Any] = list(returned) if getattr(returned, "ndim", 1) else [returned]
    if len(values) != count:
        raise RewardError(
            f"{who} returned {len(values)} rewards for {count} responses; it must return one for "
            "each, in order"
        )
    rewards = []
    for place, value in enumerate(values):
        try:
            reward = math.nan if isinstance(value, (str, bytes)) else float(value)
        except (TypeError, ValueError, OverflowError, RuntimeError):
            reward = math.nan
        if not abs(reward) <= LARGEST_REWARD:  # nan is not either
            raise RewardError(
                f"{who} returned {_short(value)} as the reward of response {place}; it must be one "
                "finite number"
            )
        rewards.append(reward)
    return rewards


def _short(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:60]}... ({type(value).__name__})"


def reward_statistics(rewards: Sequence[float]) -> dict[str, float]:
    """Mean and spread of rewards, and the shares that are exact (1) and parsed (above 0)."""
    r = torch.tensor(rewards, dtype=torch.float64)
    return {
        "reward": r.mean().item(),
        "reward_sd": r.std(unbiased=False).item(),
        "exact": (r >= EXACT).double().mean().item(),
        "parsed": (r > 0).double().mean().item(),
    }


def evaluate(
    policy: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    problems: Sequence,
    grader: RewardFn,
    max_new_tokens: int,
    temperature: float = 1.0,
) -> dict[str, float]:
    """Mean reward, exact rate and parse rate of a policy over `problems`.

    A reward of 1 means exact and a reward above 0 means parsed, as the evaluator defines them.
    """
    prompts = [p.text for p in problems]
    rollouts = respond(policy, tokenizer, prompts, max_new_tokens, temperature)
    return reward_statistics(call_reward(grader, problems, [r.text for r in rollouts]))


def sampled_and_greedy(evaluate_at: Callable[[float], dict[str, float]]) -> dict[str, float]:
    """The statistics of both decodings: ``sampled_exact``, ``greedy_exact`` and so on.

    `evaluate_at` takes a temperature, and returns statistics by name.
    """
    return {
        f"{way}_{name}": value
        for way, temperature in DECODINGS.items()
        for name, value in evaluate_at(temperature).items()
    }
