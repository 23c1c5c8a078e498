"""The door: scores answers, in this process or in workers, and remembers what it has scored."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

from glm_ppo_utils.evaluator.lp_format import Limits
from glm_ppo_utils.evaluator.reward import Reference, Score, judge
from glm_ppo_utils.evaluator.workers import Pool


class Evaluator:
    """Scores answers against references; callable as a TRL reward function.

    Parameters
    ----------
    workers : int
        Number of worker processes, started on first use; 0 scores in this process, where the limits
        are only asked of the solver. Workers need Linux or macOS, and the memory limit Linux.
    time_limit : float
        Seconds of wall-clock time for one answer. A worker is killed half a second later.
    memory_limit_mb : int
        Address space of a worker, in MiB.
    cache_size : int
        How many scores of (response, reference) pairs to keep; the oldest go first.
    limits : Limits, optional
        Size limits of an answer.

    Raises
    ------
    ValueError
        If a number is out of range, or workers are asked for where there are none.

    Notes
    -----
    Close an evaluator with workers by ``close()`` or a ``with`` block; workers also end with this
    process, however it ends.
    """

    def __init__(
        self,
        workers: int = 0,
        time_limit: float = 2.0,
        memory_limit_mb: int = 1024,
        cache_size: int = 20_000,
        limits: Limits | None = None,
    ) -> None:
        if workers < 0 or time_limit <= 0 or memory_limit_mb <= 0 or cache_size < 1:
            got = f"{workers}, {time_limit}, {memory_limit_mb}, {cache_size}"
            raise ValueError(
                "workers must be at least 0, time_limit and memory_limit_mb positive, "
                f"cache_size at least 1: got {got}"
            )
        if workers and os.name != "posix":
            raise ValueError("worker processes need Linux or macOS: use workers=0 here")
        self.time_limit, self.limits, self.cache_size = time_limit, limits or Limits(), cache_size
        self._scores: OrderedDict[tuple[str, str], Score] = OrderedDict()
        self._references: OrderedDict[str, Reference] = OrderedDict()
        self._pool = Pool(workers, time_limit, memory_limit_mb) if workers else None

    def score(self, response: str, reference: str) -> Score:
        """The score of one response; see `score_batch`."""
        return self.score_batch([response], [reference])[0]

    def score_batch(self, responses: Sequence[str], references: Sequence[str]) -> list[Score]:
        """One score per response, in order.

        Raises
        ------
        ValueError
            If the lengths differ or a reference is not an LP. Never for what a response says.
        """
        if len(responses) != len(references):
            raise ValueError(
                f"{len(responses)} responses but {len(references)} references: give one for each"
            )
        pairs = [
            (response, reference) if isinstance(response, str) else ("", reference)
            for response, reference in zip(responses, references, strict=True)
        ]
        read = {reference: self._read(reference) for reference in references}
        new = [pair for pair in dict.fromkeys(pairs) if pair not in self._scores]
        calls = [(judge, (a, read[r], self.time_limit, self.limits)) for a, r in new]
        scored = self._pool.run(calls) if self._pool else [call(*args) for call, args in calls]
        found = dict(zip(new, scored, strict=True))
        scores = [found[pair] if pair in found else self._scores[pair] for pair in pairs]
        self._scores.update(found)
        shrink(self._scores, self.cache_size)
        return scores

    def prepare(self, references: Iterable[str]) -> None:
        """Read and solve references before they are needed, up to ``cache_size`` of them.

        So a bad one shows before training, and no step of it waits for reading them.

        Raises
        ------
        ValueError
            If one is not an LP, naming its place.
        """
        for place, reference in enumerate(references):
            try:
                self._read(reference)
            except ValueError as error:
                raise ValueError(f"reference {place}: {error}") from error

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        reference: Sequence[str],
        **_: Any,
    ) -> list[float]:
        """Rewards in TRL's reward-function signature.

        Parameters
        ----------
        prompts : ignored
        completions : sequence of str, or of chats ``[{"role": ..., "content": ...}]``
        reference : sequence of str
            The column of that name in the data set.
        """
        texts = [c if isinstance(c, str) else c[-1]["content"] for c in completions]
        return [score.reward for score in self.score_batch(texts, reference)]

    @property
    def longest(self) -> float:
        """Seconds the slowest answer has taken in a worker so far."""
        return self._pool.longest if self._pool else 0.0

    def close(self) -> None:
        """End the workers; scoring again starts new ones."""
        if self._pool is not None:
            self._pool.close()

    def __enter__(self) -> Evaluator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, text: str) -> Reference:
        reference = self._references.get(text)
        if reference is None:
            reference = Reference.read(text, self.time_limit, self.limits)
            self._references[text] = reference
            shrink(self._references, self.cache_size)
        return reference


def shrink(cache: OrderedDict[Any, Any], size: int) -> None:
    """Drop the oldest entries."""
    while len(cache) > size:
        cache.popitem(last=False)
