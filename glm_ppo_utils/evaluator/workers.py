"""The evaluator: in this process, or in worker processes with hard limits.

A solver can overshoot its time limit, fill the memory or crash, and a policy under training finds
the answer that makes it do so. A worker is a process of its own: it is killed when an answer takes
too long, cannot use more than its share of memory, and costs one answer's reward when it dies.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from glm_ppo_utils.evaluator.lp_format import Limits
from glm_ppo_utils.evaluator.reward import Reference, Score, judge, zero

# Seconds after the time limit before a worker is killed: HiGHS should have stopped by itself.
GRACE = 0.5
START_LIMIT = 60.0
MAX_FAILED_STARTS = 3
MEMORY_TO_WORK = 64
# Answers handed to a worker at once, so that it need not wait for this process in between.
QUEUE = 8


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
        self._pool = Pool(workers, time_limit, memory_limit_mb, self.limits) if workers else None

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
        for reference in references:
            self._read(reference)
        new = [pair for pair in dict.fromkeys(pairs) if pair not in self._scores]
        if self._pool is None:
            scored = [self._grade(*pair) for pair in new]
        else:
            scored = self._pool.run(new)
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

    def _grade(self, response: str, reference: str) -> Score:
        return judge(response, self._read(reference), self.time_limit, self.limits)


def shrink(cache: OrderedDict[Any, Any], size: int) -> None:
    """Drop the oldest entries."""
    while len(cache) > size:
        cache.popitem(last=False)


class Pool:
    """Worker processes that score pairs; each has at most `QUEUE` pairs at a time."""

    def __init__(
        self, workers: int, time_limit: float, memory_limit_mb: int, limits: Limits
    ) -> None:
        self.size, self.settings = workers, (time_limit, memory_limit_mb, limits)
        self.workers: list[Worker] = []
        self.failed_starts = 0
        self.longest = 0.0
        # Also when the pool is forgotten or this process exits.
        weakref.finalize(self, kill_all, self.workers)

    def run(self, pairs: Sequence[tuple[str, str]]) -> list[Score]:
        """Scores in the order of the pairs; a worker that dies costs its own pair a zero."""
        scores: dict[int, Score] = {}
        waiting = deque(
            (n, pair) for n, pair in enumerate(pairs) if not self._too_long(n, pair[0], scores)
        )
        try:
            while len(scores) < len(pairs):
                self._hand_out(waiting)
                self._collect(waiting, scores)
        except BaseException:
            # Ctrl-C in the middle: what is under way must not turn up in the next batch.
            self.close()
            raise
        return [scores[n] for n in range(len(pairs))]

    def _too_long(self, n: int, response: str, scores: dict[int, Score]) -> bool:
        """Score an oversized response here instead of sending it."""
        limits = self.settings[2]
        if len(response) > 10 * limits.characters:
            scores[n] = zero(f"the answer is far longer than {limits.characters} characters")
        return n in scores

    def _hand_out(self, waiting: deque[tuple[int, tuple[str, str]]]) -> None:
        for worker in list(self.workers):
            # Killed from outside while it had nothing to do: nobody's fault.
            if worker.ready and not worker.queue and worker.process.poll() is not None:
                worker.kill()
                self.workers.remove(worker)
        while len(self.workers) < min(self.size, len(waiting)):
            self.workers.append(Worker(*self.settings))
        for worker in self.workers:
            if waiting and worker.ready and not worker.queue:
                share = max(1, min(QUEUE, len(waiting) // (2 * self.size)))
                worker.give([waiting.popleft() for _ in range(share)])

    def _collect(
        self, waiting: deque[tuple[int, tuple[str, str]]], scores: dict[int, Score]
    ) -> None:
        """Wait for the next answers or deadlines, whichever comes first."""
        busy = [worker for worker in self.workers if worker.queue or not worker.ready]
        patience = min(worker.deadline for worker in busy) - time.monotonic()
        arrived = wait([worker.connection for worker in busy], max(0.0, patience))
        for worker in busy:
            failure = ""
            if worker.ready:
                self.longest = max(self.longest, time.monotonic() - worker.started)
            if worker.connection in arrived:
                try:
                    worker.receive(scores)
                except (EOFError, OSError):
                    failure = "the evaluation crashed: the answer may need too much memory"
            elif time.monotonic() >= worker.deadline:
                failure = "the evaluation was stopped: the answer takes too long"
            if failure:
                self._replace(worker, failure, waiting, scores)

    def _replace(
        self,
        worker: Worker,
        failure: str,
        waiting: deque[tuple[int, tuple[str, str]]],
        scores: dict[int, Score],
    ) -> None:
        worker.kill()
        self.workers.remove(worker)
        if not worker.ready:
            self.failed_starts += 1
            if self.failed_starts == MAX_FAILED_STARTS:
                raise RuntimeError("no worker process starts: see the message above this one")
            return
        self.failed_starts = 0
        scores[worker.queue.popleft()[0]] = zero(failure, "stopped")
        waiting.extendleft(reversed(worker.queue))

    def close(self) -> None:
        kill_all(self.workers)


class Worker:
    """One worker process and the pairs it has been given."""

    def __init__(self, time_limit: float, memory_limit_mb: int, limits: Limits) -> None:
        self.limit = time_limit + GRACE
        self.connection, theirs = Pipe()
        # A new interpreter rather than a fork: nothing of this process (threads, CUDA, a notebook)
        # is carried over. A session of its own, so that Ctrl-C reaches this process only.
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import serve; serve({theirs.fileno()})"],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(sys.path),
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
            },
        )
        theirs.close()
        self.connection.send((time_limit, memory_limit_mb, limits))
        self.ready = False
        self.queue: deque[tuple[int, tuple[str, str]]] = deque()
        self.started = time.monotonic()
        self.deadline = self.started + START_LIMIT

    def give(self, items: list[tuple[int, tuple[str, str]]]) -> None:
        self.queue.extend(items)
        self.restart_clock()
        with suppress(OSError):  # a worker that just died is noticed when its answer is awaited
            self.connection.send([pair for _, pair in items])

    def receive(self, scores: dict[int, Score]) -> None:
        score = self.connection.recv()
        if self.ready:
            scores[self.queue.popleft()[0]] = score
        self.ready = True
        self.restart_clock()

    def restart_clock(self) -> None:
        """The next answer's time starts now."""
        self.started = time.monotonic()
        self.deadline = self.started + self.limit

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.connection.close()


