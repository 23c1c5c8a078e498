"""The options of the commands: tyro makes the command line from these dataclasses.

The comment above an option, or above a knob in `profiles.py`, is its text in ``--help``.
"""

import argparse
import io
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Literal, Union

import tyro
import yaml

from glm_ppo_utils.errors import BadInput
from glm_ppo_utils.profiles import PROFILES, PPOSettings, Profile, SFTSettings, get_profile

File = Annotated[Path | None, tyro.conf.arg(metavar="FILE")]
Folder = Annotated[str | None, tyro.conf.arg(metavar="FOLDER")]
Field = Annotated[str, tyro.conf.arg(metavar="FIELD")]
Function = Annotated[str | None, tyro.conf.arg(metavar="MODULE:FUNCTION")]


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Options of every command that runs a model."""

    # Settings to start from: tiny, chatglm3-6b or glm-4-9b-chat.
    profile: str
    # Take options from this YAML or JSON file, such as the settings.json of a run, and let those of
    # the command line win. An option's name is written as here, with - or _.
    config: File = None
    # Type of the weights; otherwise the profile's. bfloat16 is slow on most CPUs.
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    # Show no progress bar.
    quiet: bool = False

    def chosen_profile(self) -> Profile:
        """The profile that was named, with the type that was asked for."""
        profile = get_profile(self.profile)
        return replace(profile, dtype=self.dtype) if self.dtype else profile


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Options of every command that reads problems: the names of the fields in their file."""

    # Field with the id, a text or a number; without it the problem's place counts, from 1 on.
    id: Field = "id"
    # Field with the word problem.
    text: Field = "text"
    # Field with the reference: LP text, or the path of an LP or MPS file, from the data's folder.
    reference: Field = "reference"
    # Field with the optimal value. It grades the answers to problems without a reference: a model
    # with the right optimum gets 0.6, and none counts as exact.
    optimum: Field = "optimum"


@dataclass(frozen=True, kw_only=True)
class GradingOptions(DataOptions):
    """Options of every command that grades answers."""

    # Processes in which the evaluator scores, each with hard limits; 0 scores in this process.
    workers: int = 0


