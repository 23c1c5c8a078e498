"""What a user brings by name: files, answers, and a reward function with its errors."""

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Container
from pathlib import Path

from glm_ppo_utils.errors import BadInput
from glm_ppo_utils.problems.loading import records


def existing(path: Path) -> Path:
    """The path of a file that is there.

    Raises
    ------
    BadInput
        If it is not.
    """
    if not path.is_file():
        raise BadInput(f"there is no file {path}; check the path")
    return path


def read_answers(path: Path, ids: Container[str]) -> list[tuple[str, str]]:
    """(id, answer) of each line.

    Raises
    ------
    BadInput
        If a line is none, or its id not among `ids`.
    """
    answers = []
    for where, record in records(existing(path)):
        try:
            key, answer = str(record["id"]), record["answer"]
        except (TypeError, KeyError) as error:
            wanted = 'write one JSON object with "id" and "answer" on each line'
            raise BadInput(f"{where}: {wanted}") from error
        if key not in ids:
            raise BadInput(f"{where}: no problem has the id {key!r}; take the ids of --data")
        answers.append((key, str(answer)))
    if not answers:
        raise BadInput(f"{path} holds no answer; put one JSON object on each line")
    return answers


def reward_function(name: str) -> Callable[..., list[float]]:
    """The reward function ``module:function`` or ``file.py:function``.

    Modules are looked for in the working directory too.

    Raises
    ------
    BadInput
        If there is none, or its module fails when it is imported.
    """
    where, _, attribute = name.rpartition(":")
    if not where:
        raise BadInput(f"--reward {name} is not of the form module:function or file.py:function")
    folder, module = os.getcwd(), where
    if where.endswith(".py"):
        path = existing(Path(where)).resolve()
        folder, module = str(path.parent), path.stem
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        raise BadInput(
            f"--reward {name}: there is no module {error.name}; run where {module}.py lies, or "
            "install it"
        ) from error
    except Exception as error:  # whatever the user's module does wrong
        last = traceback.extract_tb(error.__traceback__)[-1]
        line = "" if "importlib" in last.filename else f" ({last.filename}, line {last.lineno})"
        raise BadInput(f"--reward {name}: {type(error).__name__}: {error}{line}") from error
    if not callable(found):
        raise BadInput(f"--reward {name}: the module {module} has no function {attribute}")
    return found


def traceback_in(function: Callable, error: BaseException) -> str | None:
    """The error's traceback from the function's file on; None when it was not raised from there."""
    home = getattr(sys.modules.get(function.__module__), "__file__", None)
    frames = error.__traceback__
    while frames and frames.tb_frame.f_code.co_filename != home:
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames)) if frames else None
