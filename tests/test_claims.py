"""Numbers in README, RESULTS and notebooks are those of the output or file they come from.

Tables of README and RESULTS are written by cog from CSV files; here they must be up to date. Prose:
`CLAIMS` is the list: where a sentence stands, a pattern with a group per number, and what computes
these numbers from a stored output, CSV or file. A number must be its source, rounded to the digits
that are written. Whoever changes a sentence changes its line here.
"""

import functools
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from math import comb
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from safetensors import safe_open
from write_setup_cells import direct_pins

from glm_ppo_utils import base_model
from glm_ppo_utils.chatglm.compat import PATCH_TESTED
from glm_ppo_utils.profiles import PROFILES

ROOT = Path(__file__).resolve().parents[1]
WORDS = {"two": 2, "three": 3, "four": 4, "five": 5, "twenty-four": 24}
TINY = PROFILES["tiny"]


@functools.cache
def cells(notebook: str) -> list:
    path = next((ROOT / "notebooks").glob(f"{notebook}_*.ipynb"))
    return nbformat.read(path, as_version=4).cells


def prose(where: str) -> str:
    """The text of README, RESULTS or a notebook's markdown cells, on one line."""
    if where in ("README", "RESULTS"):
        text = (ROOT / f"{where}.md").read_text(encoding="utf-8")
    else:
        text = "\n".join(c.source for c in cells(where) if c.cell_type == "markdown")
    return " ".join(text.split())


def printed(notebook: str) -> str:
    """Everything that a notebook printed."""
    outputs = [o for c in cells(notebook) for o in c.get("outputs", [])]
    return "\n".join(o.get("text") or o.get("data", {}).get("text/plain", "") for o in outputs)


def numbers(notebook: str, pattern: str) -> list[float]:
    """The groups of the first match of `pattern` in what a notebook printed."""
    found = re.search(pattern, printed(notebook), re.M)
    assert found, f"notebook {notebook} printed nothing like {pattern!r}"
    return [float(x.replace(",", "")) for x in found.groups()]


def table(notebook: str, header: str) -> list[list[float]]:
    """The numbers of each row of the printed table whose header line contains `header`."""
    text = printed(notebook)
    assert header in text, f"notebook {notebook} printed no table with {header!r}"
    lines = text.split(header, 1)[1].split("\n")[1:]
    is_row = re.compile(r".*\S +-?[\d.]+$")
    lines = lines if is_row.match(lines[0]) else lines[1:]  # the name of an index has its own line
    rows = takewhile(is_row.match, lines)
    return [[float(x) for x in re.findall(r"(?<= )-?\d+(?:\.\d+)?(?= |$)", r)] for r in rows]


def why_rl(start: str, method: str, grader: str = "evaluator") -> pd.DataFrame:
    """Runs of `benchmarks/why_rl.py` with the profile's settings, a row per seed."""
    rows = pd.read_csv(ROOT / "notebooks/runs/why_rl.csv")
    rows.loc[rows.set == "policy_lr=0", ["method", "set"]] = ["replay alone", "-"]
    rows = rows[(rows.start == start) & (rows.method == method) & (rows.grader == grader)]
    return rows[rows.set == "-"].sort_values("seed").reset_index(drop=True)


def rates(start: str, *methods: str, ways: Sequence[str] = ("sampled", "greedy")) -> list[float]:
    """Mean exact rates over seeds, way by way."""
    return [why_rl(start, m)[f"{way}_exact"].mean() for way in ways for m in methods]


def gain(start: str, without: str, method: str) -> float:
    """What a method adds to the mean sampled exact rate."""
    before, after = rates(start, without, method, ways=["sampled"])
    return after - before


def parameters() -> int:
    """Of the stored base model."""
    with safe_open(base_model.FOLDER / base_model.WEIGHTS, "pt") as file:
        names = [name for name in file.keys() if "inv_freq" not in name]  # a buffer
        return sum(file.get_tensor(name).numel() for name in names)


def probe() -> pd.DataFrame:
    rows = pd.read_csv(ROOT / "notebooks/runs/version_matrix.csv", keep_default_na=False)
    return rows[rows.model == "chatglm"]


