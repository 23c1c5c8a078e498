"""The version check at the start of a notebook, and the facts about the run in its last line."""

import importlib.metadata
import platform
import warnings
from datetime import date


def check(pins: list[str]) -> None:
    """Print one ``[ok]`` or ``[fail]`` line per pin.

    Raises
    ------
    RuntimeError
        When one fails, with what to do; later cells would fail in ways harder to understand.
    """
    # Known and harmless warnings of the pinned libraries.
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", message="No dataset is provided")
    failed = []
    for pin in pins:
        name, wanted = pin.split("==")
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found = "not installed"
        if found == wanted:
            print(f"[ok]   {name} {found}")
        else:
            print(f"[fail] {name} {found}, wanted {wanted}")
            failed.append(name)
    if failed:
        raise RuntimeError(
            f"{', '.join(failed)}: not the version that the notebooks were written for; run "
            "`make lab` in the repository's folder, or on Colab run this cell again"
        )


def footer(profile: str) -> str:
    """Device, versions, profile and date of a run, for a notebook's last line."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    versions = ", ".join(f"{n} {importlib.metadata.version(n)}" for n in ("transformers", "trl"))
    return (
        f"{device} ({torch.get_num_threads()} threads), Python {platform.python_version()}, "
        f"torch {torch.__version__}, {versions}, profile {profile}, {date.today()}"
    )
