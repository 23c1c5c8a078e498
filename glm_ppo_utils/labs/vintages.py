"""What works with which vintage of ChatGLM's code, from the tokenizer to a step of PPO.

    python -m glm_ppo_utils.labs.vintages FOLDER... [--table vintages.csv]

A folder holds code and configuration as published: the ``.py`` and ``.json`` files and the
vocabulary. Weights are not needed, as the model is built small, with random weights. Where the
vocabulary is missing a small one takes its place.
"""

import argparse
import base64
import io
import json
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import save_file
from sentencepiece import SentencePieceTrainer
from transformers import AutoConfig, AutoModelForCausalLM, logging

from glm_ppo_utils.chatglm import add_value_head, load_policy, load_tokenizer, save_checkpoint
from glm_ppo_utils.chatglm.hub import remote_code
from glm_ppo_utils.gradient_checkpointing import turn_on_gradient_checkpointing
from glm_ppo_utils.labs.probe import check_finite
from glm_ppo_utils.ppo import PPORun
from glm_ppo_utils.profiles import PPOSettings, SFTSettings
from glm_ppo_utils.rollout import encode_prompt
from glm_ppo_utils.sft import train_sft

TABLE = Path(__file__).resolve().parents[2] / "notebooks" / "runs" / "vintages.csv"
# Three layers: fewer would hide how a cache is taken apart. Names of all vintages.
SMALL = {
    **{"num_layers": 3, "hidden_size": 32, "ffn_hidden_size": 48, "inner_hidden_size": 48},
    **{"kv_channels": 8, "num_attention_heads": 4, "multi_query_group_num": 2},
    **{"seq_length": 256, "max_sequence_length": 256, "torch_dtype": "float32"},
}


@dataclass(frozen=True)
class Word:
    """A problem that is a few words."""

    text: str
    reference: str = ""


WORDS = [Word("say one please"), Word("say two"), Word("say six"), Word("say ten now")]


@dataclass
class Trial:
    """One vintage on its way through the steps."""

    folder: Path
    scratch: Path
    tokenizer: Any = None
    policy: Any = None


# -- steps ------------------------------------------------------------------------------------


def tokenizer(trial: Trial) -> None:
    trial.tokenizer = load_tokenizer(trial.folder)
    trial.tokenizer(["say one please", "say"], padding=True)


def load(trial: Trial) -> None:
    trial.policy = load_policy(trial.folder, dtype="float32")


def values(trial: Trial) -> None:
    ids = torch.arange(6).view(2, 3) + 3
    shape = tuple(add_value_head(trial.policy)(ids)[2].shape)
    if shape != (2, 3):
        raise ArithmeticError(f"values of 2 rows of 3 tokens have shape {shape}")


def generate(trial: Trial) -> None:
    batch = trial.tokenizer([w.text for w in WORDS], padding=True, return_tensors="pt")
    trial.policy.generate(**batch, max_new_tokens=4)


def sft(trial: Trial) -> None:
    pairs = [(w.text, "one") for w in WORDS]
    settings = SFTSettings(steps=1, batch_size=2, warmup=0.0, problems=4, eval_every=1)
    log = train_sft(
        trial.policy, trial.tokenizer, pairs, [], settings, trial.scratch, progress=False
    )
    check_finite(log[0]["loss"])


def ppo(trial: Trial) -> None:
    settings = PPOSettings(
        steps=1, batch_size=4, mini_batch_size=2, max_new_tokens=4, value_warmup=0, eval_every=0
    )
    run = PPORun(
        add_value_head(trial.policy),
        trial.tokenizer,
        lambda prompts, completions, **_: [float("e" in text) for text in completions],
        WORDS,
        settings,
        trial.scratch / "ppo",
        progress=False,
    )
    run.train()
    for parameter in trial.policy.parameters():
        check_finite(parameter.sum())


def save(trial: Trial) -> None:
    """Save, load again, and compare a forward pass and an encoded text."""
    folder = save_checkpoint(trial.policy, trial.tokenizer, trial.scratch / "saved")
    again, ids = load_policy(folder, dtype="float32"), torch.arange(6).view(2, 3) + 3
    with torch.no_grad():
        if not torch.equal(again.eval()(ids).logits, trial.policy.eval()(ids).logits):
            raise ArithmeticError("logits changed")
    if load_tokenizer(folder).encode("say one") != trial.tokenizer.encode("say one"):
        raise ArithmeticError("the tokenizer changed")


