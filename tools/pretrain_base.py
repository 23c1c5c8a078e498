"""Pretrain the small base model, which stands in for a pretrained ChatGLM in the tiny profile.

It learns two tasks. The first is to write notes about linear programs (tables and formulas without
sentences) as LP text, which teaches it the LP format and to copy names and numbers. The second is
to restate word problems as tables or formulas, which teaches it what "at most" and "twice as many"
mean. It never sees the LP text of a word problem: that is what SFT teaches.

``make base`` trains it and stores weights, tokenizer, settings and hashes in
``glm_ppo_utils/base_model/``.
"""

import argparse
import json
import platform
import random
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel, set_seed

from glm_ppo_utils import atomic, base_model
from glm_ppo_utils.base_model import VOCABULARY_FILE, WEIGHTS
from glm_ppo_utils.chatglm import load_policy, load_tokenizer, write_checkpoint
from glm_ppo_utils.chatglm.saving import sha256
from glm_ppo_utils.chatglm.tokenizer_training import train_tokenizer
from glm_ppo_utils.problems import FAMILIES, Problem, generate
from glm_ppo_utils.problems.plain_lp import PlainLP, Row, Term, read_plain_lp, write_plain_lp
from glm_ppo_utils.sft import SFTSettings, train_sft

VOCABULARY = 1280
ARCHITECTURE = {
    "num_layers": 3,
    "hidden_size": 128,
    "ffn_hidden_size": 256,
    "kv_channels": 32,
    "num_attention_heads": 4,
    "multi_query_group_num": 2,
    "seq_length": 512,
}
# Many small steps: with batches of 32 a model this small hardly learns to copy in the same time.
# Muon learns faster than AdamW: after 1,500 steps, held-out losses on notes and tables are 1.13 and
# 0.76, against 1.39 and 0.93 with AdamW alone (learning rate 1e-3). Two or three times Muon's rate
# was worse.
SETTINGS = SFTSettings(
    steps=24_000,
    batch_size=8,
    learning_rate=6e-3,
    muon_lr=3e-3,
    problems=192_000,
    eval_every=2000,
)
# Transportation problems are learnt last (`port` is in both `mine_port` and `farm_port`), so they
# come more often.
OFTEN = (*FAMILIES, "transport", "transport", "transport")


def notes(n: int, seed: int, names: list[str]) -> list[tuple[str, str]]:
    """`n` pairs (note, LP text) of random programs over `names`.

    The programs are random: most have no use, and some no solution.
    """
    rng = random.Random(seed)
    return [_pair(_program(rng, names), rng) for _ in range(n)]


def tables(n: int, seed: int, families: Sequence[str] = tuple(FAMILIES)) -> list[tuple[str, str]]:
    """`n` pairs (word problem of the training split, the same program as a table)."""
    return _restated("As a table: ", _table, generate(n, seed, families=families))


def formulas(n: int, seed: int, families: Sequence[str] = tuple(FAMILIES)) -> list[tuple[str, str]]:
    """`n` pairs (word problem of the training split, the same program as formulas)."""
    return _restated("As formulas: ", _formulas, generate(n, seed, families=families))


def _restated(
    ask: str, say: Callable[[PlainLP], list[str]], problems: list[Problem]
) -> list[tuple[str, str]]:
    lps = [read_plain_lp(problem.reference) for problem in problems]
    answers = [" ".join([*say(lp), _kind(lp)]) for lp in lps]
    return [(ask + p.text, answer) for p, answer in zip(problems, answers, strict=True)]


def _pair(lp: PlainLP, rng: random.Random) -> tuple[str, str]:
    say = rng.choice((None, _table, _mirrored_formulas, _columns))
    # One note in four is the LP text itself: copying is learnt first, and helps with the others.
    note = _shuffled(say(lp), lp, rng) if say else write_plain_lp(lp)
    if say is _columns:
        note = f"{', '.join(name for _, name in lp.objective)}: {note}"
    return note, write_plain_lp(lp)


def _program(rng: random.Random, names: list[str]) -> PlainLP:
    # Small programs are drawn more often: they are learnt sooner and cost less time.
    own = rng.sample(names, rng.choice((2, 2, 2, 3, 3, 4)))
    rows = tuple(_row(rng, own) for _ in range(rng.choice((1, 1, 2, 2, 3, 4))))
    objective = tuple((_number(rng, 30), name) for name in own)
    kind = rng.choice(("", "general", "binary"))
    sense = rng.choice(("maximize", "minimize"))
    sections = {kind: tuple(own)} if kind else {}
    return PlainLP(sense, objective, rows, **sections)


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


