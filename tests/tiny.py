"""Stand-ins that several test modules share: the smallest models, problems and a reward."""

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from glm_ppo_utils.chatglm import add_value_head, load_policy

# The smallest ChatGLM that still has every part: query groups, half rotary, several layers.
SIZES = {
    "num_layers": 3,
    "hidden_size": 32,
    "ffn_hidden_size": 32,
    "kv_channels": 8,
    "num_attention_heads": 4,
    "multi_query_group_num": 2,
    "seq_length": 512,
}


@dataclass(frozen=True)
class Word:
    """A problem of one word; the loop asks no more of a problem than these fields."""

    text: str
    reference: str = ""


WORDS = [Word(f"say {w} " * n, w) for w in ("one", "two", "six") for n in (1, 2, 3, 4)]


def letters(prompts, completions, **_):
    """Reward: the share of a response's first six characters that are small letters."""
    assert len(prompts) == len(completions)
    return [sum("a" <= c <= "z" for c in text[:6]) / 6 for text in completions]


def policy_with_value_head(kind: str, folder: Path, vocabulary: int):
    """A seeded policy of `kind` "chatglm" (from `folder`) or "gpt2", ready for PPO."""
    torch.manual_seed(0)
    if kind == "chatglm":
        return add_value_head(load_policy(folder, dtype="float32"))
    config = GPT2Config(vocab_size=vocabulary, n_embd=32, n_layer=2, n_head=4, n_positions=128)
    return add_value_head(GPT2LMHeadModel(config).eval())


def without_seconds(rows: list[dict]) -> list[dict]:
    """The rows of a log, without what differs between two runs of the same steps."""
    return [{k: v for k, v in row.items() if not k.startswith("seconds")} for row in rows]
