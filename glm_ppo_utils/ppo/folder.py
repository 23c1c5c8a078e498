"""The folder of a PPO run: which run it belongs to, its log and its checkpoints.

================  ==================================================================
settings.json     the settings, and what else must be the same to resume the run
log.jsonl         a row per step
eval.jsonl        a row per evaluation on held-out problems
samples.jsonl     some answers of every so many steps, with their rewards
tensorboard/      all these, for TensorBoard
checkpoints/      the state after the newest steps
================  ==================================================================
"""

import hashlib
import io
import json
import math
import pickle
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

import torch
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker
from torch.utils.tensorboard import SummaryWriter

from glm_ppo_utils import atomic
from glm_ppo_utils.errors import BadInput
from glm_ppo_utils.ppo.trainer import adapter_is_fresh
from glm_ppo_utils.profiles import PPOSettings
from glm_ppo_utils.rollout import RewardFn

# Settings that may be different when a run is resumed: how long it is, how often it evaluates and
# saves, and what saves memory.
FREE = {
    *("steps", "eval_every", "eval_problems", "checkpoint_every"),
    *("rollout_batch_size", "gradient_checkpointing"),
}


class RunFolder:
    """The folder of one run; several processes share it, and only the main one writes.

    Parameters
    ----------
    path : Path
        Made if it is not there.
    identity : dict
        The settings, and digests of all else that decides the results; see `run_identity`.
    main : bool
        Whether this process writes.
    log_with : str or GeneralTracker, optional
        A tracker of accelerate's, such as "wandb", which gets the numbers too.

    Raises
    ------
    BadInput
        When the folder holds another run, or there is no such tracker.
    OSError
        When the folder cannot be written.
    """

    def __init__(
        self,
        path: Path | str,
        identity: dict,
        main: bool = True,
        log_with: str | GeneralTracker | None = None,
    ):
        self.path, self.main, self.identity = Path(path), main, identity
        self.tracker = _tracker(log_with, self.path) if main and log_with else None
        self.checkpoints = Checkpoints(self.path / "checkpoints")
        self._curves: SummaryWriter | None = None
        settings = self.path / "settings.json"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if settings.exists():
                self._refuse_another_run(identity, json.loads(settings.read_text()))
            if main:
                atomic.write_text(settings, json.dumps(identity, indent=1))
        except OSError as error:
            raise OSError(
                f"cannot write to {self.path}: {error.strerror}; fix that, or pass another out_dir"
            ) from error

    def rows(self, name: str) -> list[dict]:
        """The rows of ``<name>.jsonl``; `name` is "log", "eval" or "samples"."""
        return read_jsonl(self.path / f"{name}.jsonl")

    @contextmanager
    def writing(self, done: int) -> Iterator[None]:
        """Let the block write what follows `done` steps; older rows of later steps are dropped."""
        if not self.main:
            yield
            return
        self._drop_rows("log", done)
        self._drop_rows("eval", done + 1)
        self._drop_rows("samples", done)
        if self.tracker:
            self.tracker.init_trackers("glm-ppo", config=self.identity)
        self._curves = SummaryWriter(str(self.path / "tensorboard"), purge_step=done)
        for row in self.rows("eval")[-1:]:
            self._draw("eval", row)  # `purge_step` has removed it with the steps to be repeated
        try:
            yield
        finally:
            with suppress(OSError):  # if the disk is full, writing a row has raised already
                self._curves.close()
            for tracker in self.tracker.trackers if self.tracker else ():
                tracker.finish()

    def write(self, name: str, row: dict) -> None:
        """Append a row to ``<name>.jsonl``; a number that is not finite becomes null."""
        if self.main:
            row = {k: v if _is_finite(v) else None for k, v in row.items()}
            with self._appending(name) as file:
                file.write(json.dumps(row) + "\n")
                self._draw(name, row)

    def write_samples(self, step: int, samples: list[dict]) -> None:
        """Append answers to ``samples.jsonl``, and show them in TensorBoard's tab for texts.

        Each is a dict with ``prompt``, ``answer`` and ``reward``.
        """
        if not self.main:
            return
        with self._appending("samples") as file:
            for sample in samples:
                file.write(json.dumps({"step": step, **sample}, ensure_ascii=False) + "\n")
            if self._curves is not None:
                text = "\n\n".join(_markdown(sample) for sample in samples)
                self._curves.add_text("samples", text, step)

    @contextmanager
    def _appending(self, name: str) -> Iterator[TextIO]:
        """The file, open for another row; an error of the disk names it."""
        path = self.path / f"{name}.jsonl"
        try:
            with path.open("a", encoding="utf-8") as file:
                yield file
        except OSError as error:
            raise OSError(
                f"{path} could not be written ({error.strerror}); fix that, then run again: "
                "training continues from the newest checkpoint"
            ) from error

    def _draw(self, name: str, row: dict) -> None:
        if self._curves is None:
            return
        scalars = {f"{name}/{key}": value for key, value in row.items() if value is not None}
        for key, value in scalars.items():
            self._curves.add_scalar(key, value, row["step"])
        if self.tracker:
            self.tracker.log(scalars, step=row["step"])

    def _drop_rows(self, name: str, step: int) -> None:
        """Drop all rows from `step` on, and a last row that was only partly written."""
        rows = [r for r in self.rows(name) if r["step"] < step]
        text = "".join(json.dumps(r) + "\n" for r in rows)
        atomic.write_text(self.path / f"{name}.jsonl", text)

    def _refuse_another_run(self, mine: dict, theirs: dict) -> None:
        known = [name for name in mine if name in theirs]  # an older version wrote fewer
        changed = [name for name in known if name not in FREE and theirs[name] != mine[name]]
        if not changed:
            return
        name = changed[0]
        what = {
            "problems": "other problems; pass the same ones, in their order,",
            "heldout": "other held-out problems; pass the same ones, in their order,",
            "policy": "another policy at its start; pass the one that it started from",
            "reward": f"the reward {theirs[name]}, not {mine[name]}; pass that one",
        }.get(name, f"{name}={theirs[name]}, not {mine[name]}; use its settings")
        raise BadInput(
            f"{self.path} holds a run with {what} to resume it, or another out_dir to start afresh"
        )


