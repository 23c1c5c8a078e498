"""Problems from and to JSON lines."""

import json
from collections.abc import Iterable
from pathlib import Path

from .problem import Problem


def load_nl4opt(path: str | Path) -> list[Problem]:
    """Load the NL4Opt problems: a JSON object with ``id``, ``problem`` and ``lp`` on each line.

    Raises
    ------
    ValueError
        If a line is not that; with the file, the line, and what to do.
    """
    return _load(path, ("id", "problem", "lp"), "nl4opt")


def load_problems(path: str | Path) -> list[Problem]:
    """Load one's own problems: ``id``, ``text`` and ``reference`` (LP text) on each line.

    Raises
    ------
    ValueError
        If a line is not that; with the file, the line, and what to do.
    """
    return _load(path, ("id", "text", "reference"), "")


def save_problems(path: str | Path, problems: Iterable[Problem]) -> None:
    """Write `problems` so that `load_problems` reads them."""
    fields = ("id", "text", "reference", "family")
    lines = [json.dumps({f: getattr(p, f) for f in fields}, ensure_ascii=False) for p in problems]
    Path(path).write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def _load(path: str | Path, keys: tuple[str, str, str], family: str) -> list[Problem]:
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text; save it as UTF-8") from None
    problems: list[Problem] = []
    places: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            problem = _parse(line, keys, family, f"{path}, line {number}")
            if problem.id in places:
                raise ValueError(
                    f"{path}, line {number}: the id {problem.id!r} is that of line"
                    f" {places[problem.id]} already; give each problem its own"
                )
            places[problem.id] = number
            problems.append(problem)
    if not problems:
        raise ValueError(f"{path} holds no problem; put one JSON object on each line")
    return problems


def _parse(line: str, keys: tuple[str, str, str], family: str, where: str) -> Problem:
    wanted = ", ".join(f'"{key}"' for key in keys)
    advice = f"write one JSON object with the texts {wanted} on each line"
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not JSON ({error.msg}); {advice}") from None
    if not isinstance(record, dict):
        raise ValueError(f"{where}: a {type(record).__name__}, not an object; {advice}")
    for key in keys:
        value = record.get(key)
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f'{where}: "{key}" is missing, empty or not a text; {advice}')
    id_, text, reference = (record[key] for key in keys)
    return Problem(id_, text, reference, str(record.get("family", family)))
