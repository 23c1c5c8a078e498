"""The PPO loop under ``accelerate launch``: two CPU processes on loopback against one."""

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import WORDS

from glm_ppo_utils.chatglm import add_value_head, load_policy, load_tokenizer
from glm_ppo_utils.cli import main
from glm_ppo_utils.ppo import PPORun, PPOSettings, read_jsonl
from glm_ppo_utils.ppo import run as ppo
from glm_ppo_utils.problems import generate, save_problems
from glm_ppo_utils.rollout import Rollout

pytestmark = pytest.mark.slow

# One optimiser step per PPO step: then its gradient does not depend on the order of the rows.
SETTINGS = PPOSettings(
    steps=3,
    batch_size=8,
    mini_batch_size=8,
    epochs=1,
    max_new_tokens=6,
    policy_lr=1e-3,
    lr_end=1.0,  # a part of the run is taken up again with more steps
    value_warmup=0,
    eval_every=3,
    eval_problems=5,
    checkpoint_every=2,
)


def by_prompt(prompts, completions, **_):
    """A reward that differs between prompts; notes who scored what."""
    with open(f"scored-{os.environ.get('RANK', 0)}.jsonl", "a") as file:
        file.write(json.dumps(prompts) + "\n")
    return [len(prompt) % 7 / 6 for prompt in prompts]


class Forced(PPORun):
    """Responses that depend on the prompt alone, of unequal lengths, the longest on rank 1."""

    def rollout(self, problems, temperature=1.0):
        rollouts = []
        for problem in problems:
            ids = self.tokenizer.build_chat_input(problem.text)["input_ids"][0]
            length = 1 + WORDS.index(problem) % 6
            response = torch.arange(length) * 7 % 90 + 5
            rollouts.append(Rollout(ids, response, self.tokenizer.decode(response)))
        return rollouts

    def batch(self, step):
        return WORDS[4 * (step % 2) :][:8]


def make(folder, out, kind=PPORun, lora=False, reward=by_prompt, **changes) -> PPORun:
    torch.manual_seed(int(os.environ.get("RANK", 0)))  # ranks start from unlike value heads
    policy = add_value_head(load_policy(folder, lora={"r": 4} if lora else None))
    settings, tokenizer = replace(SETTINGS, **changes), load_tokenizer(folder)
    return kind(policy, tokenizer, reward, WORDS, settings, out, WORDS, progress=False)


def train(folder, out, kind=PPORun, **more) -> PPORun:
    run = make(folder, out, kind, **more)
    run.train()
    return run


def learnt(run: PPORun) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in run.policy.named_parameters() if p.requires_grad}


def forced(folder, lora: bool) -> PPORun:
    return train(folder, f"forced-lora-{lora}", Forced, lora=lora)


def every_other(prompts, completions, **_):
    """An exact answer and a wrong one to each problem; the two stand side by side."""
    assert prompts[::2] == prompts[1::2]
    return [float(i % 2) for i in range(len(prompts))]


def replayed(folder, steps: int) -> PPORun:
    """Replay, and the baseline of a group."""
    group = {"samples_per_problem": 2, "baseline": "group", "eval_every": 0}
    replay = {"replay": 2, "replay_batch_size": 4}
    return train(folder, "replayed", reward=every_other, steps=steps, **group, **replay)


def imitated(folder) -> dict:
    """A supervised update on eight answers of unequal lengths."""
    run = make(folder, "imitated", Forced)
    pairs = [(r.query, r.response) for r in run.rollout(WORDS[:8])]
    return {"loss": run.trainer.imitate(run._share(pairs))[0], **learnt(run)}


def averaged_gradients(out: Path) -> dict[int, torch.Tensor]:
    """Adam's running means of the gradients after the last step, by the parameter's place."""
    state = torch.load(out / "checkpoints" / "step-000003" / "state.pt", weights_only=True)
    return {place: s["exp_avg"] for place, s in state["optimizer"]["state"].items()}


def stopped(folder) -> int:
    """The steps that were done when Ctrl-C, pressed in the second process only, ended the run."""

    def pressed(prompts, completions, **_):
        if os.environ["RANK"] == "1":
            signal.raise_signal(signal.SIGINT)
        return [0.5] * len(completions)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever the runner does
    torch.manual_seed(0)
    policy, settings = add_value_head(load_policy(folder)), replace(SETTINGS, eval_every=0)
    tokenizer = load_tokenizer(folder)
    run = PPORun(policy, tokenizer, pressed, WORDS, settings, "stopped", progress=False)
    try:
        run.train()
    except KeyboardInterrupt:
        return run.done
    return -1


