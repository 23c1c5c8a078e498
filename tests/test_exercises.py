"""Every exercise of the notebooks: its check refuses the stub and at least three wrong answers, and
accepts the solution that the notebook gives, which does not stand in the check."""

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

# Answers that a student might well give, each of them wrong.
WRONG = {
    "01-1": (
        "def expected(a, b): return 1 / (1 + 10 ** ((a - b) / 400))",  # the loser's
        "def expected(a, b): return 1 / (1 + np.exp((b - a) / 400))",  # another base
        "def expected(a, b): return a / (a + b) if a + b else 0.5",
    ),
    "01-2": (
        """
def clipped_loss(new, old, advantage, clip=0.2):  # no clipping
    return -((new - old).exp() * advantage).mean()""",
        """
def clipped_loss(new, old, advantage, clip=0.2):  # no minimum: cases 1 and 6 are flat, too
    return -((new - old).exp().clamp(1 - clip, 1 + clip) * advantage).mean()""",
        """
def clipped_loss(new, old, advantage, clip=0.2):  # the sign
    ratio = (new - old).exp()
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage).mean()""",
        """
def clipped_loss(new, old, advantage, clip=0.2):  # nothing to differentiate
    ratio = (new - old).exp().detach().requires_grad_()
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage).mean()""",
        """
def clipped_loss(new, old, advantage, clip=0.2):  # of clip 0.2, whatever clip is
    ratio = (new - old).exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage).mean()""",
    ),
    "01-3": (
        "def fool(text, reference): return reference.replace('maximize', 'minimize')",
        "def fool(text, reference): return reference",
        "def fool(text, reference): return ''",
        "def fool(text, reference): return text",
    ),
    "01-4": (
        """
def gae(rewards, values, gamma, lam):  # lam**k in place of (gamma * lam)**k
    deltas = rewards + gamma * np.append(values[1:], 0.0) - values
    return [lam ** np.arange(len(deltas) - t) @ deltas[t:] for t in range(len(deltas))]""",
        """
def gae(rewards, values, gamma, lam):  # one step only
    return rewards + gamma * np.append(values[1:], 0.0) - values""",
        """
def gae(rewards, values, gamma, lam):  # the reward still to come, whatever lam is
    return np.cumsum(rewards[::-1])[::-1] - values""",
    ),
    "02-1": (
        """
def loss_share(items):  # of the items, not of the tokens
    shares = [sum(x != IGNORED for x in i["labels"]) / len(i["labels"]) for i in items]
    return sum(shares) / len(shares)""",
        """
def loss_share(items):  # the other ones
    labels = [label for item in items for label in item["labels"]]
    return labels.count(IGNORED) / len(labels)""",
        "def loss_share(items): return 0.5",
    ),
    "02-2": (
        """
def rate(temperature):  # the mean reward
    texts, references = [p.text for p in held[:50]], [p.reference for p in held[:50]]
    found = respond(policy, tokenizer, texts, profile.ppo.max_new_tokens, temperature)
    return reward_statistics(evaluator(texts, [r.text for r in found], references))["reward"]""",
        "def rate(temperature): return 2 / len(held[:50])",  # right at temperature 0
        """
def rate(temperature):  # always at temperature 1
    texts, references = [p.text for p in held[:50]], [p.reference for p in held[:50]]
    found = respond(policy, tokenizer, texts, profile.ppo.max_new_tokens)
    return reward_statistics(evaluator(texts, [r.text for r in found], references))["exact"]""",
    ),
    "02-3": (
        """
def solved_by_any(rewards):  # the share of the answers
    return sum(r == 1.0 for rounds in rewards for r in rounds) / sum(map(len, rewards))""",
        """
def solved_by_any(rewards):  # by all rounds
    return sum(min(rounds) == 1.0 for rounds in zip(*rewards)) / len(rewards[0])""",
        """
def solved_by_any(rewards):  # half right is not solved
    return sum(max(rounds) >= 0.6 for rounds in zip(*rewards)) / len(rewards[0])""",
    ),
    "03-1": (
        "threshold = (0.3 / 0.35) ** 0.25",
        "threshold = -(((0.3 - 0.05) / 0.35) ** 0.25)",
        "threshold = ((0.3 - 0.05) / 0.55) ** 0.25",  # for an optimum that agrees
    ),
    "03-2": (
        "mine = 'maximize\\n 1044\\nsubject to\\nend'",
        "mine = 'maximize\\n 1044.0\\nsubject to\\nend'",
        "mine = reference",
        "mine = reference.replace('<= 75', '<= 75\\n scarves <= 5')",  # earns more than 0.35
        "mine = reference.replace('5 scarves', '6 scarves')",  # a number that is not in the text
    ),
    "03-3": (
        """
def strict(prompts, completions, reference, **_):
    return [float(s.objective_matches) for s in evaluator.score_batch(completions, reference)]""",
        """
def strict(prompts, completions, reference, **_):  # with partial credit
    return evaluator(prompts, completions, reference)""",
        """
def strict(prompts, completions, reference, **_):  # letter by letter
    return [float(c == r) for c, r in zip(completions, reference)]""",
    ),
    "04-1": (
        "def newest(table): return table.transformers.iloc[-1]",
        """
def newest(table):  # 4.9 is not newer than 4.40
    own = table[(table.model == "chatglm") & table.step.str.startswith("generate")]
    good = own.groupby("transformers").result.agg(lambda results: (results == "ok").all())
    return max(good[good].index)""",
        """
def newest(table):  # one step of several
    rows = table[(table.model == "chatglm") & (table.step == "generate") & (table.result == "ok")]
    return "4.41.0" if "4.41.0" in set(rows.transformers) else max(rows.transformers)""",
    ),
    "04-2": (
        "def name_head(cls): cls.lm_head = property(lambda model: model.body.embed)",
        """
def name_head(cls):  # registers the module a second time
    start = cls.__init__
    def init(self):
        start(self)
        self.lm_head = self.body.unembed
    cls.__init__ = init""",
        "def name_head(cls): cls.lm_head = cls().body.unembed",  # of another model
    ),
    "04-3": (
        "def is_transposed(model): return True",
        """
def is_transposed(model):  # a square batch
    states = model(torch.zeros(3, 3, dtype=torch.long), output_hidden_states=True).hidden_states
    return tuple(states[-1].shape[:2]) == (3, 3)""",
        """
def is_transposed(model):  # the other way round
    states = model(torch.zeros(2, 3, dtype=torch.long), output_hidden_states=True).hidden_states
    return tuple(states[-1].shape[:2]) == (2, 3)""",
    ),
    "05-1": (
        """
def scoring_share(log):  # the mean of the rows' shares
    pairs = [(r["seconds_score"], r["seconds_generate"]) for r in log]
    return sum(score / (score + other) for score, other in pairs) / len(pairs)""",
        """
def scoring_share(log):  # of the other phases
    return sum(r["seconds_score"] for r in log) / sum(r["seconds_generate"] for r in log)""",
        """
def scoring_share(log):  # of everything in the row
    return sum(r["seconds_score"] for r in log) / sum(sum(r.values()) for r in log)""",
    ),
    "05-2": (
        """
def short(prompts, completions, reference, **_):  # may fall below 0, and pays for fewer lines
    rewards = reward_fn(prompts, completions, reference)
    extra = [c.count("\\n") - r.count("\\n") for c, r in zip(completions, reference)]
    return [reward - 0.01 * lines for reward, lines in zip(rewards, extra)]""",
        """
def short(prompts, completions, reference, **_):  # pays for fewer lines
    rewards = reward_fn(prompts, completions, reference)
    extra = [c.count("\\n") - r.count("\\n") for c, r in zip(completions, reference)]
    return [max(0.0, reward - 0.01 * lines) for reward, lines in zip(rewards, extra)]""",
        """
def short(prompts, completions, reference, **_):  # may fall below 0
    rewards = reward_fn(prompts, completions, reference)
    extra = [max(0, c.count("\\n") - r.count("\\n")) for c, r in zip(completions, reference)]
    return [reward - 0.01 * lines for reward, lines in zip(rewards, extra)]""",
        """
def short(prompts, completions, reference, **_):  # subtracts nothing
    return reward_fn(prompts, completions, reference)""",
    ),
    "05-3": (
        """
def gain(results):  # not seed by seed
    before, after = results["none"], results["replay"]
    error = ((before.var() + after.var()) / len(results)) ** 0.5
    return after.mean() - before.mean(), error""",
        """
def gain(results):  # the standard deviation, not the error of the mean
    gains = results["replay"] - results["none"]
    return gains.mean(), gains.std()""",
        """
def gain(results):  # the deviation of a whole population
    gains = results["replay"] - results["none"]
    return gains.mean(), gains.std(ddof=0) / len(gains) ** 0.5""",
    ),
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


def test_each_notebook_has_exercises_and_each_exercise_wrong_answers():
    assert {name[:2] for name in EXERCISES} == {path.name[:2] for path in NOTEBOOKS}
    assert {name: len(answers) >= 3 for name, answers in WRONG.items()} == dict.fromkeys(
        EXERCISES, True
    )


@pytest.mark.parametrize("name", EXERCISES)
def test_the_check_does_not_hold_the_solution(name):
    """No line that says something is in both."""
    lines = {line.strip() for line in EXERCISES[name].solution.splitlines()}
    cell = {line.strip() for line in EXERCISES[name].cell.splitlines()}
    shared = {line for line in lines & cell if not line.startswith("def ") and len(line) > 12}
    assert shared == set()


@pytest.mark.parametrize("name", EXERCISES)
def test_a_check_refuses_the_stub_and_wrong_answers_and_accepts_the_solution(name, capsys):
    exercise, scope = EXERCISES[name], namespace(EXERCISES[name].notebook)
    check = exercise.cell.strip().splitlines()[-1]

    def says(*sources: str) -> str:
        capsys.readouterr()
        for source in sources:
            exec(source, scope)
        return capsys.readouterr().out

    assert says(exercise.cell).startswith("[not yet]")
    for wrong in WRONG[name]:
        assert says(wrong, check).startswith("[not yet]"), wrong
    assert says(exercise.solution, check).startswith("[ok]")


def test_needed_cells_are_found_through_functions_loops_and_changes():
    assert cell_names("def f(x):\n    return x + y") == ({"y"}, {"f"})
    assert cell_names("for a in b:\n    print(a, c)")[0] == {"b", "print", "c"}
    assert cell_names("t = d(t)\nu = t") == ({"d", "t"}, {"t", "u"})
    assert cell_names("t['k'] = 1") == ({"t"}, {"t"})
    assert cell_names("z = [q for q in r]") == ({"r"}, {"z"})
    assert cell_names("import a.b\nfrom c import d as e\n%xmode Minimal") == (set(), {"a", "e"})
