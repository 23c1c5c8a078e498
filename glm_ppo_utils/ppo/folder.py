"""Training state on disk that survives a crash at any moment."""

import hashlib
import io
import os
import pickle
import shutil
import warnings
from pathlib import Path

import torch


class Checkpoints:
    """Numbered checkpoints in a folder; the newest `keep` are kept.

    A checkpoint is a folder ``step-000040`` with ``state.pt`` and its SHA-256. It is written under
    another name and renamed when complete, so a crash leaves either all of it or none.
    """

    def __init__(self, folder: Path | str, keep: int = 2):
        self.folder, self.keep = Path(folder), keep

    def save(self, step: int, state: dict) -> Path:
        """Write `state` as the checkpoint after `step` steps.

        Raises
        ------
        OSError
            When it could not be written, naming the folder; older checkpoints stay as they were.
        """
        target = self.folder / f"step-{step:06d}"
        scratch = self.folder / f".writing-{step:06d}"
        buffer = io.BytesIO()
        torch.save({"step": step, **state}, buffer)
        try:
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(parents=True)
            _write_through(scratch / "state.pt", buffer.getvalue())
            _write_through(scratch / "sha256", _digest(buffer.getvalue()).encode())
            shutil.rmtree(target, ignore_errors=True)
            scratch.rename(target)
            _flush_folder(self.folder)
        except OSError as error:
            shutil.rmtree(scratch, ignore_errors=True)
            raise OSError(
                f"checkpoint {target} could not be written ({error.strerror}); free space there, "
                f"then run again: training continues from the checkpoint before it"
            ) from error
        # What is newer than this one was damaged, or training would not have started before it.
        folders = self._folders()
        kept = folders[: folders.index(target) + 1][-self.keep :]
        for other in folders:
            if other not in kept:
                shutil.rmtree(other)
        return target

    def load_newest(self) -> tuple[int, dict | None]:
        """Step and state of the newest good checkpoint; ``(0, None)`` when there is none.

        A damaged checkpoint is passed over with a warning.
        """
        for folder in reversed(self._folders()):
            try:
                data = (folder / "state.pt").read_bytes()
                if _digest(data) != (folder / "sha256").read_text():
                    raise ValueError("its checksum does not match")
                state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
                return state["step"], state
            except (OSError, ValueError, RuntimeError, pickle.UnpicklingError) as error:
                warnings.warn(
                    f"checkpoint {folder} is damaged ({error}); using the one before it",
                    stacklevel=2,
                )
        return 0, None

    def _folders(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _flush_folder(folder: Path) -> None:
    """Force a rename in the folder to disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_through(path: Path, data: bytes) -> None:
    """Write and force to disk, so that the later rename cannot overtake the data."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
