"""The notebooks' steps as commands: ``glm-ppo train``, ``evaluate``, ``score``, ``sft``; and more.

What needs torch is imported inside the functions: that takes seconds, and ``score`` and ``--help``
do without.
"""

import json
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glm_ppo_utils import __version__
from glm_ppo_utils.errors import BadInput, tell_launcher
from glm_ppo_utils.evaluator import Evaluator, Score, format_lp
from glm_ppo_utils.evaluator.references import as_path, read_reference
from glm_ppo_utils.options import (
    DataOptions,
    EvaluateOptions,
    ExportOptions,
    PushOptions,
    ScoreOptions,
    SFTOptions,
    TrainOptions,
    parse,
)
from glm_ppo_utils.own_files import existing, read_answers, reward_function, traceback_in
from glm_ppo_utils.problems import Problem, generate, load_problems
from glm_ppo_utils.profiles import Profile
from glm_ppo_utils.publishing import push_to_hub, write_model_card, write_problem_set
from glm_ppo_utils.saved_policy import is_policy

if TYPE_CHECKING:
    from glm_ppo_utils.ppo import PPORun

INTERRUPTED = 130  # the exit status of a command that Ctrl-C ended


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status: 0 done, 1 failed, 2 bad input, 130 interrupted.

    An exception that is not about the input is a bug of ours or of a reward function. It leaves
    with its traceback, which ends the process with status 1.
    """
    warnings.simplefilter("ignore", FutureWarning)  # of the pinned libraries, about their future
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv == ["--version"]:
        _say(f"glm-ppo {__version__}")
        return 0
    try:
        options = parse(argv)
        commands: dict[type, Callable[[Any], int]] = {
            TrainOptions: train,
            EvaluateOptions: evaluate,
            ScoreOptions: score,
            SFTOptions: sft,
            ExportOptions: export_problems,
            PushOptions: push,
        }
        return commands[type(options)](options)
    except BadInput as error:
        return _fail(error, 2)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED, kind="stopped")
    except Exception as error:
        # The disk or the GPU is full. Torch's error goes by its name, to leave torch unloaded.
        if isinstance(error, OSError) or type(error).__name__ == "OutOfMemoryError":
            return _fail(error, 1, every_rank=True)
        tell_launcher(f"{type(error).__name__}: {error}")
        raise


# -- the commands -----------------------------------------------------------------------------


def train(options: TrainOptions) -> int:
    """PPO in the folder ``options.out``; resumes the run that it holds."""
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    from glm_ppo_utils.chatglm import check_checkpoint
    from glm_ppo_utils.ppo import PPORun
    from glm_ppo_utils.rollout import RewardError

    PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))  # picks this process's GPU
    profile, settings = options.chosen_profile(), options.settings
    with _input(OSError):
        evaluator = Evaluator(options.workers)
        reward = evaluator if options.reward is None else reward_function(options.reward)
        grader = reward if options.judge_by_reward else evaluator
        source = options.policy or profile.checkpoint
        if source is not None and options.weights == "checkpoint":
            check_checkpoint(source, profile.revision)  # before thousands of problems are made
        problems, heldout = _problems(options, profile)
        if evaluator in (reward, grader):
            _check_references(evaluator, [*problems, *heldout])
        policy, tokenizer = _policy(options, profile)
        run = PPORun(
            policy,
            tokenizer,
            reward,
            problems,
            settings,
            options.out,
            heldout=heldout,
            grader=grader,
            progress=not options.quiet,
            samples_every=options.samples_every,
            log_with=options.log_with,
        )
    done = run.folder.checkpoints.load_newest()[0]
    _say(
        f"{profile.name}: {settings.steps} PPO steps of {settings.batch_size} responses on "
        f"{len(problems)} problems, from step {done}; log and checkpoints in {options.out}"
    )
    if settings.baseline == "value" and settings.steps <= settings.value_warmup:
        _say(
            f"note: only the value head learns in the first {settings.value_warmup} steps "
            "(--value-warmup), and these are all"
        )

    def saved() -> str:
        done = run.folder.checkpoints.load_newest()[0]
        return f"{done} of {settings.steps} steps are saved in {options.out}"

    signal.signal(signal.SIGTERM, _stop)
    try:
        log = run.train()
    except RewardError as error:
        return _fail(f"{options.reward}: {error}", 2, every_rank=True)
    except Exception as error:
        told = options.reward and traceback_in(reward, error)
        if not told:
            raise
        print(told, file=sys.stderr)
        return _fail(f"{options.reward} failed; {saved()}", 1, every_rank=True)
    except KeyboardInterrupt:
        return _fail(f"{saved()}; the same command resumes", INTERRUPTED, kind="stopped")
    if run.process == 0:
        _finish(run, log, tokenizer, options)
    if run.processes > 1:
        PartialState().destroy_process_group()
    return 0


def evaluate(options: EvaluateOptions) -> int:
    """Exact rate, parse rate and mean reward of a policy; its answers on request."""
    from transformers import set_seed

    from glm_ppo_utils import pipeline
    from glm_ppo_utils.chatglm import load_policy, load_tokenizer
    from glm_ppo_utils.rollout import respond

    profile = options.chosen_profile()
    with _input(OSError):
        problems = _own(options.data, options, profile) or pipeline.heldout_problems(profile)
        problems = problems[: options.limit]
        evaluator = Evaluator(options.workers)
        _check_references(evaluator, problems)
        source = _checkpoint(options, profile)
        policy, tokenizer = load_policy(source, dtype=profile.dtype), load_tokenizer(source)
    length, batch = profile.ppo.max_new_tokens, profile.ppo.rollout_batch_size

    def answers(temperature: float, n: int = 1) -> list[tuple[Problem, str, Score]]:
        """For each problem the answer of the highest reward among `n`."""
        set_seed(options.seed)
        repeated = [p for p in problems for _ in range(n)]
        prompts = [p.text for p in repeated]
        rollouts = respond(policy, tokenizer, prompts, length, temperature, batch)
        texts = [r.text for r in rollouts]
        scores = _score(evaluator, texts, repeated)
        rows = list(zip(repeated, texts, scores, strict=True))
        groups = [rows[i : i + n] for i in range(0, len(rows), n)]
        return [max(group, key=lambda row: row[2].reward) for group in groups]

    ways = {"greedy": (0.0, 1), "sampled": (1.0, 1)}
    if options.temperature is not None:
        ways = {"sampled" if options.temperature else "greedy": (options.temperature, 1)}
    if options.best_of > 1:
        ways[f"best of {options.best_of}"] = (options.temperature or 1.0, options.best_of)
    rates = {}
    with _rows(options.json) as write, _rows(options.summary) as summarise:
        _say(f"{source}, {len(problems)} problems")
        for way, (temperature, n) in ways.items():
            rows = answers(temperature, n)
            rates[way] = _rates(way, [score for _, _, score in rows])
            for problem, text, score in rows:
                write({"id": problem.id, "decoding": way, "answer": text, **asdict(score)})
        summarise(rates)
    return 0


def score(options: ScoreOptions) -> int:
    """The score of each answer in a file, with its message, and a summary."""
    with _input(OSError):
        problems = {p.id: p for p in _load(options.data, options)}
        answers = read_answers(options.answers, problems)
        evaluator = Evaluator(options.workers)
        _check_references(evaluator, problems.values())
    answered = [problems[key] for key, _ in answers]
    with _rows(options.json) as write, _rows(options.summary) as summarise:
        scores = _score(evaluator, [answer for _, answer in answers], answered)
        for (key, answer), verdict in zip(answers, scores, strict=True):
            _say(f"{key}  {verdict.reward:.2f}  {verdict.message}")
            write({"id": key, "answer": answer, **asdict(verdict)})
        summarise(_rates(f"{len(answers)} answers", scores))
    silent = len(set(problems) - {key for key, _ in answers})
    if silent:
        _say(f"{silent} of {len(problems)} problems have no answer; they are not in the rates")
    return 0


def sft(options: SFTOptions) -> int:
    """Supervised fine-tuning; the policy goes to ``options.out/policy``."""
    from glm_ppo_utils import pipeline

    profile, seed = options.chosen_profile(), options.settings.seed
    knobs = replace(options.settings, seed=profile.sft.seed)
    if options.out is None and (options.data or knobs != profile.sft):
        raise BadInput(
            "--data and the knobs, but for --seed, need an --out: without it the policy goes "
            "where `train` looks for the profile's own"
        )
    if options.heldout and not options.data:
        raise BadInput("--heldout needs --data; without them the profile's problems are taken")
    profile = replace(profile, sft=knobs)
    with _input(OSError):
        pairs = _pairs(_own(options.data, options, profile)) or None
        heldout = _pairs(_own(options.heldout, options, profile))
    log = pipeline.train_sft_policy(profile, seed, not options.quiet, options.out, pairs, heldout)
    for name in ("loss", "eval_loss"):
        values = [row[name] for row in log if name in row]
        if values:
            _say(f"{name} {values[0]:.3f} -> {values[-1]:.3f} nats per answer token")
    _say(f"policy in {(options.out or pipeline.sft_folder(profile, seed)) / 'policy'}")
    return 0


def export_problems(options: ExportOptions) -> int:
    """Generated problems with their card."""
    how = (options.seed, options.language, options.split)
    write_problem_set(options.out, generate(options.n, *how), *how)
    _say(f"{options.n} problems and their card in {options.out}")
    return 0


def push(options: PushOptions) -> int:
    """Upload a policy or problems."""
    _say(f"uploaded to {push_to_hub(options.folder, options.repo, options.private)}")
    return 0


# -- what they need ---------------------------------------------------------------------------


def _load(path: Path, options: DataOptions) -> list[Problem]:
    fields = {name: getattr(options, name) for name in ("id", "text", "reference", "optimum")}
    with _input(ValueError):
        return load_problems(existing(path), **fields)


def _own(path: Path | None, options: DataOptions, profile: Profile) -> list[Problem]:
    """Problems of the user's file, as the profile puts them to the policy; none without a file."""
    from glm_ppo_utils import pipeline

    return [] if path is None else pipeline.prepare(profile, _load(path, options))


