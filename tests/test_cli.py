"""The commands: what they print, write and refuse, and that they train what the notebooks train."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, fields, replace
from importlib.metadata import version
from pathlib import Path

import pytest
import tyro
from tiny import without_seconds
from tiny_reward import letters

from glm_ppo_utils import pipeline
from glm_ppo_utils.chatglm import load_policy, load_tokenizer
from glm_ppo_utils.cli import main
from glm_ppo_utils.errors import BadInput
from glm_ppo_utils.evaluator import Evaluator
from glm_ppo_utils.options import parse
from glm_ppo_utils.ppo import PPORun, ResponseTrainer, read_jsonl
from glm_ppo_utils.problems import generate, save_problems
from glm_ppo_utils.profiles import PPOSettings, SFTSettings, get_profile
from glm_ppo_utils.rollout import Rollout

KNOBS = {"batch_size": 4, "mini_batch_size": 2, "max_new_tokens": 12, "checkpoint_every": 1}
KNOBS |= {"eval_every": 2, "eval_problems": 4, "policy_lr": 1e-3, "value_warmup": 0, "epochs": 2}
KNOBS |= {"lr_end": 1.0}  # or the same steps would be others in a longer run
OPTIONS = [f"--{name.replace('_', '-')}={value}" for name, value in KNOBS.items()]


@pytest.fixture(scope="module")
def policy(base_folder) -> Path:
    return base_folder


@pytest.fixture(autouse=True)
def quick(tmp_path, monkeypatch):
    """Few problems, and a working directory of one's own."""
    monkeypatch.setenv("GLM_PPO_QUICK", "1")
    monkeypatch.setenv("GLM_PPO_RUNS", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def data(tmp_path) -> Path:
    save_problems(tmp_path / "data.jsonl", generate(6, seed=5))
    return tmp_path / "data.jsonl"


def train(policy: Path, *more: str) -> int:
    arguments = ["--profile", "tiny", "--policy", str(policy), "--quiet", *OPTIONS]
    arguments.append("--reward=tiny_reward:letters")
    return main(["train", *arguments, *more])


def logs(folder: Path | str) -> list[list[dict]]:
    return [without_seconds(read_jsonl(Path(folder) / n)) for n in ("log.jsonl", "eval.jsonl")]


def write_reward(body: str, name: str) -> str:
    """A module in the working directory with a reward function; its name for ``--reward``."""
    Path(f"{name}.py").write_text(body)
    return f"{name}:reward"


def write_answer(key: str, answer: str) -> None:
    Path("answers.jsonl").write_text(json.dumps({"id": key, "answer": answer}))


@pytest.mark.slow
def test_train_is_the_loop_of_the_notebooks(policy, tmp_path, capsys):
    assert train(policy, "--steps=2", "--seed=3", "--out=run") == 0
    profile = get_profile("tiny")
    PPORun(
        pipeline.ppo_policy(profile, policy, seed=3),
        load_tokenizer(policy),
        letters,
        pipeline.training_problems(profile),
        replace(profile.ppo, steps=2, seed=3, **KNOBS),
        tmp_path / "direct",
        heldout=pipeline.heldout_problems(profile),
        grader=Evaluator(),
        progress=False,
    ).train()
    assert logs("run") == logs("direct")
    assert logs("run")[0][1]["kl"] != 0  # something was learnt
    assert [len(rows) for rows in logs("run")] == [2, 2]
    out = capsys.readouterr().out
    assert "tiny: 2 PPO steps of 4 responses on 500 problems, from step 0" in out
    assert "held out, greedy   exact" in out
    assert load_policy(tmp_path / "run" / "policy").config.hidden_size == 128
    assert "evaluate --profile tiny --policy run/policy" in out
    assert "| 2 | 4 | " in Path("run/policy/README.md").read_text()  # the model card
    assert "note: only the value head learns" not in out
    assert train(policy, "--steps=1", "--value-warmup=1", "--eval-every=0", "--out=head") == 0
    assert "note: only the value head learns in the first 1 steps" in capsys.readouterr().out


@pytest.mark.slow
def test_train_resumes_and_equals_a_whole_run(policy, capsys):
    fewer = "--eval-every=0"
    assert train(policy, "--steps=3", "--out=whole", fewer) == 0
    assert train(policy, "--steps=2", "--out=parts", fewer) == 0
    capsys.readouterr()
    assert train(policy, "--steps=3", "--out=parts", fewer) == 0
    assert "from step 2" in capsys.readouterr().out
    assert logs("whole")[0] == logs("parts")[0]
    weights = [Path(run, "policy", "model.safetensors").read_bytes() for run in ("whole", "parts")]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_own_problems_and_an_own_reward(policy, data):
    reward = write_reward(
        "def reward(prompts, completions, id, reference, **_):\n"
        "    assert all(r.startswith(('max', 'min')) for r in reference)\n"
        "    return [0.25 + 0.5 * (i == 'x') for i in id]\n",
        "flat",
    )
    assert train(policy, "--steps=1", "--out=run", f"--data={data}", f"--reward={reward}") == 0
    log, evals = logs("run")
    assert log[0]["reward"] == 0.25
    assert log[0]["parsed"] == 0  # the evaluator's word: 12 tokens are no LP
    assert evals == []  # no held-out problems of one's own
    more = [f"--data={data}", f"--heldout={data}", f"--reward={reward}", "--judge-by-reward"]
    assert train(policy, "--steps=2", "--out=judged", *more) == 0
    log, evals = logs("judged")
    assert log[0]["parsed"] == 1
    assert [r["step"] for r in evals] == [0, 2]


@pytest.mark.slow
def test_ctrl_c_saves_says_how_to_resume_and_exits_with_130(policy, capsys):
    reward = write_reward(
        "calls = []\n"
        "def reward(prompts, completions, **_):\n"
        "    calls.append(1)\n"
        "    if len(calls) == 3:\n"
        "        raise KeyboardInterrupt\n"
        "    return [0.0] * len(completions)\n",
        "interrupted",
    )
    more = ["--steps=4", "--out=run", "--checkpoint-every=100", "--eval-every=0"]
    assert train(policy, *more, f"--reward={reward}") == 130
    error = capsys.readouterr().err
    assert error == "stopped: 2 of 4 steps are saved in run; the same command resumes\n"
    assert train(policy, *more, f"--reward={reward}") == 0
    assert [r["step"] for r in logs("run")[0]] == [0, 1, 2, 3]


@pytest.mark.slow
@pytest.mark.parametrize(("presses", "saved"), [(1, 3), (2, 2)])
def test_ctrl_c_amid_the_optimisation_loses_nothing(policy, capsys, monkeypatch, presses, saved):
    """A half-learnt step is never saved: once waits for its end, twice falls back."""
    more = ["--steps=4", "--eval-every=0"]
    assert train(policy, *more, "--out=whole") == 0
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    steps = []
    loss = ResponseTrainer.loss

    def interrupted(self, *args):
        steps.append(1)
        if len(steps) == 2 * KNOBS["batch_size"] // KNOBS["mini_batch_size"] * 2 + 2:
            for _ in range(presses):  # in the second of the third step's optimiser steps
                signal.raise_signal(signal.SIGINT)
        return loss(self, *args)

    monkeypatch.setattr(ResponseTrainer, "loss", interrupted)
    try:
        assert train(policy, *more, "--out=parts") == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert f"{saved} of 4 steps are saved" in capsys.readouterr().err
    assert train(policy, *more, "--out=parts") == 0
    assert logs("parts") == logs("whole")
    weights = [Path(run, "policy", "model.safetensors").read_bytes() for run in ("whole", "parts")]
    assert weights[0] == weights[1]


BAD = {
    "no file": (["--data=none.jsonl"], "there is no file none.jsonl"),
    "bad line": (["--data=bad.jsonl"], "bad.jsonl, line 2: not JSON"),
    "no LP": (["--data=prose.jsonl"], "problem p: "),
    "profile": (["--profile=huge"], "no profile 'huge'; choose one of tiny"),
    "no colon": (["--reward=rewards"], "not of the form module:function"),
    "no module": (["--reward=rewardz:f"], "there is no module rewardz"),
    "no function": (["--reward=json:f"], "the module json has no function f"),
    "no callable": (["--reward=json:__name__"], "the module json has no function __name__"),
    "no reward file": (["--reward=none.py:f"], "there is no file none.py"),
    "relative import": (["--reward=relative.py:f"], "no known parent package (/"),
    "syntax error": (["--reward=typo:f"], "SyntaxError: "),
    "error at import": (["--reward=early:f"], "/early.py, line 2)"),
    "one reward": (["--reward=short:reward"], "returned 1 rewards for 4 responses"),
    "batches": (["--mini-batch-size=3"], "batch_size 4 is not a multiple of mini_batch_size 3"),
    "no policy": (["--policy=./nowhere"], "no checkpoint folder ./nowhere"),
    "random": (["--weights=random"], "--policy and --weights random exclude each other"),
    "layers": (["--layers=2"], "--layers is for --weights random"),
    "no steps": (["--steps=0"], "steps is 0; it must be a whole number of at least 1"),
    "no number": (["--policy-lr=nan"], "policy_lr is nan; it must be a number"),
    "no mini-batch": (["--mini-batch-size=0"], "mini_batch_size is 0"),
    "other run": (["--out=old"], "old holds a run with seed=0, not 7"),
    "out": (["--out=bad.jsonl/run"], "cannot write to bad.jsonl/run"),
    "abbreviation": (["--lr=1"], "Unrecognized options: --lr"),
    "word for a number": (["--steps=many"], "--steps: invalid literal for int"),
    "choice": (["--weights=none"], "--weights: invalid choice: 'none'"),
}


TRAINING = ("one reward", "other run")  # the cases that take a step of PPO


@pytest.mark.parametrize(
    ("more", "message"),
    [
        pytest.param(*case, id=name, marks=[pytest.mark.slow] if name in TRAINING else [])
        for name, case in BAD.items()
    ],
)
def test_bad_input_of_train_is_one_line(policy, capsys, more, message):
    Path("bad.jsonl").write_text('{"id": "a", "text": "t", "reference": "max"}\n{"id": \n')
    Path("prose.jsonl").write_text('{"id": "p", "text": "t", "reference": "no idea"}\n')
    write_reward("def reward(**_):\n    return [0.0]\n", "short")
    write_reward("from .scores import reward\n", "relative")
    write_reward("def f(:\n", "typo")
    write_reward("\nlimit = int('')\n", "early")
    if "--out=old" in more:
        assert train(policy, "--steps=1", "--eval-every=0", "--out=old") == 0
        more = [*more, "--seed=7"]
    capsys.readouterr()
    assert train(policy, "--steps=1", "--eval-every=0", "--out=run", *more) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_an_error_of_one_process_is_said_by_that_process(policy, capsys, monkeypatch):
    """What all processes meet is said once; what one meets, it must say itself."""
    write_reward("def reward(**_):\n    return [0.0]\n", "few")
    more = ["--steps=1", "--eval-every=0", "--out=run"]
    assert train(policy, *more) == 0
    monkeypatch.setenv("RANK", "1")
    assert train(policy, *more, "--seed=7") == 2
    assert capsys.readouterr().err == ""
    assert train(policy, "--steps=1", "--eval-every=0", "--out=b", "--reward=few:reward") == 2
    assert capsys.readouterr().err.startswith("error: process 1: few:reward: ")


@pytest.mark.slow
def test_an_error_in_the_reward_function_is_shown_from_its_file_on(policy, capsys):
    Path("mine").mkdir()
    Path("mine/wrong.py").write_text(
        "calls = []\n"
        "def reward(prompts, completions, **_):\n"
        "    calls.append(1)\n"
        "    return [score(c) for c in completions]\n"
        "def score(text):\n"
        "    return 0.0 if len(calls) < 2 else 1 / 0\n"
    )
    more = ["--steps=3", "--eval-every=0", "--out=run", "--reward=mine/wrong.py:reward"]
    assert train(policy, *more) == 1
    error = capsys.readouterr().err
    assert error.startswith("Traceback (most recent call last):\n  File ")
    assert "ZeroDivisionError: " in error and "in score" in error
    assert "glm_ppo_utils" not in error
    last = "error: mine/wrong.py:reward failed; 1 of 3 steps are saved in run\n"
    assert error.endswith(last)


@pytest.mark.slow
def test_sigterm_lets_the_step_end_and_saves(policy, tmp_path):
    """In a process of its own, that ignores Ctrl-C as background jobs of scripts do."""
    write_reward(
        "import os, signal\n"
        "calls = []\n"
        "def reward(prompts, completions, **_):\n"
        "    calls.append(1)\n"
        "    if len(calls) == 2:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return [0.5] * len(completions)\n",
        "ends",
    )
    more = ["--profile=tiny", f"--policy={policy}", "--quiet", *OPTIONS, "--steps=4"]
    more += ["--checkpoint-every=100", "--eval-every=0", "--reward=ends:reward", "--out=run"]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "glm_ppo_utils", "train", *more],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
        timeout=120,
    )
    assert done.returncode == 130, done.stderr
    assert "2 of 4 steps are saved in run" in done.stderr


