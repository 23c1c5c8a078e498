"""The chat format: text in, token ids out, for every tokenizer the series meets."""

import torch
from transformers import PreTrainedTokenizerBase


def encode_prompt(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of a one-turn chat prompt, up to the point where the assistant answers.

    ChatGLM2/3 build the prompt in code, GLM-4 and others by a chat template; a tokenizer with
    neither (GPT-2) gets the plain text and a newline.
    """
    if hasattr(tokenizer, "build_chat_input"):
        return tokenizer.build_chat_input(text)["input_ids"][0].tolist()
    if getattr(tokenizer, "chat_template", None):
        messages = [{"role": "user", "content": text}]
        return list(tokenizer.apply_chat_template(messages, add_generation_prompt=True))
    return tokenizer.encode(text + "\n")


def encode_answer(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of an assistant's answer: the newline that ends the role line, text, end token."""
    newline = tokenizer.encode("\n", add_special_tokens=False)
    return newline + tokenizer.encode(text, add_special_tokens=False) + [tokenizer.eos_token_id]


def decode_answer(tokenizer: PreTrainedTokenizerBase, ids: list[int] | torch.Tensor) -> str:
    """Text of a response, without the leading newline and the end token."""
    # Left out here, because `skip_special_tokens` lists the special tokens anew for every id.
    special = set(tokenizer.all_special_ids)
    return tokenizer.decode([i for i in map(int, ids) if i not in special]).strip()


def stop_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Tokens that end an answer: the end token, and the roles that would start another turn."""
    vocab = tokenizer.get_vocab()
    turns = [vocab[t] for t in ("<|user|>", "<|observation|>") if t in vocab]
    return [tokenizer.eos_token_id, *turns]
