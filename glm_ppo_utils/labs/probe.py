"""What works under the transformers that is first on the path; run by `versions`.

One line of JSON per result goes to ``--output``. ChatGLM comes from a checkpoint folder, the
controls GPT-2 and Llama are made on the spot, all tiny and with random weights.
"""

import argparse
import inspect
import json
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MethodType
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from glm_ppo_utils.chatglm.compat import next_step, patch_generation
from glm_ppo_utils.gradient_checkpointing import gradient_checkpointing_is_on

NEW_TOKENS = 6
TEXTS = ["maximize 3 chairs", "2 chairs + tables <= 40"]


@dataclass
class Subject:
    """A model to probe, loaded anew for every step that changes it: ChatGLM, or a control."""

    name: str
    checkpoint: Path

    def load(self) -> Any:
        if self.name != "chatglm":
            return _control(self.name)
        return AutoModelForCausalLM.from_pretrained(
            self.checkpoint, torch_dtype=torch.float32, trust_remote_code=True
        ).eval()

    def load_tokenizer(self) -> Any:
        if self.name != "chatglm":
            return _control_tokenizer()
        return AutoTokenizer.from_pretrained(self.checkpoint, trust_remote_code=True)

    def batch(self, texts: list[str] = TEXTS[:1]) -> dict[str, torch.Tensor]:
        """Ids, mask and positions, left-padded here by hand: padding has steps of its own."""
        # Any ids will do, as the weights are random.
        rows = [[3 + ord(character) % 40 for character in text] for text in texts]
        batch = {"input_ids": rows, "attention_mask": [[1] * len(row) for row in rows]}
        if self.name == "chatglm":
            batch["position_ids"] = [list(range(len(row))) for row in rows]
        width = max(map(len, rows))
        return {
            key: torch.tensor([[0] * (width - len(row)) + row for row in value])
            for key, value in batch.items()
        }


def _control(name: str) -> nn.Module:
    torch.manual_seed(0)
    shared = {"vocab_size": 60, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    if name == "gpt2":
        config = transformers.GPT2Config(n_positions=64, n_embd=32, n_layer=3, n_head=2, **shared)
        return transformers.GPT2LMHeadModel(config).eval()
    config = transformers.LlamaConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=64,
        **shared,
    )
    return transformers.LlamaForCausalLM(config).eval()


def _control_tokenizer() -> transformers.PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = sorted({word for text in TEXTS for word in text.split()})
    vocabulary = {word: index for index, word in enumerate(["<pad>", "<s>", "</s>", *words])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="</s>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", padding_side="left"
    )


# -- steps ------------------------------------------------------------------------------------


def generate(model: Any, batch: dict[str, torch.Tensor], **options: Any) -> torch.Tensor:
    """`NEW_TOKENS` tokens after each row, greedily unless told otherwise."""
    options = {"do_sample": False, "max_new_tokens": NEW_TOKENS, "pad_token_id": 0, **options}
    with torch.no_grad():
        ids = model.generate(**batch, min_new_tokens=NEW_TOKENS, eos_token_id=2, **options)
    return ids[:, batch["input_ids"].shape[1] :]


def check_finite(numbers: Any) -> None:
    """Raise an ArithmeticError unless all of a tensor, or a number, is finite."""
    if not torch.isfinite(torch.as_tensor(numbers)).all():
        raise ArithmeticError("a result is not finite")


def forward(s: Subject) -> None:
    check_finite(s.load()(**s.batch(TEXTS)).logits)


def forward_labels(s: Subject) -> None:
    model, batch = s.load(), s.batch()
    loss = model(**batch, labels=batch["input_ids"]).loss
    loss.backward()
    check_finite(loss)


def save_load(s: Subject) -> None:
    model = s.load()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        again = type(model).from_pretrained(folder)
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        if not torch.equal(one, other):
            raise ArithmeticError("weights changed")


def grad_ckpt(s: Subject) -> None:
    model = s.load()
    model.gradient_checkpointing_enable()
    if not gradient_checkpointing_is_on(model):
        raise AssertionError("gradient checkpointing is accepted and does nothing")


def trl_import(s: Subject) -> None:
    from trl import AutoModelForCausalLMWithValueHead, PPOTrainer  # noqa: F401


def _wrap(model: Any) -> Any:
    from trl import AutoModelForCausalLMWithValueHead

    return AutoModelForCausalLMWithValueHead.from_pretrained(model)


def _alias(s: Subject) -> Any:
    """ChatGLM with its head under the name that TRL looks for, as a second module."""
    model = s.load()
    model.lm_head = model.transformer.output_layer
    return model


