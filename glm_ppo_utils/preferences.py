"""Notebook 01: from preferences to a reward model, and one PPO update by hand.

The PPO part is numpy, one rollout at a time and no masks, so that every line can be checked with a
pocket calculator; `toy_trainer` makes the TRL trainer that the numbers are compared with.
"""

import random
import re
import warnings
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
from trl import AutoModelForCausalLMWithValueHead, PPOConfig, PPOTrainer

from glm_ppo_utils.problems import Problem, worsen

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ELO_POINTS = 400 / np.log(10)  # Elo points per unit of log-odds: 400 points are odds of 10 to 1


# -- step 2: people


@dataclass(frozen=True)
class Annotator:
    """A simulated person who grades on a scale of their own, in whole numbers."""

    name: str
    best: float  # the grade of a flawless answer
    step: float  # points taken off for every error
    lowest: float
    highest: float

    def grade(self, quality: Floats, noise: float, rng: np.random.Generator) -> Floats:
        """Grades of answers of the given `quality` (minus the number of errors), ``[answers]``."""
        felt = quality + noise * rng.standard_normal(len(quality))
        return np.clip(np.round(self.best + self.step * felt), self.lowest, self.highest)


ANNOTATORS = (
    Annotator("stars, 1 to 5", 5, 0.9, 1, 5),
    Annotator("percent, 0 to 100", 95, 14, 0, 100),
    Annotator("strict, 0 to 10", 7, 1.4, 0, 10),
    Annotator("kind, 0 to 10", 10, 0.6, 0, 10),
)


def sigmoid(x: Any) -> Any:
    """The logistic function ``1 / (1 + exp(-x))``."""
    return 1 / (1 + np.exp(-x))


def pairwise_comparisons(quality: Floats, rounds: int, rng: np.random.Generator) -> Ints:
    """Which of two answers a person prefers, for every pair, `rounds` times, in random order.

    Answer i is preferred to j with probability ``sigmoid(quality[i] - quality[j])``, the model of
    Bradley and Terry, "Rank analysis of incomplete block designs" (Biometrika 39, 1952).

    Returns
    -------
    array ``[comparisons, 2]``
        Winner and loser of each comparison.
    """
    pairs = np.array([(i, j) for i in range(len(quality)) for j in range(i)] * rounds)
    first_wins = rng.random(len(pairs)) < sigmoid(quality[pairs[:, 0]] - quality[pairs[:, 1]])
    return rng.permutation(np.where(first_wins[:, None], pairs, pairs[:, ::-1]))


def elo(comparisons: Ints, players: int, k: float = 16.0) -> Floats:
    """Elo ratings after a sequence of comparisons, ``[players]``, starting from 0.

    After each, the winner takes ``k * (1 - expected)`` points from the loser, where `expected` is
    the probability of the win under the ratings so far (Elo, "The rating of chessplayers", 1978).
    """
    ratings = np.zeros(players)
    for winner, loser in comparisons:
        expected = sigmoid((ratings[winner] - ratings[loser]) / ELO_POINTS)
        ratings[winner] += k * (1 - expected)
        ratings[loser] -= k * (1 - expected)
    return ratings


def bradley_terry(comparisons: Ints, players: int, rounds: int = 500) -> Floats:
    """Maximum-likelihood strengths in log-odds, mean 0, ``[players]``.

    Each round sets ``p_i = wins_i / sum_j(games_ij / (p_i + p_j))`` (Hunter, "MM algorithms for
    generalized Bradley-Terry models", Annals of Statistics 32, 2004, equation 3).

    Raises
    ------
    ValueError
        If some players never lost to, or never met, the others: no finite maximum exists then.
    """
    wins = np.zeros((players, players))
    np.add.at(wins, tuple(np.asarray(comparisons).T), 1)
    if connected_components(wins, connection="strong")[0] > 1:
        raise ValueError(
            "some answers never lost to (or never met) the rest, so their strength is infinite;"
            " collect more comparisons"
        )
    games = wins + wins.T
    strength = np.ones(players)
    for _ in range(rounds):
        strength = wins.sum(axis=1) / (games / (strength[:, None] + strength)).sum(axis=1)
        strength /= np.exp(np.log(strength).mean())
    return np.log(strength)


# -- step 2: a reward model

FEATURES = (
    "numbers of the problem that are used (share)",
    "numbers that are not in the problem",
    "rows",
    "goal as in the problem, by its words (0 or 1)",
    ">= rows beyond the 'at least' phrases",
    "whole-number section, by its words (0 or 1)",
)
_AT_LEAST = re.compile("at least|no less|no fewer|be less|be fewer|not fall below|a minimum")
_HIGH = re.compile("maxim|as high")  # so "a maximum of 65 hours" misleads it
_WHOLE = re.compile("whole|in part|in full|unfinished|not allowed|cannot be used|cut|split")


