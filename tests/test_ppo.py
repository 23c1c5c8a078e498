"""The PPO loop on models of a few thousand parameters, ChatGLM and GPT-2 alike."""

import copy
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import WORDS, Word, letters, policy_with_value_head, without_seconds
from transformers import set_seed
from trl import PPOTrainer

from glm_ppo_utils.chatglm import add_value_head, load_policy
from glm_ppo_utils.ppo import PPORun, PPOSettings, read_jsonl
from glm_ppo_utils.rollout import RewardError

SETTINGS = PPOSettings(
    steps=4,
    batch_size=8,
    mini_batch_size=4,
    epochs=2,
    max_new_tokens=6,
    eval_every=2,
    eval_problems=4,
    checkpoint_every=1,
    value_warmup=0,
)


def nothing(prompts, **_):
    return [0.0] * len(prompts)


@pytest.fixture(params=["chatglm", "gpt2"])
def policy(request, tiny_folder, tokenizer):
    return policy_with_value_head(request.param, tiny_folder, len(tokenizer))


def make_run(policy, tokenizer, out_dir, settings=SETTINGS, **more) -> PPORun:
    return PPORun(
        policy, tokenizer, letters, WORDS, settings, out_dir, heldout=WORDS, progress=False, **more
    )


def test_the_first_step_starts_at_the_reference(policy, tokenizer, tmp_path):
    """Nothing has moved yet: the KL is 0 and the ratio of new to old probabilities 1."""
    settings = replace(SETTINGS, epochs=1, mini_batch_size=8, steps=1)
    row = make_run(policy, tokenizer, tmp_path, settings).train()[0]
    assert row["kl"] == pytest.approx(0, abs=1e-4)
    assert row["ratio"] == pytest.approx(1, abs=1e-4)
    assert row["clip_fraction"] == 0


@pytest.mark.slow
def test_later_steps_have_moved(policy, tokenizer, tmp_path):
    settings = replace(SETTINGS, policy_lr=1e-2)
    rows = make_run(policy, tokenizer, tmp_path, settings).train()
    assert abs(rows[-1]["kl"]) > 1e-3
    assert all(math.isfinite(v) for row in rows for v in row.values())


@pytest.mark.slow
def test_it_learns(policy, tokenizer, tmp_path):
    settings = replace(
        SETTINGS, steps=25, batch_size=32, mini_batch_size=16, policy_lr=1e-2, eval_every=0
    )
    rows = make_run(policy, tokenizer, tmp_path, settings).train()
    first = sum(r["reward"] for r in rows[:5]) / 5
    last = sum(r["reward"] for r in rows[-5:]) / 5
    assert last > first + 0.15


def test_the_log_and_the_evaluations_are_written(policy, tokenizer, tmp_path):
    run = make_run(policy, tokenizer, tmp_path)
    rows = run.train()
    assert [r["step"] for r in rows] == [0, 1, 2, 3]
    wanted = {"reward", "reward_sd", "exact", "parsed", "kl", "entropy", "clip_fraction", "ratio"}
    wanted |= {"explained_variance", "response_tokens"}
    wanted |= {"seconds_generate", "seconds_score", "seconds_optimise"}
    assert wanted <= rows[0].keys()
    assert [r["step"] for r in read_jsonl(tmp_path / "eval.jsonl")] == [0, 2, 4]
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_only_the_value_head_learns_during_its_warm_up(policy, tokenizer, tmp_path):
    before = {n: p.clone() for n, p in policy.named_parameters()}
    make_run(policy, tokenizer, tmp_path, replace(SETTINGS, value_warmup=4)).train()
    moved = {n for n, p in policy.named_parameters() if not torch.equal(p, before[n])}
    assert moved
    assert all("v_head" in name for name in moved)


