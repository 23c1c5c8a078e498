"""The door: scores answers, in this process or in workers, and remembers what it has scored."""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from glm_ppo_utils.evaluator.lp_format import Limits
from glm_ppo_utils.evaluator.optimum import Optimum, judge_by_optimum
from glm_ppo_utils.evaluator.reward import Reference, Score, judge
from glm_ppo_utils.evaluator.workers import Pool

# A reference as it is given: LP text, or the path of an LP or MPS file.
Source = str | Path


class Evaluator:
    """Scores answers against references; callable as a TRL reward function.

    Where there is no reference model, its optimal value can be given instead: see `optimum.py`.

    Parameters
    ----------
    workers : int
        Number of worker processes, started on first use; 0 scores in this process, where the limits
        are only asked of the solver. Workers need Linux or macOS, and the memory limit Linux.
    time_limit : float
        Seconds by the clock for solving an answer, and half as long for a proof. A worker is killed
        after 1.05 times this and half a second of processor time in all.
    memory_limit_mb : int
        Address space of a worker, in MiB.
    cache_size : int
        How many scores, and how many references, to keep; the oldest go first.
    limits : Limits, optional
        Size limits of answers and references.

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
        self._scores: OrderedDict[tuple[str, Source | Optimum], Score] = OrderedDict()
        self._references: OrderedDict[Source, Reference] = OrderedDict()
        self._pool = Pool(workers, time_limit, memory_limit_mb) if workers else None

    def score(
        self, response: str, reference: Source | None = None, optimum: float | None = None
    ) -> Score:
        """The score of one response; see `score_batch`."""
        return self.score_batch([response], [reference], [optimum])[0]

    def score_batch(
        self,
        responses: Sequence[str],
        references: Sequence[Source | None] | None = None,
        optima: Sequence[float | None] | None = None,
    ) -> list[Score]:
        """One score per response, in order.

        Parameters
        ----------
        responses : sequence of str
        references : sequence of str, Path or None, optional
            LP texts, or paths of ``.lp`` and ``.mps`` files.
        optima : sequence of float or None, optional
            The optimal value, used for a response whose reference is None.

        Raises
        ------
        ValueError
            If the lengths differ, a reference is not an LP or a response has neither a reference
            nor an optimum. Never for what a response says.
        """
        n = len(responses)
        references = [None] * n if references is None else references
        optima = [None] * n if optima is None else optima
        for name, given in (("references", references), ("optima", optima)):
            if len(given) != n:
                raise ValueError(f"{n} responses but {len(given)} {name}: give one for each")
        pairs = [
            (response if isinstance(response, str) else "", choose(k, reference, optimum))
            for k, (response, reference, optimum) in enumerate(
                zip(responses, references, optima, strict=True)
            )
        ]
        goals = {goal: goal if isinstance(goal, Optimum) else self._read(goal) for _, goal in pairs}
        new = [pair for pair in dict.fromkeys(pairs) if pair not in self._scores]
        calls = [(response, goals[goal], self.time_limit, self.limits) for response, goal in new]
        if self._pool:
            scored = self._pool.run(judge_either, calls)
        else:
            scored = [judge_either(*call) for call in calls]
        found = dict(zip(new, scored, strict=True))
        scores = [found[pair] if pair in found else self._scores[pair] for pair in pairs]
        self._scores.update(found)
        shrink(self._scores, self.cache_size)
        return scores

    def prepare(self, references: Iterable[Source | None]) -> None:
        """Read and solve references before they are needed, up to ``cache_size`` of them.

        So a bad one shows before training, and no step of it waits for reading them.

        Raises
        ------
        ValueError
            If one is not an LP, naming its place.
        """
        for place, reference in enumerate(references):
            if reference is not None and not is_nan(reference):
                try:
                    self._read(reference)
                except ValueError as error:
                    raise ValueError(f"reference {place}: {error}") from error

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        reference: Sequence[Source | None] | None = None,
        optimum: Sequence[float | None] | None = None,
        **_: Any,
    ) -> list[float]:
        """Rewards in TRL's reward-function signature.

        Parameters
        ----------
        prompts : ignored
        completions : sequence of str, or of chats ``[{"role": ..., "content": ...}]``
        reference : sequence of str or None, optional
            The column of that name in the data set.
        optimum : sequence of float or None, optional
            The column of that name, for rows without a reference.
        """
        texts = [c if isinstance(c, str) else c[-1]["content"] for c in completions]
        return [score.reward for score in self.score_batch(texts, reference, optimum)]

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

    def _read(self, source: Source) -> Reference:
        reference = self._references.get(source)
        if reference is None:
            reference = Reference.read(source, self.time_limit, self.limits)
            self._references[source] = reference
            shrink(self._references, self.cache_size)
        return reference


def is_nan(value: object) -> bool:
    """Whether a value is the NaN by which pandas marks a missing one."""
    return isinstance(value, float) and math.isnan(value)


def choose(row: int, reference: Source | None, optimum: float | None) -> Source | Optimum:
    """What a response is judged by: its reference, or else its optimum.

    Raises
    ------
    ValueError
        If the row has neither, or an optimum that is not a finite number.
    """
    if reference is not None and not is_nan(reference):
        return reference
    if optimum is None or is_nan(optimum):
        raise ValueError(f"row {row} has neither a reference nor an optimum")
    try:
        value = float(optimum)
    except (TypeError, ValueError):
        value = math.inf
    if not math.isfinite(value):
        raise ValueError(f"row {row}: the optimum {optimum!r} is not a finite number")
    return Optimum(value)


def judge_either(
    response: str, goal: Reference | Optimum, time_limit: float, limits: Limits
) -> Score:
    """`judge`, or `judge_by_optimum`."""
    if isinstance(goal, Optimum):
        return judge_by_optimum(response, goal, time_limit, limits)
    return judge(response, goal, time_limit, limits)


def shrink(cache: OrderedDict[Any, Any], size: int) -> None:
    """Drop the oldest entries."""
    while len(cache) > size:
        cache.popitem(last=False)
