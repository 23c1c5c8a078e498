"""Notebook 01's module: scales from comparisons, the reward model, PPO by hand against TRL."""

import random

import numpy as np
import pytest
import torch
from trl.core import masked_whiten

from glm_ppo_utils import preferences as prefs
from glm_ppo_utils.evaluator import Evaluator
from glm_ppo_utils.problems import generate

QUALITY = -np.arange(5.0)


@pytest.fixture(scope="module")
def comparisons():
    return prefs.pairwise_comparisons(QUALITY, rounds=200, rng=np.random.default_rng(0))


# -- people


def test_worsen_counts_errors():
    for problem in generate(12, seed=0):
        answers = [prefs.worsen(problem, n, random.Random(3)) for n in range(5)]
        assert answers[0] == problem.reference
        scores = Evaluator().score_batch(answers, [problem.reference] * 5)
        assert [s.exact for s in scores] == [True] + [False] * 4
        assert len(set(answers)) == 5


def test_grades_stay_on_their_scale():
    rng = np.random.default_rng(0)
    for annotator in prefs.ANNOTATORS:
        grades = annotator.grade(np.linspace(5, -20, 30), 1.0, rng)
        assert annotator.lowest <= grades.min() and grades.max() <= annotator.highest
        assert (grades == grades.round()).all()


def test_comparisons_follow_the_model(comparisons):
    assert len(comparisons) == 200 * 10
    pair = comparisons[(np.sort(comparisons) == [0, 1]).all(axis=1)]
    # 200 tosses with probability 0.731: four standard errors are 0.125.
    assert abs((pair[:, 0] == 0).mean() - prefs.sigmoid(1.0)) < 0.125


def test_bradley_terry_recovers_the_scale(comparisons):
    strength = prefs.bradley_terry(comparisons, 5)
    assert np.allclose(strength, QUALITY - QUALITY.mean(), atol=0.35)
    assert abs(strength.mean()) < 1e-12


def test_bradley_terry_is_the_maximum(comparisons):
    """At the maximum, expected wins equal wins: the gradient of the log-likelihood is zero."""
    strength = prefs.bradley_terry(comparisons, 5)
    winner, loser = comparisons.T
    miss = 1 - prefs.sigmoid(strength[winner] - strength[loser])
    gradient = np.bincount(winner, miss, 5) - np.bincount(loser, miss, 5)
    assert np.abs(gradient).max() < 1e-6


def test_bradley_terry_does_not_depend_on_order(comparisons):
    other = np.random.default_rng(1).permutation(comparisons)
    assert np.allclose(prefs.bradley_terry(comparisons, 5), prefs.bradley_terry(other, 5))
    assert not np.allclose(prefs.elo(comparisons, 5), prefs.elo(other, 5))


@pytest.mark.parametrize("pairs", [[(0, 1), (0, 1)], [(0, 1), (1, 0), (2, 3), (3, 2)]])
def test_bradley_terry_without_a_maximum(pairs):
    with pytest.raises(ValueError, match="collect more comparisons"):
        prefs.bradley_terry(np.array(pairs), 4 if len(pairs) > 2 else 2)


def test_elo():
    ratings = prefs.elo(np.array([(0, 1)]), 2, k=32)
    assert np.allclose(ratings, [16, -16])  # equals: expected 1/2
    assert np.isclose(prefs.sigmoid(400 / prefs.ELO_POINTS), 10 / 11)


# -- the reward model


def test_features_by_hand():
    text = "Maximize profit: $3 per chair, $5 per table. At least 7 chairs. Only whole pieces."
    rows = " chairs >= 7\n tables >= 1\n 3 tables - chairs >= 0"
    answer = f"maximize\n 3 chairs + 9 tables\nsubject to\n{rows}\nend"
    assert prefs.features(text, answer).tolist() == [2 / 3, 3, 3, 1, 2, 0]