def test_learning_rates_fall_to_their_last_share_after_the_warm_up(policy, tokenizer, tmp_path):
    rates = {"policy_lr": 1e-3, "value_lr": 1e-2, "lr_end": 0.25}
    settings = replace(SETTINGS, steps=5, value_warmup=1, **rates)
    run = make_run(policy, tokenizer, tmp_path, settings)
    seen = []
    for step in range(5):
        run.step(step)
        seen.append([group["lr"] for group in run.trainer.optimizer.param_groups])
    policy_lr, value_lr = zip(*seen, strict=True)
    assert policy_lr == pytest.approx([0, 1e-3, 0.75e-3, 0.5e-3, 0.25e-3])
    assert value_lr == pytest.approx([1e-2, 1e-2, 0.75e-2, 0.5e-2, 0.25e-2])


@pytest.fixture
def ragged(policy, tokenizer, tmp_path):
    """A run and rollouts whose responses differ in length, the longest in the first mini-batch."""
    run = make_run(policy, tokenizer, tmp_path)
    lengths = (6, 1, 3, 5, 2, 2, 1, 4)
    rollouts = run.rollout(WORDS[:8])
    return run, [
        replace(r, response=r.response[:n]) for r, n in zip(rollouts, lengths, strict=True)
    ]


def test_response_columns_give_the_numbers_of_trls_own_pass(ragged):
    run, rollouts = ragged
    queries, responses = [r.query for r in rollouts], [r.response for r in rollouts]
    inputs = run.trainer.prepare_model_inputs(queries, responses)
    for rows in (slice(0, 8), slice(4, 8)):
        part = {name: value[rows] for name, value in inputs.items()}
        arguments = (run.policy, queries[rows], responses[rows], part)
        with torch.no_grad():
            ours = run.trainer.batched_forward_pass(*arguments, return_logits=True)
            stock = PPOTrainer.batched_forward_pass(run.trainer, *arguments, return_logits=True)
        mask = stock[3].bool()
        assert mask.sum() == ours[3].sum() == sum(len(r) for r in responses[rows])
        for mine, theirs in zip(ours[:3], stock[:3], strict=True):
            assert mine.shape[1] == 6
            assert torch.allclose(mine[ours[3].bool()], theirs[mask], atol=1e-5)


def test_logits_are_computed_for_the_responses_only(ragged):
    """One column more than the longest response, which foretells its first token."""
    run, rollouts = ragged
    queries, responses = [r.query for r in rollouts], [r.response for r in rollouts]
    inputs = run.trainer.prepare_model_inputs(queries, responses)
    assert run.trainer.head_dim is not None  # it is found by a forward pass, once
    shapes = []
    head = run.policy.pretrained_model.lm_head
    hook = head.register_forward_hook(lambda *args: shapes.append(set(args[2].shape[:2])))
    with torch.no_grad():
        run.trainer.batched_forward_pass(run.policy, queries, responses, inputs)
        run.policy(**inputs)
    hook.remove()
    assert shapes[:-1] == [{4, 7}] * 2  # mini-batches of 4, responses of at most 6
    assert shapes[-1] == {8, inputs["input_ids"].shape[1]}  # elsewhere nothing is cut


def test_a_step_gives_the_statistics_of_trls_own_step(ragged, tokenizer, tmp_path):
    run, rollouts = ragged

    def stats(whose):
        run_ = make_run(copy.deepcopy(run.policy), tokenizer, tmp_path / whose)
        if whose == "stock":
            for name in ("prepare_model_inputs", "batched_forward_pass"):
                setattr(run_.trainer, name, getattr(PPOTrainer, name).__get__(run_.trainer))
        set_seed(0)
        return run_.optimise(rollouts, [0.1 * i for i in range(8)])

    ours, theirs = stats("ours"), stats("stock")
    for name in ("kl", "policy_loss", "value_loss", "explained_variance", "entropy"):
        assert ours[name] == pytest.approx(theirs[name], abs=1e-4), name