def versions(message: str, step: str) -> list[float]:
    """The first and the last minor version under which `step` fails with `message`."""
    rows = probe()
    rows = rows[(rows.step == step) & rows.exception.str.contains(message, regex=False)]
    minors = [version.rsplit(".", 1)[0] for version in rows.transformers]
    return [float(minors[0]), float(minors[-1])]


def grades() -> pd.DataFrame:
    return pd.DataFrame(table("01", "stars, 1 to 5"))


def best_and_worst() -> list[float]:
    """The grade that is one person's highest and another's lowest."""
    return list(set(grades().max()) & set(grades().min()))


def flat_tokens() -> list[float]:
    lines = printed("01").split("unclipped", 1)[1].split("\n")[1:]
    rows = list(takewhile(lambda line: not line.startswith("policy loss"), lines))
    return [sum(" yes " in row for row in rows), len(rows)]


@dataclass(frozen=True)
class Claim:
    where: str
    pattern: str
    source: Callable[[], Sequence[float | str]]
    tolerance: float = 0.0  # beyond rounding


UNPACK, SHAPE = "too many values to unpack", "no attribute 'shape'"
FORMAT, PADDING = "standardize_cache_format", "padding_side"
EXTRACT = "no attribute '_extract_past_from_model_output'"
NUMBER = r"([\d.,]*\d)"
WAYS = ("greedy", "sampled")
METHODS = ("replay", "ppo", "rejection")

