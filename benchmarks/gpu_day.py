"""All that is to be measured on a GPU, in one command and at most nine minutes.

    make gpu                                            # on one GPU with 80 GB, without a network
    python benchmarks/gpu_day.py --device cpu --small   # anywhere, to see that it runs

In this order: ``tests``, the unit tests that touch devices; ``tiny``, SFT and PPO of the tiny
profile, twice and compared bit for bit; ``published``, a step of ChatGLM3-6B with random weights,
LoRA, and 16 prompts of 256 tokens with as long responses: peak memory beside the formula's,
seconds, tokens per second beside the bound by bandwidth; ``resume``, a run that is interrupted and
goes on. Each part is a process of its own, and stores its CSV in ``--out`` when it ends. What does
not fit is skipped with a line that says why.

Not yet run on a GPU, only on a CPU with small sizes.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 540  # seconds for all parts
TESTS = ["decoding", "memory", "needs", "ppo", "ppo_samples", "chatglm_loading"]


class Skip(Exception):
    """Why a part cannot run here."""


def tests(args: argparse.Namespace) -> pd.DataFrame:
    """A row per file of tests: how many passed, failed or were skipped."""
    files = [f"tests/test_{name}.py" for name in (TESTS[:1] if args.small else TESTS)]
    report = args.out / "tests.xml"
    choice = ["-k", "drawn or layouts"] if args.small else ["-m", "not slow and not network"]
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *choice, f"--junitxml={report}", *files], cwd=ROOT
    )
    if not report.exists():
        raise Skip("pytest did not start")
    rows = [
        {
            "file": case.get("classname"),
            "outcome": next(
                (x.tag for x in case if x.tag in ("failure", "error", "skipped")), "passed"
            ),
            "seconds": float(case.get("time")),
        }
        for case in ElementTree.parse(report).iter("testcase")
    ]
    if not rows:
        raise Skip("no test was found")
    table = pd.DataFrame(rows)
    counts = pd.crosstab(table.file, table.outcome)
    return counts.join(table.groupby("file").seconds.sum()).reset_index()


class Interrupted:
    """The evaluator's grade and a little for the length, so that it varies; fails at a call."""

    def __init__(self, call: int):
        from glm_ppo_utils.evaluator import Evaluator

        self.evaluator, self.left = Evaluator(), call

    def __call__(self, prompts, completions, **columns):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt
        grades = self.evaluator(prompts, completions, **columns)
        return [g + len(text) % 7 / 70 for g, text in zip(grades, completions, strict=True)]


def tiny_run(args: argparse.Namespace, folder: Path, interrupted: int = 0):
    """A run of the tiny profile's PPO, from SFT in the folder beside.

    Its reward fails at the call `interrupted`, if there is one that many. SFT is shorter than the
    profile's, and on references without errors.
    """
    from glm_ppo_utils.chatglm import add_value_head, load_policy, load_tokenizer
    from glm_ppo_utils.pipeline import train_sft_policy
    from glm_ppo_utils.ppo import PPORun
    from glm_ppo_utils.problems import generate
    from glm_ppo_utils.profiles import get_profile

    profile, start = get_profile("tiny"), folder.parent / "sft"
    problems = generate(64 if args.small else 1024, seed=1)
    if not start.exists():
        sft = replace(profile.sft, steps=4 if args.small else 400)
        pairs = [(p.text, p.reference) for p in problems]
        train_sft_policy(replace(profile, sft=sft), 0, progress=False, folder=start, pairs=pairs)
    size = {"batch_size": 8, "mini_batch_size": 4, "max_new_tokens": 24} if args.small else {}
    settings = replace(
        profile.ppo, steps=4 if args.small else 10, value_warmup=1, eval_every=0, **size
    )
    tokenizer, policy = (
        load_tokenizer(start / "policy"),
        load_policy(start / "policy", dtype="float32"),
    )
    reward = Interrupted(interrupted)
    return PPORun(
        add_value_head(policy), tokenizer, reward, problems, settings, folder, progress=False
    )


def largest_difference(one, other) -> float:
    """Between the parameters of two runs."""
    pairs = zip(one.policy.parameters(), other.policy.parameters(), strict=True)
    return max((a - b).abs().max().item() for a, b in pairs)


def tiny(args: argparse.Namespace) -> pd.DataFrame:
    """A row per step of the first run, and whether the second is equal to it bit for bit."""
    with tempfile.TemporaryDirectory() as scratch:
        runs = [tiny_run(args, Path(scratch) / name / "run") for name in ("one", "two")]
        logs = [run.train() for run in runs]
        difference = largest_difference(*runs)
    return pd.DataFrame(logs[0]).assign(bit_equal=difference == 0, largest_difference=difference)


