"""Notebook 02: supervised fine-tuning, the policy before reinforcement learning."""

import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import (
    DataCollatorForSeq2Seq,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_callback import PrinterCallback

from glm_ppo_utils import atomic
from glm_ppo_utils.chatglm import refuse_float16
from glm_ppo_utils.errors import BadInput
from glm_ppo_utils.gradient_checkpointing import turn_on_gradient_checkpointing
from glm_ppo_utils.profiles import SFTSettings, memory_advice
from glm_ppo_utils.rollout import encode_answer, encode_prompt

IGNORED = -100  # the label that PyTorch's cross-entropy leaves out
Measurement = Callable[[PreTrainedModel], dict[str, float]]


class Demonstrations(Dataset):
    """Prompts with answers as token ids; only the answer's tokens carry loss.

    Parameters
    ----------
    pairs : sequence of (str, str)
        Prompt and answer texts.
    """

    def __init__(self, pairs: Sequence[tuple[str, str]], tokenizer: PreTrainedTokenizerBase):
        self.items = []
        for prompt, answer in pairs:
            head, tail = encode_prompt(tokenizer, prompt), encode_answer(tokenizer, answer)
            self.items.append({"input_ids": head + tail, "labels": [IGNORED] * len(head) + tail})

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        return dict(self.items[index])  # the collator puts padded labels into what it is given


def train_sft(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    train: Sequence[tuple[str, str]],
    heldout: Sequence[tuple[str, str]],
    settings: SFTSettings,
    out_dir: Path,
    progress: bool = True,
    probe: Measurement | None = None,
) -> list[dict[str, float]]:
    """Fine-tune `model` in place on (prompt, answer) texts by Hugging Face's ``Trainer``.

    Parameters
    ----------
    train, heldout : sequence of (str, str)
        Demonstrations to learn from, and those on which ``eval_loss`` is measured (may be empty).
    probe : callable, optional
        Called with the model before training and at every evaluation; what it measures goes into
        the log. It does not change what is learnt.

    Returns
    -------
    list of dict
        The log: ``step`` with ``loss`` (training), ``eval_loss`` (held-out), in nats per answer
        token, or what `probe` returned; the last row has the ``seconds`` of the whole training,
        including the probe. Also written to ``out_dir/sft_log.json``.

    Raises
    ------
    BadInput
        When there is nothing to train on, or the model's code ignores gradient checkpointing.
        Weights in bfloat16 only get a warning.
    torch.cuda.OutOfMemoryError
        When the GPU is full, naming the knobs that help.
    """
    if not train:
        raise BadInput("no demonstrations to train on; pass at least one (prompt, answer) pair")
    refuse_float16(model)
    if any(p.requires_grad and p.dtype == torch.bfloat16 for p in model.parameters()):
        warnings.warn(
            "these weights are bfloat16, which loses most of AdamW's small steps in rounding; load "
            "them in float32, or train a LoRA adapter, which is float32",
            stacklevel=2,
        )
    out_dir = Path(out_dir)
    if settings.gradient_checkpointing:
        turn_on_gradient_checkpointing(model)
    trainer = Trainer(
        model=model,
        args=_arguments(settings, out_dir, evaluate=bool(heldout), progress=progress),
        train_dataset=Demonstrations(train, tokenizer),
        eval_dataset=Demonstrations(heldout, tokenizer) if heldout else None,
        data_collator=DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=IGNORED),
        optimizers=(muon_and_adamw(model, settings) if settings.muon_lr else None, None),
    )
    if not progress:
        trainer.remove_callback(PrinterCallback)  # which takes the bar's place
    probed = _Probe(probe or (lambda _: {}))
    if probe:
        trainer.add_callback(probed)
    with memory_advice("train", settings.memory_advice()):
        trainer.train()
    model.eval()
    log = probed.rows + [_row(r) for r in trainer.state.log_history]
    log.sort(key=lambda row: row["step"])
    atomic.write_text(out_dir / "sft_log.json", json.dumps(log, indent=1))
    return log


class Several(torch.optim.Optimizer):
    """Several optimisers as one, each with its own part of a model's parameters."""

    def __init__(self, *parts: torch.optim.Optimizer):
        super().__init__([{**group} for part in parts for group in part.param_groups], {})
        self.parts = parts

    def step(self, closure: Callable | None = None) -> None:  # type: ignore[override]
        """Step all of them, with the learning rates of this optimiser's own groups."""
        own = (group for part in self.parts for group in part.param_groups)
        for group, shown in zip(own, self.param_groups, strict=True):
            group["lr"] = shown["lr"]  # a scheduler only knows the groups of this optimiser
        for part in self.parts:
            part.step()


def muon_and_adamw(model: PreTrainedModel, settings: SFTSettings) -> Several:
    """Muon for the matrices inside the layers, AdamW for embedding, head and all vectors.

    Muon (Jordan et al. 2024) steps along the nearest orthogonal matrix of the averaged gradient, so
    that rare directions are learnt as fast as frequent ones.
    """
    ends = {id(m.weight) for m in (model.get_input_embeddings(), model.get_output_embeddings())}
    inside = [p for p in model.parameters() if p.ndim == 2 and id(p) not in ends]
    taken = {id(p) for p in inside}
    others = [p for p in model.parameters() if id(p) not in taken]
    decay, lr = settings.weight_decay, settings.muon_lr or settings.learning_rate
    return Several(
        torch.optim.Muon(inside, lr=lr, weight_decay=decay, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=settings.learning_rate, betas=(0.9, 0.98), weight_decay=decay),
    )


class _Probe(TrainerCallback):
    """Measure the model before training and at every evaluation."""

    def __init__(self, probe: Measurement):
        self.probe = probe
        self.rows: list[dict[str, float]] = []

    def on_train_begin(self, args: Any, state: TrainerState, *_: Any, **kwargs: Any) -> None:
        with torch.random.fork_rng():  # sampling must not change the training that follows
            self.rows.append({"step": state.global_step, **self.probe(kwargs["model"])})

    on_evaluate = on_train_begin


def _row(record: dict) -> dict[str, float]:
    names = {"loss": "loss", "eval_loss": "eval_loss", "train_runtime": "seconds"}
    return {"step": record["step"], **{names[k]: v for k, v in record.items() if k in names}}


def _arguments(
    settings: SFTSettings, out_dir: Path, evaluate: bool, progress: bool
) -> TrainingArguments:
    arguments = TrainingArguments(
        output_dir=str(out_dir),
        max_steps=settings.steps,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_ratio=settings.warmup,
        weight_decay=settings.weight_decay,
        evaluation_strategy="steps" if evaluate else "no",
        eval_steps=settings.eval_every,
        logging_steps=max(1, settings.eval_every // 5),
        adam_beta2=0.98,
        save_strategy="no",
        report_to=[],
        log_level="error",  # only the progress bar is to be seen
        group_by_length=True,  # less padding
        seed=settings.seed,
        use_cpu=not torch.cuda.is_available(),
        disable_tqdm=not progress,
        dataloader_pin_memory=torch.cuda.is_available(),
        remove_unused_columns=False,
        label_names=["labels"],
    )
    # Otherwise one process would put a whole batch on every GPU, and so learn from larger batches.
    arguments._n_gpu = min(1, arguments.n_gpu)
    return arguments
