"""Problems from files, lists of dicts and ``datasets.Dataset``, and back into files."""

import json
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from glm_ppo_utils import atomic
from glm_ppo_utils.errors import BadInput
from glm_ppo_utils.problems.nl4opt import annotated_lp
from glm_ppo_utils.problems.problem import Problem

Record = Mapping[str, Any]
Source = str | Path | Iterable[Record]
MODEL_FILES = (".lp", ".mps", ".mps.gz")  # a reference of one line that ends so is a path


def load_problems(
    source: Source,
    *,
    id: str = "id",
    text: str = "text",
    reference: str = "reference",
    optimum: str = "optimum",
) -> list[Problem]:
    """Load your own problems.

    Parameters
    ----------
    source : str, Path or iterable of mappings
        A file with a JSON object on each line, or with one JSON list of objects; or the objects
        themselves, such as a list of dicts or a ``datasets.Dataset``.
    id, text, reference, optimum : str
        Under which name an object has each of these. The id may be a number, or be missing: then it
        is the object's place, from 1 on. The reference is LP text, or the path of an LP or MPS
        file, from the folder of `source`; where there is none, the optimum is a number. All other
        fields go to ``Problem.extra``.

    Raises
    ------
    BadInput
        If an object does not hold a problem; the message names its place.
    """
    names = {"id": id, "text": text, "reference": reference, "optimum": optimum}
    problems = _load(source, names)
    if isinstance(source, (str, Path)):
        return [_from_folder(p, Path(source).parent) for p in problems]
    return problems


def load_nl4opt(source: Source) -> list[Problem]:
    """Load NL4Opt problems.

    Parameters
    ----------
    source : str, Path or iterable of mappings
        Objects with ``id``, ``problem`` and ``lp``, or as the competition published them, with
        ``document``, ``obj_declaration`` and ``const_declarations``; see `nl4opt.py`. Published
        annotations that make no LP are left out with a warning.

    Raises
    ------
    BadInput
        If an object is neither; the message names its place.
    """
    left_out: list[str] = []

    def plain(record: Record, where: str) -> Record | None:
        if len(record) == 1 and isinstance(inner := next(iter(record.values())), Mapping):
            record = {"id": next(iter(record)), **inner}  # published as {id: problem}
        lp, text = record.get("lp"), record.get("problem", record.get("document"))
        if "document" in record:
            try:
                lp = annotated_lp(record)
            except (BadInput, KeyError, TypeError, AttributeError) as error:
                left_out.append(f"{where} ({error})")
                return None
        return {"id": record.get("id"), "problem": text, "lp": lp, "family": "nl4opt"}

    names = {"id": "id", "text": "problem", "reference": "lp", "optimum": ""}
    problems = _load(source, names, plain)
    if left_out:
        warnings.warn(f"left out, not annotated well: {'; '.join(left_out)}", stacklevel=2)
    return problems


def save_problems(path: str | Path, problems: Iterable[Problem]) -> None:
    """Write `problems` so that `load_problems` reads them."""
    lines = []
    for problem in problems:
        record = {"id": problem.id, "text": problem.text, **problem.columns()}
        given = {name: value for name, value in record.items() if value not in (None, "")}
        lines.append(json.dumps(given, ensure_ascii=False) + "\n")
    atomic.write_text(path, "".join(lines))


def _load(
    source: Source,
    names: dict[str, str],
    plain: Callable[[Record, str], Record | None] = lambda record, where: record,
) -> list[Problem]:
    """The problems in a source, whose fields have these `names`.

    `plain` turns an object of another format into one with these fields, or None to leave it out.
    """
    problems: dict[str, Problem] = {}
    places: dict[str, str] = {}
    for place, (where, record) in enumerate(records(source), 1):
        if not isinstance(record, Mapping):
            raise BadInput(f"{where}: a {type(record).__name__}, not an object; write one there")
        if (fields := plain(record, where)) is None:
            continue
        found = _problem(fields, names, place, where)
        if found.id in problems:
            raise BadInput(
                f"{where}: the id {found.id!r} is that of {places[found.id]}; give each problem "
                "its own"
            )
        problems[found.id], places[found.id] = found, where.rpartition(", ")[2]
    if not problems:
        what = source if isinstance(source, (str, Path)) else "the list"
        raise BadInput(f"{what} holds no problem; put one JSON object on each line")
    return list(problems.values())


def records(source: Source) -> Iterator[tuple[str, Any]]:
    """Each object of a file or list, with the words for its place.

    Raises
    ------
    BadInput
        If the file is not text, or a line not JSON.
    """
    if not isinstance(source, (str, Path)):
        for place, record in enumerate(source):
            yield f"problem {place} of the list", record
        return
    try:
        text = Path(source).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadInput(f"{source} is not UTF-8 text; save it as UTF-8") from None
    try:
        whole = json.loads(text)
    except json.JSONDecodeError:
        whole = None
    if isinstance(whole, list):
        for place, record in enumerate(whole):
            yield f"{source}, item {place}", record
        return
    # Not splitlines(): it also splits at characters that JSON allows inside a text.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            where = f"{source}, line {number}"
            try:
                yield where, json.loads(line)
            except json.JSONDecodeError as error:
                raise BadInput(
                    f"{where}: not JSON ({error.msg}); write one JSON object on each line"
                ) from None


def _problem(record: Record, names: dict[str, str], place: int, where: str) -> Problem:
    values: dict[str, Any] = {name: record.get(key) for name, key in names.items()}
    advice = f'write an object with the texts "{names["text"]}" and "{names["reference"]}"'
    if names["optimum"]:
        advice += f', or the number "{names["optimum"]}" in place of a reference'
    key = values["id"] if values["id"] is not None else place
    if isinstance(key, bool) or not isinstance(key, (str, int)) or key == "":
        raise BadInput(f'{where}: "{names["id"]}" is neither a text nor a whole number; {advice}')
    optimum = _number(values["optimum"], f'{where}: "{names["optimum"]}"')
    wanted = ["text"] if optimum is not None and values["reference"] in (None, "") else []
    for name in wanted or ["text", "reference"]:
        if not isinstance(values[name], str) or not values[name].strip():
            raise BadInput(f'{where}: "{names[name]}" is missing, empty or not a text; {advice}')
    known = {*names.values(), "family"}
    extra = {name: value for name, value in record.items() if name not in known}
    family = str(record.get("family", ""))
    reference = values["reference"] or ""
    return Problem(str(key), values["text"], reference, family, optimum, extra)


def _number(value: object, where: str) -> float | None:
    """An optimum as a finite number; None if there is none."""
    if value is None:
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise BadInput(f"{where} is {value!r}, not a finite number; correct it or leave it out")
    return number


def _from_folder(problem: Problem, folder: Path) -> Problem:
    """The problem with a reference that is a path as one from the working directory."""
    text = problem.reference
    if "\n" in text or not text.lower().endswith(MODEL_FILES):
        return problem
    return replace(problem, reference=str(folder / text))