@pytest.mark.parametrize(("times", "plus"), [(100, 0), (0.01, 0), (1, 10), (1e30, 0)])
def test_the_scale_of_the_reward_changes_nothing(tiny_folder, tokenizer, tmp_path, times, plus):
    """Losses, KL and what is learnt; the log says on which scale the rewards were."""

    def scaled(prompts, completions, **_):
        return [times * r + plus for r in letters(prompts, completions)]

    def trained(name, reward):
        policy = policy_with_value_head("chatglm", tiny_folder, len(tokenizer))
        settings = replace(SETTINGS, policy_lr=1e-3, kl_coef=0.2, eval_every=0)
        run = PPORun(policy, tokenizer, reward, WORDS, settings, tmp_path / name, progress=False)
        return run.train(), torch.cat([p.flatten() for p in policy.parameters()])

    (plain, learnt), (other, same) = trained("plain", letters), trained("other", scaled)
    assert torch.allclose(learnt, same, atol=1e-4)
    for row, twin in zip(plain, other, strict=True):
        for name in ("kl", "policy_loss", "value_loss", "explained_variance"):
            assert twin[name] == pytest.approx(row[name], abs=1e-3), name
        assert twin["scale_mean"] == pytest.approx(times * row["scale_mean"] + plus)
        assert twin["scale_spread"] == pytest.approx(times * row["scale_spread"])
    assert abs(plain[-1]["kl"]) > 1e-4