CLAIMS = [
    Claim(
        "README",
        r"over seeds (\d), (\d), (\d); each",
        lambda: list(why_rl("few", "replay")["seed"]),
    ),
    Claim(
        "README",
        rf"method samples and grades {NUMBER} answers",
        lambda: [TINY.ppo.steps * TINY.ppo.batch_size],
    ),
    Claim(
        "README",
        rf"\| {NUMBER} demonstrations: sampled \| greedy \| {NUMBER} demonstrations",
        lambda: [why_rl(start, "none")["demonstrations"][0] for start in ("few", "rare")],
    ),
    Claim("README", r"Exact answers on (\d+) held-out", lambda: [TINY.ppo.eval_problems]),
    Claim("RESULTS", r"the share of (\d+) held-out", lambda: [TINY.ppo.eval_problems]),
    Claim("RESULTS", r"over seeds (\d), (\d) and (\d)", lambda: list(why_rl("few", "ppo")["seed"])),
    Claim("README", rf"a ChatGLM of {NUMBER} parameters", lambda: [parameters()]),
    Claim(
        "README",
        rf"reward {NUMBER}: the coefficient of skirts",
        lambda: numbers("03", r"^reward +([\d.]+)$"),
    ),
    Claim(
        "README",
        rf"unpack \(expected 2\)` \(transformers {NUMBER} and {NUMBER}\)",
        lambda: versions(UNPACK, "generate"),
    ),
    Claim("README", rf"{FORMAT}'` \({NUMBER} to {NUMBER}\)", lambda: versions(FORMAT, "generate")),
    Claim("README", rf"{EXTRACT}` \({NUMBER} to {NUMBER}\)", lambda: versions(EXTRACT, "generate")),
    Claim(
        "README",
        rf"{PADDING}'` \(from {NUMBER}\)",
        lambda: versions(PADDING, "tokenizer_pad_batch")[:1],
    ),
    Claim("01", r"A (\d+) is the best grade of one person and the worst", best_and_worst),
    Claim(
        "01",
        r"ask it (\d+) times for each of the (\d+) pairs",
        lambda: [numbers("01", r"^(\d+) comparisons")[0] / comb(6, 2), comb(6, 2)],
    ),
    Claim("01", r"our step: (\w+) of (\w+) tokens on the flat parts", flat_tokens),
    Claim("02", r"about (\d+) minutes", lambda: numbers("02", r"steps in ([\d.]+) minutes"), 1.0),
    Claim(
        "03",
        r"costs \$(\d+) in the text, and (\d+) in the answer",
        lambda: numbers("03", r"should be (\d+), not (\d+)"),
    ),
    Claim(
        "01",
        rf"correlation at least {NUMBER}\)",
        lambda: numbers("01", r"two people's rankings: ([\d.]+)"),
    ),
    Claim(
        "01",
        r"found the better answer in (\d+) %",
        lambda: [100 * x for x in numbers("01", r"finds the better answer: +([\d.]+)")],
    ),
    Claim(
        "02",
        r"(\d+) % exactly when it decodes greedily, and (\d+) % when it samples",
        lambda: [100 * numbers("02", rf"^{way} .*'exact': ([\d.]+)")[0] for way in WAYS],
    ),
    Claim(
        "02",
        r"(\d+) % of the sampled answers are LPs",
        lambda: [100 * numbers("02", r"^sampled .*'parsed': ([\d.]+)")[0]],
    ),
    Claim(
        "02",
        r"ChatGLM fine-tuned on (\d+) demonstrations",
        lambda: numbers("02", r"^(\d+) demonstrations"),
    ),
    Claim(
        "03",
        rf"earned more than {NUMBER}\. Try",
        lambda: [max(row[-1] for row in table("03", "the evaluator  highest"))],
    ),
    Claim(
        "05",
        rf"sampled answers from {NUMBER} to {NUMBER} and of greedy ones from {NUMBER} to {NUMBER}",
        lambda: rates("few", "none", "replay"),
    ),
    Claim(
        "05",
        rf"Rejection sampling reached {NUMBER} and {NUMBER}",
        lambda: rates("few", "rejection"),
    ),
    Claim(
        "05",
        rf"From a start that is right in {NUMBER} of its answers PPO with replay reached {NUMBER}, "
        rf"rejection sampling {NUMBER}, plain PPO {NUMBER}",
        lambda: rates("rare", "none", "replay", "rejection", "ppo", ways=["sampled"]),
    ),
    Claim(
        "05",
        rf"had more to teach \(`sft`, {NUMBER}\)",
        lambda: rates("rare", "sft", ways=["sampled"]),
    ),
    Claim(
        "05",
        rf"To replay alone it adds {NUMBER}",
        lambda: [gain("few", "replay alone", "replay")],
    ),
    Claim(
        "05",
        rf"Replay alone reaches {NUMBER}",
        lambda: rates("rare", "replay alone", ways=["sampled"]),
    ),
    Claim(
        "05",
        rf"from {NUMBER} to {NUMBER} while exact answers fell from {NUMBER} to {NUMBER}",
        lambda: table("05", "reward, first step")[-1][:4],
    ),
    Claim(
        "03",
        rf"in full, the evaluator at most {NUMBER}\. \*Stuffed",
        lambda: [max(row[-1] for row in table("03", "the evaluator  highest")[:4])],
    ),
    Claim("04", r"([\w-]+) versions The missing head", lambda: [probe()["transformers"].nunique()]),
    Claim(
        "04",
        r"one probe of (\d+) steps under (\d+) versions",
        lambda: [probe()["step"].nunique(), probe()["transformers"].nunique()],
    ),
    Claim(
        "04",
        rf"unpack \(expected 2\)` \| {NUMBER}, {NUMBER} \|",
        lambda: versions(UNPACK, "generate"),
    ),
    Claim(
        "04",
        rf"{SHAPE}` \| {NUMBER}, {NUMBER}, padded",
        lambda: versions(SHAPE, "generate_leftpad_batch"),
    ),
    Claim("04", rf"{FORMAT}'` \| {NUMBER} to {NUMBER} \|", lambda: versions(FORMAT, "generate")),
    Claim("04", rf"{EXTRACT}` \| {NUMBER} to {NUMBER} \|", lambda: versions(EXTRACT, "generate")),
    Claim(
        "04",
        rf"{PADDING}'` \| from {NUMBER} \|",
        lambda: versions(PADDING, "tokenizer_pad_batch")[:1],
    ),
    Claim(
        "04",
        r"tensor a \((\d)\) must match the size of tensor b \((\d)\)",
        lambda: numbers("04", r"tensor a \((\d)\) must match the size of tensor b \((\d)\)"),
    ),
    Claim("04", r"a string of (\d+) characters", lambda: numbers("04", r"of (\d+) characters$")),
    *(
        Claim("04", rf"\*\*{name} {NUMBER}\*\*", lambda name=name: [direct_pins()[name]])
        for name in ("tokenizers", "trl", "peft")
    ),
    Claim("04", rf"was not tested with \({NUMBER} to {NUMBER}\)", lambda: PATCH_TESTED),
    Claim("05", r"about (\d+) minutes", lambda: numbers("05", r"steps in ([\d.]+) minutes"), 1.0),
]