@pytest.mark.slow
def test_reward_model_learns_and_is_calibrated():
    train = prefs.preference_pairs(generate(300, seed=21), seed=0)
    held = prefs.preference_pairs(generate(200, seed=22, split="heldout"), seed=1)
    model = prefs.train_reward_model(train)
    margins = model.margin(held)
    better = np.array([p.rejected_errors - p.chosen_errors for p in held])
    assert (margins * better > 0).mean() > 0.7
    predicted, observed, counts = prefs.calibration_curve(margins)
    assert counts.sum() == 200
    assert np.average(np.abs(predicted - observed), weights=counts) < 0.12
    again = prefs.train_reward_model(train).margin(held)
    assert np.array_equal(margins, again)


def test_calibration_counts_ties_as_half():
    _, observed, counts = prefs.calibration_curve(np.zeros(10), bins=2)
    assert observed.tolist() == [0.5, 0.5] and counts.tolist() == [5, 5]


# -- PPO by hand against TRL


@pytest.fixture(scope="module")
def trainer():
    return prefs.toy_trainer(
        init_kl_coef=0.3, adap_kl_ctrl=False, gamma=0.9, lam=0.8, cliprange_value=0.1, vf_coef=0.5
    )


@pytest.fixture
def rollout():
    """Random numbers of the size that PPO sees, ``[9]`` each."""
    rng = np.random.default_rng(5)
    names = ("old", "new", "ref", "old_values", "values")
    return {name: rng.normal(-1, 0.4, 9) for name in names}


def tensor(x):
    return torch.tensor(np.asarray(x)[None])


def test_logprobs_values_of_the_toy_model(trainer):
    query, response = torch.tensor([1]), torch.tensor([3, 5, 7, 4, 6])
    inputs = trainer.prepare_model_inputs([query], [response])
    logprobs, logits, _, mask = trainer.batched_forward_pass(
        trainer.model, [query], [response], inputs, return_logits=True
    )
    by_hand = prefs.token_logprobs(logits[0].detach().double().numpy(), response.tolist())
    assert np.allclose(by_hand, logprobs[0].detach(), atol=1e-5)
    assert mask.tolist() == [[1] * 5]


def test_rewards_and_advantages_equal_trl(trainer, rollout):
    mask = torch.ones(1, 9)
    rewards = prefs.token_rewards(0.7, rollout["old"], rollout["ref"], 0.3)
    trl, _, _ = trainer.compute_rewards(
        torch.tensor([0.7]), tensor(rollout["old"]), tensor(rollout["ref"]), mask
    )
    assert np.allclose(rewards, trl[0])
    raw, returns = prefs.gae(rewards, rollout["old_values"], gamma=0.9, lam=0.8)
    _, trl_advantages, trl_returns = trainer.compute_advantages(
        tensor(rollout["old_values"]), tensor(rewards), mask
    )
    assert np.allclose(prefs.whiten(raw), trl_advantages[0])
    assert np.allclose(returns, trl_returns[0])
    assert np.allclose(prefs.whiten(raw), masked_whiten(tensor(raw), mask)[0])


def test_losses_equal_trl(trainer, rollout):
    advantages, returns = np.linspace(-1, 1, 9), np.linspace(0, 1, 9)
    ours = (
        prefs.policy_loss(rollout["new"], rollout["old"], advantages),
        0.5 * prefs.value_loss(rollout["values"], rollout["old_values"], returns, 0.1),
    )
    args = [rollout["old"], rollout["old_values"], np.zeros((9, 3)), rollout["values"]]
    args += [rollout["new"], np.ones(9), advantages, returns]
    policy, value, stats = trainer.loss(*map(tensor, args))
    assert np.allclose(ours, (policy, value))
    assert stats["policy/clipfrac"] > 0 and stats["val/clipfrac"] > 0  # both clips took part


def test_gae_ends_of_lambda(rollout):
    rewards, values = rollout["old"], rollout["values"]
    one_step = rewards + np.append(values[1:], 0) - values
    assert np.allclose(prefs.gae(rewards, values, 1.0, 0.0)[0], one_step)
    to_go = rewards[::-1].cumsum()[::-1]
    assert np.allclose(prefs.gae(rewards, values, 1.0, 1.0)[1], to_go)
