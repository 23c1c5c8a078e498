"""The tables of README and RESULTS.md, from the recorded runs in ``notebooks/runs``.

Each function returns a table in Markdown; cog writes it between the marks in the text::

    cog -r -I tools README.md README.zh-CN.md RESULTS.md          # bring the tables up to date
    cog --check --diff -I tools README.md README.zh-CN.md RESULTS.md
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from glm_ppo_utils import plotting

RUNS = Path(__file__).resolve().parents[1] / "notebooks" / "runs"
FAILURES = (
    "healthy",
    "kl-blow-up",
    "memorising",
    "uncapped-credit",
    "better-optimum",
)
PPO = ("replay", "group-replay")


def read(name: str) -> pd.DataFrame:
    """A recorded table, without the comment lines at its top."""
    return pd.read_csv(RUNS / f"{name}.csv", comment="#")


def table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def spread(values: pd.Series, digits: int = 2) -> str:
    """Mean ± standard deviation over seeds; of one seed only the value."""
    if len(values) == 1:
        return f"{values.iloc[0]:.{digits}f}"
    return f"{values.mean():.{digits}f} ± {values.std():.{digits}f}"


def number(x: float) -> str:
    """Three significant digits, with no exponent and no needless zeros."""
    return f"{float(f'{x:.3g}'):,.10g}"


def measured(name: str) -> str:
    """When and on what a table was measured."""
    row = read(name).iloc[-1]
    threads = {1: ", one thread", 2: ", two threads"}[row.threads] if "threads" in row else ""
    return f"{row.date}, {row.device}{threads}"


def why_rl(grader: str = "evaluator") -> pd.DataFrame:
    """Runs of ``why_rl.py`` with the profile's settings, and of replay without PPO's updates."""
    rows = read("why_rl")
    rows.loc[rows.set == "policy_lr=0", ["method", "set"]] = ["replay alone", "-"]
    return rows[(rows.grader == grader) & (rows.set == "-")]


# -- README: the caller passes the headings, in English or Chinese

METHODS = ("none", "replay", "replay alone", "ppo", "rejection", "sft", "references")


def methods(header: Sequence[str], names: Sequence[str]) -> str:
    """Exact rates of each method from both starts."""
    groups = why_rl().groupby(["start", "method"])
    found = groups[["sampled_exact", "greedy_exact"]]

    def cells(method: str) -> list[str]:
        keys = [(start, method) for start in ("few", "rare")]
        pairs = [found.get_group(key) if key in found.groups else None for key in keys]
        columns = ("sampled_exact", "greedy_exact")
        return [spread(g[c]) if g is not None else "" for g in pairs for c in columns]

    return table(header, [[n, *cells(m)] for n, m in zip(names, METHODS, strict=True)])


# -- RESULTS.md


def seeds() -> str:
    """Each method from each start: the sampled exact rate of each seed, and the largest KL."""
    rows = []
    runs = why_rl().sort_values("start", kind="stable")
    for (start, method), group in runs.groupby(["start", "method"], sort=False):
        rates = group.sort_values("seed").sampled_exact
        kl = group.largest_kl.max()
        rows.append(
            [
                start,
                method,
                ", ".join(f"{rate:.3f}" for rate in rates),
                spread(group.greedy_exact, 3),
                "" if pd.isna(kl) else f"{kl:.1f}",
            ]
        )
    return table(["start", "method", "sampled, by seed", "greedy", "largest KL of a step"], rows)


def best_of() -> str:
    """The share of problems with an exact answer among n samples of the start."""
    rows = why_rl()
    rows = rows[rows.method == "none"].groupby("start")
    sizes = {1: "sampled_exact", 4: "best_of_4", 32: "best_of_32"}
    return table(
        ["start", *sizes],
        [[start, *(spread(group[c]) for c in sizes.values())] for start, group in rows],
    )


def search() -> str:
    """PPO with one or two settings changed; of seed 0 where there is no spread."""
    rows = read("why_rl")
    rows = rows[rows.method.isin(["ppo", *PPO]) & (rows.grader == "evaluator")]
    groups = rows.groupby(["start", "method", "set"])
    mean = groups.sampled_exact.mean().rename("mean").reset_index()
    return table(
        ["start", "method", "changed", "sampled", "greedy", "largest KL"],
        [
            [
                start,
                method,
                "" if changed == "-" else f"`{changed}`",
                spread(group.sampled_exact, 3),
                spread(group.greedy_exact, 3),
                "" if group.largest_kl.isna().any() else f"{group.largest_kl.max():.1f}",
            ]
            for start, method, changed, _ in mean.sort_values(["start", "mean"]).to_numpy()
            for group in [groups.get_group((start, method, changed))]
        ],
    )


def graders() -> str:
    """What a policy makes of other grades."""
    rows = read("why_rl")
    rows = rows[(rows.set == "-") & rows.method.isin(["replay", "rejection"])]
    return table(
        ["start", "grader", "method", "sampled", "greedy", "right optimum, but not exact"],
        [
            [*key, *(spread(group[c]) for c in ("sampled_exact", "greedy_exact", "only_optimum"))]
            for key, group in rows.groupby(["start", "grader", "method"])
        ],
    )


def verdicts() -> str:
    """How many models each judge calls the same as the reference; NL4Opt's development split."""
    rows = read("evaluator_verdicts_nl4opt")
    header = ["models", "how many", "evaluator", "objective only", "graph colours"]
    names = {"equivalent": "written differently", "different": "wrong"}
    columns = ["models", *header[2:]]
    return table(header, [[names[r.kind], *(r[c] for c in columns)] for _, r in rows.iterrows()])


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


def formulation_bench() -> str:
    """What the evaluator says of two models of one problem, by what FormulationBench says."""
    pairs = read("formulation_bench")
    rows = []
    for same, name in {True: "the first in another form", False: "another model"}.items():
        part = pairs[pairs.same == same]
        how = part[part.exact].decided_by
        ways = [int((how == way).sum()) for way in ("canonical", "certified")]
        rows.append([name, len(part), len(how), *ways])
    return table(["the second model is", "pairs", "exact", "by canonical form", "by proof"], rows)


def evaluator_speed() -> str:
    """The evaluator beside other ways to grade an answer."""
    return table(
        ["way", "answers a second", "speed of the evaluator, times this"],
        [
            [row.way, number(row.answers_per_second), number(row.evaluator_is_times_as_fast)]
            for _, row in read("evaluator_speed").iterrows()
        ],
    )


def figures() -> None:
    """Draw the figures of the front page in both languages."""
    for language, ending in (("en", ".png"), ("zh", ".zh-CN.png")):
        os.environ["GLM_PPO_LANGUAGE"] = language
        plotting.swap().savefig(RUNS / f"swap{ending}")
        why_rl = plotting.why_rl(read("why_rl"), read("why_rl_curve"))
        why_rl.savefig(RUNS / f"why_rl{ending}")