def command(folder, out, *more) -> int:
    """The command line, as ``accelerate launch -m glm_ppo_utils train`` runs it."""
    options = [f"--policy={folder}", f"--out={out}", "--data=data.jsonl", "--heldout=data.jsonl"]
    options += ["--steps=2", "--eval-every=2", "--batch-size=4", "--mini-batch-size=2", *more]
    return main(["train", "--profile=tiny", "--max-new-tokens=6", "--quiet", *options])


if __name__ == "__main__":  # what each of the two processes does
    torch.set_num_threads(1)
    folder = sys.argv[1]
    results = {f"forced {lora}": learnt(forced(folder, lora)) for lora in (False, True)}
    results["whole"] = learnt(train(folder, "whole"))
    train(folder, "parts", steps=2)
    results["parts"] = learnt(train(folder, "parts"))
    replayed(folder, 1)
    run = replayed(folder, 3)
    results["replayed"] = {
        **learnt(run),
        "answers": str([run.replay.answers, run.replay.surprises]),
    }
    results["imitated"] = imitated(folder)
    results["stopped"] = stopped(folder)
    results["refused"] = command(folder, "command", "--batch-size=3", "--mini-batch-size=3")
    results["done"] = command(folder, "command")
    torch.save(results, f"results-{os.environ['RANK']}.pt")


@pytest.fixture(scope="module")
def two(tiny_folder, tmp_path_factory) -> tuple[Path, list[dict]]:
    """The tiny_folder in which two processes trained, and the parameters that each ended with."""
    here = tmp_path_factory.mktemp("two")
    save_problems(here / "data.jsonl", generate(5, seed=5))
    done = launch(here, __file__, str(tiny_folder))
    assert done.returncode == 0, done.stderr
    (here / "stdout").write_text(done.stdout)
    (here / "stderr").write_text(done.stderr)
    results = [torch.load(here / f"results-{rank}.pt", weights_only=True) for rank in (0, 1)]
    return here, results


def launch(here: Path, *command: str) -> subprocess.CompletedProcess:
    """``accelerate launch`` of a script or module in two CPU processes, in the folder `here`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    launcher += ["--num_processes=2", "--num_machines=1", "--mixed_precision=no"]
    launcher += ["--dynamo_backend=no", f"--main_process_port={port}", *command]
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    return subprocess.run(
        launcher, cwd=here, env=env, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.parametrize("lora", [False, True])
def test_two_processes_learn_what_one_learns_from_the_whole_batch(
    tiny_folder, two, tmp_path, monkeypatch, lora
):
    """Same responses, so the averaged gradient is that of the union, and so is every log row."""
    here, results = two
    monkeypatch.chdir(tmp_path)
    one = forced(tiny_folder, lora)
    torch.manual_seed(0)
    start = add_value_head(load_policy(tiny_folder, lora={"r": 4} if lora else None))
    start = dict(start.named_parameters())
    first, second = (r[f"forced {lora}"] for r in results)
    for name, value in learnt(one).items():
        assert torch.equal(first[name], second[name]), name
        assert torch.allclose(first[name], value, atol=1e-4), name
        assert not torch.allclose(value, start[name], atol=1e-3), name
    rows = read_jsonl(here / one.out_dir / "log.jsonl")
    for mine, theirs in zip(rows, one.folder.rows("log"), strict=True):
        for name in ("reward", "reward_sd", "exact", "response_tokens", "kl"):
            assert mine[name] == pytest.approx(theirs[name], abs=1e-4), name
    # Adam makes a step of every gradient, also of one that is all rounding, so that the parameters
    # agree less well than the averages of the gradients do.
    mine, theirs = (averaged_gradients(folder / one.out_dir) for folder in (here, tmp_path))
    for place, gradient in theirs.items():
        assert (mine[place] - gradient).norm() < 1e-4 * gradient.norm()
    mine, theirs = (read_jsonl(folder / one.out_dir / "eval.jsonl") for folder in (here, tmp_path))
    for row, other in zip(mine, theirs, strict=True):
        assert row == pytest.approx(other)


def test_two_processes_write_one_log_and_one_checkpoint(two):
    here, _ = two
    run = here / "whole"
    assert [r["step"] for r in read_jsonl(run / "log.jsonl")] == [0, 1, 2]
    assert [r["step"] for r in read_jsonl(run / "eval.jsonl")] == [0, 3]
    assert len(list((run / "tensorboard").glob("events*"))) == 1
    names = sorted(p.name for p in (run / "checkpoints").iterdir())
    assert names == ["step-000002", "step-000003"]
    assert json.loads((run / "settings.json").read_text())["batch_size"] == 8


def test_each_process_scores_its_share_with_random_numbers_of_its_own(two):
    here, results = two
    scored = [(here / f"scored-{rank}.jsonl").read_text().splitlines() for rank in (0, 1)]
    batches = [[json.loads(line) for line in lines] for lines in scored]
    assert batches[0][0] != batches[1][0]
    assert {len(b) for rank in batches for b in rank} == {4, 3, 2}  # 8 a step, 5 held out
    run = results[0]["whole"]
    assert all(torch.equal(run[n], results[1]["whole"][n]) for n in run)


def test_two_processes_resume_where_they_stopped(two):
    here, results = two
    for rank in (0, 1):
        whole, parts = results[rank]["whole"], results[rank]["parts"]
        assert all(torch.equal(whole[n], parts[n]) for n in whole)
    logs = [read_jsonl(here / name / "log.jsonl") for name in ("whole", "parts")]
    assert [r["reward"] for r in logs[0]] == [r["reward"] for r in logs[1]]


def test_ctrl_c_in_one_process_stops_all_after_the_same_step(two):
    """None waits for ever for one that has gone, and the step is saved."""
    here, results = two
    assert [r["stopped"] for r in results] == [1, 1]
    assert [p.name for p in (here / "stopped" / "checkpoints").iterdir()] == ["step-000001"]


def test_the_train_command_runs_on_two_processes_and_speaks_once(two):
    here, results = two
    assert [r["refused"] for r in results] == [2, 2]
    assert (here / "stderr").read_text().count("error: batch_size 3 cannot be shared out") == 1
    assert [r["done"] for r in results] == [0, 0]
    assert (here / "stdout").read_text().count("tiny: 2 PPO steps of 4 responses") == 1
    assert [r["step"] for r in read_jsonl(here / "command" / "log.jsonl")] == [0, 1]
    assert [r["step"] for r in read_jsonl(here / "command" / "eval.jsonl")] == [0, 2]
    assert load_policy(here / "command" / "policy").config.hidden_size == 32


def test_two_processes_replay_the_exact_answers_of_both(tiny_folder, two, tmp_path, monkeypatch):
    """The update is that on the whole batch; the answers are stored, and kept alike by both."""
    here, results = two
    monkeypatch.chdir(tmp_path)
    one, first = imitated(tiny_folder), results[0]["imitated"]
    assert first.pop("loss") == pytest.approx(one.pop("loss"), abs=1e-4)
    assert all(torch.equal(first[name], results[1]["imitated"][name]) for name in one)
    gaps = [
        (first[name] - value).abs().max() for name, value in one.items() if "v_head" not in name
    ]
    assert max(gaps) < 1e-4
    first, second = (r["replayed"] for r in results)
    assert first.pop("answers") == second.pop("answers")
    assert all(torch.equal(first[name], second[name]) for name in first)
    rows = read_jsonl(here / "replayed" / "log.jsonl")
    assert [row["exact"] for row in rows] == [0.5] * 3
    assert rows[0]["replay_answers"] == 4 <= rows[-1]["replay_answers"]


REWARDS = """
import os