@dataclass(frozen=True, kw_only=True)
class TrainOptions(GradingOptions, ModelOptions):
    """PPO of a policy against a reward (notebook 05).

    Samples answers to word problems, scores them, and improves the policy by PPO. To resume a run,
    after a crash too, give the same command again. Ctrl-C and SIGTERM finish the step, save, and
    exit with 130; a second one stops at once. Under `accelerate launch` the launcher may kill the
    processes before a long step has ended; the run then resumes from the newest checkpoint.

    for example:
      glm-ppo train --profile tiny --out runs/mine
      glm-ppo train --profile tiny --out runs/mine --steps 100   # goes on to step 100
      glm-ppo train --data mine.jsonl --heldout held.jsonl --reward rewards:short --out runs/x
      glm-ppo train --data mamo.jsonl --text en_question --optimum en_answer --out runs/mamo
      glm-ppo train --profile chatglm3-6b --weights random --steps 2 --out runs/size
      accelerate launch --multi_gpu --num_processes 4 -m glm_ppo_utils train --out runs/four
      # on CPUs: ACCELERATE_USE_CPU=true accelerate launch --multi_gpu ...

    exit status: 0 done, 1 disk or GPU full or an error in code, 2 bad input, 130 interrupted
    """

    # Folder of the run: log.jsonl (a row per step), eval.jsonl (a row per evaluation),
    # samples.jsonl, settings.json, checkpoints/, tensorboard/, and policy/ after the last step.
    out: Path
    # Checkpoint folder, adapter folder, or name on the hub. If left out: the profile's SFT policy,
    # which is trained first if it is missing (tiny: some minutes on a CPU).
    policy: Folder = None
    # Problems to train on: a JSON object on each line with "id", "text" and "reference" (LP text or
    # the path of an LP or MPS file) or "optimum". If left out, they are generated.
    data: File = None
    # Problems for evaluations during training. With --data but without this, nothing is evaluated.
    heldout: File = None
    # Reward function in Python, (prompts, completions, **columns) -> a finite number per
    # completion; the columns are the other fields of the problems. If left out, the evaluator is
    # the reward. Either way the evaluator decides which answers the log counts as exact and parsed.
    reward: Function = None
    # Let the reward, not the evaluator, decide what the log counts: 1 is exact, above 0 is parsed.
    judge_by_reward: bool = False
    # random: random weights of the profile's architecture, without any download, to measure memory
    # and speed; the reward means nothing then, and no policy is stored.
    weights: Literal["checkpoint", "random"] = "checkpoint"
    # Write some answers of every so many steps to samples.jsonl and TensorBoard; 0 for never.
    samples_every: int = 10
    # A tracker of accelerate's beside TensorBoard, such as wandb or mlflow; it must be installed.
    log_with: str | None = None
    # Number of layers with --weights random, if not the published number.
    layers: int | None = None
    # The knobs of PPO; the defaults are the profile's.
    settings: PPOSettings


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(GradingOptions, ModelOptions):
    """Exact and parse rates of a policy.

    Lets a policy answer problems and scores the answers. Prints the share that is exact, the share
    that is an LP at all, and the mean reward, for greedy and for sampled decoding (temperature 1).

    for example:
      glm-ppo evaluate --profile tiny --policy runs/mine/policy
      glm-ppo evaluate --profile tiny --policy runs/mine/policy --data held.jsonl
      glm-ppo evaluate --profile tiny --best-of 8 --json answers.jsonl
    """

    # Checkpoint folder, adapter folder, or name on the hub, as for `train`.
    policy: Folder = None
    # Problems, in the form of `train`. If left out: the profile's held-out problems.
    data: File = None
    # Decode only at this temperature; 0 is greedy.
    temperature: float | None = None
    # Also sample this many answers to each problem and take the one with the highest reward. That
    # uses the reference, so it is an upper bound for any way to choose without it.
    best_of: int = 1
    # Evaluate only this many problems, from the start of the list.
    limit: int | None = None
    # Write a line per answer: id, decoding, answer, and every field of its score.
    json: File = None
    # Write the rates as one JSON object, for each decoding its exact, parsed and reward.
    summary: File = None
    # Seed of the sampled answers.
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("best_of", 1), ("limit", 1), ("temperature", 0)):
            value = getattr(self, name)
            if value is not None and not value >= least:  # nan is not either
                raise BadInput(f"--{name.replace('_', '-')} is {value}; give at least {least}")


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(GradingOptions):
    """Scores of answers that you already have (notebook 03).

    Grades answers from any source by solver and graph distance. Prints for each its id, its reward
    and one sentence on what is wrong, and then a summary.

    for example:
      glm-ppo score --data problems.jsonl --answers answers.jsonl
    """

    # The problems, in the form of `train`.
    data: Path
    # The answers, a JSON object on each line with "id" and "answer"; a problem may have several.
    answers: Path
    # Write a line per answer: id, answer, and every field of its score.
    json: File = None
    # Write the rates as one JSON object: exact, parsed and reward.
    summary: File = None


