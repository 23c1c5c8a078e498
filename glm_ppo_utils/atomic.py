"""Write files and folders so that a crash leaves the old one or the new one, never a half."""

import ctypes
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

AT_FDCWD, EXCHANGE = -100, 2  # of Linux's renameat2
SWAP = 2  # of macOS's renamex_np


def write_text(path: Path | str, text: str) -> None:
    """Write a file; a crash leaves the old or the new one, complete.

    Raises
    ------
    OSError
        When it cannot be written; the old file is as it was.
    """
    path = Path(path)
    scratch = path.with_name(f".{path.name}.writing-{os.getpid()}")
    try:
        with scratch.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
    _flush(path.parent)


@contextmanager
def replacing(folder: Path | str) -> Iterator[Path]:
    """A scratch folder that takes the place of `folder` if the block ends without an error.

    Linux and macOS exchange an existing folder for the new one in a single step. Elsewhere, and on
    the rare file system that cannot do this, it takes two renames: a crash between them leaves the
    old folder under the name ``.<name>.old-<process id>``.

    Raises
    ------
    OSError
        When the scratch folder cannot be made or put in place; `folder` is as it was.
    """
    folder = Path(os.path.abspath(folder))
    scratch = folder.with_name(f".{folder.name}.writing-{os.getpid()}")
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        scratch.mkdir(parents=True)
        yield scratch
        for path in scratch.rglob("*"):
            _flush(path)
        if not folder.exists():
            scratch.rename(folder)
        elif not _exchange(scratch, folder):
            old = folder.with_name(f".{folder.name}.old-{os.getpid()}")
            folder.rename(old)
            scratch.rename(folder)
            shutil.rmtree(old, ignore_errors=True)
        _flush(folder.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two paths in one step; False where the system cannot."""
    names = os.fsencode(one), os.fsencode(other)
    with suppress(OSError, AttributeError):  # the system has no such function
        library = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "linux":
            return library.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], EXCHANGE) == 0
        if sys.platform == "darwin":
            return library.renamex_np(*names, SWAP) == 0
    return False


def _flush(path: Path) -> None:
    """Force a file, or the names in a folder, to disk before anything that follows."""
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot open folders
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
