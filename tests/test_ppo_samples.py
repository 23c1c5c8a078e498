"""What PPO makes of each sampled answer: replay, the baseline of a group, and cut answers."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_ppo import SETTINGS, make_run
from tiny import WORDS, policy_with_value_head, without_seconds
from trl.core import masked_whiten

from glm_ppo_utils.ppo import PPORun, read_jsonl
from glm_ppo_utils.ppo.replay import Replay
from glm_ppo_utils.rollout import Rollout

QUICK = replace(SETTINGS, steps=2, epochs=1, eval_every=0)
REPLAY = replace(QUICK, replay=3, replay_batch_size=4, replay_lr=1e-2, lr_end=1.0)


def halves(prompts, completions, **_):
    """1 for every other answer, so that a seeded run always has exact ones."""
    return [float(i % 2) for i in range(len(prompts))]


@pytest.fixture
def policy(tiny_folder, tokenizer):
    return policy_with_value_head("chatglm", tiny_folder, len(tokenizer))


def run_with(policy, tokenizer, out, settings, reward=halves) -> PPORun:
    return PPORun(policy, tokenizer, reward, WORDS, settings, out, progress=False)


def rollout(query, response):
    return Rollout(torch.tensor(query), torch.tensor(response), "")


# -- replay


@torch.no_grad()
def token_loss(policy, pairs) -> float:
    """Mean loss per token of (query, response) pairs, one after another."""
    losses = []
    for query, response in pairs:
        logits = policy(input_ids=torch.cat([query, response])[None])[0][0, len(query) - 1 : -1]
        losses.append(-logits.log_softmax(-1)[range(len(response)), response])
    return torch.cat(losses).mean().item()


def test_the_newest_exact_answer_to_each_problem_is_kept_and_stored():
    replay = Replay(replace(REPLAY, replay_reward=100.0))
    replay.add([rollout([1, 2], [3]), rollout([1], [4, 5]), rollout([6], [7])], [100, 100, 99])
    replay.add([rollout([1, 2], [8, 9])], [100.0])
    assert replay.answers == {(1, 2): [8, 9], (1,): [4, 5]}
    again = Replay(REPLAY)
    again.load(replay.state())
    assert again.answers == replay.answers
    first, second = ([[q.tolist() for q, _ in b] for b in r.batches(7)] for r in (replay, again))
    assert first == second and [len(b) for b in first] == [4, 4]  # of 3: two passes, and one
    again.load(Replay(REPLAY).state())
    assert not again.answers and not list(again.batches(0))


def test_a_surprising_answer_comes_up_more_often_until_it_is_learnt():
    replay = Replay(replace(REPLAY, replay=1, replay_batch_size=1))
    sure = replace(rollout([1], [2]), logprobs=torch.tensor([-0.25]))
    unsure = replace(rollout([3], [4, 5]), logprobs=torch.tensor([-0.25, -0.5]))
    replay.add([sure, unsure], [1.0, 1.0])
    assert replay.surprises == {(1,): 0.25, (3,): 0.75}

    def share_of_unsure():
        drawn = [batch for step in range(500) for batch in replay.batches(step)]
        return np.mean([query.tolist() == [3] for [(query, _)] in drawn])

    assert share_of_unsure() == pytest.approx(0.75, abs=0.06)
    replay.note([(torch.tensor([3]), torch.tensor([4, 5]))], [0.0])
    assert 0 <= share_of_unsure() < 0.02
    again = Replay(REPLAY)
    again.load(replay.state())
    assert again.surprises == replay.surprises


def test_replay_makes_exact_answers_likelier(policy, tiny_folder, tokenizer, tmp_path):
    """Nothing else moves the policy here: its own learning rate is 0."""
    run = run_with(policy, tokenizer, tmp_path, replace(REPLAY, policy_lr=0.0, steps=4))
    rows = run.train()
    assert [row["replay_answers"] for row in rows] == sorted(row["replay_answers"] for row in rows)
    assert rows[0]["replay_answers"] == 4
    kept = [(torch.tensor(q), torch.tensor(r)) for q, r in run.replay.answers.items()]
    before = policy_with_value_head("chatglm", tiny_folder, len(tokenizer))
    assert token_loss(policy, kept) < token_loss(before, kept) - 0.1
    assert rows[-1]["kl"] > 1e-3


def test_without_replay_nothing_is_kept(policy, tokenizer, tmp_path):
    run = run_with(policy, tokenizer, tmp_path, QUICK)
    assert not {"replay_answers", "replay_loss"} & run.train()[0].keys()
    assert not run.replay.answers and not run.trainer.imitation.state


def test_an_update_of_replay_follows_the_mean_loss_of_the_answers_tokens(
    policy, tokenizer, tmp_path
):
    run, before = run_with(policy, tokenizer, tmp_path, REPLAY), copy.deepcopy(policy)
    pairs = [(r.query, r.response[:n]) for r, n in zip(run.rollout(WORDS[:2]), (2, 5), strict=True)]
    loss, surprises = run.trainer.imitate(pairs)
    assert loss == pytest.approx(token_loss(before, pairs), abs=1e-4)
    alone = [token_loss(before, [pair]) * len(pair[1]) for pair in pairs]
    assert surprises == pytest.approx(alone, abs=1e-3)


@pytest.mark.parametrize("changes", [{}, {"baseline": "group", "samples_per_problem": 2}])
def test_a_resumed_run_replays_the_same_answers(tiny_folder, tokenizer, tmp_path, changes):
    def train(name, steps):
        policy = policy_with_value_head("chatglm", tiny_folder, len(tokenizer))
        settings = replace(REPLAY, steps=steps, policy_lr=1e-3, **changes)
        run = run_with(policy, tokenizer, tmp_path / name, settings)
        run.train()
        return run

    whole = train("whole", 3)
    train("parts", 1)
    parts = train("parts", 3)
    assert without_seconds(parts.folder.rows("log")) == without_seconds(whole.folder.rows("log"))
    for mine, theirs in zip(parts.policy.parameters(), whole.policy.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert parts.scale == whole.scale


# -- the baseline of a group

GROUP = replace(QUICK, samples_per_problem=4, baseline="group", value_warmup=1)


def test_a_batch_has_several_answers_to_each_problem(policy, tokenizer, tmp_path):
    seen = []

    def noting(prompts, completions, **_):
        seen.append(prompts)
        return halves(prompts, completions)

    rows = run_with(policy, tokenizer, tmp_path, GROUP, noting).train()
    for prompts in seen:
        assert len(prompts) == 8 and len(set(prompts)) == 2
        assert prompts[:4] == [prompts[0]] * 4
    assert seen[0] != seen[1]
    assert [(r["value_loss"], r["explained_variance"]) for r in rows] == [(None, None)] * 2


def test_advantages_are_what_an_answer_earned_beyond_the_others(policy, tokenizer, tmp_path):
    """At the first step, where the KL is 0; and from that step on, the policy learns."""
    run = run_with(policy, tokenizer, tmp_path, GROUP)
    for parameter in run.trainer.head:
        torch.nn.init.normal_(parameter)
    rollouts = [r for r in run.rollout(WORDS[:2]) for _ in range(4)]
    rewards = [1, 0, 0, 0, 5, 5, 5, 5]
    before, seen = [p.clone() for p in run.trainer.head], []
    compute = run.trainer.compute_advantages

    def noting(values, rewards, mask):
        seen.append((*compute(values, rewards, mask), mask))
        return seen[-1][:3]

    run.trainer.compute_advantages = noting
    run.trainer.set_learning_rates(0)
    run.optimise(rollouts, rewards)
    values, advantages, _, mask = seen[0]
    assert not values.any()
    order = sorted(range(8), key=lambda i: len(rollouts[i].query) + len(rollouts[i].response))
    beyond = torch.tensor([[1, -1 / 3, -1 / 3, -1 / 3, 0, 0, 0, 0][i] for i in order])[:, None]
    wanted = masked_whiten(beyond * mask, mask)
    assert torch.allclose(advantages * mask, wanted * mask, atol=1e-3)
    assert all(torch.equal(p, old) for p, old in zip(run.trainer.head, before, strict=True))
    assert run.trainer.optimizer.param_groups[0]["lr"] == GROUP.policy_lr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples_per_problem": 3}, "batch_size 8 is not a multiple of samples_per_problem 3"),
        ({"baseline": "group"}, "baseline is 'group' with samples_per_problem 1; it must be"),
        ({"baseline": "mean", "samples_per_problem": 2}, "baseline is 'mean' .* it must be"),
        ({"replay": -1}, "replay is -1; it must be a whole number of at least 0"),
    ],
)
def test_samples_that_make_no_sense_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(SETTINGS, **changes)


# -- answers that were cut


def test_answers_that_reach_the_length_limit_are_counted(policy, tokenizer, tmp_path):
    run = make_run(policy, tokenizer, tmp_path, replace(QUICK, max_new_tokens=3))
    end = tokenizer.eos_token_id
    answers = [rollout([1], ids) for ids in ([5, 6, 7], [5, 6, end], [5, end], [7, 7, 7])]
    counted = run._cut_answers(answers, [0.25, 1.0, 1.0, 0.75])
    assert counted == {"cut": 0.5, "cut_reward": 0.5}
    assert run._cut_answers(answers[1:3], [1.0, 1.0]) == {"cut": 0, "cut_reward": None}
    run.train()
    assert 0 <= read_jsonl(tmp_path / "log.jsonl")[0]["cut"] <= 1
