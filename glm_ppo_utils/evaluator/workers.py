"""Processes that judge one answer at a time, each with a limit on time and memory.

A solver can overshoot its time limit, fill the memory or crash, and a policy under training finds
the answer that makes it do so. A worker is killed when an answer takes too long, cannot use more
than its share of memory, and costs one answer's reward when it dies.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from glm_ppo_utils.evaluator.reward import PROOF_SHARE, Score, zero

# Seconds of processor time beyond the limit that a worker has: HiGHS should have stopped by itself.
GRACE = 0.5
# How much longer it may take by the clock: on a busy machine a right answer must not be stopped.
PATIENCE = 6
START_LIMIT = 60.0
# MiB that a worker needs beyond what it occupies once its modules are imported.
MEMORY_TO_WORK = 64

# Bytes of goals that a worker keeps, so that they need not be sent with every response.
KEPT = 32 << 20

# Gives a score for a response, its goal and settings; defined in a module, so that it can be sent.
Judge = Callable[..., Score]
Call = tuple[Any, ...]


def processor_time(time_limit: float) -> float:
    """Seconds of processor time that a worker has for an answer."""
    return (1 + PROOF_SHARE) * time_limit + GRACE


class Pool:
    """Worker processes, started on first use, and a thread for each that waits for it."""

    def __init__(self, workers: int, time_limit: float, memory_limit_mb: int) -> None:
        self.workers = [Worker(time_limit, memory_limit_mb) for _ in range(workers)]
        self.idle: SimpleQueue[Worker] = SimpleQueue()
        for worker in self.workers:
            self.idle.put(worker)
        # Also when the pool is forgotten or this process exits.
        weakref.finalize(self, kill_all, self.workers)

    @property
    def longest(self) -> float:
        """Seconds the slowest answer has taken so far."""
        return max(worker.longest for worker in self.workers)

    def run(self, judge: Judge, calls: Sequence[Call]) -> list[Score]:
        """Scores in the order of the calls; a worker that dies costs its own call a zero.

        Raises
        ------
        RuntimeError
            If a worker does not start.
        """
        threads = ThreadPoolExecutor(len(self.workers))
        try:
            return list(threads.map(self._run_one, repeat(judge), calls))
        except BaseException:
            # Ctrl-C in the middle: what is under way must not turn up in the next batch.
            threads.shutdown(wait=False, cancel_futures=True)
            self.close()
            raise
        finally:
            threads.shutdown()

    def _run_one(self, judge: Judge, call: Call) -> Score:
        worker = self.idle.get()
        try:
            return worker.run(judge, call)
        finally:
            self.idle.put(worker)

    def close(self) -> None:
        """End the processes; the next call starts new ones."""
        kill_all(self.workers)


class Worker:
    """One process, and this side of the pipe to it."""

    def __init__(self, time_limit: float, memory_limit_mb: int) -> None:
        self.time_limit, self.memory_limit_mb = time_limit, memory_limit_mb
        self.process: subprocess.Popen[bytes] | None = None
        self.longest = 0.0
        # What the process keeps, by id; held here too, so that no other object takes that id.
        self.goals: dict[int, Any] = {}
        self.goal_bytes = 0

    def run(self, judge: Judge, call: Call) -> Score:
        """What the judge says in the process; zero if that is stopped or dies."""
        if self.process is None or self.process.poll() is not None:
            self.start()
        start = time.monotonic()
        try:
            self.connection.send(self.message(judge, call))
            if self.connection.poll(PATIENCE * processor_time(self.time_limit)):
                return self.connection.recv()
            too_long = True
        except (EOFError, OSError):
            too_long = self.process is not None and self.process.wait() == -signal.SIGPROF
        finally:
            self.longest = max(self.longest, time.monotonic() - start)
        self.kill()
        if too_long:
            return zero("the evaluation was stopped: the answer takes too long", "stopped")
        return zero("the evaluation crashed: the answer may need too much memory", "stopped")

    def message(self, judge: Judge, call: Call) -> tuple[Any, ...]:
        """What is sent: the goal itself only where the process does not have it yet."""
        response, goal, *settings = call
        data, forget = None, False
        if id(goal) not in self.goals:
            data = pickle.dumps(goal)
            self.goal_bytes += len(data)
            forget = self.goal_bytes > KEPT
            if forget:
                self.goals.clear()
                self.goal_bytes = len(data)
            self.goals[id(goal)] = goal
        return judge, response, id(goal), data, forget, settings

    def start(self) -> None:
        """Start a process, which has read no reference yet.

        Raises
        ------
        RuntimeError
            If it ends before it is ready.
        """
        self.goals.clear()
        self.goal_bytes = 0
        self.connection, theirs = Pipe()
        # A new interpreter rather than a fork: nothing of this process (threads, CUDA, a notebook)
        # is carried over. Nor does it import this process's main module, as multiprocessing would:
        # that may load torch, more than a worker's memory. A session of its own, so that Ctrl-C
        # reaches this process only.
        settings = f"{theirs.fileno()}, {self.time_limit}, {self.memory_limit_mb}"
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import serve; serve({settings})"],
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
        try:
            ready = self.connection.poll(START_LIMIT) and self.connection.recv()
        except EOFError:
            ready = False
        if not ready:
            self.kill()
            raise RuntimeError("a worker process did not start: see the message above this one")

    def kill(self) -> None:
        """End the process, if there is one, and wait until it is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def kill_all(workers: list[Worker]) -> None:
    """Kill the processes; a thread that waits for one notices."""
    for worker in workers:
        worker.kill()


def serve(handle: int, time_limit: float, memory_limit_mb: int) -> None:
    """The life of a worker: answer what arrives, end when the other side is gone."""
    connection = Connection(handle)
    goals: dict[int, Any] = {}
    limit_memory(memory_limit_mb)
    try:
        connection.send(True)
        while True:
            judge, response, key, data, forget, settings = connection.recv()
            if forget:
                goals.clear()
            if data is not None:
                goals[key] = pickle.loads(data)
            # Counts processor time, so a busy machine costs no reward. Its signal ends the process,
            # even inside the solver and with nobody left to kill it.
            signal.setitimer(signal.ITIMER_PROF, processor_time(time_limit))
            try:
                score = judge(response, goals[key], *settings)
            except MemoryError:
                score = zero("the answer needs too much memory", "stopped")
            signal.setitimer(signal.ITIMER_PROF, 0)
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