def test_the_shell_sees_the_status_and_no_traceback(tmp_path):
    command = [sys.executable, "-m", "glm_ppo_utils", "score", "--data=no", "--answers=no"]
    path = str(Path(__file__).parents[1])
    done = subprocess.run(
        command, capture_output=True, text=True, env={"PYTHONPATH": path}, timeout=120
    )
    assert (done.returncode, done.stderr) == (2, "error: there is no file no; check the path\n")


def test_evaluate_prints_rates_and_writes_answers(policy, data, capsys):
    arguments = ["evaluate", f"--policy={policy}", f"--data={data}", "--profile=tiny"]
    assert main([*arguments, "--best-of=3", "--json=answers.jsonl", "--summary=rates.json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("base, 6 problems")
    assert [line[:12].strip() for line in lines[1:]] == ["greedy", "sampled", "best of 3"]
    rows = [json.loads(line) for line in Path("answers.jsonl").read_text().splitlines()]
    assert len(rows) == 18
    problems = {p.id: p for p in generate(6, seed=5)}
    for row in rows:
        score = Evaluator().score(row["answer"], problems[row["id"]].reference)
        assert (row["reward"], row["message"]) == (score.reward, score.message)
    means = {
        way: sum(r["reward"] for r in rows if r["decoding"] == way) / 6
        for way in ("greedy", "sampled", "best of 3")
    }
    for line, mean in zip(lines[1:], means.values(), strict=True):
        assert line.endswith(f"mean reward {mean:.3f}")
    rates = json.loads(Path("rates.json").read_text())
    assert {way: row["reward"] for way, row in rates.items()} == pytest.approx(means)
    assert main([*arguments, "--temperature=0", "--limit=2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("2 problems")
    assert [line.split()[0] for line in lines[1:]] == ["greedy"]


def test_best_of_takes_the_answer_of_the_highest_reward(policy, data, monkeypatch, capsys):
    right = {p.text: p.reference for p in generate(6, seed=5)}

    def every_third_is_right(policy, tokenizer, prompts, *_):
        texts = [right[p] if i % 3 == 1 else "no idea" for i, p in enumerate(prompts)]
        return [Rollout(None, None, text) for text in texts]

    monkeypatch.setattr("glm_ppo_utils.rollout.respond", every_third_is_right)
    arguments = ["evaluate", f"--policy={policy}", f"--data={data}", "--profile=tiny"]
    assert main([*arguments, "--best-of=3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "exact 0.333   parsed 0.333" in lines[1]
    assert "exact 1.000   parsed 1.000" in lines[3]


def test_score_grades_a_file_of_answers(data, capsys):
    first, second, *rest = generate(6, seed=5)
    answers = [(first.id, first.reference), (second.id, "no idea"), (first.id, second.reference)]
    lines = [json.dumps({"id": key, "answer": answer}) + "\n" for key, answer in answers]
    Path("answers.jsonl").write_text("".join(lines))
    arguments = ["score", f"--data={data}", "--answers=answers.jsonl"]
    assert main([*arguments, "--json=scores.jsonl", "--summary=rates.json"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith(f"{first.id}  1.00  ")
    assert out[1].startswith(f"{second.id}  0.00  ")
    assert out[3].startswith("3 answers    exact 0.333   parsed 0.667   mean reward ")
    assert out[4].startswith("4 of 6 problems have no answer")
    scores = [json.loads(line) for line in Path("scores.jsonl").read_text().splitlines()]
    assert [s["exact"] for s in scores] == [True, False, False]
    rates = json.loads(Path("rates.json").read_text())
    assert (rates["exact"], rates["parsed"]) == (1 / 3, 2 / 3)
    for line, message in (
        ('{"id": "unknown", "answer": ""}', "line 1: no problem has the id 'unknown'"),
        ('{"id": "a"}', 'line 1: write one JSON object with "id" and "answer"'),
        ('"a"', 'line 1: write one JSON object with "id" and "answer"'),
        ("{", "line 1: not JSON"),
        ("", "answers.jsonl holds no answer"),
    ):
        Path("answers.jsonl").write_text(line)
        assert main(arguments) == 2
        assert message in capsys.readouterr().err


def write_optima() -> list[str]:
    """Problems with an answer and no model, as some data sets have them; the options to read it."""
    problem = generate(1, seed=5)[0]
    optimum = Evaluator().score(problem.reference, problem.reference).objective_value
    rows = [{"en_question": problem.text, "en_answer": str(optimum), "difficulty": "Easy"}]
    Path("optima.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ["--data=optima.jsonl", "--text=en_question", "--optimum=en_answer"]


def test_problems_without_a_reference_are_graded_by_their_optimum(policy, capsys):
    names = write_optima()
    Path("answers.jsonl").write_text(
        json.dumps({"id": 1, "answer": generate(1, seed=5)[0].reference})
    )
    assert main(["score", *names, "--answers=answers.jsonl"]) == 0
    assert capsys.readouterr().out.startswith("1  0.60  the optimum, ")
    assert main(["evaluate", "--profile=tiny", f"--policy={policy}", *names]) == 0
    assert "base, 1 problems" in capsys.readouterr().out
    assert main(["sft", "--profile=tiny", "--out=sft", *names]) == 2
    assert "problem 1 has no reference, the answer to learn" in capsys.readouterr().err


@pytest.mark.slow
def test_train_takes_optima_and_hands_other_fields_to_the_reward(policy):
    names = write_optima()
    assert main(["train", "--profile=tiny", f"--policy={policy}", "--quiet", *OPTIONS,
                 "--steps=1", "--out=run", *names]) == 0  # fmt: skip
    assert logs("run")[0][0]["exact"] == 0
    reward = write_reward(
        "def reward(prompts, completions, difficulty, **_):\n"
        "    return [float(d == 'Easy') for d in difficulty]\n",
        "easy",
    )
    assert train(policy, "--steps=1", "--out=own", f"--reward={reward}", *names) == 0
    assert logs("own")[0][0]["reward"] == 1
    samples = read_jsonl(Path("own/samples.jsonl"))
    assert [(row["step"], row["reward"]) for row in samples] == [(0, 1.0)] * 4


def test_a_reference_may_be_a_file_beside_the_data(capsys):
    problem = generate(1, seed=5)[0]
    Path("data/models").mkdir(parents=True)
    Path("data/models/one.lp").write_text(problem.reference)
    row = {"id": "a", "text": problem.text, "reference": "models/one.lp"}
    Path("data/data.jsonl").write_text(json.dumps(row))
    write_answer("a", problem.reference)
    assert main(["score", "--data=data/data.jsonl", "--answers=answers.jsonl"]) == 0
    assert capsys.readouterr().out.startswith("a  1.00  ")
    Path("data/models/one.lp").unlink()
    assert main(["score", "--data=data/data.jsonl", "--answers=answers.jsonl"]) == 2
    error = capsys.readouterr().err
    assert "problem a: the reference data/models/one.lp does not exist" in error


@pytest.mark.slow
def test_sft_learns_own_pairs_and_its_policy_goes_on_to_train(data, capsys):
    more = [f"--data={data}", f"--heldout={data}", "--steps=4", "--eval-every=2", "--quiet"]
    assert main(["sft", "--profile=tiny", "--out=sft", *more]) == 0
    assert "nats per answer token" in capsys.readouterr().out
    losses = [r["eval_loss"] for r in json.loads(Path("sft/sft_log.json").read_text())[:-1]
              if "eval_loss" in r]  # fmt: skip
    assert losses[-1] < losses[0]
    assert train(Path("sft/policy"), "--steps=1", "--eval-every=0", "--out=run") == 0
    assert main(["sft", "--profile=tiny", f"--heldout={data}", "--out=sft"]) == 2
    assert "--heldout needs --data" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("knob", ["--steps=2", "--data=data.jsonl"])
def test_the_place_of_the_profiles_policy_is_for_that_policy_only(data, capsys, knob):
    """`sft --seed 1` makes what `train --seed 1` looks for; anything else needs a folder."""
    assert main(["sft", "--profile=tiny", "--quiet", knob]) == 2
    assert "need an --out" in capsys.readouterr().err
    folder = pipeline.sft_folder(get_profile("tiny"), seed=1)
    assert main(["sft", "--profile=tiny", "--quiet", "--seed=1"]) == 0
    assert f"policy in {folder / 'policy'}" in capsys.readouterr().out
    arguments = ["--profile=tiny", "--quiet", *OPTIONS, "--steps=1", "--eval-every=0"]
    assert main(["train", *arguments, "--seed=1", "--out=run"]) == 0
    assert "no SFT policy yet" not in capsys.readouterr().out


@pytest.mark.slow
def test_without_a_policy_the_sft_policy_is_made_once(capsys):
    arguments = ["train", "--profile=tiny", "--quiet", *OPTIONS, "--steps=1", "--eval-every=0"]
    assert main([*arguments, "--out=one"]) == 0
    made = pipeline.sft_policy(get_profile("tiny"))
    assert f"no SFT policy yet: it is made now, in {made}" in capsys.readouterr().out
    stamp = (made / "model.safetensors").stat().st_mtime_ns
    assert main([*arguments, "--out=two"]) == 0
    assert "no SFT policy yet" not in capsys.readouterr().out
    assert (made / "model.safetensors").stat().st_mtime_ns == stamp
    assert logs("one") == logs("two")


@pytest.mark.parametrize("command", ["train", "evaluate", "score", "sft"])
def test_help_teaches(command, capsys):
    with pytest.raises(SystemExit) as done:
        main([command, "--help"])
    out = capsys.readouterr().out
    assert done.value.code == 0
    assert f"glm-ppo {command} --" in out
    assert "--data" in out


@pytest.mark.parametrize(("command", "settings"), [("train", PPOSettings), ("sft", SFTSettings)])
def test_each_knob_is_an_option_with_a_sentence_and_the_profiles_value(command, settings):
    parser = tyro.extras.get_parser(settings)
    helps = {action.dest.replace("-", "_"): action.help for action in parser._actions}
    for field in fields(settings):
        sentence = helps[field.name].partition("(default")[0]
        assert len(sentence) > 10, field.name
    profile = get_profile("tiny")
    own = {"train": profile.ppo, "sft": profile.sft}[command]
    assert parse([command, "--profile=tiny", "--out=x"]).settings == own
    options = parse([command, "--profile=tiny", "--out=x", "--steps=7", "--gradient-checkpointing"])
    assert options.settings == replace(own, steps=7, gradient_checkpointing=True)


@pytest.mark.slow
def test_a_bug_shows_its_traceback(policy, data, monkeypatch):
    """Errors of our own code must not pass for bad input, in whatever phase they come."""

    def bug(*_, **__):
        return int("a bug")

    for name in ("PPORun.train", "PPORun.__init__", "trainer.ResponseTrainer.__init__"):
        with monkeypatch.context() as patch, pytest.raises(ValueError, match="a bug"):
            patch.setattr(f"glm_ppo_utils.ppo.{name}", bug)
            train(policy, "--steps=1", "--eval-every=0", f"--out=run-{name}")
    monkeypatch.setattr(Evaluator, "score_batch", lambda *_: None + 1)
    write_answer(generate(6, seed=5)[0].id, "")
    with pytest.raises(TypeError, match="NoneType"):
        main(["score", f"--data={data}", "--answers=answers.jsonl"])


def test_config_gives_options_and_the_command_line_wins():
    Path("c.yaml").write_text("profile: tiny\nsteps: 7\npolicy_lr: 1e-4\nquiet: true\nout: a\n")
    options = parse(["train", "--config=c.yaml", "--out=b"])
    knobs = replace(get_profile("tiny").ppo, steps=7, policy_lr=1e-4)
    assert (options.settings, options.quiet, options.out) == (knobs, True, Path("b"))
    run = {**asdict(knobs), "problems": "5a" * 32, "policy": "", "reward": "m:f", "heldout": ""}
    Path("settings.json").write_text(json.dumps(run))  # as a run writes it
    assert parse(["train", "--config", "settings.json", "--out=b"]).settings == knobs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "--config c.yaml: [Errno 2] No such file"),
        ("steps", "--config c.yaml holds no options"),
        ("a: [", "--config c.yaml: "),
        ("stepz: 3", "Unrecognized options: --stepz"),
        ("steps: many", "--steps: invalid literal for int"),
    ],
)
def test_a_bad_config_is_one_line(capsys, text, message):
    if text is not None:
        Path("c.yaml").write_text(text)
    assert main(["train", "--profile=tiny", "--config=c.yaml", "--out=run"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_version_and_no_command(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"glm-ppo {version('glm-ppo-utils')}\n"
    assert main([]) == 2
    assert "{train,evaluate,score,sft,export-problems,push}" in capsys.readouterr().err


def test_the_shell_can_complete_commands_and_knobs():
    with pytest.raises(SystemExit) as done:
        main(["--tyro-write-completion", "bash", "complete.sh"])
    assert not done.value.code
    script = Path("complete.sh").read_text()
    assert all(word in script for word in ("evaluate", "--policy-lr", "--warmup", "--answers"))


def test_score_does_not_wait_for_torch(data):
    """Not even to grade: it can be used where only the evaluator is installed."""
    write_answer(generate(6, seed=5)[0].id, "")
    code = (
        "import sys; sys.modules['torch'] = None\n"  # makes every import of torch fail
        "from glm_ppo_utils.cli import main\n"
        f"sys.exit(main(['score', '--data={data}', '--answers=answers.jsonl']))"
    )
    path = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "1 answers" in done.stdout


def test_the_type_of_the_weights_can_be_chosen():
    command = ["evaluate", "--profile=chatglm3-6b"]
    assert parse([*command, "--dtype=float32"]).chosen_profile().dtype == "float32"
    assert parse(command).chosen_profile().dtype == "bfloat16"
    with pytest.raises(BadInput, match="dtype"):
        parse(["evaluate", "--profile=tiny", "--dtype=float8"])
