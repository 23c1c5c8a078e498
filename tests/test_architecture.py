"""Nothing in the package imports upwards or in a circle, and no file is too long to read.

Imports inside functions and under ``TYPE_CHECKING`` count like all others.
"""

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "glm_ppo_utils"
LONGEST = 450  # lines

# What each room, a folder or file of the package, may import from the others.
ROOMS = {
    "errors": "",
    "saved_policy": "",
    "atomic": "",
    "environment": "",
    "problems": "errors atomic",
    "evaluator": "",
    "gradient_checkpointing": "errors",
    "chatglm": "errors atomic gradient_checkpointing saved_policy",
    "profiles": "errors",
    "decoding": "errors",
    "rollout": "errors decoding",
    "ppo": "errors atomic gradient_checkpointing profiles rollout",
    "sft": "errors atomic gradient_checkpointing profiles rollout chatglm",
    "preferences": "problems",
    "baselines": "errors rollout sft",
    "base_model": "errors chatglm",
    "plotting": "evaluator",
    "pipeline": "errors problems evaluator chatglm profiles rollout ppo sft base_model "
    "saved_policy",
    "options": "errors profiles",
    "own_files": "errors problems",
    "publishing": "errors atomic problems saved_policy",
    "cli": "errors options own_files problems evaluator chatglm profiles rollout ppo base_model "
    "pipeline publishing saved_policy",
    "__main__": "cli",
    # Notebook 04's experiments use what they like; nothing may use them.
    "labs": "errors atomic chatglm gradient_checkpointing profiles rollout ppo sft plotting",
}

# The evaluator's files from the bottom up: one may import from its own line and those above it.
EVALUATOR = (
    "program lp_tokens",
    "lp_format lp_writer references renaming solver graph canonical_form",
    "certificate differences",
    "reward",
    "optimum workers",
    "evaluator",
)


def imports(package: Path) -> dict[str, set[str]]:
    """For each module, named from inside the package, the modules of the package it imports."""
    files = {_name(package, path): path for path in package.rglob("*.py")}
    return {name: set(_imported(package, path, files)) - {name} for name, path in files.items()}


def _name(package: Path, path: Path) -> str:
    parts = path.relative_to(package).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def _imported(package: Path, path: Path, files: dict[str, Path]) -> Iterator[str]:
    here = [package.name, *path.relative_to(package).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = here[: len(here) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            top, _, rest = name.partition(".")
            # What is no module of its own is a name in the one before the dot.
            found = rest if rest in files else rest.rpartition(".")[0]
            if top == package.name and found in files:
                yield found


def upward_imports(package: Path) -> list[str]:
    """The imports that the tables at the top don't allow."""
    found = []
    for module, targets in imports(package).items():
        for target in targets:
            room, other = module.partition(".")[0], target.partition(".")[0]
            assert room in ROOMS, f"give {room} a place in ROOMS"
            if room == other == "evaluator" and "." in module:
                good = _floor(target) <= _floor(module)
            else:
                good = room == other or not other or other in ROOMS[room].split()
            if not good:
                found.append(f"{module} imports {target}")
    return found


def _floor(module: str) -> int:
    name = module.rpartition(".")[2]
    for floor, names in enumerate(EVALUATOR):
        if name in names.split():
            return floor
    raise AssertionError(f"give {module} a place in EVALUATOR")


def test_nothing_imports_upwards():
    assert upward_imports(PACKAGE) == []


def test_nothing_imports_in_a_circle():
    tuple(graphlib.TopologicalSorter(imports(PACKAGE)).static_order())  # raises CycleError


def test_no_file_is_too_long():
    """But the modeling code, which has the form of the published one."""
    lengths = {
        _name(PACKAGE, path): len(path.read_text(encoding="utf-8").splitlines())
        for path in PACKAGE.rglob("*.py")
    }
    del lengths["chatglm.modeling_chatglm"]
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST} == {}


@pytest.fixture
def small(tmp_path) -> Path:
    """A package with a few rooms, of which nothing imports upwards."""
    package = tmp_path / "small"
    for name, text in {
        "__init__": "",
        "errors": "import ast",
        "chatglm/__init__": "from .loading import load",
        "chatglm/loading": "from small import errors",
        "ppo/__init__": "",
        "ppo/run": "from small.errors import BadInput",
        "evaluator/__init__": "from small.evaluator.reward import reward",
        "evaluator/program": "",
        "evaluator/reward": "from .program import Program",
    }.items():
        path = package / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert upward_imports(package) == []
    return package


@pytest.mark.parametrize(
    ("file", "line", "told"),
    [
        ("ppo/run", "import small.chatglm.loading", "ppo.run imports chatglm.loading"),
        ("ppo/run", "def f():\n    from small import chatglm", "ppo.run imports chatglm"),
        ("chatglm/loading", "from ..ppo.run import PPORun", "chatglm.loading imports ppo.run"),
        ("errors", "if TYPE_CHECKING:\n    from .ppo import run", "errors imports ppo.run"),
        ("evaluator/program", "from . import reward", "evaluator.program imports evaluator.reward"),
    ],
)
def test_an_upward_import_is_found(small, file, line, told):
    path = small / f"{file}.py"
    path.write_text(f"{path.read_text()}\n{line}\n")
    assert upward_imports(small) == [told]


def test_a_circle_is_found(small):
    (small / "errors.py").write_text("from small.chatglm import load")
    with pytest.raises(graphlib.CycleError):
        tuple(graphlib.TopologicalSorter(imports(small)).static_order())