def resume(args: argparse.Namespace) -> pd.DataFrame:
    """Whether a run that was interrupted and went on ends as one that was not."""
    with tempfile.TemporaryDirectory() as scratch:
        whole = tiny_run(args, Path(scratch) / "whole")
        whole.train()
        broken = tiny_run(args, Path(scratch) / "broken", interrupted=whole.settings.steps - 1)
        try:
            broken.train()
        except KeyboardInterrupt:
            pass
        again = tiny_run(args, Path(scratch) / "broken")
        again.train()
        difference = largest_difference(whole, again)
    row = {"interrupted_after": broken.done, "steps": whole.done}
    return pd.DataFrame([{**row, "bit_equal": difference == 0, "largest_difference": difference}])


SMALL = "--layers=3 --hidden=64 --ffn=32 --batch=2 --mini-batch=1 --prompt=20 --response=3"


def published(args: argparse.Namespace) -> pd.DataFrame:
    """A row per phase of a step at the published size, the formula's memory beside the measured."""
    import gpu
    import torch
    from needs import Shape, memory_gb

    from glm_ppo_utils.chatglm import published_config
    from glm_ppo_utils.profiles import PROFILES

    config = published_config("chatglm3-6b")
    if args.small:
        config.num_layers, config.hidden_size, config.ffn_hidden_size = 3, 64, 32
    rows, prompt, response, mini = (2, 20, 3, 1) if args.small else (16, 256, 256, 4)
    shape = Shape.of(config)
    settings = replace(PROFILES["chatglm3-6b"].ppo, mini_batch_size=mini)
    weights = 2 * (shape.body + 2 * shape.head) / 1e9
    foretold = memory_gb(shape, settings, rows, prompt, response, weights)
    if not args.small:
        free = torch.cuda.mem_get_info()[0] / 1e9 if torch.cuda.is_available() else 0
        if free < 1.2 * max(foretold.values()):
            raise Skip(f"needs {1.2 * max(foretold.values()):.0f} GB, and {free:.0f} GB are free")
    file = args.out / "gpu.csv"
    sizes = [*SMALL.split(), "--copy=100000"] if args.small else []
    gpu.main([*sizes, "--steps=2", f"--out={file}"])
    table = pd.read_csv(file)
    return table.assign(formula_gb=table.phase.map(foretold))


PARTS = {part.__name__: part for part in (tests, tiny, published, resume)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--small", action="store_true", help="sizes for any machine")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "runs" / "gpu_day")
    parser.add_argument("--one", choices=list(PARTS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.out = args.out.resolve()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.one:
        return run_part(args)
    start = time.monotonic()
    for name in args.parts:
        left = LIMIT - (time.monotonic() - start)
        print(f"{name:10s} {ended(args, name, left)}", flush=True)
    print(f"CSV files in {args.out}; {time.monotonic() - start:.0f} s")


def ended(args: argparse.Namespace, name: str, limit: float) -> str:
    """Run a part in a process of its own, and say in a line how it ended."""
    (args.out / f"{name}.csv").unlink(missing_ok=True)
    command = [sys.executable, __file__, "--one", name, "--device", args.device, "--out", args.out]
    environment = dict(os.environ, TQDM_DISABLE="1", PYTHONWARNINGS="ignore")
    if args.device == "cpu":
        environment |= {"CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "1"}
    if limit <= 0:
        return f"skipped: the {LIMIT} s are over"
    start = time.monotonic()
    try:
        done = subprocess.run(
            [*map(str, command), *(["--small"] if args.small else [])],
            env=environment,
            timeout=limit,
            capture_output=True,
            text=True,
        )
    except subprocess.TimeoutExpired:
        return f"stopped: the {LIMIT} s are over"
    (args.out / f"{name}.txt").write_text(done.stdout + done.stderr)
    last = ([""] + (done.stdout if not done.returncode else done.stderr).split("\n"))[-2:]
    told = last[0].strip() or last[-1].strip()
    failed = "" if not done.returncode else "failed: "
    return f"{failed}{told} ({time.monotonic() - start:.0f} s)"


def run_part(args: argparse.Namespace) -> None:
    """Run one part in this process, store its table, and end with a line about it."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    if args.device == "cuda" and not torch.cuda.is_available():
        print("skipped: torch sees no GPU")
        return
    try:
        table = PARTS[args.one](args)
    except Skip as reason:
        print(f"skipped: {reason}")
        return
    file = args.out / f"{args.one}.csv"
    table.assign(device=device, torch=torch.__version__).to_csv(file, index=False)
    told = [n for n in ("passed", "failure", "error", "bit_equal", "peak_gb") if n in table]
    print(", ".join(f"{n} {table[n].max() if n != 'passed' else table[n].sum()}" for n in told))


if __name__ == "__main__":
    main()