def test_a_batch_is_a_shuffled_pass_over_all_problems(policy, tokenizer, tmp_path):
    run = make_run(policy, tokenizer, tmp_path)
    seen = [p for step in range(3) for p in run.batch(step)]  # 24 of 12 problems: two passes
    assert sorted(map(str, seen[:12])) == sorted(map(str, WORDS))
    assert seen[:12] != WORDS
    assert seen[:12] != seen[12:]


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one(tiny_folder, tokenizer, tmp_path):
    def fresh():
        torch.manual_seed(0)
        return add_value_head(load_policy(tiny_folder))

    same = replace(SETTINGS, lr_end=1.0)  # rates that do not depend on the number of steps
    whole = make_run(fresh(), tokenizer, tmp_path / "whole", same)
    whole.train()
    make_run(fresh(), tokenizer, tmp_path / "parts", replace(same, steps=2)).train()
    resumed = make_run(fresh(), tokenizer, tmp_path / "parts", same)
    resumed.train()
    assert without_seconds(resumed.folder.rows("log")) == without_seconds(whole.folder.rows("log"))
    for mine, theirs in zip(resumed.policy.parameters(), whole.policy.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_finished_run_is_shown_again_without_training(tiny_folder, tokenizer, tmp_path):
    """Its log and evaluations come back at once, and the policy in memory is the trained one."""

    def run():
        torch.manual_seed(0)
        policy = add_value_head(load_policy(tiny_folder))
        return make_run(policy, tokenizer, tmp_path, replace(SETTINGS, steps=2))

    first, again = run(), run()
    log = first.train()
    evaluations = again.folder.rows("eval")
    again.step = again.held_out_row = lambda done: pytest.fail(f"worked again at {done}")
    assert again.train() == log and len(log) == 2
    assert again.folder.rows("eval") == evaluations and len(evaluations) == 2
    for mine, theirs in zip(again.policy.parameters(), first.policy.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_the_reference_survives_a_resume(tiny_folder, tokenizer, tmp_path):
    """The KL after a resume is to the policy before PPO, not to the one that was loaded."""
    fast = replace(SETTINGS, policy_lr=1e-2, steps=2)
    torch.manual_seed(0)
    make_run(add_value_head(load_policy(tiny_folder)), tokenizer, tmp_path, fast).train()
    torch.manual_seed(0)
    policy = add_value_head(load_policy(tiny_folder))
    rows = make_run(policy, tokenizer, tmp_path, replace(fast, steps=3)).train()
    assert abs(rows[2]["kl"]) > 1e-3


def test_a_run_goes_on_only_from_the_policy_that_it_started_from(tiny_folder, tokenizer, tmp_path):
    """Its reference model is that policy; one that has learnt, or another one, is refused."""
    torch.manual_seed(0)
    policy = add_value_head(load_policy(tiny_folder, lora={"r": 4}))
    fast = replace(SETTINGS, policy_lr=1e-2, steps=2)
    make_run(policy, tokenizer, tmp_path, fast).train()
    with pytest.raises(ValueError, match="another policy at its start; pass the one"):
        make_run(policy, tokenizer, tmp_path, fast)
    torch.manual_seed(1)  # other random numbers, in value head and adapter, which change nothing
    same = add_value_head(load_policy(tiny_folder, lora={"r": 4}))
    assert make_run(same, tokenizer, tmp_path, fast).train()[-1]["step"] == 1


def test_an_adapted_kl_coefficient_survives_a_resume(tiny_folder, tokenizer, tmp_path):
    def run(steps):
        torch.manual_seed(0)
        settings = replace(SETTINGS, steps=steps, kl_target=1.0, policy_lr=1e-2, lr_end=1.0)
        return make_run(add_value_head(load_policy(tiny_folder)), tokenizer, tmp_path, settings)

    run(2).train()
    second = run(3)
    assert second.folder.checkpoints.load_newest()[0] == 2
    coefficients = [row["kl_coef"] for row in second.train()]
    assert coefficients[0] != coefficients[1] != coefficients[2]


def test_finished_steps_are_saved_when_something_else_fails(policy, tokenizer, tmp_path):
    run, calls = make_run(policy, tokenizer, tmp_path, replace(SETTINGS, checkpoint_every=100)), []

    def breaks(prompts, **_):
        calls.append(1)
        if len(calls) == 3:
            raise ConnectionError("the judge is not there")
        return [0.0] * len(prompts)

    run.reward_fn, run.grader, run.heldout = breaks, breaks, []
    with pytest.raises(ConnectionError, match="the judge is not there"):
        run.train()
    assert run.folder.checkpoints.load_newest()[0] == 2


@pytest.mark.slow
@pytest.mark.parametrize("at", [2, 4])  # in the middle, and after the last step
def test_an_evaluation_that_was_cut_short_is_made_up_for(tiny_folder, tokenizer, tmp_path, at):
    def fresh(name):
        torch.manual_seed(0)
        return make_run(add_value_head(load_policy(tiny_folder)), tokenizer, tmp_path / name)

    whole = fresh("whole")
    whole.train()
    run = fresh("run")
    held_out_row = run.held_out_row

    def interrupted(done):
        if done == at:
            raise KeyboardInterrupt
        return held_out_row(done)

    run.held_out_row = interrupted
    with pytest.raises(KeyboardInterrupt):
        run.train()
    assert run.folder.checkpoints.load_newest()[0] == at
    fresh("run").train()
    evals = [read_jsonl(tmp_path / name / "eval.jsonl") for name in ("whole", "run")]
    assert [row["step"] for row in evals[1]] == [0, 2, 4]
    assert evals[0] == evals[1]


def test_an_evaluation_that_is_done_is_not_repeated(policy, tokenizer, tmp_path):
    """Not even the first, which stands before every checkpoint: on several processes, one could
    read of it while another drops it, and wait for ever."""
    run = make_run(policy, tokenizer, tmp_path)
    run.step = lambda step: pytest.fail("far enough")
    with pytest.raises(pytest.fail.Exception):
        run.train()
    again = make_run(policy, tokenizer, tmp_path)
    again.held_out_row = lambda done: pytest.fail(f"evaluated again at {done}")
    again.step = run.step
    with pytest.raises(pytest.fail.Exception, match="far enough"):
        again.train()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_step_end_and_a_second_one_does_not_wait(
    policy, tokenizer, tmp_path, number
):
    def stop(*_):
        raise KeyboardInterrupt

    before = signal.signal(number, stop)
    try:
        for presses, saved in ((1, 2), (2, 1)):
            settings = replace(SETTINGS, checkpoint_every=1, eval_every=0)
            run, calls = make_run(policy, tokenizer, tmp_path / f"{presses}", settings), []

            def pressed(prompts, presses=presses, calls=calls, **_):
                calls.append(1)
                for _ in range(presses if len(calls) == 2 else 0):
                    signal.raise_signal(number)
                return [0.5] * len(prompts)

            run.reward_fn = run.grader = pressed
            with pytest.raises(KeyboardInterrupt):
                run.train()
            assert run.folder.checkpoints.load_newest()[0] == saved
            assert signal.getsignal(number) is stop
    finally:
        signal.signal(number, before)


def test_ctrl_c_saves_and_stops(policy, tokenizer, tmp_path):
    run = make_run(policy, tokenizer, tmp_path, replace(SETTINGS, checkpoint_every=100))
    calls = []

    def interrupted(prompts, completions, **columns):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return [0.0] * len(completions)

    run.reward_fn = run.grader = interrupted
    run.heldout = []
    with pytest.raises(KeyboardInterrupt):
        run.train()
    assert run.folder.checkpoints.load_newest()[0] == 2


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_a_clear_error_and_the_run_goes_on_afterwards(
    tiny_folder, tokenizer, tmp_path
):
    """The log of the third step goes to a device that is full."""

    def fresh():
        torch.manual_seed(0)
        return add_value_head(load_policy(tiny_folder))

    whole = make_run(fresh(), tokenizer, tmp_path / "whole")
    whole.train()
    run, calls = make_run(fresh(), tokenizer, tmp_path / "run"), []
    log, kept = run.out_dir / "log.jsonl", run.out_dir / "kept"

    def fills(*args, **columns):
        calls.append(1)
        if len(calls) == 7:  # after 2 x 2 evaluations and two steps
            log.rename(kept)
            log.symlink_to("/dev/full")
        return letters(*args, **columns)

    run.reward_fn = run.grader = fills
    with pytest.raises(OSError, match=r"log.jsonl could not be written \(No space left on device"):
        run.train()
    kept.rename(log)
    resumed = make_run(fresh(), tokenizer, tmp_path / "run")
    assert resumed.folder.checkpoints.load_newest()[0] == 2
    resumed.train()
    assert without_seconds(resumed.folder.rows("log")) == without_seconds(whole.folder.rows("log"))


@pytest.mark.parametrize("later", [{}, {"scale": {}, "replay": {"ids": []}}])
def test_the_run_of_an_older_version_is_refused(policy, tokenizer, tmp_path, later):
    """It learnt from other rewards, or replayed otherwise: the rest would be another run."""
    run = make_run(policy, tokenizer, tmp_path, replace(SETTINGS, eval_every=0))
    run.folder.checkpoints.save(1, {"parameters": {}, "optimizer": {}, "kl_coef": 0.05} | later)
    with pytest.raises(ValueError, match="an older version, which did not .* another out_dir"):
        run.train()


@pytest.mark.parametrize("lora", [None, {"r": 4}])
def test_bfloat16_policies_learn_in_float32(tiny_folder, tokenizer, tmp_path, lora):
    """A step too small for bfloat16 counts all the same, and resuming is exact."""

    def fresh(steps, out="parts"):
        torch.manual_seed(0)
        policy = add_value_head(load_policy(tiny_folder, dtype="bfloat16", lora=lora))
        settings = replace(SETTINGS, steps=steps, policy_lr=1e-6, lr_end=1.0, eval_every=0)
        return make_run(policy, tokenizer, tmp_path / out, settings)

    whole, start = fresh(3, "whole"), fresh(3)._learning()
    whole.train()
    learnt = whole._learning()
    assert all(value.dtype == torch.float32 for value in learnt.values())
    states = whole.trainer.optimizer.state.values()
    assert {s["exp_avg"].dtype for s in states} == {torch.float32}
    trunk = {
        p.dtype for n, p in whole.policy.named_parameters() if "lora" not in n and "v_" not in n
    }
    assert trunk == {torch.bfloat16}
    moved = [n for n in start if not torch.equal(start[n], learnt[n])]
    assert len(moved) > 0.9 * len(start)
    for name, parameter in whole.policy.named_parameters():
        if name in learnt:
            assert torch.equal(parameter, learnt[name].to(parameter.dtype)), name
    fresh(1).train()
    parts = fresh(3)
    parts.train()
    assert all(torch.equal(value, learnt[name]) for name, value in parts._learning().items())


def test_bad_input_is_a_clear_error(tiny_folder, policy, tokenizer, tmp_path):
    with pytest.raises(TypeError, match=r"add_value_head\(policy\)"):
        make_run(load_policy(tiny_folder), tokenizer, tmp_path)
    with pytest.raises(ValueError, match="no problems"):
        PPORun(policy, tokenizer, letters, [], SETTINGS, tmp_path)
    with pytest.raises(ValueError, match="not a multiple of mini_batch_size"):
        replace(SETTINGS, batch_size=6)
    make_run(policy, tokenizer, tmp_path / "run")
    with pytest.raises(ValueError, match="holds a run with seed=0, not 1"):
        make_run(policy, tokenizer, tmp_path / "run", replace(SETTINGS, seed=1))
    with pytest.raises(ValueError, match="holds a run with other problems; pass the same ones"):
        PPORun(policy, tokenizer, letters, WORDS[1:], SETTINGS, tmp_path / "run")
    with pytest.raises(ValueError, match="with other held-out problems; pass the same ones"):
        run = {"heldout": WORDS[1:], "progress": False}
        PPORun(policy, tokenizer, letters, WORDS, SETTINGS, tmp_path / "run", **run)
    with pytest.raises(ValueError, match="with the reward tiny:letters, not test_ppo:nothing"):
        PPORun(policy, tokenizer, nothing, WORDS, SETTINGS, tmp_path / "run")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot write to .*or pass another out_dir"):
        make_run(policy, tokenizer, tmp_path / "file" / "run")


@pytest.mark.parametrize(
    ("knob", "value", "wanted"),
    [
        ("steps", 0, "a whole number of at least 1"),
        ("batch_size", 8.0, "a whole number of at least 1"),
        ("policy_lr", math.nan, "a number of at least 0"),
        ("policy_lr", math.inf, "a number of at least 0"),
        ("eval_every", -1, "a whole number of at least 0"),
        ("clip", -1, "a number above 0"),
        ("value_clip", 0, "a number above 0"),
        ("kl_target", -3, "a number above 0"),
        ("kl_target", 0, "a number above 0"),
        ("max_grad_norm", 0, "a number above 0"),
        ("gamma", 5, "a number of at least 0 and at most 1"),
        ("lam", math.nan, "a number of at least 0 and at most 1"),
        ("lr_end", 3, "a number of at least 0 and at most 1"),
        ("seed", -1, "a whole number of at least 0 and at most 4294967295"),
        ("seed", 2**32, "a whole number of at least 0 and at most 4294967295"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(knob, value, wanted):
    with pytest.raises(ValueError, match=f"^{knob} is {value}; it must be {wanted}$"):
        replace(SETTINGS, **{knob: value})


@pytest.mark.parametrize("which", ["problems", "heldout"])
def test_a_prompt_that_does_not_fit_the_context_is_refused_at_the_start(
    policy, tokenizer, tmp_path, which
):
    long = Word("one " * 600)
    lists = {"problems": [*WORDS, long], "heldout": WORDS}
    lists = lists if which == "problems" else {"problems": WORDS, "heldout": [*WORDS[:3], long]}
    with pytest.raises(
        ValueError, match=r"problem \d+: its prompt has \d+ tokens.* context of \d+; short"
    ):
        PPORun(policy, tokenizer, letters, settings=SETTINGS, out_dir=tmp_path, **lists)


def test_evaluations_on_fewer_problems_say_so(policy, tokenizer, tmp_path):
    make_run(policy, tokenizer, tmp_path, replace(SETTINGS, steps=2)).train()
    fewer = replace(SETTINGS, steps=4, eval_problems=2)
    make_run(copy.deepcopy(policy), tokenizer, tmp_path / "other", fewer).train()
    rows = read_jsonl(tmp_path / "eval.jsonl") + read_jsonl(tmp_path / "other" / "eval.jsonl")
    assert [row["problems"] for row in rows] == [4, 4, 2, 2, 2]


def test_a_broken_reward_function_is_named_with_the_step(policy, tokenizer, tmp_path):
    run = make_run(policy, tokenizer, tmp_path)
    run.reward_fn = lambda **_: [0.0] * 7
    with pytest.raises(RewardError, match="step 0: the reward function .* returned 7 rewards for"):
        run.train()


def test_where_nothing_varies_nothing_is_explained(policy, tokenizer, tmp_path):
    """All returns are 0 before the policy has moved: null in the log, and no wild number."""
    settings = replace(SETTINGS, steps=2, value_warmup=2, eval_every=0)
    run = PPORun(policy, tokenizer, nothing, WORDS, settings, tmp_path, progress=False)
    rows = run.train()
    assert [row["explained_variance"] for row in rows] == [None, None]
    assert all(math.isfinite(v) for row in rows for v in row.values() if v is not None)
    json.loads((tmp_path / "log.jsonl").read_text().split("\n")[0], parse_constant=pytest.fail)


KILLED = """
import sys, torch
sys.path.insert(0, {tests!r})
from test_ppo import *
from glm_ppo_utils.chatglm import load_tokenizer
torch.set_num_threads(1)
torch.manual_seed(0)
policy = add_value_head(load_policy({folder!r}))
make_run(policy, load_tokenizer({folder!r}), {out!r}, replace(SETTINGS, steps=12)).train()
"""


@pytest.mark.slow
def test_kill_9_at_random_moments_loses_nothing(tiny_folder, tmp_path):
    """Log and weights of runs that were killed equal those of a whole run, bit for bit."""
    rounds = int(os.environ.get("GLM_PPO_KILL_ROUNDS", 2))

    def script(out):
        values = {"tests": str(Path(__file__).parent), "folder": str(tiny_folder), "out": str(out)}
        return [sys.executable, "-W", "ignore", "-c", KILLED.format(**values)]

    subprocess.run(script(tmp_path / "whole"), check=True)
    rng, kills, runs = random.Random(0), 0, 0
    while kills < rounds:
        out, runs = tmp_path / f"killed-{runs}", runs + 1
        while kills < rounds and _killed(script(out), out / "log.jsonl", rng):
            kills += 1
        subprocess.run(script(out), check=True)
        _assert_same_run(tmp_path / "whole", out)
    print(f"{kills} kills in {runs} runs")


def _killed(command, log, rng):
    """Start a run and kill it a moment after it got further than its log says; False if it ended.

    Waiting for progress makes every kill hit training, and not the imports.
    """
    process = subprocess.Popen(command)
    rows = len(read_jsonl(log))
    while process.poll() is None and len(read_jsonl(log)) <= rows:
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 0.3))
    if process.poll() is not None:
        return False
    process.send_signal(signal.SIGKILL)
    process.wait()
    return True


def _assert_same_run(whole, other):
    logs = [without_seconds(read_jsonl(out / "log.jsonl")) for out in (whole, other)]
    assert len(logs[0]) == 12 and logs[0] == logs[1]
    evals = [read_jsonl(out / "eval.jsonl") for out in (whole, other)]
    assert len(evals[0]) == 7 and evals[0] == evals[1]
    states = [
        torch.load(out / "checkpoints" / "step-000012" / "state.pt", weights_only=True)
        for out in (whole, other)
    ]
    for name, value in states[0]["parameters"].items():
        assert torch.equal(value, states[1]["parameters"][name]), name