# Each step with those that must have worked before it.
STEPS: dict[str, tuple[Callable[[Trial], object], set[str]]] = {
    "tokenizer": (tokenizer, set()),
    "prompt": (lambda t: encode_prompt(t.tokenizer, WORDS[0].text), {"tokenizer"}),
    "load": (load, set()),
    "values": (values, {"load"}),
    "generate": (generate, {"prompt", "load"}),
    "SFT": (sft, {"prompt", "load"}),
    "PPO": (ppo, {"generate", "values"}),
    "save and reload": (save, {"tokenizer", "load"}),
    "checkpointing": (lambda t: turn_on_gradient_checkpointing(t.policy), {"load"}),
}


def try_vintage(folder: Path) -> dict[str, str]:
    """Every step on one vintage.

    Parameters
    ----------
    folder
        Code, configuration and vocabulary as published. It is left as it is.

    Returns
    -------
    dict
        ``vintage``, the folder's name; then for each step ``ok``, ``ok, patched`` where
        `patch_generation` was needed, ``-`` where an earlier step had to work first, or the first
        line of what a user sees.
    """
    row = {"vintage": folder.name}
    with tempfile.TemporaryDirectory() as scratch:
        trial = Trial(Path(scratch) / folder.name.replace(".", "-"), Path(scratch))
        build(folder, trial.folder)
        for name, (step, needed) in STEPS.items():
            reached = all(row[other].startswith("ok") for other in needed)
            row[name] = _try(step, trial) if reached else "-"
    return row


def _try(step: Callable[[Trial], object], trial: Trial) -> str:
    with warnings.catch_warnings(record=True) as caught, redirect_stdout(io.StringIO()):
        warnings.simplefilter("always")
        try:
            step(trial)
        except Exception as error:
            line = (str(error).strip().splitlines() or [""])[0]
            line = line.replace(str(trial.folder), trial.folder.name)
            ours = type(error).__module__.startswith("glm_ppo_utils")
            return line if ours else f"{type(error).__name__}: {line}"
    patched = any("patch_generation" in str(warning.message) for warning in caught)
    return "ok, patched" if patched else "ok"


# -- a small model from published code -----------------------------------------------------------


def build(folder: Path, target: Path) -> None:
    """Copy a vintage, with a small model of random weights in the place of the published ones."""
    weights = shutil.ignore_patterns("*.bin", "*.safetensors*", "SHA256SUMS", ".*")
    shutil.copytree(folder, target, ignore=weights)
    config = json.loads((target / "config.json").read_text())
    _edit(target / "config.json", **{k: v for k, v in SMALL.items() if k in config})
    _add_vocabulary(target)
    if "position_encoding_2d" not in config and "auto_map" in config:
        _add_weights(target)


def _edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _add_vocabulary(target: Path) -> None:
    """A small vocabulary where there is none, or only a pointer to a large file."""
    path, code = target / "tokenizer.model", target / "tokenization_chatglm.py"
    if (path.is_file() and path.stat().st_size > 1000) or not code.is_file():
        return
    if "tiktoken" in code.read_text():
        ranks = (f"{base64.b64encode(bytes([i])).decode()} {i}" for i in range(256))
        path.write_text("\n".join(ranks))
    else:
        with path.open("wb") as file:
            SentencePieceTrainer.train(
                sentence_iterator=iter([w.text for w in WORDS] * 9),
                model_writer=file,
                model_type="bpe",
                vocab_size=400,
                hard_vocab_limit=False,
                byte_fallback=True,
                minloglevel=2,
            )
    with suppress(Exception):  # the step "tokenizer" shows what is wrong
        _edit(target / "config.json", padded_vocab_size=load_tokenizer(target).vocab_size)


def _add_weights(target: Path) -> None:
    """Random weights, all of them set: published constructors leave memory as they find it."""
    try:
        with remote_code():
            config = AutoConfig.from_pretrained(target, trust_remote_code=True)
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=True).float()
    except Exception:  # the step "load" shows what is wrong
        return
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.1)
        else:
            torch.nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 1.0)
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: the folders, and where the table goes."""
    parser = argparse.ArgumentParser(prog="vintages", description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--table", type=Path, help=f"also write a CSV file, such as {TABLE.name}")
    options = parser.parse_args(arguments)
    if lost := [str(f) for f in options.folders if not (f / "config.json").is_file()]:
        print(f"error: no config.json in {', '.join(lost)}; name folders of code", file=sys.stderr)
        return 1
    logging.set_verbosity_error()
    rows = []
    for folder in options.folders:
        rows.append(try_vintage(folder))
        print(*(f"{key}: {value}" for key, value in rows[-1].items()), sep="\n  ", flush=True)
    if options.table:
        pd.DataFrame(rows).to_csv(options.table, index=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
