"""Every exercise of the notebooks: its check fails on the stub and on a wrong answer, and passes on
the solution that the notebook gives."""

import ast
import contextlib
import functools
import re
import symtable
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import nbformat
import pytest
from matplotlib import pyplot
from transformers.utils import logging

pytestmark = pytest.mark.slow

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("0*.ipynb"))

# An answer per exercise that a student might well give.
WRONG = {
    "01-1": "def expected(a, b): return 1 / (1 + 10 ** ((a - b) / 400))",
    "01-2": "def stuck(ratio, advantage, clip): return (advantage > 0) & (ratio > 1 + clip)",
    "01-3": "def fool(text, reference): return reference.replace('maximize', 'minimize')",
    "01-4": """
def gae(rewards, values, gamma, lam):  # lam**k in place of (gamma * lam)**k
    deltas = rewards + gamma * np.append(values[1:], 0.0) - values
    return [lam ** np.arange(len(deltas) - t) @ deltas[t:] for t in range(len(deltas))]""",
    "02-1": "share = sum(len(p.text) for p in problems) / sum(len(d.answer) for d in demos)",
    "02-2": """
def rate(temperature):
    texts, references = [p.text for p in held[:50]], [p.reference for p in held[:50]]
    found = respond(policy, tokenizer, texts, profile.ppo.max_new_tokens, temperature)
    return reward_statistics(evaluator(texts, [r.text for r in found], references))["reward"]""",
    "02-3": """
def solved_by_any(rewards):
    return sum(r == 1.0 for rounds in rewards for r in rounds) / sum(map(len, rewards))""",
    "03-1": "threshold = (0.3 / 0.35) ** 0.25",
    "03-2": "mine = 'maximize\\n 1044\\nsubject to\\nend'",
    "03-3": """
def strict(prompts, completions, reference, **_):
    return [float(s.objective_matches) for s in evaluator.score_batch(completions, reference)]""",
    "04-1": "newest = max(table.transformers)",
    "04-2": "def name_head(cls): cls.lm_head = property(lambda model: model.body.embed)",
    "04-3": "def is_transposed(model): return hasattr(model, 'transformer')",
    "05-1": 'share = sum(r["seconds_score"] / r["seconds_optimise"] for r in log) / len(log)',
    "05-2": """
def short(prompts, completions, reference, **_):
    rewards = reward_fn(prompts, completions, reference)
    extra = [c.count("\\n") - r.count("\\n") for c, r in zip(completions, reference)]
    return [reward - 0.01 * lines for reward, lines in zip(rewards, extra)]""",
    "05-3": """
def gain(results):
    before, after = results["sft_sampled_exact"], results["ppo_sampled_exact"]
    error = ((before.var() + after.var()) / len(results)) ** 0.5
    return after.mean() - before.mean(), error""",
}


@dataclass(frozen=True)
class Exercise:
    notebook: Path
    index: int
    cell: str
    solution: str


def read(notebook: Path) -> list[Exercise]:
    """The exercises of a notebook: a tagged code cell, its solution in the markdown before it."""
    cells = nbformat.read(notebook, as_version=4).cells
    found = []
    for i, cell in enumerate(cells):
        if "exercise" in cell.metadata.get("tags", []):
            folded = cells[i - 1].source.split("<summary>Solution</summary>")[1]
            solution = re.search(r"```python\n(.*?)```.*</details>", folded, re.S)[1]
            found.append(Exercise(notebook, i, cell.source, solution))
    return found


EXERCISES = {f"{p.name[:2]}-{n}": e for p in NOTEBOOKS for n, e in enumerate(read(p), start=1)}


def without_magics(source: str) -> str:
    return re.sub(r"^%.*", "", source, flags=re.M)


def statement_names(statement: ast.stmt) -> tuple[set[str], set[str]]:
    """Names that a statement takes from outside itself, and names that it sets or changes."""
    module = symtable.symtable(ast.unparse(statement), "cell", "exec")
    sets = {s.get_name() for s in module.get_symbols() if s.is_assigned() or s.is_imported()}
    needs = {s.get_name() for s in module.get_symbols() if s.is_referenced()} | inner_globals(
        module
    )
    if not isinstance(statement, ast.Assign | ast.AugAssign):
        needs -= sets  # such as the variable of a loop
    for node in ast.walk(statement):
        names = {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
        if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store):
            sets |= names  # changed
        if isinstance(node, ast.comprehension):  # from Python 3.12 on its variable counts as set
            inner = {n.id for n in ast.walk(node.target) if isinstance(n, ast.Name)}
            needs, sets = needs - inner, sets - inner
    return needs, sets


