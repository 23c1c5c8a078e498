"""The notebooks' steps as commands: ``python -m glm_ppo_utils train|evaluate|score|sft``."""

import argparse
import importlib
import json
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from types import NoneType
from typing import get_args, get_type_hints

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from transformers import set_seed

from glm_ppo_utils import base_model, pipeline
from glm_ppo_utils.chatglm import load_policy, load_tokenizer, save_checkpoint
from glm_ppo_utils.chatglm.random_weights import published_config, random_policy
from glm_ppo_utils.chatglm.tokenization_chatglm import ChatGLMTokenizer
from glm_ppo_utils.evaluator import Evaluator, Score
from glm_ppo_utils.ppo import PPORun, PPOSettings, read_jsonl
from glm_ppo_utils.problems import Problem, load_problems
from glm_ppo_utils.profiles import PROFILES, Profile, get_profile
from glm_ppo_utils.rollout import RewardError, RewardFn, respond, summary
from glm_ppo_utils.sft import SFTSettings

INTERRUPTED = 130  # the exit status of a command that Ctrl-C ended


class BadInput(Exception):
    """What was asked for cannot be done: one line for the user, no traceback."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    warnings.simplefilter("ignore", FutureWarning)  # of the pinned libraries, about their future
    args = _parser().parse_args(argv)
    try:
        return args.command(args)
    except BadInput as error:
        return _fail(error, 2)
    except (OSError, torch.cuda.OutOfMemoryError) as error:  # the disk or the GPU is full
        return _fail(error, 1, every_rank=True)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED, kind="stopped")


# -- the commands -----------------------------------------------------------------------------


def train(args: argparse.Namespace) -> int:
    """PPO in the folder ``args.out``; resumes the run that it holds."""
    PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))  # picks this process's GPU
    with _bad_input():
        profile = _profile(args)
        settings = replace(profile.ppo, **_given(args, PPOSettings))
        evaluator = Evaluator(args.workers)
        reward = evaluator if args.reward is None else _function(args.reward)
        grader = reward if args.judge_by_reward else evaluator
        problems, heldout = _problems(args, profile)
        if evaluator in (reward, grader):
            _check_references(evaluator, [*problems, *heldout])
        policy, tokenizer = _policy(args, profile, settings.seed)
        run = PPORun(
            policy,
            tokenizer,
            reward,
            problems,
            settings,
            args.out,
            heldout=heldout,
            grader=grader,
            progress=not args.quiet,
        )
    done = run.checkpoints.load_newest()[0]
    _say(
        f"{profile.name}: {settings.steps} PPO steps of {settings.batch_size} responses on "
        f"{len(problems)} problems, from step {done}; log and checkpoints in {args.out}"
    )
    if settings.steps <= settings.value_warmup:
        _say(
            f"note: only the value head learns in the first {settings.value_warmup} steps "
            "(--value-warmup), and these are all"
        )
    signal.signal(signal.SIGTERM, _stop)
    try:
        log = run.train()
    except RewardError as error:
        return _fail(f"{args.reward}: {error}", 2, every_rank=True)
    except KeyboardInterrupt:
        step = run.checkpoints.load_newest()[0]
        return _fail(
            f"{step} of {settings.steps} steps are saved in {args.out}; the same command resumes",
            INTERRUPTED,
            kind="stopped",
        )
    if run.process == 0:
        _finish(run, log, tokenizer, profile, keep=args.weights is None)
    if run.processes > 1:
        PartialState().destroy_process_group()
    return 0


def evaluate(args: argparse.Namespace) -> int:
    """Exact rate, parse rate and mean reward of a policy; its answers on request."""
    with _bad_input():
        profile = _profile(args)
        problems = _own(args.data, profile) or pipeline.heldout_problems(profile)
        problems = problems[: args.limit]
        evaluator = Evaluator(args.workers)
        _check_references(evaluator, problems)
        source = _checkpoint(args, profile)
        policy, tokenizer = load_policy(source, dtype=profile.dtype), load_tokenizer(source)
        out = (
            args.json.open("w", encoding="utf-8") if args.json else None
        )  # now, not after minutes of answers
    length, batch = profile.ppo.max_new_tokens, profile.ppo.rollout_batch_size

    def answers(temperature: float, n: int = 1) -> list[tuple[Problem, str, Score]]:
        """For each problem the answer of the highest reward among `n`."""
        set_seed(args.seed)
        repeated = [p for p in problems for _ in range(n)]
        prompts = [p.text for p in repeated]
        rollouts = respond(policy, tokenizer, prompts, length, temperature, batch)
        texts = [r.text for r in rollouts]
        scores = evaluator.score_batch(texts, [p.reference for p in repeated])
        rows = list(zip(repeated, texts, scores, strict=True))
        groups = [rows[i : i + n] for i in range(0, len(rows), n)]
        return [max(group, key=lambda row: row[2].reward) for group in groups]

    ways = {"greedy": (0.0, 1), "sampled": (1.0, 1)}
    if args.temperature is not None:
        ways = {k: v for k, v in ways.items() if v[0] == args.temperature}
    if args.best_of:
        ways[f"best of {args.best_of}"] = (1.0, args.best_of)
    _say(f"{source}, {len(problems)} problems")
    for way, (temperature, n) in ways.items():
        rows = answers(temperature, n)
        _say(_rates(way, [score for _, _, score in rows]))
        if out:
            out.writelines(
                _line({"id": p.id, "decoding": way, "answer": text, **asdict(score)})
                for p, text, score in rows
            )
    if out:
        out.close()
    return 0


def score(args: argparse.Namespace) -> int:
    """The score of each answer in a file, with its message, and a summary."""
    with _bad_input():
        problems = {p.id: p for p in load_problems(_existing(args.data))}
        answers = _answers(_existing(args.answers), problems)
        evaluator = Evaluator(args.workers)
        _check_references(evaluator, problems.values())
        out = args.json.open("w", encoding="utf-8") if args.json else None
    scores = evaluator.score_batch(
        [answer for _, answer in answers], [problems[key].reference for key, _ in answers]
    )
    for (key, answer), verdict in zip(answers, scores, strict=True):
        _say(f"{key}  {verdict.reward:.2f}  {verdict.message}")
        if out:
            out.write(_line({"id": key, "answer": answer, **asdict(verdict)}))
    if out:
        out.close()
    _say(_rates(f"{len(answers)} answers", scores))
    silent = len(set(problems) - {key for key, _ in answers})
    if silent:
        _say(f"{silent} of {len(problems)} problems have no answer; they are not in the rates")
    return 0


def sft(args: argparse.Namespace) -> int:
    """Supervised fine-tuning; the policy goes to ``args.out/policy``."""
    with _bad_input():
        profile, given = _profile(args), _given(args, SFTSettings)
        seed = given.pop("seed", profile.sft.seed)
        if args.out is None and (given or args.data):
            raise BadInput(
                "--data and the knobs, but for --seed, need an --out: without it the policy goes "
                "where `train` looks for the profile's own"
            )
        profile = replace(profile, sft=replace(profile.sft, **given))
        pairs = [(p.text, p.reference) for p in _own(args.data, profile)] or None
        heldout = [(p.text, p.reference) for p in _own(args.heldout, profile)]
        if heldout and not pairs:
            raise BadInput("--heldout needs --data; without them the profile's problems are taken")
        log = pipeline.train_sft_policy(profile, seed, not args.quiet, args.out, pairs, heldout)
    losses = {name: [r[name] for r in log if name in r] for name in ("loss", "eval_loss")}
    for name, values in losses.items():
        if values:
            _say(f"{name} {values[0]:.3f} -> {values[-1]:.3f} nats per answer token")
    _say(f"policy in {(args.out or pipeline.sft_folder(profile, seed)) / 'policy'}")
    return 0


# -- what a run needs -------------------------------------------------------------------------


def _profile(args: argparse.Namespace) -> Profile:
    return get_profile(args.profile)


def _own(path: Path | None, profile: Profile) -> list[Problem]:
    """Problems of the user's file, as the profile puts them to the policy; none without a file."""
    return [] if path is None else pipeline.prepare(profile, load_problems(_existing(path)))


