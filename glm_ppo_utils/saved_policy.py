"""What tells the folder of a saved policy; apart from the loading, which needs torch."""

from pathlib import Path

ADAPTER = "adapter_config.json"


def is_adapter(folder: Path | str) -> bool:
    """Whether a folder holds a LoRA adapter."""
    return (Path(folder) / ADAPTER).is_file()


def is_policy(folder: Path | str) -> bool:
    """Whether a folder holds a model, or a LoRA adapter, which has no ``config.json``."""
    return is_adapter(folder) or (Path(folder) / "config.json").is_file()
