"""Worker processes: the same scores, and no answer that hurts anything but itself."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from evaluator_programs import market_split

from glm_ppo_utils.evaluator import Evaluator, workers

pytestmark = pytest.mark.skipif(os.name != "posix", reason="worker processes need Linux or macOS")

REFERENCE = "maximize\n 3 x + 5 y\nsubject to\n 2 x + y <= 40\nend"


def answers(n: int, start: int = 0) -> list[str]:
    return [REFERENCE.replace("40", str(k)) for k in range(start, start + n)]


def pids(evaluator: Evaluator) -> list[int]:
    return [worker.process.pid for worker in evaluator._pool.workers if worker.process]


def all_running(evaluator: Evaluator, start: int) -> list[int]:
    """The process ids once all workers have started and have nothing to do."""
    evaluator.score_batch(answers(8, start), [REFERENCE] * 8)
    assert len(pids(evaluator)) == len(evaluator._pool.workers)
    return pids(evaluator)


def gone(pid: int, within: float = 10.0) -> bool:
    """Whether a process ends; a zombie has ended."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


@pytest.fixture(scope="module")
def evaluator():
    with Evaluator(workers=2, time_limit=1.0) as shared:
        yield shared


def test_same_scores_in_the_same_order(evaluator):
    texts = [*answers(60), "no LP", REFERENCE, "", REFERENCE, None, "x" * 10**6]
    here = Evaluator().score_batch(texts, [REFERENCE] * len(texts))
    there = evaluator.score_batch(texts, [REFERENCE] * len(texts))
    assert [s.reward for s in there] == [s.reward for s in here]
    assert there[:-1] == here[:-1]
    assert there[40].exact and there[-1].reward == 0
    assert len(pids(evaluator)) == 2


def test_a_worker_keeps_references_up_to_a_size(evaluator, monkeypatch):
    """More of them than it keeps, in an order that comes back to the first."""
    monkeypatch.setattr(workers, "KEPT", 50_000)
    texts = [REFERENCE.replace("40", str(k)) for k in range(3000, 3030)]
    scores = evaluator.score_batch([*texts, *answers(9, 4000)], [*texts, *texts[:9]])
    assert all(score.exact for score in scores[: len(texts)])
    assert not any(score.exact or score.status == "stopped" for score in scores[len(texts) :])
    assert all(0 < worker.goal_bytes < 50_000 for worker in evaluator._pool.workers)


def test_a_bad_reference_raises_here(evaluator):
    with pytest.raises(ValueError, match="reference is not an LP"):
        evaluator.score_batch(answers(2), [REFERENCE, "no"])


@pytest.mark.slow
def test_a_hung_worker_costs_its_own_answer(evaluator):
    os.kill(all_running(evaluator, 1000)[0], signal.SIGSTOP)
    scores = evaluator.score_batch(answers(40, 200), [REFERENCE] * 40)
    stopped = [s for s in scores if s.status == "stopped"]
    assert len(stopped) == 1
    assert stopped[0].reward == 0 and "takes too long" in stopped[0].message
    assert all(s.reward > 0 for s in scores if s.status != "stopped")


def test_a_crashed_worker_is_replaced(evaluator):
    before = all_running(evaluator, 2000)
    os.kill(before[0], signal.SIGKILL)
    scores = evaluator.score_batch(answers(40, 400), [REFERENCE] * 40)
    assert sum(s.status == "stopped" for s in scores) <= 1
    assert before[0] not in pids(evaluator)
    assert evaluator.score(answers(1, 500)[0], REFERENCE).reward > 0


def spin(response, goal, *settings):
    while True:
        pass


def test_processor_time_is_limited(monkeypatch):
    """Also where no solver looks at a clock, and nobody waits for the worker."""
    monkeypatch.setattr(workers, "PATIENCE", 1000)
    worker = workers.Worker(time_limit=0.2, memory_limit_mb=1024)
    score = worker.run(spin, ("", None))
    assert score.status == "stopped" and "takes too long" in score.message
    assert worker.process.returncode == -signal.SIGPROF


