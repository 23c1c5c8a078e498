"""What saves memory and time: one copy of the weights, recomputed layers, fewer logits, advice."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn
from trl import PreTrainedModelWrapper

from glm_ppo_utils.chatglm import gradient_checkpointing_is_on

if TYPE_CHECKING:
    from glm_ppo_utils.ppo import PPOSettings
    from glm_ppo_utils.sft import SFTSettings


def checkpoint_layers(policy: nn.Module) -> None:
    """Let the backward pass recompute the layers, and make sure that it does.

    Raises
    ------
    ValueError
        When the model's code does not look at the switch, as ChatGLM's later revisions.
    """
    model = getattr(policy, "pretrained_model", policy)
    # ChatGLM's published code checkpoints such that no gradient enters a layer whose inputs have
    # none, and below a LoRA adapter the embedding is frozen.
    model.enable_input_require_grads()
    model.gradient_checkpointing_enable()
    if not gradient_checkpointing_is_on(policy):
        raise ValueError(
            "gradient_checkpointing is asked for, but this revision of the model's code ignores "
            "it; turn it off, or load a revision that has it"
        )


def adapter_is_fresh(policy: PreTrainedModelWrapper) -> bool:
    """Whether the LoRA adapter changes nothing yet: its second matrices are all zero."""
    return not any(p.any() for n, p in policy.named_parameters() if "lora_B" in n)


class AdapterAtStart:
    """Context in which the adapter is the one that PPO started from.

    TRL's reference model under LoRA is the policy with its adapter disabled. That is right for a
    fresh adapter. One that SFT has trained is part of the reference: disabling it would pull PPO
    back to the model before SFT. Only the adapter is kept twice, a few MB, not the weights below.
    """

    def __init__(self, policy: PreTrainedModelWrapper):
        adapter = [p for p in policy.pretrained_model.parameters() if p.requires_grad]
        self._pairs = [(p, p.detach().clone()) for p in adapter]

    @contextmanager
    def __call__(self) -> Iterator[None]:
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for parameter, other in self._pairs:
            parameter.data, other.data = other.data, parameter.data


@torch.no_grad()
def head_sequence_dim(policy: nn.Module) -> int | None:
    """Which dimension of the language model head's input is the sequence, found by trying it once.

    None when the head is not a module of its own that the model calls.
    """
    head = getattr(policy.pretrained_model, "lm_head", None)
    if head is None:
        return None
    shapes: list[torch.Size] = []
    hook = head.register_forward_pre_hook(lambda _, args: shapes.append(args[0].shape))
    try:
        policy.pretrained_model(torch.zeros(2, 3, dtype=torch.long, device=head.weight.device))
    finally:
        hook.remove()
    return list(shapes[0]).index(3) if shapes and len(shapes[0]) == 3 else None


@contextmanager
def logits_of_last(policy: nn.Module, count: int, dim: int | None) -> Iterator[None]:
    """Let the model compute the logits of the last `count` positions only.

    Those of a prompt cost as much as those of a response, and PPO does not look at them.
    """
    if dim is None:
        yield
        return

    def cut(_, args):
        hidden, *rest = args
        return hidden.narrow(dim, hidden.shape[dim] - count, count), *rest

    hook = policy.pretrained_model.lm_head.register_forward_pre_hook(cut)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def memory_advice(phase: str, advice: str) -> Iterator[None]:
    """Say what lowers the memory of a phase when the GPU is full in it."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise torch.cuda.OutOfMemoryError(
            f"out of GPU memory in the phase '{phase}'; {advice} ({str(error).splitlines()[0]})"
        ) from error


def ppo_advice(phase: str, s: "PPOSettings") -> str:
    """The knobs of a phase of a PPO step."""
    shorter = f"max_new_tokens (now {s.max_new_tokens})"
    if phase in ("generate", "evaluate"):
        return f"lower rollout_batch_size (now {s.rollout_batch_size}) or {shorter}"
    if phase == "optimise":
        return f"{_recompute(s)}lower mini_batch_size (now {s.mini_batch_size}) or {shorter}"
    return "the reward function needs less, or a GPU of its own"


def sft_advice(s: "SFTSettings") -> str:
    """The knobs of fine-tuning."""
    return f"{_recompute(s)}lower batch_size (now {s.batch_size})"


def _recompute(s: "PPOSettings | SFTSettings") -> str:
    return "" if s.gradient_checkpointing else "turn gradient_checkpointing on, or "