def _problems(options: TrainOptions, profile: Profile) -> tuple[list[Problem], list[Problem]]:
    """Problems for training and for evaluation."""
    from glm_ppo_utils import pipeline

    heldout = _own(options.heldout, options, profile)
    if options.data is not None:
        return _own(options.data, options, profile), heldout
    generated = pipeline.training_problems(profile)
    return generated, heldout or pipeline.heldout_problems(profile)


def _policy(options: TrainOptions, profile: Profile) -> tuple[Any, Any]:
    """Policy with value head, and its tokenizer."""
    from glm_ppo_utils import base_model, pipeline
    from glm_ppo_utils.chatglm import (
        add_value_head,
        load_tokenizer,
        published_config,
        random_policy,
    )
    from glm_ppo_utils.chatglm.tokenization_chatglm import ChatGLMTokenizer

    if options.weights == "checkpoint":
        if options.layers:
            raise BadInput("--layers is for --weights random; a checkpoint has its own")
        source, seed = _checkpoint(options, profile), options.settings.seed
        return pipeline.ppo_policy(profile, source, seed), load_tokenizer(source)
    if options.policy is not None:
        raise BadInput("--policy and --weights random exclude each other; leave one out")
    sizes = {"num_layers": options.layers} if options.layers else {}
    model = random_policy(published_config(profile.name, **sizes), profile.dtype, profile.lora)
    tokenizer = ChatGLMTokenizer(str(base_model.FOLDER / base_model.VOCABULARY_FILE))
    return add_value_head(model), tokenizer


