"""ChatGLM3: a readable implementation of the published model, and its loading under TRL.

Names are imported on first use: the version laboratory imports this package under versions of
transformers that TRL and PEFT do not run on.
"""

from importlib import import_module

_HOME = {
    "CheckpointError": "errors",
    "load_tokenizer": "loading",
    "load_policy": "loading",
    "add_value_head": "loading",
    "expose_head": "loading",
    "hidden_states_are_sequence_first": "loading",
    "write_checkpoint": "saving",
    "save_checkpoint": "saving",
    "gradient_checkpointing_is_on": "compat",
    "patch_generation": "compat",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