def test_a_hard_program_stops_within_its_limit(evaluator):
    scores = evaluator.score_batch([market_split(), *answers(5, 600)], [REFERENCE] * 6)
    assert scores[0].status in ("time limit", "stopped")
    assert all(s.reward > 0 for s in scores[1:])


def test_a_reference_too_hard_to_solve_in_time():
    """Its answers keep their partial credit, and one without a solution is not proved to be it."""
    _, to, *rest = market_split().split("\n")
    missed = [line.replace(" =", f" + u{i} - v{i} =") for i, line in enumerate(rest[:5])]
    costs = " + ".join(f"u{i} + v{i}" for i in range(5))
    reference = "\n".join([f"min {costs}", to, *missed, *rest[5:]])
    rows = ["x0 + x1 <= 1", "x3 + x4 <= 1", "x0 - x0 >= 1"]
    texts = [reference.replace("binary", f" {row}\nbinary") for row in rows]
    with Evaluator(workers=1, time_limit=0.5) as judge:
        scores = judge.score_batch(texts, [reference] * len(texts))
    assert [s.status for s in scores] == ["time limit", "time limit", "infeasible"]
    assert all(0.3 < s.reward < 0.6 for s in scores)


def test_memory_is_limited():
    """The address space of a worker cannot grow past its limit, and too little is said."""
    with Evaluator(workers=1, memory_limit_mb=700) as small:
        assert small.score(REFERENCE, REFERENCE).exact
        if sys.platform == "linux":
            limits = Path(f"/proc/{pids(small)[0]}/limits").read_text()
            assert str(700 << 20) in limits
    if sys.platform == "linux":
        with (
            Evaluator(workers=1, memory_limit_mb=20) as tiny,
            pytest.raises(RuntimeError, match="a worker process did not start"),
        ):
            tiny.score(REFERENCE, REFERENCE)


def test_close_ends_the_workers():
    with Evaluator(workers=2) as evaluator:
        evaluator.score_batch(answers(10), [REFERENCE] * 10)
        started = pids(evaluator)
    assert started and all(gone(pid) for pid in started)
    assert evaluator.score(answers(1, 700)[0], REFERENCE).reward > 0
    evaluator.close()


PARENT = """
import signal, sys, time
from glm_ppo_utils.evaluator import Evaluator
# Tests started in the background inherit that Ctrl-C is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
evaluator = Evaluator(workers=2, time_limit=5)
reference = "max x st x <= 4 end"
evaluator.score_batch([f"max x st x <= {k} end" for k in range(9)], [reference] * 9)
print(*[w.process.pid for w in evaluator._pool.workers], flush=True)
if sys.argv[1] == "busy":
    try:
        hard = [sys.argv[2].replace("max x0", f"max {k} x0") for k in range(1, 9)]
        evaluator.score_batch(hard, [reference] * 8)
    except KeyboardInterrupt:
        score = evaluator.score("max x st x <= 77 end", reference)
        print("interrupted", score.reward > 0, flush=True)
time.sleep(100)
"""


def start_parent(mode: str) -> tuple[subprocess.Popen, list[int]]:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, mode, market_split()],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    return parent, [int(pid) for pid in parent.stdout.readline().split()]


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_their_parent(signal_number):
    """As when a notebook's kernel is restarted."""
    parent, workers = start_parent("idle")
    assert len(workers) == 2
    parent.send_signal(signal_number)
    parent.wait()
    assert all(gone(pid) for pid in workers)


@pytest.mark.slow
def test_ctrl_c_in_the_middle_of_a_batch():
    parent, workers = start_parent("busy")
    time.sleep(3.0)  # well into the batch, also on a busy machine
    os.killpg(parent.pid, signal.SIGINT)
    assert parent.stdout.readline().split() == ["interrupted", "True"]
    assert all(gone(pid) for pid in workers)
    parent.kill()
    parent.wait()
