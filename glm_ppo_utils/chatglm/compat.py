"""Make published ChatGLM code behave under a transformers it was not written for."""

import torch
from torch import nn


def gradient_checkpointing_is_on(model: nn.Module) -> bool:
    """Whether a training step really recomputes its layers.

    ``gradient_checkpointing_enable()`` never complains, but does nothing on revisions of ChatGLM's
    code from 2024 on: their ``forward`` does not look at the switch that transformers sets. So
    this takes a training step on two tokens and watches whether the backward pass calls the first
    layer again. Gradients, random state and training mode stay as they were.

    Parameters
    ----------
    model
        A transformers model, alone or inside PEFT or TRL's value-head model.
    """
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    first_layer = max(lists, key=len)[0]
    base = getattr(model, "pretrained_model", model)
    embedding = base.get_input_embeddings()
    input_ids = torch.zeros(1, 2, dtype=torch.long, device=embedding.weight.device)
    calls, embedded = [], []
    hooks = [
        first_layer.register_forward_pre_hook(lambda *_: calls.append("forward")),
        embedding.register_forward_hook(lambda *args: embedded.append(args[2].requires_grad_())),
    ]
    training = model.training
    model.train()
    try:
        with torch.enable_grad(), torch.random.fork_rng():
            logits = base(input_ids=input_ids).logits
            torch.autograd.grad(logits.float().sum(), embedded[0])
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return len(calls) > 1