def _problems(args: argparse.Namespace, profile: Profile) -> tuple[list[Problem], list[Problem]]:
    """Problems for training and for evaluation."""
    heldout = _own(args.heldout, profile)
    if args.data is not None:
        return _own(args.data, profile), heldout
    generated = pipeline.training_problems(profile)
    return generated, heldout or pipeline.heldout_problems(profile)


def _policy(args: argparse.Namespace, profile: Profile, seed: int):
    """Policy with value head, and its tokenizer."""
    if args.weights is None:
        if args.layers:
            raise BadInput("--layers is for --weights random; a checkpoint has its own")
        source = _checkpoint(args, profile, seed)
        return pipeline.ppo_policy(profile, source, seed), load_tokenizer(source)
    if args.policy is not None:
        raise BadInput("--policy and --weights random exclude each other; leave one out")
    sizes = {"num_layers": args.layers} if args.layers else {}
    model = random_policy(published_config(profile.name, **sizes), profile.dtype, profile.lora)
    tokenizer = ChatGLMTokenizer(str(base_model.FOLDER / base_model.VOCABULARY_FILE))
    return pipeline.with_value_head(model), tokenizer


def _checkpoint(args: argparse.Namespace, profile: Profile, seed: int = 0) -> Path | str:
    """The policy that was named, or the profile's SFT policy, made if it is missing."""
    if args.policy is not None:
        return args.policy
    folder = pipeline.sft_folder(profile, seed) / "policy"
    if PartialState().num_processes > 1 and not pipeline.is_checkpoint(folder):
        raise BadInput(
            f"there is no SFT policy in {folder}; make it in one process first "
            f"(python -m glm_ppo_utils sft --profile {profile.name} --seed {seed}), or give "
            "--policy"
        )
    if not pipeline.is_checkpoint(folder):
        _say(f"no --policy, and no SFT policy yet: it is made now, in {folder}")
    return pipeline.sft_policy(profile, seed, progress=not args.quiet)