def judge(prompts, completions, **_):
    if os.environ["RANK"] == "1":
        {failure}
    return [0.5] * len(prompts)
"""


@pytest.mark.parametrize(
    ("failure", "last"),
    [
        ("raise OSError('the judge is not there')", "rewards:judge failed; 0 of 2"),
        ("return [None] * len(prompts)", "rewards:judge: step 0: the reward function judge re"),
    ],
)
def test_the_error_of_one_of_several_processes_comes_last(tiny_folder, tmp_path, failure, last):
    (tmp_path / "rewards.py").write_text(REWARDS.format(failure=failure))
    save_problems(tmp_path / "data.jsonl", generate(5, seed=5))
    options = ["--profile=tiny", f"--policy={tiny_folder}", "--out=run", "--data=data.jsonl"]
    options += ["--steps=2", "--batch-size=4", "--mini-batch-size=2", "--max-new-tokens=6"]
    options += ["--reward=rewards:judge", "--judge-by-reward", "--quiet"]
    done = launch(tmp_path, "-m", "glm_ppo_utils", "train", *options)
    assert done.returncode
    print(done.stderr)
    lines = [line for line in done.stderr.splitlines() if line.strip(" =")]
    assert lines[-1].split("traceback : ")[-1].startswith(f"process 1: error: {last}")
    assert "[rank" not in done.stderr  # no traceback of the other process


def test_processes_draw_unlike_numbers_and_one_process_those_of_before():
    run = object.__new__(PPORun)
    draws = []
    for run.process in (0, 1, 2):
        run._set_seed(7)
        draws.append(torch.rand(1).item())
    torch.manual_seed(7)
    assert draws[0] == torch.rand(1).item()
    assert len(set(draws)) == 3


def test_a_batch_that_cannot_be_shared_out_is_a_clear_error(tiny_folder, tmp_path, monkeypatch):
    class Three:
        process_index, num_processes = 0, 3

    monkeypatch.setattr(ppo, "PartialState", lambda **_: Three)
    with pytest.raises(ValueError, match="batch_size 8 cannot be shared out evenly to 3 processes"):
        train(tiny_folder, tmp_path / "run")
