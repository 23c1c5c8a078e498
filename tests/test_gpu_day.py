"""`benchmarks/gpu_day.py`, which `make gpu` runs, on a CPU with small sizes."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow


def day(out: Path, *options: str) -> str:
    command = [sys.executable, ROOT / "benchmarks" / "gpu_day.py", "--out", out, *options]
    environment = dict(os.environ, CUDA_VISIBLE_DEVICES="")
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_part_stores_its_table(tmp_path):
    told = day(tmp_path, "--device=cpu", "--small")
    assert "failed" not in told and "skipped" not in told, told
    for part in ("tiny", "resume"):
        table = pd.read_csv(tmp_path / f"{part}.csv")
        assert table.bit_equal.all() and table.device.notna().all()
    assert pd.read_csv(tmp_path / "resume.csv").interrupted_after.tolist() == [2]
    table = pd.read_csv(tmp_path / "published.csv")
    assert table.set_index("phase").formula_gb.notna().to_dict() == {
        "generate": True,
        "score": False,
        "optimise": True,
    }
    assert pd.read_csv(tmp_path / "tests.csv").passed.sum() >= 2


def test_what_cannot_run_is_skipped_with_a_line(tmp_path):
    assert "tiny       skipped: torch sees no GPU" in day(tmp_path, "--parts", "tiny")
    told = day(tmp_path, "--device=cpu", "--parts", "published")
    assert "published  skipped: needs" in told and "0 GB are free" in told
    assert not list(tmp_path.glob("*.csv"))