def _checkpoint(options: TrainOptions | EvaluateOptions, profile: Profile) -> Path | str:
    """The policy that was named, or the profile's SFT policy, made if it is missing."""
    from glm_ppo_utils import pipeline

    if options.policy is not None:
        return options.policy
    seed = options.settings.seed if isinstance(options, TrainOptions) else 0
    folder = pipeline.sft_folder(profile, seed) / "policy"
    if not is_policy(folder):
        if int(os.environ.get("WORLD_SIZE", 1)) > 1:
            raise BadInput(
                f"there is no SFT policy in {folder}; make it in one process first "
                f"(glm-ppo sft --profile {profile.name} --seed {seed}), or give --policy"
            )
        _say(f"no --policy, and no SFT policy yet: it is made now, in {folder}")
    return pipeline.sft_policy(profile, seed, progress=not options.quiet)


def _pairs(problems: Iterable[Problem]) -> list[tuple[str, str]]:
    """Prompts and answers to learn; a reference in a file is written as LP text."""
    for problem in problems:
        if not problem.reference:
            raise BadInput(f"problem {problem.id} has no reference, the answer to learn")
    with _input(ValueError):
        return [
            (
                p.text,
                format_lp(read_reference(p.reference)) if as_path(p.reference) else p.reference,
            )
            for p in problems
        ]


