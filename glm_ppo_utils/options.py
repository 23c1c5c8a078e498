"""What the commands can be told: tyro makes the command line of these dataclasses.

The comment over an option is its sentence in ``--help``; a settings dataclass brings its own.
"""

import argparse
import io
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Literal, Union

import tyro

from glm_ppo_utils.errors import BadInput
from glm_ppo_utils.profiles import PROFILES, PPOSettings, SFTSettings, get_profile

File = Annotated[Path | None, tyro.conf.arg(metavar="FILE")]
Folder = Annotated[str | None, tyro.conf.arg(metavar="FOLDER")]
Function = Annotated[str | None, tyro.conf.arg(metavar="MODULE:FUNCTION")]


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """What every command that runs a model is told."""

    # Settings to start from: tiny, chatglm3-6b or glm-4-9b-chat.
    profile: str
    # Show no progress bar.
    quiet: bool = False


@dataclass(frozen=True, kw_only=True)
class GradingOptions:
    """What every command that grades answers is told."""

    # Processes in which the evaluator scores, each with hard limits; 0 scores in this process.
    workers: int = 0


@dataclass(frozen=True, kw_only=True)
class TrainOptions(GradingOptions, ModelOptions):
    """PPO of a policy against a reward (notebook 05).

    Samples answers to word problems, scores them, and improves the policy by PPO. The same command
    on the same folder resumes, after a crash too. Ctrl-C and SIGTERM let the step end, save, and
    exit with 130; a second one does not wait. Under `accelerate launch` the launcher itself may
    kill the processes before a long step has ended: then the newest checkpoint counts.

    for example:
      glm-ppo train --profile tiny --out runs/mine
      glm-ppo train --profile tiny --out runs/mine --steps 100   # goes on to step 100
      glm-ppo train --data mine.jsonl --heldout held.jsonl --reward rewards:short --out runs/x
      glm-ppo train --profile chatglm3-6b --weights random --steps 2 --out runs/size
      accelerate launch --multi_gpu --num_processes 4 -m glm_ppo_utils train --out runs/four
      # on CPUs: ACCELERATE_USE_CPU=true accelerate launch --multi_gpu ...

    exit status: 0 done, 1 disk or GPU full or an error in code, 2 bad input, 130 interrupted
    """

    # Folder of the run: log.jsonl (a row per step), eval.jsonl (a row per evaluation),
    # settings.json, checkpoints/, tensorboard/, and policy/ after the last step.
    out: Path
    # Checkpoint folder, adapter folder, or name on the hub. Otherwise the profile's SFT
    # policy, which is made if it is missing (tiny: some minutes on a CPU).
    policy: Folder = None
    # Problems to practise on, a JSON object on each line with "id", "text" and "reference" (LP
    # text). Otherwise they are generated.
    data: File = None
    # Problems of the evaluations on the way. With --data and without this nothing is evaluated.
    heldout: File = None
    # Reward function in Python, (prompts, completions, **columns) -> a finite number per
    # completion; the columns are the other fields of the problems. Without it the evaluator
    # is the reward; with it the evaluator still judges what the log calls exact and parsed.
    reward: Function = None
    # Leave that to the reward too: 1 is exact, above 0 is parsed.
    judge_by_reward: bool = False
    # random: the profile's architecture without any download, to measure memory and speed; the
    # reward means nothing then, and no policy is stored.
    weights: Literal["checkpoint", "random"] = "checkpoint"
    # Fewer layers, with --weights random.
    layers: int | None = None
    # The knobs of PPO; the defaults are the profile's.
    settings: PPOSettings


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(GradingOptions, ModelOptions):
    """Exact and parse rates of a policy.

    Lets a policy answer problems, scores the answers, and prints the share of exact answers, the
    share that is an LP at all, and the mean reward: greedily, and sampled at temperature 1.

    for example:
      glm-ppo evaluate --profile tiny --policy runs/mine/policy
      glm-ppo evaluate --profile tiny --policy runs/mine/policy --data held.jsonl
      glm-ppo evaluate --profile tiny --best-of 8 --json answers.jsonl
    """

    # As for `train`.
    policy: Folder = None
    # Problems, as for `train`. Otherwise the profile's held-out ones.
    data: File = None
    # Decode at this temperature only; 0 is greedy.
    temperature: float | None = None
    # Also take, of this many sampled answers to each problem, the one of the highest reward. The
    # choice uses the reference, so it is an upper bound of what a chooser without it can reach.
    best_of: int = 1
    # Only the first so many problems.
    limit: int | None = None
    # Write a line per answer: id, decoding, answer, and every field of its score.
    json: File = None
    # Seed of the sampled answers.
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("best_of", 1), ("limit", 1), ("temperature", 0)):
            value = getattr(self, name)
            if value is not None and not value >= least:  # nan is not either
                raise BadInput(f"--{name.replace('_', '-')} is {value}; give at least {least}")


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(GradingOptions):
    """Scores of answers that are at hand (notebook 03).

    Grades answers, from wherever they come, by solver and graph distance. Prints for each its id,
    its reward and one sentence on what is wrong, and then a summary.

    for example:
      glm-ppo score --data problems.jsonl --answers answers.jsonl
    """

    # The problems, a JSON object on each line with "id", "text" and "reference" (LP text).
    data: Path
    # The answers, a JSON object on each line with "id" and "answer"; several for a problem if you
    # like.
    answers: Path
    # Write a line per answer: id, answer, and every field of its score.
    json: File = None