def _tracker(log_with: str | GeneralTracker, folder: Path) -> Accelerator:
    """Accelerate's door to a tracker."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of what is an error here
            tracker = Accelerator(log_with=log_with, project_dir=str(folder))
    except ValueError as error:
        raise BadInput(f"log_with: {error}") from error
    if not tracker.log_with:
        raise BadInput(f"log_with {log_with}: that tracker is not installed; pip install it")
    return tracker


def _markdown(sample: dict) -> str:
    """A sampled answer for TensorBoard, where four spaces keep the lines of an LP apart."""
    answer = "\n".join(f"    {line}" for line in sample["answer"].splitlines())
    return f"**{sample['reward']:.2f}** {sample['prompt']}\n\n{answer}"


def run_identity(
    settings: PPOSettings,
    policy: torch.nn.Module,
    problems: list,
    heldout: list,
    reward_fn: RewardFn,
) -> dict:
    """Everything that must be the same to resume a run; only the settings in `FREE` may change.

    A checkpoint does not hold all of it: which problems a step takes depends on its number and on
    the list of problems, and the policy before the first step is the reference model.
    """
    reward = reward_fn if hasattr(reward_fn, "__qualname__") else type(reward_fn)
    return {
        **asdict(settings),
        "problems": hashlib.sha256(repr(problems).encode()).hexdigest(),
        "policy": _policy_digest(policy),
        "reward": f"{reward.__module__}:{reward.__qualname__}",
        "heldout": hashlib.sha256(repr(heldout).encode()).hexdigest(),
    }


def _policy_digest(policy: torch.nn.Module) -> str:
    """A digest of the first numbers of every parameter that the reference model depends on.

    Left out are the value head, and the random ``lora_A`` of an adapter that has no effect yet.
    """
    fresh = adapter_is_fresh(policy)
    digest = hashlib.sha256()
    for name, parameter in policy.named_parameters():
        if "v_head" not in name and not (fresh and "lora_A" in name):
            first = parameter.detach().flatten()[:64].float().cpu()
            digest.update(f"{name} {list(parameter.shape)}".encode() + first.numpy().tobytes())
    return digest.hexdigest()


class Checkpoints:
    """Numbered checkpoints in a folder; the newest two are kept.

    A checkpoint is a folder ``step-000040`` with ``state.pt`` and its SHA-256, written so that a
    crash leaves either all of it or none.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def save(self, step: int, state: dict) -> Path:
        """Write `state` as the checkpoint after `step` steps.

        Raises
        ------
        OSError
            When it could not be written, naming the folder; older checkpoints stay as they were.
        """
        target = self.folder / f"step-{step:06d}"
        buffer = io.BytesIO()
        torch.save({"step": step, **state}, buffer)
        try:
            with atomic.replacing(target) as scratch:
                (scratch / "state.pt").write_bytes(buffer.getvalue())
                (scratch / "sha256").write_text(hashlib.sha256(buffer.getvalue()).hexdigest())
        except OSError as error:
            raise OSError(
                f"checkpoint {target} could not be written ({error.strerror}); free space there, "
                f"then run again: training continues from the checkpoint before it"
            ) from error
        # Any newer checkpoint is damaged; otherwise training would have resumed from it.
        folders = self._folders()
        kept = folders[: folders.index(target) + 1][-2:]
        halves = self.folder.glob(".step-*")  # left by processes that were killed while writing
        for other in {*folders, *halves} - {*kept}:
            shutil.rmtree(other)
        return target

    def load_newest(self) -> tuple[int, dict | None]:
        """Step and state of the newest good checkpoint; ``(0, None)`` when there is none.

        A damaged checkpoint is passed over with a warning.
        """
        for folder in reversed(self._folders()):
            try:
                state = _read_checkpoint(folder)
                return state["step"], state
            except (OSError, ValueError, RuntimeError, pickle.UnpicklingError) as error:
                warnings.warn(
                    f"checkpoint {folder} is damaged ({error}); using the one before it",
                    stacklevel=2,
                )
        return 0, None

    def _folders(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"))


def _read_checkpoint(folder: Path) -> dict:
    data = (folder / "state.pt").read_bytes()
    if hashlib.sha256(data).hexdigest() != (folder / "sha256").read_text():
        raise ValueError("its checksum does not match")
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def read_jsonl(path: Path | str) -> list[dict]:
    """Rows of a JSON-lines log, if it is there; a partly written last line is left out."""
    path = Path(path)
    rows = []
    for line in path.read_text(encoding="utf-8").split("\n") if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def _is_finite(value: object) -> bool:
    return not isinstance(value, float) or math.isfinite(value)
