"""A process that trains: the time it takes, the signals it gets, and the others beside it."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from glm_ppo_utils.profiles import memory_advice

LAUNCHERS_PATIENCE = 10  # seconds; the launcher looks after its processes several times a second


def wait_if_another_failed(error: BaseException) -> None:
    """If `error` says that another process has gone, wait for the launcher to end this one, too.

    The launcher then names the process that failed first, and no traceback of this one hides it.
    """
    if "closed by peer" in str(error) or "reset by peer" in str(error):
        time.sleep(LAUNCHERS_PATIENCE)


class Clock:
    """Times the phases of a step, and adds advice to the error if one runs out of GPU memory."""

    def __init__(self, advice: Callable[[str], str]):
        self.advice = advice
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Time the block as this phase."""
        start = time.perf_counter()
        with memory_advice(phase, self.advice(phase)):
            yield
        self.seconds[phase] = time.perf_counter() - start

    def split(self, phase: str, part: str, seconds: float) -> None:
        """Count `seconds` of a phase under the name `part` instead."""
        self.seconds |= {part: seconds, phase: self.seconds[phase] - seconds}


@contextmanager
def noted_signals() -> Iterator[list[int]]:
    """Note a first Ctrl-C or SIGTERM in the list, for the block to check; a second one acts.

    A signal that has no handler in Python keeps its usual effect.
    """
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    found = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    handlers = {int(number): handler for number, handler in found.items() if callable(handler)}

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        if len(noted) > 1:
            handlers[number](number, frame)

    for number in handlers:
        signal.signal(number, note)
    try:
        yield noted
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
