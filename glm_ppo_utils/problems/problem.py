"""A word problem with its reference: how it is put to the policy, and how it is stored."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from glm_ppo_utils import atomic
from glm_ppo_utils.errors import BadInput

# For a pretrained chat model. The tiny policy needs none: it learns the task from demonstrations.
INSTRUCTION = """\
Write the word problem below as a linear program in LP format, and nothing else. Line by line: \
'maximize' or 'minimize'; the objective; 'subject to'; one constraint a line, as \
'3 chairs + 5 tables <= 40', variables on the left and one number on the right; then, if all \
variables must be whole numbers, 'general' and on the next line their names; or, for yes-no \
decisions, 'binary' and their names; 'end' last. Variables are at least 0. Name each after what it \
counts, in lower case, with _ for a space."""


@dataclass(frozen=True)
class Problem:
    """A word problem and the LP text that answers it."""

    id: str
    text: str
    reference: str
    family: str = ""


def prompt_text(problem: Problem, instruction: str = "") -> str:
    """The user's message for `problem`: the instruction, if any, a blank line, the text."""
    return f"{instruction}\n\n{problem.text}" if instruction else problem.text


def load_nl4opt(path: str | Path) -> list[Problem]:
    """Load the NL4Opt problems: a JSON object with ``id``, ``problem`` and ``lp`` on each line.

    Raises
    ------
    BadInput
        If a line is not such an object; the message names the file and the line.
    """
    return _load(path, ("id", "problem", "lp"), "nl4opt")


def load_problems(path: str | Path) -> list[Problem]:
    """Load your own problems: ``id``, ``text`` and ``reference`` (LP text) on each line.

    Raises
    ------
    BadInput
        If a line is not such an object; the message names the file and the line.
    """
    return _load(path, ("id", "text", "reference"), "")


def save_problems(path: str | Path, problems: Iterable[Problem]) -> None:
    """Write `problems` so that `load_problems` reads them."""
    lines = [json.dumps(asdict(problem), ensure_ascii=False) + "\n" for problem in problems]
    atomic.write_text(path, "".join(lines))


def _load(path: str | Path, keys: tuple[str, str, str], family: str) -> list[Problem]:
    try:
        # Not splitlines(): it also splits at characters that JSON allows inside a text.
        lines = Path(path).read_bytes().decode("utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise BadInput(f"{path} is not UTF-8 text; save it as UTF-8") from None
    problems: list[Problem] = []
    places: dict[str, int] = {}  # line by id
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        problem = _parse(line, keys, family, where)
        if problem.id in places:
            raise BadInput(
                f"{where}: the id {problem.id!r} is that of line {places[problem.id]};"
                " give each problem its own"
            )
        places[problem.id] = number
        problems.append(problem)
    if not problems:
        raise BadInput(f"{path} holds no problem; put one JSON object on each line")
    return problems


def _parse(line: str, keys: tuple[str, str, str], family: str, where: str) -> Problem:
    wanted = ", ".join(f'"{key}"' for key in keys)
    advice = f"write one JSON object with the texts {wanted} on each line"
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise BadInput(f"{where}: not JSON ({error.msg}); {advice}") from None
    if not isinstance(record, dict):
        raise BadInput(f"{where}: a {type(record).__name__}, not an object; {advice}")
    for key in keys:
        value = record.get(key)
        if not isinstance(value, str) or not value.strip():
            raise BadInput(f'{where}: "{key}" is missing, empty or not a text; {advice}')
    name, text, reference = (record[key] for key in keys)
    return Problem(name, text, reference, str(record.get("family", family)))
