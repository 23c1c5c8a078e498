"""Show TRL the language model head that ChatGLM has, and give it a value head beside it.

TRL looks for the head under a name that ChatGLM does not use, and takes ChatGLM2's and 3's hidden
states for batch-first, which they are not. GPT-2 or Llama pass through the same functions
untouched.
"""

from typing import Any

import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel
from trl import AutoModelForCausalLMWithValueHead

from glm_ppo_utils.errors import BadInput

from .compat import base_model


def expose_head(model: Any) -> None:
    """Give ChatGLM's class a read-only ``lm_head``, which is the output layer it already has.

    A property holds no parameter: the state dict, saved checkpoints, deep copies and adapters are
    what they were. The class also learns to resize its vocabulary. Other models are left alone.
    """
    model = base_model(model)
    has_head = any(hasattr(model, name) for name in ("lm_head", "embed_out"))
    if has_head or not hasattr(getattr(model, "transformer", None), "output_layer"):
        return
    cls = type(model)
    cls.lm_head = property(_output_layer, doc="ChatGLM's output layer, under TRL's name for it.")
    cls.get_output_embeddings = _output_layer
    cls.set_output_embeddings = _set_output_layer
    cls.get_input_embeddings = _input_embeddings  # the first ChatGLM2 has none
    cls.set_input_embeddings = _set_input_embeddings
    cls.resize_token_embeddings = _resize_token_embeddings


def _output_layer(model: Any) -> nn.Module:
    return model.transformer.output_layer


def _set_output_layer(model: Any, layer: nn.Module) -> None:
    model.transformer.output_layer = layer


def _input_embeddings(model: Any) -> nn.Module:
    return model.transformer.embedding.word_embeddings


def _set_input_embeddings(model: Any, embeddings: nn.Module) -> None:
    model.transformer.embedding.word_embeddings = embeddings


def _resize_token_embeddings(model: Any, *args: Any, **options: Any) -> nn.Embedding:
    """As in transformers; ChatGLM's configuration has another name for the number of rows too."""
    embeddings = PreTrainedModel.resize_token_embeddings(model, *args, **options)
    model.config.padded_vocab_size = len(embeddings.weight)
    return embeddings


class SequenceFirstValueHead(AutoModelForCausalLMWithValueHead):
    """TRL's model with a value head, for a model whose hidden states are sequence-first.

    TRL applies the value head to the hidden states as they come, so that ChatGLM's values are
    ``[sequence, batch]`` beside logits of ``[batch, sequence, vocabulary]``. Here both are
    batch-first.
    """

    def forward(self, *args: Any, **kwargs: Any) -> tuple:
        """As in TRL: ``(logits, loss, values[, past])``, values ``[batch, sequence]``."""
        logits, loss, values, *past = super().forward(*args, **kwargs)
        return logits, loss, values.transpose(0, 1), *past


def add_value_head(
    model: PreTrainedModel | PeftModel, zero_init: bool = True, **options: object
) -> AutoModelForCausalLMWithValueHead:
    """Wrap a policy for TRL's PPO, with values ``[batch, sequence]`` whatever the model's layout.

    Parameters
    ----------
    model
        A model from `load_policy`, or any causal language model, with or without LoRA.
    zero_init
        Let the head predict 0 at first. TRL's random head starts with values far off any reward
        here, and the layers that the head shares with the policy pay for it.
    options
        Of TRL's value head, such as ``summary_dropout_prob`` (TRL's default is 0.1).

    Returns
    -------
    AutoModelForCausalLMWithValueHead
        TRL's own class for batch-first models, `SequenceFirstValueHead` for ChatGLM2 and 3.

    Raises
    ------
    BadInput
        If parameters in float16 would be trained.
    """
    refuse_float16(model)
    expose_head(model)
    sequence_first = hidden_states_are_sequence_first(model)
    wrapper = SequenceFirstValueHead if sequence_first else AutoModelForCausalLMWithValueHead
    policy = wrapper.from_pretrained(model, **options)
    if zero_init:
        for parameter in policy.v_head.summary.parameters():
            nn.init.zeros_(parameter)
    return policy


def refuse_float16(model: nn.Module) -> None:
    """Refuse to train parameters in float16: Adam's first step makes them NaN.

    The constant that keeps Adam from dividing by zero, 1e-8, is zero in float16. LoRA's own
    parameters are float32 whatever the model's type.

    Raises
    ------
    BadInput
        If there are such parameters.
    """
    if any(p.requires_grad and p.dtype == torch.float16 for p in model.parameters()):
        raise BadInput(
            "parameters in float16 cannot be trained: they become NaN at the first step; load "
            "the policy in bfloat16 or float32, or train a LoRA adapter on it"
        )


@torch.no_grad()
def hidden_states_are_sequence_first(model: Any) -> bool:
    """Whether hidden states are ``[sequence, batch, hidden]``, found by trying it once.

    The batch tried has two rows of three tokens. A look at the sizes at run time could not tell
    the layouts apart in a batch as long as it is wide.

    Raises
    ------
    ValueError
        If the hidden states have neither layout.
    """
    device = next(model.parameters()).device
    input_ids = torch.zeros(2, 3, dtype=torch.long, device=device)
    training = model.training
    model.eval()
    try:
        states = model(input_ids=input_ids, output_hidden_states=True).hidden_states[-1]
    finally:
        model.train(training)
    shape = tuple(states.shape[:2])
    if shape not in ((2, 3), (3, 2)):
        raise ValueError(
            f"{type(base_model(model)).__name__} turns 2 rows of 3 tokens into hidden states of "
            f"shape {tuple(states.shape)}; expected (2, 3, hidden) or (3, 2, hidden)"
        )
    return shape == (3, 2)