def kill_all(workers: list[Worker]) -> None:
    """Kill the workers and forget them."""
    while workers:
        workers.pop().kill()


def serve(handle: int) -> None:
    """The life of a worker: score what arrives, end when the other side is gone."""
    connection = Connection(handle)
    try:
        time_limit, memory_limit_mb, limits = connection.recv()
        limit_memory(memory_limit_mb)
        evaluator = Evaluator(0, time_limit, cache_size=1000, limits=limits)
        connection.send(None)
        while True:
            for pair in connection.recv():
                # Its default action ends the process, even inside the solver: for the case that
                # nobody is left to kill it.
                signal.setitimer(signal.ITIMER_REAL, time_limit + 2 * GRACE)
                try:
                    score = evaluator.score(*pair)
                except MemoryError:
                    score = zero("the answer needs too much memory", "stopped")
                signal.setitimer(signal.ITIMER_REAL, 0)
                connection.send(score)
    except (EOFError, ConnectionError):
        return


def limit_memory(megabytes: int) -> None:
    """Bound the address space of this process; only Linux keeps to it."""
    if sys.platform == "linux":
        import resource

        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() >> 20
        if used + MEMORY_TO_WORK > megabytes:
            sys.exit(f"memory_limit_mb={megabytes} is too small: at least {used + MEMORY_TO_WORK}")
        resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))
