"""Fixtures shared by the tests. What a test would harm, it copies first."""

import os
from pathlib import Path

import pytest
import torch
from tiny import SIZES, WORDS
from transformers import set_seed

from glm_ppo_utils import base_model
from glm_ppo_utils.chatglm import load_tokenizer, write_checkpoint
from glm_ppo_utils.chatglm.tokenizer_training import train_tokenizer

ROOT = Path(__file__).resolve().parents[1]

# One thread: the models are tiny, and oversubscribed threads are many times slower.
torch.set_num_threads(1)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Before any fixture: torch starts every process from another seed."""
    set_seed(int(os.environ.get("GLM_PPO_TEST_SEED", "0")))


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory) -> Path:
    """The checkpoint folder of a random ChatGLM of a few thousand parameters."""
    folder = tmp_path_factory.mktemp("tiny")
    texts = [w.text for w in WORDS] + ["say one please", "maximize"]
    vocabulary = train_tokenizer(texts, folder / "tokenizer.model", vocab_size=400)
    return write_checkpoint(folder / "policy", SIZES, vocabulary, seed=0)


@pytest.fixture(scope="session")
def tokenizer(tiny_folder):
    return load_tokenizer(tiny_folder)


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory) -> Path:
    """The stored base model, unpacked: a checkpoint folder that writes LP text."""
    return base_model.unpack(tmp_path_factory.mktemp("base") / "base")


@pytest.fixture(scope="session")
def nl4opt_path() -> Path:
    """The NL4Opt development split, which is not part of this repository."""
    path = Path(os.environ.get("NL4OPT_DEV", ROOT / "../shared/data/nl4opt_dev.jsonl"))
    if not path.is_file():
        pytest.skip("nl4opt_dev.jsonl is not at hand; set NL4OPT_DEV to its path")
    return path
