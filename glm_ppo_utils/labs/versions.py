"""The same probe under several versions of transformers.

Each version is installed into a side folder, an overlay, with the packages that must match it and
without torch, and comes before the environment's own packages in a subprocess. The probe is
`glm_ppo_utils.labs.probe`.

    python -m glm_ppo_utils.labs.versions install 4.40.0 4.42.4 4.44.2
    python -m glm_ppo_utils.labs.versions run 4.42.4
    python -m glm_ppo_utils.labs.versions matrix
"""

import argparse
import csv
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from packaging.version import Version

from glm_ppo_utils import atomic

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "notebooks" / "runs" / "version_matrix.csv"
LIVE = ("4.40.0", "4.42.4", "4.44.2")
ALL = (
    *("4.36.2", "4.37.2", "4.38.2", "4.39.3", "4.40.0", "4.40.2", "4.41.0", "4.41.2"),
    *("4.42.0", "4.42.4", "4.43.0", "4.43.4", "4.44.0", "4.44.2", "4.45.0", "4.45.2"),
    *("4.46.3", "4.48.0", "4.48.3", "4.49.0", "4.50.3", "4.52.4", "4.57.6", "5.23.0"),
)
# What a version, from the one named on, needs beside itself and other than the environment has.
# PEFT and TRL do not say which transformers they need, or say it wrongly; these pairs import.
COMPANIONS = (
    ("4.36", "tokenizers==0.15.2 peft==0.11.1 trl==0.9.6"),
    ("4.40", ""),
    ("4.45", "tokenizers==0.20.3 peft==0.13.2"),
    ("4.47", "tokenizers==0.21.4 peft==0.13.2"),
    ("4.49", "tokenizers==0.21.4 peft==0.13.2 huggingface_hub==0.36.2 hf_xet==1.8.0"),
    ("4.50", "tokenizers==0.21.4 peft==0.17.1 huggingface_hub==0.36.2 hf_xet==1.8.0"),
    ("4.56", "tokenizers==0.22.2 peft==0.17.1 huggingface_hub==0.36.2 hf_xet==1.8.0"),
    (
        "5.0",
        "tokenizers==0.23.3 peft==0.21.2 huggingface_hub==1.33.0 hf_xet==1.8.0 safetensors==0.8.0",
    ),
)
TIMEOUT = 900  # seconds for one run of the probe
# The published code of ChatGLM3, in a package that needs no hub (Apache-2.0). It is an oracle for
# tests and not a dependency: installed beside the overlays, never imported by this package.
GENUINE = ("deep_training", "deep_training==0.3.0")


@dataclass(frozen=True)
class Row:
    """One step of the probe on one model under one version."""

    transformers: str
    model: str
    step: str
    result: str  # "ok", "fail", or "not reached" when an earlier step had to work first
    exception: str = ""  # type and message
    at: str = ""  # "file:line function" of the innermost frame outside torch/nn/modules


class OverlayError(RuntimeError):
    """An overlay is missing or cannot be made: which, and what to do."""


# -- overlays ---------------------------------------------------------------------------------


def overlays_dir() -> Path:
    """Where overlays lie: ``.overlays``, or the environment variable ``GLM_PPO_OVERLAYS``."""
    return Path(os.environ.get("GLM_PPO_OVERLAYS", ROOT / ".overlays"))


def install_command(*versions: str) -> str:
    """The command line that installs the overlays of `versions`."""
    return f"python -m glm_ppo_utils.labs.versions install {' '.join(versions)}"


def is_installed(transformers: str) -> bool:
    """Whether `transformers` can be probed: its overlay is complete, or it is the environment's."""
    return (overlays_dir() / transformers).is_dir() or transformers == version("transformers")


