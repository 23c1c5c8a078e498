"""Files and folders that a crash cannot halve."""

import os
import signal
import subprocess
import sys
import time

import pytest

from glm_ppo_utils import atomic


def listing(folder):
    return sorted(p.name for p in folder.iterdir())


def test_text_is_replaced_and_nothing_is_left_over(tmp_path):
    path = tmp_path / "log.json"
    atomic.write_text(path, "one\n")
    atomic.write_text(path, "two\nü\r\n")
    assert path.read_bytes() == "two\nü\r\n".encode()
    assert listing(tmp_path) == ["log.json"]


def test_an_error_leaves_the_old_text(tmp_path):
    path = tmp_path / "log.json"
    atomic.write_text(path, "one")
    with pytest.raises(UnicodeEncodeError):
        atomic.write_text(path, "\ud800")
    assert path.read_text() == "one"
    assert listing(tmp_path) == ["log.json"]


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_is_replaced_whole(tmp_path, monkeypatch, exchange):
    if not exchange:
        monkeypatch.setattr(atomic, "_exchange", lambda *_: False)
    for name in ("a", "b"):
        with atomic.replacing(tmp_path / "policy") as scratch:
            (scratch / name).write_text(name)
    assert listing(tmp_path) == ["policy"]
    assert listing(tmp_path / "policy") == ["b"]


def test_an_error_leaves_the_old_folder(tmp_path):
    with atomic.replacing(tmp_path / "policy") as scratch:
        (scratch / "a").write_text("a")
    with pytest.raises(RuntimeError), atomic.replacing(tmp_path / "policy") as scratch:
        raise RuntimeError
    assert listing(tmp_path) == ["policy"]
    assert listing(tmp_path / "policy") == ["a"]


REPLACE_FOREVER = """
import sys
from glm_ppo_utils import atomic
n = 0
while True:
    n += 1
    with atomic.replacing(sys.argv[1]) as scratch:
        (scratch / "one").write_text(str(n))
        (scratch / "two").write_text(str(n))
    print(n, flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="kills a process")
def test_a_kill_leaves_a_whole_folder(tmp_path):
    folder = tmp_path / "policy"
    for attempt in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", REPLACE_FOREVER, str(folder)], stdout=subprocess.PIPE
        )
        process.stdout.readline()
        time.sleep(0.003 * attempt)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert (folder / "one").read_text() == (folder / "two").read_text() != ""