def wrap_blog_move_delete(s: Subject) -> None:
    model = _alias(s)
    del model.transformer.output_layer
    _wrap(model)(**s.batch())


def wrap_alias(s: Subject) -> None:
    wrapped = _wrap(_alias(s))
    wrapped(**s.batch())
    generate(wrapped, s.batch())


def wrap_alias_save(s: Subject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _alias(s).save_pretrained(folder)


def wrap_property(s: Subject) -> None:
    """The fix of this series; values are checked to be batch-first."""
    from glm_ppo_utils.chatglm.head import add_value_head

    batch = s.batch(TEXTS)
    values = add_value_head(s.load())(**batch)[2]
    if values.shape != batch["input_ids"].shape:
        raise ArithmeticError(f"values have shape {tuple(values.shape)}")


def peft_lora(s: Subject) -> None:
    from peft import LoraConfig, get_peft_model

    targets = {"chatglm": ["query_key_value"]}.get(s.name)
    model = get_peft_model(s.load(), LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=targets))
    model(**s.batch()).logits.sum().backward()
    generate(model, s.batch())


def ppo_step(s: Subject) -> None:
    """Two rollouts and one step of TRL's PPO."""
    from trl import PPOConfig, PPOTrainer

    from glm_ppo_utils.chatglm.head import add_value_head

    config = PPOConfig(batch_size=2, mini_batch_size=2, ppo_epochs=1, learning_rate=1e-4)
    model = add_value_head(s.load())
    trainer = PPOTrainer(config, model, tokenizer=s.load_tokenizer())
    batch = s.batch(TEXTS)
    responses = generate(model, batch)
    queries = [
        ids[mask.bool()]
        for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ]
    stats = trainer.step(queries, list(responses), [torch.tensor(1.0), torch.tensor(0.0)])
    check_finite(stats["ppo/loss/total"])


# In the order of the table. A step that fails stops those that build on it.
STEPS: dict[str, Callable[[Subject], Any]] = {
    "import_load": lambda s: s.load(),
    "forward": forward,
    "forward_labels": forward_labels,
    "generate": lambda s: generate(s.load(), s.batch()),
    "generate_leftpad_batch": lambda s: generate(s.load(), s.batch(TEXTS)),
    "generate_nocache": lambda s: generate(s.load(), s.batch(), use_cache=False),
    "generate_sample": lambda s: generate(s.load(), s.batch(), do_sample=True),
    "tokenizer_load": lambda s: s.load_tokenizer(),
    "tokenizer_encode": lambda s: s.load_tokenizer()(TEXTS[0]),
    "tokenizer_pad_batch": lambda s: s.load_tokenizer()(TEXTS, padding=True, return_tensors="pt"),
    "save_load": save_load,
    "grad_ckpt": grad_ckpt,
    "trl_import": trl_import,
    "wrap_nofix": lambda s: _wrap(s.load()),
    "wrap_blog_move_delete": wrap_blog_move_delete,
    "wrap_alias": wrap_alias,
    "wrap_alias_save": wrap_alias_save,
    "wrap_property": wrap_property,
    "peft_lora": peft_lora,
    "ppo_step": ppo_step,
}
CHATGLM_ONLY = {"wrap_blog_move_delete", "wrap_alias", "wrap_alias_save"}
NEEDS_TRL = {"wrap_nofix", "wrap_blog_move_delete", "wrap_alias", "wrap_property", "ppo_step"}
NEEDS_NO_MODEL = {"tokenizer_load", "tokenizer_encode", "tokenizer_pad_batch", "trl_import"}


def steps(s: Subject) -> Iterator[dict]:
    """Rows of `versions.Row`, without the version."""
    failed = set()
    for name, step in STEPS.items():
        row = {"model": s.name, "step": name}
        if s.name != "chatglm" and name in CHATGLM_ONLY:
            continue
        unreachable = name not in NEEDS_NO_MODEL and "import_load" in failed
        if unreachable or (name in NEEDS_TRL and "trl_import" in failed):
            yield {**row, "result": "not reached"}
            continue
        try:
            torch.manual_seed(0)
            step(s)
        except Exception as error:
            failed.add(name)
            yield {**row, "result": "fail", "exception": _message(error), "at": _where(error)}
        else:
            yield {**row, "result": "ok"}