def install(transformers: str) -> Path:
    """Install the overlay of a version, unless it is there; a half-made one never shows.

    ``deep_training`` in the place of a version installs the published code of ChatGLM3.

    Raises
    ------
    OverlayError
        If pip fails; its last line is in the message.
    """
    target = overlays_dir() / transformers
    if target.is_dir():
        return target
    if transformers == GENUINE[0]:
        packages = [GENUINE[1]]
    else:
        packages = [f"transformers=={transformers}", *_companions(transformers)]
    # Without dependencies: the environment's own torch and numpy are what every version runs on.
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
    with atomic.replacing(target) as scratch:
        command += ["--target", str(scratch), *packages]
        _run(command, f"pip could not install {' '.join(packages)}")
    return target


def _run(command: list[str], failure: str, **options: Any) -> None:
    """Run a command, or raise what its failure means, with its last line."""
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise OverlayError(f"{failure} ({last})")


def _companions(transformers: str) -> list[str]:
    fitting = [pins for since, pins in COMPANIONS if Version(since) <= Version(transformers)]
    return fitting[-1].split() if fitting else []


# -- running the probe ------------------------------------------------------------------------


def run_probe(transformers: str, *arguments: str) -> list[dict]:
    """Run ``python -m glm_ppo_utils.labs.probe`` under a version of transformers.

    Returns the lines of JSON that the probe wrote; `arguments` are its own without the checkpoint.

    Raises
    ------
    OverlayError
        If the overlay is missing, or the probe itself (not a step of it) fails.
    """
    if not is_installed(transformers):
        raise OverlayError(
            f"transformers {transformers} is not installed; run: {install_command(transformers)}"
        )
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "rows.jsonl"
        command = [sys.executable, "-m", "glm_ppo_utils.labs.probe", *arguments]
        command += ["--checkpoint", str(probe_checkpoint()), "--output", str(output)]
        failure = f"the probe failed under transformers {transformers}"
        environment = _environment(transformers, scratch)
        try:
            _run(command, failure, env=environment, cwd=scratch, timeout=TIMEOUT)
        except subprocess.TimeoutExpired as error:
            raise OverlayError(
                f"the probe under transformers {transformers} took over {TIMEOUT:.0f} s; "
                "run it again on a machine with less to do"
            ) from error
        return [json.loads(line) for line in output.read_text().splitlines()]


def _environment(transformers: str, scratch: str) -> dict[str, str]:
    """Environment of a probe: the overlay first, a cache of its own, no network, one thread."""
    paths = [str(overlays_dir() / transformers), str(ROOT)]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "HF_HOME": scratch,
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",  # some messages print a set
        "PYTHONWARNINGS": "ignore",
        "USE_TF": "0",
        "USE_FLAX": "0",
    }


@lru_cache(maxsize=1)
def probe_checkpoint() -> Path:
    """A ChatGLM3 of 3 layers with random weights and a tokenizer, made once per process.

    Three layers, because newer code under older transformers unpacks the caches of all layers
    into two names: with two layers that would succeed.
    """
    from glm_ppo_utils.chatglm import write_checkpoint
    from glm_ppo_utils.chatglm.tokenizer_training import train_tokenizer

    folder = Path(tempfile.mkdtemp(prefix="chatglm-probe-"))
    text = "maximize\n 3 chairs + 5 tables\nsubject to\n 2 chairs + tables <= 40\nend\n"
    vocabulary = train_tokenizer([text] * 20, folder / "tokenizer.model", 400)
    sizes = {
        "num_layers": 3,
        "hidden_size": 64,
        "ffn_hidden_size": 96,
        "kv_channels": 16,
        "num_attention_heads": 4,
        "multi_query_group_num": 2,
        "seq_length": 256,
        "initializer_range": 0.2,  # far from uniform logits: no ties between versions
    }
    return write_checkpoint(folder / "chatglm", sizes, vocabulary, seed=0)


def probe(transformers: str, models: Iterable[str] = ("chatglm", "gpt2", "llama")) -> list[Row]:
    """Every step of the probe for ChatGLM and its controls under one version."""
    rows = run_probe(transformers, "steps", "--models", *models)
    return [Row(transformers=transformers, **row) for row in rows]


