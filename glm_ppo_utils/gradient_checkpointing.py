"""Gradient checkpointing: switch it on, and prove that it is on."""

from typing import Any

import torch
from torch import nn

from glm_ppo_utils.errors import BadInput


def turn_on_gradient_checkpointing(policy: Any) -> None:
    """Let the backward pass compute the layers again instead of keeping them in memory.

    The model may be inside PEFT or TRL's value-head model.

    Raises
    ------
    BadInput
        When the model's code ignores the switch, as some revisions of ChatGLM's do.
    """
    model = getattr(policy, "pretrained_model", policy)
    # In ChatGLM's published code a checkpointed layer learns only if its input requires a gradient,
    # which the output of an embedding frozen under LoRA does not by itself.
    model.enable_input_require_grads()
    model.gradient_checkpointing_enable()
    if not gradient_checkpointing_is_on(policy):
        raise BadInput(
            "gradient_checkpointing is asked for, but this revision of the model's code ignores "
            "it; turn it off, or load a revision that has it"
        )


def gradient_checkpointing_is_on(model: Any) -> bool:
    """Whether a training step really recomputes its layers.

    ``gradient_checkpointing_enable()`` raises no error, but does nothing in some revisions of
    ChatGLM's code from 2024 on, whose ``forward`` ignores the switch that transformers sets. So
    this runs two tokens forward and backward, and watches whether the backward pass calls the first
    layer again. Gradients, random state and training mode stay as they were.
    """
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    layer = max(lists, key=len)[0]
    # A module inside the layer: newer versions of transformers bypass the layer's own hooks.
    inner = next(module for module in layer.modules() if not list(module.children()))
    base = getattr(model, "pretrained_model", model)
    embedding = base.get_input_embeddings()
    input_ids = torch.zeros(1, 2, dtype=torch.long, device=embedding.weight.device)
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    model.zero_grad(set_to_none=True)
    calls = []
    hooks = [
        inner.register_forward_pre_hook(lambda *_: calls.append("forward")),
        embedding.register_forward_hook(lambda *args: args[2].requires_grad_()),
    ]
    training = model.training
    model.train()
    try:
        with torch.enable_grad(), torch.random.fork_rng():
            base(input_ids=input_ids).logits.float().sum().backward()
    finally:
        model.train(training)
        for parameter, gradient in gradients:
            parameter.grad = gradient
        for hook in hooks:
            hook.remove()
    return len(calls) > 1