def _message(error: Exception) -> str:
    """Type and first 200 characters, on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _frames(error: Exception) -> list[traceback.FrameSummary]:
    """The frames that tell something: torch calls every module through two of its own."""
    frames = traceback.extract_tb(error.__traceback__)
    return [f for f in frames if not f.filename.endswith("torch/nn/modules/module.py")]


def _where(error: Exception) -> str:
    frame = _frames(error)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"


# -- a closer look ----------------------------------------------------------------------------


def look(s: Subject) -> Iterator[dict]:
    """Everything about how generation fails, as one row; `versions` explains its parts."""
    newer = s.load()
    newer._update_model_kwargs_for_generation = MethodType(_newer_update, newer)
    yield {
        "extract_past": extract_past(s),
        "layer_0": {
            "cache": layer_0(s.load(), s.batch()),
            "no_cache": layer_0(s.load(), s.batch(), use_cache=False),
        },
        "traceback": {
            "single": failure(s.load(), s.batch()),
            "padded": failure(s.load(), s.batch(TEXTS)),
            "no_cache": failure(s.load(), s.batch(), use_cache=False),
            "newer_code": failure(newer, s.batch()),
        },
        "patched": patched(s),
    }


def extract_past(s: Subject) -> dict:
    """What transformers' method returns when it is called as ChatGLM calls it."""
    model = s.load()
    output = model(**s.batch(), use_cache=True)
    try:
        method = model._extract_past_from_model_output
        signature = str(inspect.signature(method))
        returned = method(output, standardize_cache_format=False)
    except (AttributeError, TypeError) as error:
        return {"exception": _message(error)}
    return {
        "signature": signature,
        "returns": _describe(returned),
        "parts": [_describe(part) for part in returned],
    }


def layer_0(model: Any, batch: dict[str, torch.Tensor], **options: Any) -> list[dict]:
    """What layer 0 gets as its cache in a generation, call by call."""
    received: list[dict] = []

    def record(module: nn.Module, arguments: tuple, keywords: dict) -> None:
        bound = inspect.signature(module.forward).bind(*arguments, **keywords).arguments
        tokens = next(iter(bound.values())).shape[0]
        cache = _describe(bound.get("kv_cache"))
        received.append({"call": len(received) + 1, "tokens": tokens, "kv_cache": cache})

    model.transformer.encoder.layers[0].register_forward_pre_hook(record, with_kwargs=True)
    failure(model, batch, **options)
    return received


def failure(model: Any, batch: dict[str, torch.Tensor], **options: Any) -> list[str]:
    """The traceback of generation, one frame a line and the message last; empty if it works."""
    try:
        generate(model, batch, **options)
    except Exception as error:
        frames = _frames(error)[2:]  # after this function and `generate`
        ours = [f for f in frames if "transformers" in f.filename or "glm" in f.filename]
        lines = [f"{Path(f.filename).name}:{f.lineno} {f.name}: {f.line}" for f in ours]
        return [*lines, _message(error)]
    return []


def _newer_update(
    self: Any, outputs: Any, model_kwargs: dict, *args: object, **kwargs: object
) -> dict:
    """How code written for transformers 4.42 and later takes the pair apart."""
    name, cache = self._extract_past_from_model_output(outputs)
    return {**next_step(self, outputs, model_kwargs), name: cache}


def patched(s: Subject) -> dict:
    """Greedy tokens with the patch, and what happens without it."""
    model, tokenizer = s.load(), s.load_tokenizer()
    unpatched: list | str
    try:
        unpatched = generate(model, s.batch(TEXTS)).tolist()
    except Exception as error:
        unpatched = _message(error)
    try:
        patch_generation(model, tokenizer)
    except RuntimeError as error:
        return {"unpatched": unpatched, "exception": _message(error)}
    tokens = tokenizer(TEXTS, padding=True, return_tensors="pt")
    return {
        "unpatched": unpatched,
        "padded": generate(model, s.batch(TEXTS)).tolist(),
        "single": [generate(model, s.batch([text]))[0].tolist() for text in TEXTS],
        "tokenized": generate(model, dict(tokens)).tolist(),
        "layer_0": layer_0(model, s.batch()),
        "mask": tokens["attention_mask"].tolist(),
    }


def _describe(thing: object) -> str:
    """Type and size of a value, short enough for a table."""
    if isinstance(thing, str):
        return f"str {thing!r} of {len(thing)} characters"
    if isinstance(thing, torch.Tensor):
        return f"tensor {list(thing.shape)}"
    if isinstance(thing, tuple):
        return f"tuple of {len(thing)}: {', '.join(_describe(part) for part in thing)}"
    return repr(thing)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=["steps", "look"])
    parser.add_argument("--models", nargs="+", default=["chatglm"])
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    task = {"steps": steps, "look": look}[options.task]
    with options.output.open("w") as file:
        for name in options.models:
            for row in task(Subject(name, options.checkpoint)):
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