def _score(evaluator: Evaluator, answers: list[str], problems: Sequence[Problem]) -> list[Score]:
    references = [p.reference or None for p in problems]
    return evaluator.score_batch(answers, references, [p.optimum for p in problems])


def _check_references(evaluator: Evaluator, problems: Iterable[Problem]) -> None:
    for problem in problems:
        try:
            _score(evaluator, [""], [problem])
        except ValueError as error:
            raise BadInput(
                f"problem {problem.id}: {error}; correct it, or train on a --reward of your own "
                "with --judge-by-reward"
            ) from error


@contextmanager
def _input(kind: type[Exception]) -> Iterator[None]:
    """What is raised here, of this kind, is the input's fault."""
    try:
        yield
    except kind as error:
        raise BadInput(error) from error


# -- what comes out ---------------------------------------------------------------------------


def _finish(
    run: "PPORun", log: list[dict[str, float]], tokenizer: Any, options: TrainOptions
) -> None:
    """Store the policy, and say what was reached."""
    from glm_ppo_utils.chatglm import save_checkpoint

    for name in ("reward", "exact", *(["kl"] if run.settings.kl_coef else [])):
        _say(f"{name:8s} {log[0][name]:7.3f} -> {log[-1][name]:7.3f}  (first and last step)")
    evals = run.folder.rows("eval")
    for way in ("sampled", "greedy") if len(evals) > 1 else ():
        before, after = evals[0][f"{way}_exact"], evals[-1][f"{way}_exact"]
        _say(f"held out, {way:8s} exact {before:.3f} -> {after:.3f}")
    if options.weights == "checkpoint":
        folder = save_checkpoint(run.policy, tokenizer, options.out / "policy")
        write_model_card(folder, options.out)
        again = f"glm-ppo evaluate --profile {options.profile} --policy {folder}"
        _say(f"policy in {folder}; {again}")


def _rates(name: str, scores: Sequence[Score]) -> dict[str, float]:
    """The mean of what counts in the scores, which is printed, too."""
    exact, parsed, reward = (
        sum(getattr(score, field) for score in scores) / len(scores)
        for field in ("exact", "parsed", "reward")
    )
    _say(f"{name:12s} exact {exact:.3f}   parsed {parsed:.3f}   mean reward {reward:.3f}")
    return {"exact": exact, "parsed": parsed, "reward": reward}


@contextmanager
def _rows(path: Path | None) -> Iterator[Callable[[dict], object]]:
    """A function that writes rows to a JSONL file, opened before minutes of work; or nothing."""
    if path is None:
        yield lambda row: None
        return
    with _input(OSError):
        file = path.open("w", encoding="utf-8")
    with file:
        yield lambda row: file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _say(text: str) -> None:
    if os.environ.get("RANK", "0") == "0":
        print(text, flush=True)


def _fail(error: object, status: int, kind: str = "error", every_rank: bool = False) -> int:
    """Print one line and return the exit status.

    What all processes meet alike is said by the main one only.
    """
    rank, line = int(os.environ.get("RANK", 0)), " ".join(str(error).split())
    if rank == 0 or every_rank:
        where = f"process {rank}: " if rank else ""
        print(f"{kind}: {where}{line}", file=sys.stderr, flush=True)
    if status != INTERRUPTED:
        tell_launcher(f"{kind}: {line}")
    return status


def _stop(*_: object) -> None:
    """What Ctrl-C does, for the signal that ends a job."""
    raise KeyboardInterrupt