@lru_cache
def _look(transformers: str) -> dict:
    """All that `probe.look` sees under a version, from one subprocess a session."""
    return run_probe(transformers, "look")[0]


def what_extract_past_returns(transformers: str) -> dict:
    """What ``_extract_past_from_model_output`` is and returns under a version.

    ``signature`` and ``returns`` as text, ``parts`` the same for each part of what is returned;
    only ``exception`` where it cannot be called as ChatGLM calls it.
    """
    return _look(transformers)["extract_past"]


def what_layer_0_receives(transformers: str, use_cache: bool = True) -> list[dict]:
    """What arrives as ``kv_cache`` at layer 0 in each forward pass of a generation.

    One dict a pass: ``call`` (1, 2, ...), ``tokens`` given to the layer, ``kv_cache`` as text.
    """
    return _look(transformers)["layer_0"]["cache" if use_cache else "no_cache"]


def generation_traceback(transformers: str, how: str = "single") -> list[str]:
    """The traceback of ``generate`` on ChatGLM; an empty list means that it worked.

    Parameters
    ----------
    how
        ``single``: one prompt. ``padded``: a left-padded batch of two. ``no_cache``: one prompt
        with ``use_cache=False``. ``newer_code``: one prompt, the cache being read as code
        published after transformers 4.42 does it (GLM-4's, for instance).

    Returns
    -------
    list of str
        Frames in transformers and in ChatGLM's code, ``file:line function: code``, innermost last,
        then the type and message.
    """
    return _look(transformers)["traceback"][how]


def generate_with_patch(transformers: str) -> dict:
    """Greedy tokens of ChatGLM under a version after `patch_generation`.

    Returns
    -------
    dict
        ``single`` and ``padded``: the new tokens of each prompt, alone and in one left-padded
        batch; ``tokenized`` and ``mask``: the same for texts that the tokenizer padded;
        ``layer_0``: as from `what_layer_0_receives`; ``unpatched``: as ``padded`` without the
        patch, or the exception.
    """
    return _look(transformers)["patched"]


# -- the table --------------------------------------------------------------------------------


def matrix(versions: Sequence[str] = ALL) -> None:
    """Install and probe every version, one line for each, and write the table and its figure.

    Each row carries the date and the Python and torch it was measured with. A version that cannot
    be installed or probed gets one row that says why.
    """
    from glm_ppo_utils.plotting import version_matrix

    when = {
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "torch": version("torch").split("+")[0],
    }
    table = []
    for transformers in versions:
        try:
            install(transformers)
            rows = probe(transformers)
        except OverlayError as error:
            rows = [Row(transformers, "", "probe", "not reached", str(error))]
        failed = sorted({row.model for row in rows if row.result == "fail"})
        print(f"{transformers}: {len(rows)} steps, failures in {failed or 'none'}", flush=True)
        table += [{**asdict(row), **when} for row in rows]
    pd.DataFrame(table).to_csv(TABLE, index=False)
    version_matrix(table).savefig(TABLE.with_suffix(".png"), dpi=120, bbox_inches="tight")


def read_matrix() -> list[dict]:
    """The stored table, one dict a row.

    Raises
    ------
    OverlayError
        If it was never made.
    """
    if not TABLE.is_file():
        raise OverlayError(f"there is no {TABLE}; make it with: make lab-versions")
    with TABLE.open(newline="") as file:
        return list(csv.DictReader(file))


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: ``install``, ``run`` or ``matrix``, each with versions."""
    parser = argparse.ArgumentParser(prog="versions", description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["install", "run", "matrix"])
    parser.add_argument("versions", nargs="*")
    options = parser.parse_args(arguments)
    try:
        if options.command == "matrix":
            matrix(options.versions or ALL)
        for transformers in options.versions or LIVE:
            if options.command == "install":
                print(install(transformers), flush=True)
            elif options.command == "run":
                for row in probe(transformers):
                    print(*asdict(row).values(), sep=" | ", flush=True)
    except OverlayError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
