"""Make published ChatGLM code behave under a transformers it was not written for."""

import warnings
from types import MethodType
from typing import Any

import torch
import transformers
from packaging.version import Version
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

# The first and the last version of transformers that `patch_generation` was tested with.
PATCH_TESTED = ("4.40.0", "4.52.4")


def base_model(model: Any) -> Any:
    """The transformers model inside TRL's wrapper and PEFT's, or the model itself."""
    model = getattr(model, "pretrained_model", model)
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def patch_generation(model: Any, tokenizer: Any = None) -> None:
    """Let ChatGLM's code generate under a transformers that it was not written for.

    It helps code that is too old for this transformers, and code that is too new for it (GLM-4's
    of August 2024 under 4.40.0). Two things are changed, in memory only: the cache is read from the
    model's output instead of through a private method of transformers, and the tokenizer drops the
    argument ``padding_side``, which its ``_pad`` does not know. The pin is the safer fix: this one
    is for who cannot pin.

    Parameters
    ----------
    model
        ChatGLM, alone or inside PEFT or TRL's value-head model.
    tokenizer
        Its tokenizer, if texts are to be padded.

    Raises
    ------
    RuntimeError
        Under a version of transformers outside `PATCH_TESTED`.
    """
    first, last = PATCH_TESTED
    if not Version(first) <= Version(transformers.__version__) <= Version(last):
        raise RuntimeError(
            f"patch_generation was tested with transformers {first} to {last}, and this is "
            f"{transformers.__version__}; install one of those"
        )
    model = base_model(model)
    model._update_model_kwargs_for_generation = MethodType(next_step, model)
    if tokenizer is not None:
        tokenizer._pad = MethodType(_pad_left, tokenizer)


def next_step(self: Any, outputs: Any, model_kwargs: dict, *args: object, **kwargs: object) -> dict:
    """What the next generation step starts from; the cache comes straight from the output."""
    model_kwargs["past_key_values"] = outputs.past_key_values
    if "attention_mask" in model_kwargs:
        mask = model_kwargs["attention_mask"]
        model_kwargs["attention_mask"] = nn.functional.pad(mask, (0, 1), value=1)
    if "position_ids" in model_kwargs:
        positions = model_kwargs["position_ids"]
        model_kwargs["position_ids"] = torch.cat([positions, positions[:, -1:] + 1], dim=-1)
    model_kwargs["is_first_forward"] = False
    return model_kwargs


def _pad_left(self: Any, *args: Any, padding_side: str | None = None, **kwargs: Any) -> dict:
    if padding_side not in (None, "left"):
        raise ValueError(f"ChatGLM pads on the left only, not on the {padding_side}")
    return type(self)._pad(self, *args, **kwargs)


def generation_misfit(model: PreTrainedModel) -> str | None:
    """Why the model's own code would fail at the second token of an answer; None if it would not.

    The code's ``_update_model_kwargs_for_generation`` is called once with a made-up output and has
    to hand on the cache in it. Code from before transformers 4.42 stores whatever a private method
    of transformers returns; code from after it takes a pair (name, cache) apart.
    """
    update = getattr(model, "_update_model_kwargs_for_generation", None)
    if update is None or update.__module__.startswith("transformers."):
        return None
    version = transformers.__version__
    caches = tuple(torch.zeros(1) for _ in range(3))
    try:
        kept = update(CausalLMOutputWithPast(past_key_values=caches), {})["past_key_values"]
    except ValueError:
        return (
            "its code takes the cache as a pair (name, cache), which transformers returns from "
            f"4.42 on, and this is {version}: 'too many values to unpack'. Take a revision of the "
            "code from before July 2024, or transformers 4.42"
        )
    except (AttributeError, TypeError) as error:
        reason = str(error)
    except Exception:  # some other code, which the made-up output does not suit
        return None
    else:
        if kept is caches:
            return None
        reason = "too many values to unpack"
    return (
        f"its code was written for transformers up to 4.41, and this is {version}: '{reason}'. "
        "Take transformers 4.40.0, or a later revision of the code"
    )


def fit_generation(model: PreTrainedModel, name: str) -> None:
    """Patch a model whose code and transformers do not fit, and say so in one line."""
    misfit = generation_misfit(model)
    if misfit is None:
        return
    try:
        patch_generation(model)
    except RuntimeError as error:
        warnings.warn(f"{name} cannot generate: {misfit}; {error}", stacklevel=3)
    else:
        warnings.warn(
            f"{name} was patched in memory by patch_generation: {misfit}, to do without the patch",
            stacklevel=3,
        )
