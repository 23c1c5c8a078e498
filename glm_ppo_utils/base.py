"""A small base model: what a pretrained ChatGLM already knows before it sees a word problem.

The base model reads notes about linear programs, tables and formulas without sentences, and
writes them as LP text. That teaches it the LP format and how to copy names and numbers to their
places, and nothing about the words of the lessons: "at most", "twice as many", "profit".

``python -m glm_ppo_utils.base`` (``make base``) trains it and stores it beside its hash.
"""

import random
from pathlib import Path

from transformers import set_seed

from glm_ppo_utils.chatglm import load_policy, load_tokenizer, save_checkpoint, write_checkpoint
from glm_ppo_utils.chatglm.tokenizer_training import train_tokenizer
from glm_ppo_utils.problems import generate
from glm_ppo_utils.problems.model import Model, Row, read, write
from glm_ppo_utils.profiles import get_profile
from glm_ppo_utils.sft import SFTSettings, train_sft

SETTINGS = SFTSettings(
    steps=4000, batch_size=32, learning_rate=3e-3, problems=60_000, eval_every=500
)
COMMAND = "python -m glm_ppo_utils.base"


def notes(n: int, seed: int, names: list[str]) -> list[tuple[str, str]]:
    """`n` pairs (note, LP text) of random programs over `names`.

    The programs are random: most have no use, and some no solution.
    """
    rng = random.Random(seed)
    return [_pair(_program(rng, names), rng) for _ in range(n)]


def _pair(model: Model, rng: random.Random) -> tuple[str, str]:
    return rng.choice((_table, _formulas, _columns))(model, rng), write(model)


def _program(rng: random.Random, names: list[str]) -> Model:
    own = rng.sample(names, rng.randint(2, 4))
    rows = tuple(_row(rng, own) for _ in range(rng.randint(1, 4)))
    objective = tuple((_number(rng, 30), name) for name in own)
    kind = rng.choice(("", "general", "binary"))
    sense = rng.choice(("maximize", "minimize"))
    return Model(sense, objective, rows, **({kind: tuple(own)} if kind else {}))


def _row(rng: random.Random, names: list[str]) -> Row:
    """A row over all variables, or over one or two of them, possibly with a difference."""
    sense = rng.choice(("<=", ">="))
    if rng.random() < 0.6:
        return Row(tuple((_number(rng, 12), name) for name in names), sense, _number(rng, 300))
    some = rng.sample(names, rng.randint(1, 2))
    signs = (1, rng.choice((-1, -2, -3, 1)))
    terms = tuple(zip(signs, some, strict=False))
    return Row(terms, sense, rng.choice((0, _number(rng, 9), _number(rng, 60))))


def _number(rng: random.Random, top: int) -> int:
    return rng.randint(1, rng.choice((9, top)) if top > 9 else top)


def _table(model: Model, rng: random.Random) -> str:
    """Row by row: ``goal max: chairs 3, tables 5. row <=: chairs 2, tables 1: 40.``"""

    def cells(terms):
        return ", ".join(f"{name} {number}" for number, name in terms)

    lines = [f"goal {model.sense[:3]}: {cells(model.objective)}."]
    lines += [f"row {row.sense}: {cells(row.terms)}: {row.rhs}." for row in model.rows]
    return _shuffled_parts(lines, model, rng)


def _formulas(model: Model, rng: random.Random) -> str:
    """``max 3 of chairs and 5 of tables.  40 >= 2 of chairs and 1 of tables.``"""

    def sum_(terms):
        return " and ".join(f"{number} of {name}" for number, name in terms)

    flipped = {"<=": ">=", ">=": "<="}
    lines = [f"{model.sense[:3]} {sum_(model.objective)}."]
    lines += [f"{row.rhs} {flipped[row.sense]} {sum_(row.terms)}." for row in model.rows]
    return _shuffled_parts(lines, model, rng)


def _columns(model: Model, rng: random.Random) -> str:
    """Names first, numbers apart: ``chairs, tables: max 3, 5. row 2, 1 <= 40.``"""
    names = [name for _, name in model.objective]

    def numbers(terms):
        found = {name: number for number, name in terms}
        return ", ".join(str(found.get(name, 0)) for name in names)

    lines = [f"{model.sense[:3]} {numbers(model.objective)}."]
    lines += [f"row {numbers(row.terms)} {row.sense} {row.rhs}." for row in model.rows]
    return f"{', '.join(names)}: " + _shuffled_parts(lines, model, rng)


def _shuffled_parts(lines: list[str], model: Model, rng: random.Random) -> str:
    """The goal anywhere among the rows, which keep their order; then the kind of variable."""
    goal, rows = lines[0], lines[1:]
    rows.insert(rng.randint(0, len(rows)), goal)
    kind = "general" if model.general else "binary" if model.binary else "real"
    rows.insert(rng.randint(0, len(rows)), f"all {kind}.")
    return " ".join(rows)


def train_base(folder: Path, settings: SFTSettings = SETTINGS, progress: bool = True) -> list[dict]:
    """Train tokenizer and base model into `folder`; returns the training log."""
    profile = get_profile("tiny")
    lessons = generate(4000, seed=3)
    names = sorted({name for p in lessons for name in read(p.reference).variables})
    pairs = notes(settings.problems, settings.seed, names)
    texts = [t for p in lessons for t in (p.text, p.reference)]
    texts += [t for pair in pairs[:1000] for t in pair]
    vocabulary = train_tokenizer(texts, folder / "tokenizer.model", profile.vocabulary)
    set_seed(settings.seed)
    write_checkpoint(folder / "untrained", profile.architecture, vocabulary, seed=settings.seed)
    tokenizer = load_tokenizer(folder / "untrained")
    model = load_policy(folder / "untrained")
    log = train_sft(model, tokenizer, pairs, notes(200, -1, names), settings, folder, progress)
    save_checkpoint(model, tokenizer, folder / "policy")
    return log
