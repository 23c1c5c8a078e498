"""ChatGLM3: a readable implementation of the published model, and its loading under TRL.

Names are imported on first use: `glm_ppo_utils.labs.versions` imports this package under
versions of transformers that TRL and PEFT do not run on.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "CheckpointError": "hub",
    "load_tokenizer": "loading",
    "load_policy": "loading",
    "check_checkpoint": "loading",
    "add_value_head": "head",
    "expose_head": "head",
    "refuse_float16": "head",
    "hidden_states_are_sequence_first": "head",
    "write_checkpoint": "saving",
    "save_checkpoint": "saving",
    "gradient_checkpointing_is_on": ".gradient_checkpointing",  # one room up
    "patch_generation": "compat",
    "published_config": "hub",
    "random_policy": "loading",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
