"""Checkpoints survive what a crash can leave behind."""

import errno
import os

import numpy as np
import pytest
import torch
from accelerate.tracking import GeneralTracker
from datasets import Dataset
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import policy_with_value_head

from glm_ppo_utils import atomic
from glm_ppo_utils.ppo import PPORun, PPOSettings
from glm_ppo_utils.ppo.folder import Checkpoints, RunFolder


def saved(tmp_path, *steps):
    store = Checkpoints(tmp_path / "checkpoints")
    for step in steps:
        store.save(step, {"value": torch.full((3,), float(step))})
    return store


def test_an_empty_folder_has_no_checkpoint(tmp_path):
    assert Checkpoints(tmp_path).load_newest() == (0, None)


def test_the_newest_is_loaded_and_old_ones_are_removed(tmp_path):
    store = saved(tmp_path, 5, 10, 100)
    step, state = store.load_newest()
    assert step == 100
    assert torch.equal(state["value"], torch.full((3,), 100.0))
    assert [p.name for p in store._folders()] == ["step-000010", "step-000100"]


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "no checksum"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, damage):
    store = saved(tmp_path, 10, 20)
    path = store.folder / "step-000020" / "state.pt"
    data = bytearray(path.read_bytes())
    if damage == "no checksum":
        (path.parent / "sha256").unlink()
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes({"truncate": data[:-7], "flip": data, "empty": b""}[damage])
    with pytest.warns(UserWarning, match="step-000020 is damaged"):
        step, state = store.load_newest()
    assert step == 10
    assert state["value"][0] == 10


def test_a_new_checkpoint_outlives_damaged_newer_ones(tmp_path):
    """Training went back behind them, so what it saves now counts."""
    store = saved(tmp_path, 10, 50, 75)
    for step in (50, 75):
        (store.folder / f"step-0000{step}" / "state.pt").write_bytes(b"")
    with pytest.warns(UserWarning, match="damaged"):
        assert store.load_newest()[0] == 0  # 10 was not kept
    assert store.save(25, {}).is_dir()
    assert store.load_newest()[0] == 25
    store.save(30, {})
    assert [p.name for p in store._folders()] == ["step-000025", "step-000030"]


def test_what_cannot_be_loaded_is_passed_over_too(tmp_path):
    """Its checksum is right, but it holds what loading refuses."""
    store = saved(tmp_path, 10, 20)
    store.save(20, {"value": np.float64(1)})
    with pytest.warns(UserWarning, match="step-000020 is damaged"):
        assert store.load_newest()[0] == 10


def test_a_half_written_checkpoint_is_not_seen(tmp_path):
    store = saved(tmp_path, 10)
    scratch = store.folder / ".step-000020.writing-4711"
    scratch.mkdir()
    (scratch / "state.pt").write_bytes(b"half")
    assert store.load_newest()[0] == 10
    store.save(20, {})
    assert store.load_newest()[0] == 20
    assert not scratch.exists()


def test_a_full_disk_is_a_clear_error_and_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    store = saved(tmp_path, 10)

    def no_space(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic, "_flush", no_space)
    with pytest.raises(OSError, match="No space left on device.*free space"):
        store.save(20, {})
    assert store.load_newest()[0] == 10
    assert [p.name for p in store.folder.iterdir()] == ["step-000010"]


def test_samples_are_written_and_shown_and_those_of_repeated_steps_dropped(tmp_path):
    folder = RunFolder(tmp_path, {})
    with folder.writing(0):
        for step in (0, 10):
            sample = {"prompt": "How many?", "answer": "maximize\n x", "reward": 0.25}
            folder.write_samples(step, [sample, {**sample, "reward": 1.0}])
    rows = folder.rows("samples")
    assert [(r["step"], r["reward"]) for r in rows] == [(0, 0.25), (0, 1.0), (10, 0.25), (10, 1.0)]
    shown = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    (text,) = shown.Tensors("samples/text_summary")[0].tensor_proto.string_val
    assert text.decode().startswith("**0.25** How many?\n\n    maximize\n     x\n\n**1.00**")
    with folder.writing(10):
        assert folder.rows("samples") == rows[:2]


class Notes(GeneralTracker):
    """A tracker that remembers."""

    name, requires_logging_directory, tracker = "notes", False, None

    def __init__(self):
        super().__init__()
        self.seen = []

    def store_init_configuration(self, values):
        self.seen.append(values)

    def log(self, values, step, **_):
        self.seen.append((step, values))

    def finish(self):
        self.seen.append("finished")


def test_a_tracker_gets_settings_numbers_and_the_end(tmp_path):
    notes = Notes()
    folder = RunFolder(tmp_path, {"steps": 3}, log_with=notes)
    with folder.writing(0):
        folder.write("log", {"step": 0, "reward": 0.5, "explained_variance": None})
    assert notes.seen == [{"steps": 3}, (0, {"log/step": 0, "log/reward": 0.5}), "finished"]


@pytest.mark.filterwarnings("error")
def test_an_unknown_tracker_and_one_that_is_not_installed(tmp_path):
    with pytest.raises(ValueError, match="log_with: Unsupported logging capability: wandbb"):
        RunFolder(tmp_path, {}, log_with="wandbb")
    with pytest.raises(ValueError, match="log_with comet_ml: that tracker is not installed"):
        RunFolder(tmp_path, {}, log_with="comet_ml")


def test_a_run_learns_from_rows_of_a_data_set_and_writes_samples(tiny_folder, tokenizer, tmp_path):
    seen = []

    def reward(prompts, completions, source, **_):
        seen.extend(source)
        return [0.5] * len(prompts)

    rows = Dataset.from_list([{"text": f"say {w} ", "source": w} for w in ("one", "two")])
    policy = policy_with_value_head("gpt2", tiny_folder, len(tokenizer))
    settings = PPOSettings(
        steps=2, batch_size=2, mini_batch_size=2, epochs=1, max_new_tokens=4, eval_every=0
    )
    run = PPORun(
        policy, tokenizer, reward, rows, settings, tmp_path, progress=False, samples_every=2
    )
    run.train()
    assert sorted(seen) == ["one", "one", "two", "two"]
    samples = run.folder.rows("samples")
    assert [(s["step"], s["reward"]) for s in samples] == [(0, 0.5)] * 2
    assert {s["prompt"] for s in samples} == {"say one ", "say two "}
