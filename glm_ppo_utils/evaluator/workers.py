"""The evaluator: in this process, or in worker processes with hard limits."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from glm_ppo_utils.evaluator.lp_format import Limits
from glm_ppo_utils.evaluator.reward import Reference, Score, grade


class Evaluator:
    """Scores answers against references; callable as a TRL reward function.

    Parameters
    ----------
    workers : int
        Number of worker processes; 0 scores in this process, without hard limits.
    time_limit : float
        Seconds for one answer.
    memory_limit_mb : int
        Address space of a worker, in MiB.
    cache_size : int
        How many scores of (response, reference) pairs to keep; the oldest go first.
    limits : Limits, optional
        Size limits of an answer.
    """

    def __init__(
        self,
        workers: int = 0,
        time_limit: float = 2.0,
        memory_limit_mb: int = 1024,
        cache_size: int = 20_000,
        limits: Limits | None = None,
    ) -> None:
        self.time_limit, self.limits = time_limit, limits or Limits()
        self.cache_size = cache_size
        self._scores: OrderedDict[tuple[str, str], Score] = OrderedDict()
        self._references: OrderedDict[str, Reference] = OrderedDict()

    def score(self, response: str, reference: str) -> Score:
        """The score of one response."""
        return self.score_batch([response], [reference])[0]

    def score_batch(self, responses: Sequence[str], references: Sequence[str]) -> list[Score]:
        """One score per response, in order; raises on a bad reference, never on a response."""
        if len(responses) != len(references):
            raise ValueError(
                f"{len(responses)} responses but {len(references)} references: give one for each"
            )
        return [self._score(a, b) for a, b in zip(responses, references, strict=True)]

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        reference: Sequence[str],
        **_: Any,
    ) -> list[float]:
        """Rewards in TRL's reward-function signature; ``reference`` is a column of the data set."""
        texts = [c if isinstance(c, str) else c[-1]["content"] for c in completions]
        return [score.reward for score in self.score_batch(texts, reference)]

    def _score(self, response: str, reference: str) -> Score:
        key = (response, reference)
        if key not in self._scores:
            if reference not in self._references:
                self._references[reference] = Reference.read(
                    reference, self.time_limit, self.limits
                )
            self._scores[key] = grade(
                response, self._references[reference], self.time_limit, self.limits
            )
            while len(self._scores) > self.cache_size:
                self._scores.popitem(last=False)
            while len(self._references) > self.cache_size:
                self._references.popitem(last=False)
        return self._scores[key]
