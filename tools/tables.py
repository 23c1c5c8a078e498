"""The tables of README and RESULTS.md, from the recorded runs in ``notebooks/runs``.

Each function returns a table in Markdown; cog writes it between the marks in the text::

    cog -r -I tools README.md README.zh-CN.md RESULTS.md          # bring the tables up to date
    cog --check --diff -I tools README.md README.zh-CN.md RESULTS.md
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

RUNS = Path(__file__).resolve().parents[1] / "notebooks" / "runs"
FAILURES = (
    "healthy",
    "lambda-0.95",
    "scrambled-values",
    "kl-blow-up",
    "entropy-collapse",
    "uncapped-credit",
    "line-credit",
    "objective-only",
    "better-optimum",
)


def read(name: str) -> pd.DataFrame:
    """A recorded table, without the comment lines at its top."""
    return pd.read_csv(RUNS / f"{name}.csv", comment="#")


def table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def spread(values: pd.Series, digits: int = 2) -> str:
    """Mean ± standard deviation over seeds."""
    return f"{values.mean():.{digits}f} ± {values.std():.{digits}f}"


def number(x: float) -> str:
    """Three significant digits, with no exponent and no needless zeros."""
    return f"{float(f'{x:.3g}'):,.10g}"


def measured(name: str) -> str:
    """When and on what a table was measured."""
    row = read(name).iloc[-1]
    threads = {1: ", one thread", 2: ", two threads"}[row.threads] if "threads" in row else ""
    return f"{row.date}, {row.device}{threads}"


# -- README: the caller passes the headings, in English or Chinese


def alternatives(header: Sequence[str], names: Sequence[str]) -> str:
    """SFT, PPO, rejection sampling and best of n."""
    seeds = read("learning")
    ways = ["sampled_exact", "greedy_exact"]
    columns = [[f"{policy}_{way}" for way in ways] for policy in ("sft", "ppo", "rejection")]
    rows = [[spread(seeds[column]) for column in pair] for pair in columns]
    rows += [[spread(seeds[f"best_of_{n}_exact"]), ""] for n in (4, 32)]
    return table(header, [[name, *cells] for name, cells in zip(names, rows, strict=True)])


# -- RESULTS.md


def seeds() -> str:
    """Each seed: exact rates and KL."""
    header = ["seed", "SFT sampled", "SFT greedy", "PPO sampled", "PPO greedy"]
    columns = [f"{stage}_{way}_exact" for stage in ("sft", "ppo") for way in ("sampled", "greedy")]
    return table(
        [*header, "largest KL of a step, nats per response"],
        [
            [row.seed, *(f"{row[c]:.3f}" for c in columns), f"{row.largest_kl:.1f}"]
            for _, row in read("learning").astype({"seed": object}).iterrows()
        ],
    )


def best_of() -> str:
    """The share of problems with an exact answer among n samples of the SFT policy."""
    exact = read("best_of_n").groupby("n").exact
    sizes = [1, 2, 4, 8, 16, 32]
    return table(["n", *sizes], [["exact", *(spread(exact.get_group(n)) for n in sizes)]])


def verdicts() -> str:
    """How many models each judge calls the same as the reference; NL4Opt's development split."""
    rows = read("evaluator_verdicts_nl4opt")
    header = ["models", "how many", "evaluator", "objective only", "graph colours"]
    names = {"equivalent": "written differently", "different": "wrong"}
    columns = ["models", *header[2:]]
    return table(header, [[names[r.kind], *(r[c] for c in columns)] for _, r in rows.iterrows()])


def ablations() -> str:
    """Sampled and greedy exact rate with one setting changed, best first."""
    rows = read("ablations")
    order = rows.groupby("variant").sampled_exact.mean().sort_values(ascending=False).index
    rates = rows.pivot(index="seed", columns="variant", values="sampled_exact")
    gains = rates.sub(rates["healthy"], axis=0)
    groups = rows.groupby("variant")
    return table(
        ["changed", "sampled", "greedy", "sampled, against unchanged, by seed"],
        [
            [
                "(nothing)" if name == "healthy" else name,
                spread(groups.sampled_exact.get_group(name), 3),
                spread(groups.greedy_exact.get_group(name), 3),
                "" if name == "healthy" else ", ".join(f"{gain:+.3f}" for gain in gains[name]),
            ]
            for name in order
        ],
    )


def failures() -> str:
    """Where the runs with a planted fault end, beside the run without one."""
    rows = []
    for name in FAILURES:
        head = (RUNS / f"{name}.csv").read_text(encoding="utf-8").splitlines()[0]
        run = read(name)
        ends = run.dropna(subset=["sampled_exact"]).iloc[-1]
        rates = [f"{ends.sampled_exact:.3f}", f"{ends.greedy_exact:.3f}"]
        what = head.removeprefix("# ").split(": ", 1)[1]
        rows.append([name, what, int(ends.step), *rates, f"{run.kl.max():.1f}"])
    return table(["run", "what it does", "steps", "sampled", "greedy", "largest KL"], rows)


def loop_speed() -> str:
    """The loop beside TRL's own."""
    return table(
        ["model", "loop", "answers a second", "ours is faster by", "share of scoring"],
        [
            [
                row.model,
                row.loop,
                f"{row.samples_per_second:.0f}",
                "" if row.loop == "ours" else f"{row.ours_is_times_as_fast:.1f} times",
                f"{row.score_share:.1%}",
            ]
            for _, row in read("ppo_speed").iterrows()
        ],
    )


def evaluator_speed() -> str:
    """The evaluator beside other ways to grade an answer."""
    return table(
        ["way", "answers a second", "speed of the evaluator, times this"],
        [
            [row.way, number(row.answers_per_second), number(row.evaluator_is_times_as_fast)]
            for _, row in read("evaluator_speed").iterrows()
        ],
    )