@dataclass(frozen=True, kw_only=True)
class SFTOptions(DataOptions, ModelOptions):
    """Supervised fine-tuning, the policy that PPO starts from (notebook 02).

    Teaches the profile's checkpoint to answer as in the demonstrations.

    for example:
      glm-ppo sft --profile tiny --out runs/my-sft
      glm-ppo sft --profile chatglm3-6b --data mine.jsonl --out runs/my-sft
      glm-ppo train --profile chatglm3-6b --policy runs/my-sft/policy --out runs/ppo
    """

    # Folder for policy/ (checkpoint or LoRA adapter) and sft_log.json. If left out, and no setting
    # but --seed is given: the folder where `train` looks for the profile's policy.
    out: Path | None = None
    # Demonstrations, in the form of `train`'s problems; the references are the answers to learn. If
    # left out, they are generated, some of the answers with an error (notebook 02).
    data: File = None
    # Held-out demonstrations, whose loss is measured during training.
    heldout: File = None
    # The knobs of SFT; the defaults are the profile's.
    settings: SFTSettings


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Word problems as a data set with its card.

    Writes problems.jsonl, in the form of `train`'s problems, and README.md, which says what they
    are and how to make them again.

    for example:
      glm-ppo export-problems --n 5000 --out my-problems
      glm-ppo push --folder my-problems --repo me/word-problems
    """

    # Folder for problems.jsonl and README.md.
    out: Path
    # How many problems.
    n: int = 1000
    # Seed of the generator; the profiles train on 1 and evaluate on 2, of the split heldout.
    seed: int = 0
    # Language of the texts.
    language: Literal["en", "zh"] = "en"
    # The splits share no program, whatever their seeds.
    split: Literal["train", "heldout"] = "train"


@dataclass(frozen=True, kw_only=True)
class PushOptions:
    """Upload of a policy or of problems to the hub, with the card that lies beside them.

    HF_TOKEN or `huggingface-cli login` says who you are; HF_ENDPOINT names another hub.

    for example:
      glm-ppo push --folder runs/mine/policy --repo me/chatglm-writes-lps --private
    """

    # Folder policy/ of a run, or one that export-problems has written.
    folder: Path
    # Owner and name of the repository, which is made if it is not there.
    repo: Annotated[str, tyro.conf.arg(metavar="OWNER/NAME")]
    # Make the repository private, if it is new.
    private: bool = False


Options = TrainOptions | EvaluateOptions | ScoreOptions | SFTOptions | ExportOptions | PushOptions


def parse(argv: Sequence[str]) -> Options:
    """The options of a command line; settings that it leaves out come from its ``--profile``.

    Raises
    ------
    BadInput
        When the options are wrong; its message is one line, where tyro would print a box.
    """
    command, profile, missing = argv[0] if argv else "", PROFILES["tiny"], tyro.MISSING
    if command in ("train", "evaluate", "sft"):
        first_look = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        first_look.add_argument("--profile", nargs="?")
        first_look.add_argument("--config", nargs="?", type=Path)
        config = first_look.parse_known_args(argv)[0].config
        argv = [command, *(_options_in(config) if config else []), *argv[1:]]
        profile = get_profile(first_look.parse_known_args(argv)[0].profile)
    name = profile.name
    commands: dict[str, Options] = {
        "train": TrainOptions(profile=name, out=missing, settings=profile.ppo),
        "evaluate": EvaluateOptions(profile=name),
        "score": ScoreOptions(data=missing, answers=missing),
        "sft": SFTOptions(profile=name, settings=profile.sft),
        "export-problems": ExportOptions(out=missing),
        "push": PushOptions(folder=missing, repo=missing),
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
    """The type of a subcommand for tyro; one that is not chosen shows its first line in --help."""
    title = None if chosen else (default.__doc__ or "").partition("\n")[0]
    marker = tyro.conf.subcommand(name, default=default, description=title)
    return Annotated[type(default), marker]


def _options_in(path: Path) -> list[str]:
    """The entries of a YAML or JSON file as options of the command line."""
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise BadInput(f"--config {path}: {error}") from error
    if not isinstance(entries, dict):
        raise BadInput(f"--config {path} holds no options; write one `name: value` on each line")
    if isinstance(entries.get("problems"), str):  # a run's settings.json, which also has digests
        for name in ("problems", "heldout", "policy", "reward"):
            entries.pop(name, None)
    options = []
    for name, value in entries.items():
        option = str(name).replace("_", "-")
        if isinstance(value, bool):
            options.append(f"--{option}" if value else f"--no-{option}")
        else:
            options.append(f"--{option}={value}")
    return options