def inner_globals(table: symtable.SymbolTable) -> set[str]:
    names = set()
    for inner in table.get_children():
        names |= {s.get_name() for s in inner.get_symbols() if s.is_global()} | inner_globals(inner)
    return names


def cell_names(source: str) -> tuple[set[str], set[str]]:
    """Names that a cell takes from earlier cells, and names that it sets or changes."""
    needs, sets = set(), set()
    for statement in ast.parse(without_magics(source)).body:
        own_needs, own_sets = statement_names(statement)
        needs |= own_needs - sets
        sets |= own_sets
    return needs, sets


def needed_cells(notebook: Path) -> list[nbformat.NotebookNode]:
    """The cells that the exercises of a notebook build on, directly or not, in their order."""
    cells = nbformat.read(notebook, as_version=4).cells
    wanted, chosen = set(), []
    for cell in reversed(cells):
        if cell.cell_type != "code":
            continue
        needs, sets = cell_names(cell.source)
        tags = cell.metadata.get("tags", [])
        if "exercise" in tags:
            wanted |= needs
        elif sets & wanted and "setup" not in tags:
            wanted = (wanted - sets) | needs
            chosen.insert(0, cell)
        if "exercise" in tags:
            solution = next(e.solution for e in read(notebook) if e.cell == cell.source)
            wanted |= cell_names(solution)[0]
    return chosen


@pytest.fixture(scope="module", autouse=True)
def quick_runs(tmp_path_factory) -> Iterator[None]:
    """Few training steps, in a folder of their own, away from the repository."""
    verbosity = logging.get_verbosity()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLM_PPO_RUNS", str(tmp_path_factory.mktemp("runs")))
        patch.setenv("GLM_PPO_QUICK", "1")
        patch.setenv("GLM_PPO_PROFILE", "tiny")
        patch.setenv("TQDM_DISABLE", "1")
        patch.chdir(tmp_path_factory.mktemp("elsewhere"))  # as on Colab
        matplotlib.use("agg")
        yield
    logging.set_verbosity(verbosity)
    pyplot.close("all")


@functools.cache
def namespace(notebook: Path) -> dict:
    """What the notebook's variables hold when a reader comes to its exercises."""
    scope: dict = {}
    for cell in needed_cells(notebook):
        fails = "raises-exception" in cell.metadata.get("tags", [])
        with pytest.raises(Exception) if fails else contextlib.nullcontext():
            exec(without_magics(cell.source), scope)
    return scope


def test_each_notebook_has_exercises_and_each_exercise_a_wrong_answer():
    assert {name[:2] for name in EXERCISES} == {path.name[:2] for path in NOTEBOOKS}
    assert set(EXERCISES) == set(WRONG)


@pytest.mark.parametrize("name", EXERCISES)
def test_check_fails_unsolved_and_wrong_and_passes_solved(name, capsys):
    exercise, scope = EXERCISES[name], namespace(EXERCISES[name].notebook)
    check = exercise.cell.strip().splitlines()[-1]

    def says(*sources: str) -> str:
        capsys.readouterr()
        for source in sources:
            exec(source, scope)
        return capsys.readouterr().out

    assert says(exercise.cell).startswith("[not yet]")
    assert says(WRONG[name], check).startswith("[not yet]")
    assert says(exercise.solution, check).startswith("[ok]")


def test_needed_cells_are_found_through_functions_loops_and_changes():
    assert cell_names("def f(x):\n    return x + y") == ({"y"}, {"f"})
    assert cell_names("for a in b:\n    print(a, c)")[0] == {"b", "print", "c"}
    assert cell_names("t = d(t)\nu = t") == ({"d", "t"}, {"t", "u"})
    assert cell_names("t['k'] = 1") == ({"t"}, {"t"})
    assert cell_names("z = [q for q in r]") == ({"r"}, {"z"})
    assert cell_names("import a.b\nfrom c import d as e\n%xmode Minimal") == (set(), {"a", "e"})
