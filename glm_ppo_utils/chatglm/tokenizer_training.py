"""Train the SentencePiece model of a small ChatGLM."""

import io
from collections.abc import Iterable
from pathlib import Path

import sentencepiece as spm

from .tokenization_chatglm import COMMANDS


def train_tokenizer(texts: Iterable[str], path: Path, vocab_size: int = 1024) -> Path:
    """Train a SentencePiece model on `texts` and write it to `path`.

    Digits are single pieces, so that a number never seen is still made of known tokens; a newline
    is a piece; what the corpus lacks falls back to bytes. Text is not normalised, so that decoding
    gives back exactly what was encoded.

    Kudo and Richardson (2018), "SentencePiece", with the BPE model.

    Parameters
    ----------
    texts : iterable of str
        The corpus, one document an item.
    vocab_size : int
        Upper limit of the number of pieces; a small corpus gives fewer.

    Returns
    -------
    Path
        `path`.
    """
    buffer = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=buffer,
        vocab_size=vocab_size,
        hard_vocab_limit=False,
        model_type="bpe",
        split_digits=True,
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        # Without pieces for a space and a digit together, every number would start with a lone
        # space: longer sequences, in which a digit is no longer a neighbour of its name.
        user_defined_symbols=["\n", *(f"▁{digit}" for digit in range(10))],
        control_symbols=COMMANDS,  # or "people" could yield a piece called "eop"
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())
    return path