def features(text: str, answer: str) -> Floats:
    """What a careless reader notices about an answer, ``[len(FEATURES)]``; see `FEATURES`."""
    asked, given = (set(re.findall(r"\d+", t)) for t in (text, answer))
    body = answer.partition("subject to\n")[2]
    words = text.lower()
    seen = (
        len(asked & given) / max(1, len(asked)),
        len(given - asked),
        len(re.findall("[<>]?=", body)),
        answer.startswith("maximize") == bool(_HIGH.search(words)),
        body.count(">=") - len(_AT_LEAST.findall(words)),
        bool(re.search("general|binary", body)) == bool(_WHOLE.search(words)),
    )
    return np.array(seen, dtype=float)


@dataclass(frozen=True)
class Pair:
    """Two answers to one problem; a person preferred `chosen`."""

    problem: Problem
    chosen: str
    rejected: str
    chosen_errors: int  # how many were put in; the reward model never sees it
    rejected_errors: int


def preference_pairs(problems: Sequence[Problem], seed: int) -> list[Pair]:
    """One pair per problem: two answers with different numbers of errors, from 0 to 3.

    The one with fewer errors is preferred with the probability that `pairwise_comparisons` uses,
    where an answer's quality is minus its number of errors.
    """
    rng = random.Random(f"pairs {seed}")
    pairs = []
    for problem in problems:
        errors = rng.sample(range(4), 2)
        if rng.random() > sigmoid(errors[1] - errors[0]):
            errors.reverse()
        chosen, rejected = (worsen(problem, n, rng) for n in errors)
        pairs.append(Pair(problem, chosen, rejected, *errors))
    return pairs


class RewardModel(torch.nn.Module):
    """A reward from `features`: one hidden layer of 16 units, one number out.

    In double precision, so that the numbers of the notebook are the same on every machine.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.BatchNorm1d(len(FEATURES), affine=False, momentum=None),
            torch.nn.Linear(len(FEATURES), 16),
            torch.nn.Tanh(),
            torch.nn.Linear(16, 1),
        ).double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Rewards ``[n]`` of features ``[n, len(FEATURES)]``."""
        return self.layers(x)[:, 0]

    @torch.no_grad()
    def score(self, texts: Sequence[str], answers: Sequence[str]) -> Floats:
        """Rewards ``[n]`` of `answers` to the problems `texts`."""
        return self(_inputs(zip(texts, answers, strict=True))).numpy()

    def margin(self, pairs: Sequence[Pair]) -> Floats:
        """Reward of the chosen minus reward of the rejected answer, ``[pairs]``."""
        texts = [p.problem.text for p in pairs]
        chosen = self.score(texts, [p.chosen for p in pairs])
        return chosen - self.score(texts, [p.rejected for p in pairs])


def _inputs(texts_and_answers: Iterable[tuple[str, str]]) -> torch.Tensor:
    return torch.from_numpy(np.stack([features(*pair) for pair in texts_and_answers]))


def train_reward_model(pairs: Sequence[Pair], steps: int = 50) -> RewardModel:
    """Train a reward model on pairs: minimise the mean of ``-log sigmoid(r_chosen - r_rejected)``.

    The loss is equation 1 of Ouyang et al., "Training language models to follow instructions with
    human feedback" (2022). Every step of Adam uses all pairs. The features are standardised with
    their mean and spread over all answers, which the normalisation layer stores.
    """
    torch.manual_seed(0)
    model = RewardModel()
    x = _inputs((p.problem.text, answer) for p in pairs for answer in (p.chosen, p.rejected))
    model(x)  # the normalisation layer measures mean and spread
    model.eval()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(steps):
        chosen, rejected = model(x).view(-1, 2).T
        loss = -torch.nn.functional.logsigmoid(chosen - rejected).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def calibration_curve(margins: Floats, bins: int = 5) -> tuple[Floats, Floats, Ints]:
    """How often the chosen answer is the one the model prefers, by how sure the model is.

    Parameters
    ----------
    margins : array ``[pairs]``
        Reward of the chosen minus reward of the rejected answer.

    Returns
    -------
    predicted, observed, counts : arrays ``[bins]``
        For bins with equally many pairs: mean ``sigmoid(|margin|)``, share of positive margins (a
        tie counts half), and number of pairs.
    """
    right = (margins > 0) + 0.5 * (margins == 0)
    order = np.array_split(np.argsort(np.abs(margins), kind="stable"), bins)
    predicted = np.array([sigmoid(np.abs(margins[rows])).mean() for rows in order])
    observed = np.array([right[rows].mean() for rows in order])
    return predicted, observed, np.array([len(rows) for rows in order])