def _function(name: str) -> RewardFn:
    """The reward function called ``module:function``, looked for in the working directory too."""
    module, _, attribute = name.partition(":")
    if not attribute:
        raise BadInput(f"--reward {name} is not of the form module:function")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise BadInput(
            f"--reward {name}: there is no module {error.name}; run where {module}.py lies, or "
            "install it"
        ) from error
    except AttributeError as error:
        raise BadInput(f"--reward {name}: the module {module} has no {attribute}") from error
    if not callable(found):
        raise BadInput(f"--reward {name} is a {type(found).__name__}, not a function")
    return found


def _check_references(evaluator: Evaluator, problems: Sequence[Problem]) -> None:
    for problem in problems:
        try:
            evaluator.score("", problem.reference)
        except ValueError as error:
            raise BadInput(
                f"problem {problem.id}: {error}; correct it, or train on a --reward of your own "
                "with --judge-by-reward"
            ) from error


def _answers(path: Path, problems: dict[str, Problem]) -> list[tuple[str, str]]:
    """(id, answer) of each line, which must answer one of `problems`."""
    answers = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            record = json.loads(line)
            key, answer = record["id"], record["answer"]
        except (ValueError, TypeError, KeyError) as error:
            raise BadInput(
                f'{where}: write one JSON object with "id" and "answer" on each line'
            ) from error
        if key not in problems:
            raise BadInput(f"{where}: no problem has the id {key!r}; take the ids of --data")
        answers.append((key, str(answer)))
    if not answers:
        raise BadInput(f"{path} holds no answer; put one JSON object on each line")
    return answers


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise BadInput(f"there is no file {path}; check the path")
    return path


# -- what comes out ---------------------------------------------------------------------------


def _finish(run: PPORun, log: list[dict], tokenizer, profile: Profile, keep: bool) -> None:
    """Store the policy, and say what was reached."""
    for name in ("reward", "exact", "kl"):
        _say(f"{name:8s} {log[0][name]:7.3f} -> {log[-1][name]:7.3f}  (first and last step)")
    evals = read_jsonl(run.out_dir / "eval.jsonl")
    for way in ("sampled", "greedy") if len(evals) > 1 else ():
        before, after = evals[0][f"{way}_exact"], evals[-1][f"{way}_exact"]
        _say(f"held out, {way:8s} exact {before:.3f} -> {after:.3f}")
    if keep:
        folder = save_checkpoint(run.policy, tokenizer, run.out_dir / "policy")
        again = f"python -m glm_ppo_utils evaluate --profile {profile.name} --policy {folder}"
        _say(f"policy in {folder}; {again}")


def _rates(name: str, scores: Sequence[Score]) -> str:
    rates = summary([s.reward for s in scores])
    exact = sum(s.exact for s in scores) / len(scores)
    parsed = sum(s.parsed for s in scores) / len(scores)
    return f"{name:12s} exact {exact:.3f}   parsed {parsed:.3f}   mean reward {rates['reward']:.3f}"


def _line(record: dict) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"


def _say(text: str) -> None:
    if PartialState().is_main_process:
        print(text, flush=True)


def _fail(error: object, status: int, kind: str = "error", every_rank: bool = False) -> int:
    """Print one line and return the exit status.

    What all processes meet alike is said by the main one only.
    """
    rank = int(os.environ.get("RANK", 0))
    if rank == 0 or every_rank:
        where = f"process {rank}: " if rank else ""
        print(f"{kind}: {where}{' '.join(str(error).split())}", file=sys.stderr, flush=True)
    return status


def _stop(*_) -> None:
    """What Ctrl-C does, for the signal that ends a job."""
    raise KeyboardInterrupt


