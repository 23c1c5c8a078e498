"""Fixtures shared by the tests."""

import os
from pathlib import Path

import pytest
import torch
from transformers import set_seed

ROOT = Path(__file__).resolve().parents[1]

# One thread: the models are tiny, and oversubscribed threads are many times slower.
torch.set_num_threads(1)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Before any fixture: torch starts every process from another seed."""
    set_seed(int(os.environ.get("GLM_PPO_TEST_SEED", "0")))


@pytest.fixture(scope="session")
def nl4opt_path() -> Path:
    """The NL4Opt development split, which is not part of this repository."""
    path = Path(os.environ.get("NL4OPT_DEV", ROOT / "../shared/data/nl4opt_dev.jsonl"))
    if not path.is_file():
        pytest.skip("nl4opt_dev.jsonl is not at hand; set NL4OPT_DEV to its path")
    return path