def agrees(written: str, source: float | str, tolerance: float = 0.0) -> bool:
    """Whether a number as written is its source, rounded to the digits that are written."""
    if isinstance(source, str):
        return written == source
    value = WORDS.get(written.lower()) or float(written.replace(",", ""))
    digits = len(written.partition(".")[2])
    return abs(value - source) <= 0.5 * 10**-digits + tolerance + 1e-9


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda c: f"{c.where}: {c.pattern[:50]}")
def test_prose_is_what_was_measured(claim):
    found = re.findall(claim.pattern, prose(claim.where))
    assert len(found) == 1, f"{len(found)} sentences of {claim.where} match; change CLAIMS too"
    written = [found[0]] if isinstance(found[0], str) else found[0]
    source = claim.source()
    assert len(written) == len(source)
    pairs = zip(written, source, strict=True)
    wrong = [pair for pair in pairs if not agrees(*pair, claim.tolerance)]
    assert not wrong, f"written and measured: {wrong}"


def test_who_wins_is_what_the_text_says():
    few, rare = ({m: why_rl(s, m) for m in METHODS} for s in ("few", "rare"))
    gap = few["replay"].sampled_exact.mean() - few["rejection"].sampled_exact.mean()
    spread = few["replay"].sampled_exact.std() + few["rejection"].sampled_exact.std()
    assert abs(gap) < spread
    assert few["replay"].sampled_exact.min() > few["ppo"].sampled_exact.max()
    assert rare["replay"].sampled_exact.min() > rare["rejection"].sampled_exact.max()
    assert "level with rejection sampling" in prose("README")
    assert "PPO with replay and rejection sampling are level" in prose("05")


def test_tables_are_those_of_the_recorded_runs():
    """Else run `make tables`."""
    pages = ["README.md", "README.zh-CN.md", "RESULTS.md"]
    command = [sys.executable, "-m", "cogapp", "--check", "--diff", "-I", "tools", *pages]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("notebook", ["01", "02", "03", "04", "05"])
def test_readme_and_opening_card_give_the_same_minutes(notebook):
    row = re.search(
        rf"\[{notebook} [^\]]*\]\(notebooks/[^|]*\|[^|]*\| {NUMBER} \|", prose("README")
    )
    card = cells(notebook)[0].source
    time = re.search(r"(?:about (\d+)|under a) (second|minute)", card)
    minutes = float(time[1] or 1) / (60 if time[2] == "second" else 1)
    assert abs(float(row[1]) - minutes) <= 0.25


def test_stored_outputs_are_of_full_runs():
    """Not of a quick run, and not of yesterday's settings."""
    assert numbers("02", r"(\d+) steps in") == [TINY.sft.steps]
    assert numbers("05", r"(\d+) steps in") == [TINY.ppo.steps]
    for notebook in ("02", "05"):
        assert "profile tiny" in printed(notebook)


@pytest.mark.parametrize(
    ("written", "source", "expected"),
    [
        ("0.27", 0.2716, True),
        ("0.28", 0.2716, False),
        ("0.3", 0.2716, True),
        ("1,191", 1191.4, True),
        ("two", 2, True),
        ("two", 3, False),
        ("4.40.0", "4.40.0", True),
        ("4.40", "4.40.0", False),
    ],
)
def test_a_number_agrees_when_it_is_the_source_rounded(written, source, expected):
    assert agrees(written, source) == expected
