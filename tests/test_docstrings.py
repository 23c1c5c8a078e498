"""Public functions have a docstring; it names what they take, and the errors they raise."""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
from docstring_parser import DocstringStyle, parse

PACKAGE = Path(__file__).resolve().parents[1] / "glm_ppo_utils"
# Not called by a user of the package: code under the published model's names, experiments,
# commands, and families of functions whose names say it all.
NOT_CALLED = {
    *("modeling_chatglm", "tokenization_chatglm", "labs", "base_model"),
    *("__main__", "cli", "options", "english", "chinese"),
}


def public_functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    """Functions and methods of public name, with the file they are in."""
    for path in sorted(PACKAGE.rglob("*.py")):
        where = path.relative_to(PACKAGE).with_suffix("")
        if where.name in NOT_CALLED or where.parts[0] in NOT_CALLED:
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            owner = f"{where}.{node.name}." if isinstance(node, ast.ClassDef) else f"{where}."
            for part in node.body if isinstance(node, ast.ClassDef) else [node]:
                if isinstance(part, ast.FunctionDef) and not (owner + part.name).count("._"):
                    yield owner + part.name, part


FUNCTIONS = dict(public_functions())


def faults(function: ast.FunctionDef) -> list[str]:
    """What a docstring says wrongly or leaves out."""
    text = ast.get_docstring(function)
    if not text:
        return ["it has no docstring"]
    doc = parse(inspect.cleandoc(text), DocstringStyle.NUMPYDOC)
    arguments = function.args
    names = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    names += [a for a in (arguments.vararg, arguments.kwarg) if a]
    known = {a.arg for a in names}
    said = {
        n.strip(" *") for p in doc.params for n in p.arg_name.split(",") if p.args[0] == "param"
    }
    found = [f"it documents {n}, which it does not take" for n in sorted(said - known)]
    raised = {r.type_name for r in doc.raises}
    for node in ast.walk(function):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            name = ast.unparse(node.exc.func).split(".")[-1]
            if name[0].isupper() and raised.isdisjoint({name, ast.unparse(node.exc.func)}):
                found.append(f"it raises {name} and does not say so")
    return found


@pytest.mark.parametrize("name", FUNCTIONS)
def test_public_docstrings_hold(name):
    assert faults(FUNCTIONS[name]) == []


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("def f(): pass", "it has no docstring"),
        (
            'def f(a):\n    """Do.\n\n    Parameters\n    ----------\n    b : int\n    """',
            "it documents b, which it does not take",
        ),
        ('def f():\n    """Do."""\n    raise ValueError("x")', "it raises ValueError"),
    ],
)
def test_a_fault_is_found(source, fault):
    (found,) = faults(ast.parse(source).body[0])
    assert fault in found