@dataclass(frozen=True, kw_only=True)
class SFTOptions(ModelOptions):
    """Supervised fine-tuning, the policy that PPO starts from (notebook 02).

    Teaches the profile's checkpoint to answer as in the demonstrations.

    for example:
      glm-ppo sft --profile tiny --out runs/my-sft
      glm-ppo sft --profile chatglm3-6b --data mine.jsonl --out runs/my-sft
      glm-ppo train --profile chatglm3-6b --policy runs/my-sft/policy --out runs/ppo
    """

    # Folder for policy/ (checkpoint or LoRA adapter) and sft_log.json. Without it, and with no
    # knob but --seed: where `train` looks for the profile's policy.
    out: Path | None = None
    # Demonstrations, in the form of `train`'s problems; the references are learnt as they stand.
    # Otherwise they are generated, a share of the answers with an error (notebook 02).
    data: File = None
    # Demonstrations whose loss is watched.
    heldout: File = None
    # The knobs of SFT; the defaults are the profile's.
    settings: SFTSettings


Options = TrainOptions | EvaluateOptions | ScoreOptions | SFTOptions


def parse(argv: Sequence[str]) -> Options:
    """The options of a command; the defaults of its knobs are those of the profile it names.

    Raises
    ------
    BadInput
        When the line cannot be read; in one line, where tyro prints a box.
    """
    command, profile, missing = argv[0] if argv else "", PROFILES["tiny"], tyro.MISSING
    if command in ("train", "evaluate", "sft"):
        first_look = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        first_look.add_argument("--profile", nargs="?")
        profile = get_profile(first_look.parse_known_args(argv)[0].profile)
    name = profile.name
    commands: dict[str, Options] = {
        "train": TrainOptions(profile=name, out=missing, settings=profile.ppo),
        "evaluate": EvaluateOptions(profile=name),
        "score": ScoreOptions(data=missing, answers=missing),
        "sft": SFTOptions(profile=name, settings=profile.sft),
    }
    kinds = tuple(_subcommand(name, default, name == command) for name, default in commands.items())
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            return tyro.cli(
                tyro.conf.OmitArgPrefixes[Union[kinds]],  # type: ignore  # noqa: UP007
                args=argv,
                prog="glm-ppo",
                description="Train ChatGLM by PPO against a solver, and see what it can do.",
            )
    except SystemExit as done:
        if not done.code:
            raise
    box = [line.strip("│ ") for line in said.getvalue().splitlines() if line.startswith("│")]
    message = " ".join(takewhile(lambda line: not line.startswith("──"), box))
    see = f"glm-ppo {command} --help" if command in commands else "glm-ppo --help"
    raise BadInput(f"{message.removeprefix('Error parsing settings: ')}; see {see}")


def _subcommand(name: str, default: Options, chosen: bool) -> object:
    """The type of which tyro makes a subcommand; in the list of all only its first line shows."""
    title = None if chosen else (default.__doc__ or "").partition("\n")[0]
    marker = tyro.conf.subcommand(name, default=default, description=title)
    return Annotated[type(default), marker]