# -- step 3: one rollout, T response tokens


def token_logprobs(logits: Floats, tokens: Sequence[int]) -> Floats:
    """Log-probabilities ``[T]`` of `tokens`, each under its row of `logits` ``[T, vocabulary]``."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    logprobs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return logprobs[np.arange(len(tokens)), tokens]


def token_rewards(score: float, logprobs: Floats, ref_logprobs: Floats, kl_coef: float) -> Floats:
    """Reward of each token, ``[T]``: minus the KL penalty, and the score on the last token.

    Ziegler et al., "Fine-tuning language models from human preferences" (2019), equation 2, with
    ``log policy - log reference`` of the sampled token as the estimate of the KL.
    """
    rewards = -kl_coef * (logprobs - ref_logprobs)
    rewards[-1] += score
    return rewards


def gae(
    rewards: Floats, values: Floats, gamma: float = 1.0, lam: float = 0.95
) -> tuple[Floats, Floats]:
    """Generalised advantage estimation; the value after the last token is 0.

    ``delta_t = r_t + gamma V_{t+1} - V_t`` and ``A_t = delta_t + gamma lam A_{t+1}`` (Schulman et
    al., "High-dimensional continuous control using generalized advantage estimation", 2016,
    equation 16).

    Returns
    -------
    advantages, returns : arrays ``[T]``
        Returns are ``advantages + values``, the targets of the value head.
    """
    advantages = np.zeros(len(rewards))
    following, next_value = 0.0, 0.0
    for t in reversed(range(len(rewards))):
        delta = rewards[t] + gamma * next_value - values[t]
        following = advantages[t] = delta + gamma * lam * following
        next_value = values[t]
    return advantages, advantages + values


def whiten(x: Floats) -> Floats:
    """`x` shifted to mean 0 and scaled to (sample) variance 1."""
    return (x - x.mean()) / np.sqrt(x.var(ddof=1) + 1e-8)


def surrogate(ratio: Any, advantage: Any, clip: float = 0.2) -> Any:
    """PPO's clipped objective, per token, to be maximised (Schulman et al. 2017, equation 7)."""
    return np.minimum(ratio * advantage, np.clip(ratio, 1 - clip, 1 + clip) * advantage)


def policy_loss(
    logprobs: Floats, old_logprobs: Floats, advantages: Floats, clip: float = 0.2
) -> float:
    """Minus the mean clipped objective of a rollout, from log-probabilities ``[T]``."""
    return -surrogate(np.exp(logprobs - old_logprobs), advantages, clip).mean()


def value_loss(values: Floats, old_values: Floats, returns: Floats, clip: float = 0.2) -> float:
    """Half the mean squared error, the larger of plain and clipped, of values ``[T]``.

    The clipped one lets a value move by at most `clip` from where it was at the rollout. It comes
    from OpenAI's baselines (ppo2); the paper of Schulman et al. (2017) does not have it.
    """
    clipped = np.clip(values, old_values - clip, old_values + clip)
    return 0.5 * np.maximum((values - returns) ** 2, (clipped - returns) ** 2).mean()


# -- step 3: the same by TRL

WORDS = ("<pad>", "maximize", "minimize", "3", "5", "chairs", "tables", "+", "-", "<end>")


def toy_trainer(seed: int = 0, **config: Any) -> PPOTrainer:
    """TRL's trainer around a GPT-2 of one layer that knows `WORDS`; `config` is for ``PPOConfig``.

    A little noise on the policy's weights sets it apart from its reference model.
    """
    torch.manual_seed(seed)
    sizes = dict(vocab_size=len(WORDS), n_positions=16, n_embd=32, n_layer=1, n_head=2)
    others = dict(bos_token_id=1, eos_token_id=9, initializer_range=0.12)
    dropouts = dict(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    gpt2 = GPT2LMHeadModel(GPT2Config(**sizes, **others, **dropouts))
    policy = AutoModelForCausalLMWithValueHead(gpt2, summary_dropout_prob=0.0)
    policy.is_peft_model = False  # TRL's from_pretrained would set it; this model is not loaded
    reference = deepcopy(policy)
    with torch.no_grad():
        for weight in gpt2.parameters():
            weight += 0.02 * torch.randn_like(weight)
    words = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}))
    words.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="<end>", padding_side="left"
    )
    settings = PPOConfig(batch_size=1, mini_batch_size=1, **config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TRL warns that there is no dataset; none is needed
        return PPOTrainer(settings, policy, reference, tokenizer)