def _table(lp: PlainLP) -> list[str]:
    """Row by row: ``goal max: chairs 3, tables 5. row <=: chairs 2, tables 1: 40.``"""

    def cells(terms: Iterable[Term]) -> str:
        return ", ".join(f"{name} {number}" for number, name in terms)

    goal = f"goal {lp.sense[:3]}: {cells(lp.objective)}."
    return [goal, *(f"row {row.sense}: {cells(row.terms)}: {row.rhs}." for row in lp.rows)]


def _formulas(lp: PlainLP) -> list[str]:
    """``max 3 of chairs and 5 of tables.  2 of chairs and 1 of tables <= 40.``"""
    goal = f"{lp.sense[:3]} {_sum(lp.objective)}."
    return [goal, *(f"{_sum(row.terms)} {row.sense} {row.rhs}." for row in lp.rows)]


def _mirrored_formulas(lp: PlainLP) -> list[str]:
    """``max 3 of chairs and 5 of tables.  40 >= 2 of chairs and 1 of tables.``"""
    mirrored = {"<=": ">=", ">=": "<="}
    rows = [f"{row.rhs} {mirrored[row.sense]} {_sum(row.terms)}." for row in lp.rows]
    return [_formulas(lp)[0], *rows]


def _sum(terms: Iterable[Term]) -> str:
    return " and ".join(f"{number} of {name}" for number, name in terms)


def _columns(lp: PlainLP) -> list[str]:
    """Numbers without names: ``max 3, 5. row 2, 1 <= 40.``"""

    def numbers(terms: Iterable[Term]) -> str:
        found = {name: number for number, name in terms}
        return ", ".join(str(found.get(name, 0)) for _, name in lp.objective)

    goal = f"{lp.sense[:3]} {numbers(lp.objective)}."
    return [goal, *(f"row {numbers(row.terms)} {row.sense} {row.rhs}." for row in lp.rows)]


def _kind(lp: PlainLP) -> str:
    return f"all {'general' if lp.general else 'binary' if lp.binary else 'real'}."


def _shuffled(lines: list[str], lp: PlainLP, rng: random.Random) -> str:
    """The rows in their order, with the goal and the kind of the variables anywhere among them."""
    goal, *rows = lines
    rows.insert(rng.randint(0, len(rows)), goal)
    rows.insert(rng.randint(0, len(rows)), _kind(lp))
    return " ".join(rows)


def train_base(work: Path, progress: bool = True) -> None:
    """Train tokenizer and base model in the folder `work`, and store them."""
    start = time.perf_counter()
    references = [read_plain_lp(p.reference) for p in generate(4000, seed=3)]
    names = sorted({name for lp in references for name in lp.variables})
    pairs = lessons(SETTINGS.problems, names)
    vocabulary = _vocabulary(work, pairs)
    write_checkpoint(work / "untrained", ARCHITECTURE, vocabulary, seed=0)
    model = load_policy(work / "untrained", dtype="float32")
    tokenizer = load_tokenizer(work / "untrained")
    held = notes(100, -1, names) + tables(100, seed=6)
    set_seed(SETTINGS.seed)
    log = train_sft(model, tokenizer, pairs, held, SETTINGS, work, progress)
    heldout_loss = next(r["eval_loss"] for r in reversed(log) if "eval_loss" in r)
    _store(model, vocabulary, heldout_loss, minutes=(time.perf_counter() - start) / 60)


def lessons(n: int, names: list[str]) -> list[tuple[str, str]]:
    """`n` pairs: a quarter notes, the rest word problems restated in two ways."""
    part = n // 8
    restated = tables(3 * part, 5, OFTEN) + formulas(3 * part, 8, OFTEN)
    return notes(2 * part, 0, names) + restated


def _vocabulary(work: Path, pairs: list[tuple[str, str]]) -> Path:
    texts = [t for p in generate(4000, seed=3) for t in (p.text, p.reference)]
    texts += [t for pair in pairs[:1000] for t in pair]
    return train_tokenizer(texts, work / "tokenizer.model", VOCABULARY)


def _store(model: PreTrainedModel, vocabulary: Path, heldout_loss: float, minutes: float) -> None:
    """Write weights, tokenizer and how they were made into the package."""
    folder = base_model.FOLDER
    folder.mkdir(exist_ok=True)
    save_file({n: t.contiguous() for n, t in model.state_dict().items()}, folder / WEIGHTS)
    shutil.copyfile(vocabulary, folder / VOCABULARY_FILE)
    facts = {
        "command": "make base",
        "architecture": ARCHITECTURE,
        "settings": asdict(SETTINGS),
        "heldout_loss": heldout_loss,
        "minutes": round(minutes, 1),
        "device": f"{platform.machine()} CPU, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "sha256": {name: sha256(folder / name) for name in (WEIGHTS, VOCABULARY_FILE)},
    }
    # Written last: `unpack` refuses the other two files until their hashes are in here.
    atomic.write_text(folder / "made.json", json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    train_base(Path("build/base"))