@contextmanager
def _bad_input() -> Iterator[None]:
    """Until training starts, what is raised with a message is the input's fault."""
    try:
        yield
    except (ValueError, TypeError, OSError) as error:
        raise BadInput(error) from error


# -- the command line -------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m glm_ppo_utils",
        description="Train ChatGLM by PPO against a solver, and see what it can do.",
        epilog="python -m glm_ppo_utils COMMAND --help explains a command, with examples.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _train_parser(commands)
    _evaluate_parser(commands)
    _score_parser(commands)
    _sft_parser(commands)
    return parser


def _train_parser(commands) -> None:
    parser = _command(
        commands,
        train,
        "PPO of a policy against a reward (notebook 05)",
        f"""
Samples answers to word problems, scores them, and improves the policy by PPO. The first start
without --policy makes the profile's SFT policy (tiny: some minutes on a CPU).

examples:
  python -m glm_ppo_utils train --profile tiny --out runs/mine
  python -m glm_ppo_utils train --profile tiny --out runs/mine --steps 100   # goes on to step 100
  python -m glm_ppo_utils train --profile chatglm3-6b --data mine.jsonl --heldout held.jsonl \\
      --reward rewards:short --out runs/short
  python -m glm_ppo_utils train --profile chatglm3-6b --weights random --steps 2 --out runs/size
  accelerate launch --multi_gpu --num_processes 4 -m glm_ppo_utils train --profile chatglm3-6b \\
      --out runs/four       # on CPUs: ACCELERATE_USE_CPU=true accelerate launch --multi_gpu ...

--data and --heldout hold one JSON object a line: {{"id": "p1", "text": "A bakery ...",
"reference": "maximize ..."}}, the reference as LP text. Without --data problems are generated.
With --data and no --heldout nothing is evaluated on the way.

--reward names a Python function (prompts, completions, **columns) -> list of one finite number
per completion. The columns are the other fields of the problems: id, reference, family. The
evaluator still judges what is exact and what parses in the log; --judge-by-reward leaves that to
the reward (1 is exact, above 0 is parsed).

what comes out in --out:
  log.jsonl        a row per step: reward, exact, kl, losses, seconds of each phase
  eval.jsonl       a row per evaluation on the held-out problems, sampled and greedy
  settings.json    the knobs of this run
  checkpoints/     state of the newest steps; the same command resumes from it
  tensorboard/     the same curves: tensorboard --logdir DIR
  policy/          the policy after the last step (not with --weights random)

The same command on the same folder resumes, after a crash too. Ctrl-C and SIGTERM let the step end,
save, and exit with 130; a second one does not wait. Under `accelerate launch` the launcher itself
may kill the processes before a long step has ended: then the newest checkpoint counts
(--checkpoint-every).
Exit status otherwise: 0 done, 1 disk or GPU full or an error of the reward function, 2 bad input.

the knobs:
{_attributes(PPOSettings)}
""",
    )
    _common(parser, "of PPO")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the run")
    parser.add_argument(
        "--data", type=Path, metavar="FILE", help="problems to practise on (default: generated)"
    )
    parser.add_argument("--heldout", type=Path, metavar="FILE", help="problems of the evaluations")
    parser.add_argument(
        "--reward", metavar="MODULE:FUNCTION", help="reward function (default: the evaluator)"
    )
    parser.add_argument(
        "--judge-by-reward", action="store_true", help="exact and parsed from --reward too"
    )
    parser.add_argument(
        "--weights",
        choices=["random"],
        help="the profile's architecture with random weights and no download, to measure memory "
        "and speed; the reward means nothing then",
    )
    parser.add_argument(
        "--layers", type=int, metavar="N", help="fewer layers, with --weights random"
    )
    _knobs(parser, PPOSettings)


def _evaluate_parser(commands) -> None:
    parser = _command(
        commands,
        evaluate,
        "exact and parse rates of a policy",
        """
Lets a policy answer problems, scores the answers, and prints the share of exact answers, the share
that is an LP at all, and the mean reward: greedily, and sampled at temperature 1.
Without --policy it is the profile's SFT policy, which is made if it is missing.

examples:
  python -m glm_ppo_utils evaluate --profile tiny --policy runs/mine/policy
  python -m glm_ppo_utils evaluate --profile tiny --policy runs/mine/policy --data held.jsonl
  python -m glm_ppo_utils evaluate --profile tiny --best-of 8 --json answers.jsonl

Best of N takes, of N sampled answers to each problem, the one of the highest reward. It uses the
reference to choose, so it is an upper bound of what a chooser without it could reach.

--json writes a line per answer: id, decoding, answer, and every field of its score.
""",
    )
    _common(parser, "whose SFT policy and problems are taken where none are given")
    parser.add_argument("--data", type=Path, metavar="FILE", help="problems (default: held out)")
    parser.add_argument(
        "--temperature", type=float, choices=[0, 1], help="only greedy (0) or only sampled (1)"
    )
    parser.add_argument("--best-of", type=_positive, metavar="N", help="also the best of N samples")
    parser.add_argument("--limit", type=_positive, metavar="N", help="only the first N problems")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write answers with scores")
    parser.add_argument("--seed", type=int, default=0, help="of the sampled answers")


