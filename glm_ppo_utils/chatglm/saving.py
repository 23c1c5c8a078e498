"""Checkpoint folders that carry the code of their model.

A folder holds ``config.json`` with an ``auto_map``, ``model.safetensors``, the tokenizer's files
and three Python files, so that ``from_pretrained(folder, trust_remote_code=True)`` loads it like
the published ChatGLM3, with nothing of this package installed.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.utils.sha import sha_fileobj
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.dynamic_module_utils import get_relative_import_files

from glm_ppo_utils import atomic

from .compat import base_model
from .configuration_chatglm import ChatGLMConfig
from .hub import CheckpointError
from .modeling_chatglm import ChatGLMForConditionalGeneration
from .tokenization_chatglm import ChatGLMTokenizer

MODEL = "modeling_chatglm.ChatGLMForConditionalGeneration"
AUTO_MAP = {
    "AutoConfig": "configuration_chatglm.ChatGLMConfig",
    "AutoModel": MODEL,
    "AutoModelForCausalLM": MODEL,
    "AutoModelForSeq2SeqLM": MODEL,
}
CHECKSUMS = "SHA256SUMS"


def write_checkpoint(
    folder: Path | str,
    config: ChatGLMConfig | Mapping,
    tokenizer_model: Path | str,
    seed: int = 0,
) -> Path:
    """Write an untrained ChatGLM3 as a checkpoint folder.

    Parameters
    ----------
    folder
        As for `save_checkpoint`.
    config
        A configuration, or its arguments. Without ``padded_vocab_size`` the arguments get the
        tokenizer's size.
    tokenizer_model
        A SentencePiece model (``tokenizer.model``).
    seed
        Of the random weights. The caller's random state is left as it was.

    Raises
    ------
    CheckpointError
        If the folder cannot be written.
    """
    tokenizer = ChatGLMTokenizer(tokenizer_model)
    if not isinstance(config, ChatGLMConfig):
        own = {"padded_vocab_size": tokenizer.vocab_size, "pad_token_id": 0, "eos_token_id": 2}
        config = ChatGLMConfig(**{**own, **config})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ChatGLMForConditionalGeneration(config)
    return save_checkpoint(model, tokenizer, folder)


def save_checkpoint(
    model: Any, tokenizer: PreTrainedTokenizerBase | None, folder: Path | str
) -> Path:
    """Save any policy of this series, with its code, in one step that a crash cannot halve.

    Parameters
    ----------
    model
        A transformers model, a PEFT model (its adapter is saved), or a TRL model with a value
        head (the model below it is saved, the head is not).
    folder
        Created, or replaced as a whole once the new one is complete.

    Raises
    ------
    CheckpointError
        If the folder cannot be written.
    """
    model = getattr(model, "pretrained_model", model)
    try:
        with atomic.replacing(folder) as scratch:
            _write(model, tokenizer, scratch)
    except OSError as error:
        raise CheckpointError(
            f"checkpoint {folder} cannot be written ({error.strerror or error}); "
            "free space or choose another folder"
        ) from error
    return Path(folder)


def _write(model: Any, tokenizer: PreTrainedTokenizerBase | None, folder: Path) -> None:
    model.save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    base = base_model(model)
    if base.config.model_type == ChatGLMConfig.model_type:
        _add_code(folder, base, tokenizer)
    lines = [f"{sha256(path)}  {path.name}\n" for path in sorted(folder.glob("*.safetensors"))]
    (folder / CHECKSUMS).write_text("".join(lines))


def verify_checksums(folder: Path) -> None:
    """Compare the weights in `folder` with the checksums stored beside them, if there are any.

    Raises
    ------
    CheckpointError
        If a file is missing or differs.
    """
    sums = folder / CHECKSUMS
    for line in sums.read_text().splitlines() if sums.is_file() else []:
        expected, name = line.split("  ", 1)
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder} has lost its {name}; copy the folder again")
        if sha256(folder / name) != expected:
            raise CheckpointError(
                f"{folder / name} is damaged: its SHA-256 is not the one in {CHECKSUMS}; "
                "copy the folder again or train anew"
            )


def _add_code(
    folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None
) -> None:
    """Put the model's own code into the folder and name it in the configuration files."""
    for owner in (model, model.config, tokenizer):
        for path in _code_of(type(owner)):
            shutil.copyfile(path, folder / path.name)
    # Paths of the machine that saved it have no place in a checkpoint.
    _edit_json(folder / "config.json", auto_map=AUTO_MAP, _name_or_path=None)
    if tokenizer is not None:
        name = f"tokenization_chatglm.{type(tokenizer).__name__}"
        fixed = dict.fromkeys(fixed_tokens(type(tokenizer)))
        _edit_json(
            folder / "tokenizer_config.json", auto_map={"AutoTokenizer": [name, None]}, **fixed
        )


def fixed_tokens(cls: type) -> list[str]:
    """The special tokens that a tokenizer's code fixes: properties that cannot be set.

    ChatGLM's published tokenizer has ``eos_token`` and others so. It saves them all the same, and
    then fails to load what it saved.
    """
    names = PreTrainedTokenizerBase.SPECIAL_TOKENS_ATTRIBUTES
    own = {name: getattr(cls, name, None) for name in names}
    unset = (None, _ignore)
    return [k for k, p in own.items() if isinstance(p, property) and p.fset in unset]


def accept_fixed_tokens(cls: type) -> None:
    """Let a tokenizer's class take the special tokens that it has saved, and ignore them."""
    for name in fixed_tokens(cls):
        setattr(cls, name, property(getattr(cls, name).fget, _ignore))


def _ignore(tokenizer: object, value: object) -> None:
    """The setter of a special token that the tokenizer's code fixes."""


def _code_of(cls: type) -> list[Path]:
    """The file of a class of ChatGLM and those it imports; none for a class of transformers."""
    for ancestor in cls.__mro__:
        if ancestor.__module__.endswith("_chatglm"):
            # Where the function was compiled from; the module of that name may be another by now.
            file = ancestor.__init__.__code__.co_filename  # type: ignore[misc]
            return [Path(path) for path in (file, *get_relative_import_files(file))]
    return []


def _edit_json(path: Path, **changes: object) -> None:
    """Set keys of a JSON file, or drop those given as None."""
    if path.is_file():
        content = {**json.loads(path.read_text()), **changes}
        content = {key: value for key, value in content.items() if value is not None}
        path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def sha256(path: Path) -> str:
    """The SHA-256 hash of a file, in hexadecimal."""
    with path.open("rb") as file:
        return sha_fileobj(file).hex()
