"""A policy of a published size with random weights: memory and speed without a download."""

from collections.abc import Mapping

import torch
from peft import PeftModel, get_peft_model
from transformers import PreTrainedModel

from .configuration_chatglm import ChatGLMConfig
from .loading import _dtype, _lora_config, expose_head
from .modeling_chatglm import ChatGLMForConditionalGeneration

# What differs from ChatGLM3-6B, the default of `ChatGLMConfig`. GLM-4's own code is batch-first;
# its matrices have these sizes, and this stand-in computes with them in ChatGLM3's layout.
SHAPES = {
    "chatglm3-6b": {},
    "glm-4-9b-chat": {
        "num_layers": 40,
        "padded_vocab_size": 151_552,
        "seq_length": 131_072,
        "rope_ratio": 500,
    },
}


def published_config(name: str, **sizes: int) -> ChatGLMConfig:
    """The sizes of the published model `name`, or of a smaller one of its kind.

    Parameters
    ----------
    sizes
        Arguments of `ChatGLMConfig` that replace the published ones, such as ``num_layers=2``.

    Raises
    ------
    ValueError
        When the sizes of `name` are not known here.
    """
    if name not in SHAPES:
        raise ValueError(
            f"the sizes of {name} are not known; random weights are for {', '.join(SHAPES)}"
        )
    return ChatGLMConfig(**{"pad_token_id": 0, "eos_token_id": 2, **SHAPES[name], **sizes})


def random_policy(
    config: ChatGLMConfig,
    dtype: torch.dtype | str | None = None,
    lora: Mapping | None = None,
    seed: int = 0,
) -> PreTrainedModel | PeftModel:
    """A policy as `load_policy` returns it, with random weights made on its device.

    It writes nonsense. Its memory and speed are those of trained weights, except that its answers
    hardly ever end before the length limit.
    """
    config.torch_dtype = _dtype(dtype)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.random.fork_rng(), torch.device(device):
        torch.manual_seed(seed)
        model = ChatGLMForConditionalGeneration(config).to(config.torch_dtype).eval()
    expose_head(model)
    return model if lora is None else get_peft_model(model, _lora_config(lora, model))