def _score_parser(commands) -> None:
    parser = _command(
        commands,
        score,
        "scores of answers that are at hand (notebook 03)",
        """
Grades answers, from wherever they come, by solver and graph distance. Prints for each its id, its
reward and one sentence on what is wrong, and then a summary.

example:
  python -m glm_ppo_utils score --data problems.jsonl --answers answers.jsonl

--data: {"id", "text", "reference"} a line; --answers: {"id", "answer"} a line, several for a
problem if you like. --json writes every field of each score.
""",
    )
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="the problems")
    parser.add_argument("--answers", type=Path, required=True, metavar="FILE", help="the answers")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scores")
    _workers(parser)


def _sft_parser(commands) -> None:
    parser = _command(
        commands,
        sft,
        "supervised fine-tuning, the policy that PPO starts from (notebook 02)",
        f"""
Teaches the profile's checkpoint to answer as in the demonstrations.

examples:
  python -m glm_ppo_utils sft --profile tiny --out runs/my-sft
  python -m glm_ppo_utils sft --profile chatglm3-6b --data mine.jsonl --out runs/my-sft
  python -m glm_ppo_utils train --profile chatglm3-6b --policy runs/my-sft/policy --out runs/ppo

--data: {{"id", "text", "reference"}} a line; the references are learnt as they stand. Without it
problems are generated, and a share of their answers carries an error (see notebook 02).

what comes out in --out (left out, with no knob but --seed: where `train` looks for the profile's):
  policy/          the checkpoint, or the LoRA adapter
  sft_log.json     loss on demonstrations and on held-out ones

the knobs:
{_attributes(SFTSettings)}
""",
    )
    _common(parser, "whose checkpoint is taught", policy=False)
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the policy")
    parser.add_argument("--data", type=Path, metavar="FILE", help="demonstrations")
    parser.add_argument("--heldout", type=Path, metavar="FILE", help="demonstrations to watch")
    _knobs(parser, SFTSettings)


def _command(commands, run: Callable, help: str, epilog: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        run.__name__,
        help=help,
        usage=f"python -m glm_ppo_utils {run.__name__} [options]",
        description=help[0].upper() + help[1:] + ".",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run)
    return parser


def _common(parser: argparse.ArgumentParser, what: str, policy: bool = True) -> None:
    names = ", ".join(PROFILES)
    parser.add_argument(
        "--profile",
        metavar="NAME",
        help=f"{names}: the settings {what} (default: chatglm3-6b where there is a GPU, else tiny)",
    )
    if policy:
        parser.add_argument(
            "--policy",
            metavar="FOLDER",
            help="checkpoint folder, adapter folder, or name on the hub "
            "(default: the profile's SFT policy)",
        )
        _workers(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _workers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workers",
        type=int,
        default=0,
        metavar="N",
        help="processes that the evaluator scores in, each with hard limits (default: 0, none)",
    )


def _knobs(parser: argparse.ArgumentParser, settings: type) -> None:
    """An option for each field of a dataclass of settings."""
    group = parser.add_argument_group("knobs", "explained below; default: the profile's value")
    hints = get_type_hints(settings)
    for field in fields(settings):
        kinds = [kind for kind in get_args(hints[field.name]) if kind is not NoneType]
        kind = kinds[0] if kinds else hints[field.name]
        name = "--" + field.name.replace("_", "-")
        if kind is bool:
            group.add_argument(name, action=argparse.BooleanOptionalAction, default=None)
        else:
            group.add_argument(name, type=kind, default=None, metavar=kind.__name__.upper())


def _given(args: argparse.Namespace, settings: type) -> dict:
    """The knobs that were given on the command line."""
    values = {f.name: getattr(args, f.name) for f in fields(settings)}
    return {name: value for name, value in values.items() if value is not None}


def _attributes(settings: type) -> str:
    """The part of a dataclass's docstring that explains its fields."""
    lines = (settings.__doc__ or "").split("----------\n", 1)[-1].splitlines()
    return "\n".join(line.removeprefix("  ") for line in lines)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value


if __name__ == "__main__":
    sys.exit(main())
