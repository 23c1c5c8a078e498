"""The PPO loop: sample, score, optimise, and now and then evaluate.

The loop takes any policy with a value head and any reward function. It knows neither ChatGLM nor
linear programs: in this series ``add_value_head`` provides the first and ``Evaluator`` the second.
"""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accelerate import PartialState
from accelerate.tracking import GeneralTracker
from accelerate.utils import gather_object, parse_flag_from_env
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase, set_seed
from trl import PreTrainedModelWrapper

from glm_ppo_utils.errors import BadInput
from glm_ppo_utils.ppo.folder import RunFolder, run_identity
from glm_ppo_utils.ppo.process import Clock, noted_signals, wait_if_another_failed
from glm_ppo_utils.ppo.replay import Replay
from glm_ppo_utils.ppo.reward_scale import RewardScale, without_others
from glm_ppo_utils.ppo.trainer import ResponseTrainer
from glm_ppo_utils.profiles import PPOSettings, memory_advice
from glm_ppo_utils.rollout import (
    RewardError,
    RewardFn,
    Rollout,
    as_prompts,
    call_reward,
    check_lengths,
    respond,
    reward_statistics,
    sampled_and_greedy,
    stop_ids,
)

SAMPLES = 8  # answers that a step writes down


class PPORun:
    """One PPO training run in one folder; calling :meth:`train` again resumes it.

    Parameters
    ----------
    policy : trl.PreTrainedModelWrapper
        Causal language model with a value head, values ``[batch, sequence]``
        (see ``glm_ppo_utils.chatglm.add_value_head``).
    reward_fn : callable
        ``(prompts, completions, **columns) -> list[float]``: one finite reward per response.
    problems : sequence
        Training problems: objects with ``text`` (the prompt), whose other fields are the columns,
        or mappings with a ``"text"``, such as the rows of a ``datasets.Dataset``.
    out_dir : Path
        See `folder.py` for what it holds.
    heldout : sequence, optional
        Problems for evaluation during training.
    grader : callable, optional
        What decides the exact and parse rates in the log; `reward_fn` when left out. Pass the
        evaluator here to train on another reward and still see how many answers are exact.
    progress : bool
        Show a progress bar.
    samples_every : int
        Every so many steps `SAMPLES` answers go to ``samples.jsonl`` and TensorBoard; 0 for never.
    log_with : str or accelerate.tracking.GeneralTracker, optional
        A tracker beside TensorBoard, such as "wandb" or "mlflow", which must be installed.

    Raises
    ------
    TypeError
        When `policy` has no value head.
    BadInput
        A ``ValueError``: when there are no problems, a prompt does not fit the model's context,
        `out_dir` holds a run with another policy, reward, settings or problems, the batches cannot
        be shared out evenly to the processes, or the policy's code ignores gradient checkpointing.
    OSError
        When `out_dir` cannot be written.

    Notes
    -----
    Under ``accelerate launch`` every process samples, scores and learns from its share of each
    step's problems; gradients and the rows of the log are averaged, and the main process writes.
    """

    def __init__(
        self,
        policy: PreTrainedModelWrapper,
        tokenizer: PreTrainedTokenizerBase,
        reward_fn: RewardFn,
        problems: Sequence,
        settings: PPOSettings,
        out_dir: Path | str,
        heldout: Sequence = (),
        grader: RewardFn | None = None,
        progress: bool = True,
        samples_every: int = 10,
        log_with: str | GeneralTracker | None = None,
    ):
        if not isinstance(policy, PreTrainedModelWrapper):
            raise TypeError(
                f"the policy is a {type(policy).__name__} without a value head; "
                "wrap it with add_value_head(policy) first"
            )
        if not problems:
            raise BadInput("no problems to train on; pass at least one")
        self.policy, self.tokenizer = policy, tokenizer
        self.reward_fn, self.grader = reward_fn, grader or reward_fn
        problems, heldout = as_prompts(problems), as_prompts(heldout)
        self.problems, self.heldout = problems, heldout[: settings.eval_problems]
        self.settings, self.out_dir, self.progress = settings, Path(out_dir), progress
        processes = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))
        self.process, self.processes = processes.process_index, processes.num_processes
        self._check_shares()
        model, length = policy.pretrained_model, settings.max_new_tokens
        check_lengths(model, tokenizer, [*self.problems, *self.heldout], length)
        with processes.main_process_first():
            identity = run_identity(settings, policy, self.problems, heldout, reward_fn)
            self.folder = RunFolder(self.out_dir, identity, self.process == 0, log_with)
        self.samples_every = samples_every
        self.trainer = ResponseTrainer(policy, tokenizer, settings, self.processes)
        self.scale, self.replay = RewardScale(), Replay(settings)
        self.done = 0  # number of finished steps
        self._saved = 0  # number of steps in the newest checkpoint
        self._half_learnt = False  # the weights are those of an unfinished step: not to be saved

    # -- the loop

    def train(self) -> list[dict]:
        """Run the remaining steps, and return the log of all steps.

        Ctrl-C finishes the current step, saves a checkpoint and raises ``KeyboardInterrupt``; so
        does SIGTERM, if Python has a handler for it. A second one stops at once; if it interrupts
        an optimisation, that step is lost and training later resumes from the last checkpoint. Any
        error, for example in the reward function, is raised after the finished steps are saved.
        """
        self._load()
        with self.folder.writing(self.done), self._saving_at_the_end():
            self._evaluate_if_due()
            with noted_signals() as signals:
                for step in (bar := self._bar()):
                    row = self.step(step)
                    self.folder.write("log", row)
                    self.done, self._half_learnt = step + 1, False
                    bar.set_postfix(reward=f"{row['reward']:.2f}", exact=f"{row['exact']:.2f}")
                    self._save_if_due()
                    self._evaluate_if_due()
                    if any(gather_object([bool(signals)])):  # all processes stop at the same step
                        raise KeyboardInterrupt
        PartialState().wait_for_everyone()
        return self.folder.rows("log")

    def step(self, step: int) -> dict:
        """One PPO step: sample, score, optimise. Returns its row of the log."""
        # Everything random in a step follows from (seed, step), so a resumed run repeats it.
        self._set_seed(self.settings.seed * 100_003 + step)
        self.trainer.set_learning_rates(step)
        clock = Clock(self.settings.memory_advice)
        n = self.settings.samples_per_problem
        batch = [problem for problem in self._share(self.batch(step)) for _ in range(n)]
        with clock("generate"):
            rollouts = self.rollout(batch)
        with clock("score"):
            rewards, grades = self._score(step, batch, [r.text for r in rollouts])
        if self.samples_every and step % self.samples_every == 0:
            rows = zip(batch[:SAMPLES], rollouts[:SAMPLES], rewards[:SAMPLES], strict=True)
            self.folder.write_samples(
                step, [{"prompt": p.text, "answer": r.text, "reward": s} for p, r, s in rows]
            )
        self._half_learnt = True
        with clock("optimise"):
            stats = self.optimise(rollouts, rewards)
        clock.split("optimise", "logprobs", stats.pop("seconds_logprobs"))
        if self.settings.replay:
            with clock("replay"):
                stats |= self._imitate(step, rollouts, rewards)
        graded = reward_statistics(gather_object(list(grades)))
        lengths = gather_object([len(r.response) for r in rollouts])
        seconds = pd.DataFrame(gather_object([clock.seconds])).mean()
        return {
            "step": step,
            **reward_statistics(gather_object(list(rewards))),
            "exact": graded["exact"],
            "parsed": graded["parsed"],
            **self._cut_answers(rollouts, rewards),
            **stats,
            "response_tokens": float(np.mean(lengths)),
            **{f"seconds_{name}": value for name, value in seconds.items()},
        }

    def _score(self, step: int, batch: list, answers: list[str]) -> tuple[list[float], list[float]]:
        """The rewards to learn from, and the grades from which the log counts exact and parsed."""
        try:
            rewards = call_reward(self.reward_fn, batch, answers)
            if self.grader is self.reward_fn:
                return rewards, rewards
            return rewards, call_reward(self.grader, batch, answers)
        except RewardError as error:
            raise RewardError(f"step {step}: {error}") from error

    def _cut_answers(self, rollouts: list[Rollout], rewards: list[float]) -> dict:
        """The share of answers cut at ``max_new_tokens``, and their mean reward, if there are."""
        limit, stops = self.settings.max_new_tokens, stop_ids(self.tokenizer)
        cut = [len(r.response) == limit and int(r.response[-1]) not in stops for r in rollouts]
        pairs = gather_object(list(zip(cut, rewards, strict=True)))
        earned = [reward for was_cut, reward in pairs if was_cut]
        return {
            "cut": len(earned) / len(pairs),
            "cut_reward": float(np.mean(earned)) if earned else None,
        }

    def _imitate(self, step: int, rollouts: list[Rollout], rewards: list[float]) -> dict:
        """Supervised updates on exact answers, those of this step included."""
        self.replay.add(rollouts, rewards)
        losses = []
        for batch in map(self._share, self.replay.batches(step)):
            loss, surprises = self.trainer.imitate(batch)
            self.replay.note(batch, surprises)
            losses.append(loss)
        return {
            "replay_answers": len(self.replay.answers),
            "replay_loss": float(np.mean(losses)) if losses else None,
        }

    def batch(self, step: int) -> list:
        """Problems of a step: a shuffled pass over all of them, then another shuffle."""
        count = len(self.problems)
        size = self.settings.batch_size // self.settings.samples_per_problem

        @cache
        def order(n: int) -> np.ndarray:
            return np.random.default_rng([self.settings.seed, n]).permutation(count)

        places = range(step * size, (step + 1) * size)
        return [self.problems[order(place // count)[place % count]] for place in places]

    def rollout(self, problems: Sequence, temperature: float = 1.0) -> list[Rollout]:
        """Responses of the policy to `problems`, from this process."""
        s = self.settings
        prompts = [p.text for p in problems]
        model = self.trainer.accelerator.unwrap_model(self.policy)
        batch = s.rollout_batch_size
        return respond(model, self.tokenizer, prompts, s.max_new_tokens, temperature, batch)

    def optimise(self, rollouts: list[Rollout], rewards: list[float]) -> dict:
        """Update the policy; returns statistics of TRL under the names of the log.

        The ``samples_per_problem`` rollouts of a problem stand side by side.
        """
        self.scale.add(gather_object(list(rewards)))
        rewards = self.scale.normalised(rewards)
        learns_values = self.settings.baseline == "value"
        if not learns_values:
            rewards = without_others(rewards, self.settings.samples_per_problem)
        # By length: the passes that TRL makes before it shuffles the batch then need less padding.
        pairs = sorted(
            zip(rollouts, rewards, strict=True),
            key=lambda pair: len(pair[0].query) + len(pair[0].response),
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The average ratio|KL divergence")
            self.trainer.spare_passes([r for r, _ in pairs])
            stats = self.trainer.step(
                [r.query for r, _ in pairs],
                [r.response for r, _ in pairs],
                [torch.tensor(reward, dtype=torch.float32) for _, reward in pairs],
            )
        # If all returns are the same but for rounding, the explained variance means nothing.
        varies = learns_values and stats["ppo/returns/var"] > 1e-10 * max(
            stats["ppo/returns/mean"] ** 2, 1.0
        )
        return {
            "scale_mean": self.scale.mean,
            "scale_spread": self.scale.spread,
            "kl": float(stats["objective/kl"]) if self.settings.kl_coef else None,
            "kl_coef": float(stats["objective/kl_coef"]),
            "entropy": float(stats["ppo/policy/entropy"]),
            "clip_fraction": float(stats["ppo/policy/clipfrac"]),
            "ratio": float(np.mean(stats["ppo/policy/ratio"])),
            "approx_kl": float(stats["ppo/policy/approxkl"]),
            "policy_loss": float(stats["ppo/loss/policy"]),
            "value_loss": float(stats["ppo/loss/value"]) if learns_values else None,
            "explained_variance": float(stats["ppo/val/var_explained"]) if varies else None,
            "seconds_logprobs": float(stats["time/ppo/forward_pass"]),
        }

    def evaluate(self, temperature: float = 1.0) -> dict:
        """Reward, exact and parse rate on the held-out problems."""
        problems = self._share(self.heldout)
        with memory_advice("evaluate", self.settings.memory_advice("evaluate")):
            answers = [r.text for r in self.rollout(problems, temperature)]
        rewards = call_reward(self.grader, problems, answers) if problems else []
        return reward_statistics(gather_object(rewards))

    def held_out_row(self, done: int) -> dict:
        """Sampled (temperature 1) and greedy rates on the held-out problems after `done` steps."""
        self._set_seed(self.settings.seed)
        rates = sampled_and_greedy(self.evaluate)
        return {"step": done, "problems": len(self.heldout), **rates}

    # -- what is due after a step

    def _bar(self) -> tqdm:
        """The remaining steps, with a progress bar."""
        # Asked here, because tqdm's bar for notebooks does not look at this variable.
        show = self.progress and self.process == 0 and not os.environ.get("TQDM_DISABLE")
        start, total = self.done, self.settings.steps
        steps = range(start, total)
        return tqdm(steps, desc="PPO", initial=start, total=total, unit="step", disable=not show)

    def _evaluate_if_due(self) -> None:
        """Evaluate if the settings ask for it now, unless ``eval.jsonl`` already has this step."""
        s, done = self.settings, self.done
        due = s.eval_every and self.heldout and (done == s.steps or done % s.eval_every == 0)
        size = len(self.heldout)
        rows = [(row["step"], row.get("problems", size)) for row in self.folder.rows("eval")]
        if due and (done, size) not in rows:
            self.folder.write("eval", self.held_out_row(done))

    def _save_if_due(self) -> None:
        if self.done == self.settings.steps or self.done % self.settings.checkpoint_every == 0:
            self._save()

    @contextmanager
    def _saving_at_the_end(self) -> Iterator[None]:
        """Save the finished steps, however training ends."""
        try:
            yield
        except KeyboardInterrupt:
            self._save()
            raise
        except BaseException as error:
            with suppress(Exception):  # what cannot be saved now must not hide what went wrong
                self._save()
            wait_if_another_failed(error)
            raise

    def _save(self) -> None:
        """Save the state, unless it is saved already or a step is only half done."""
        if self.process or self._half_learnt or self.done == self._saved:
            return
        state = {
            "parameters": {n: p.detach().cpu().clone() for n, p in self._learning().items()},
            "optimizer": self.trainer.optimizer.state_dict(),
            "imitation": self.trainer.imitation.state_dict(),
            "kl_coef": float(self.trainer.kl_ctl.value),  # numpy's type when adaptive
            "scale": asdict(self.scale),
            "replay": self.replay.state(),
        }
        self.folder.checkpoints.save(self.done, state)
        self._saved = self.done

    def _load(self) -> None:
        """Go back to the newest good checkpoint, if there is one.

        Raises
        ------
        BadInput
            When an older version wrote it.
        """
        self.done, state = self.folder.checkpoints.load_newest()
        self._saved, self._half_learnt = self.done, False
        self.scale, self.replay = RewardScale(), Replay(self.settings)
        if state is None:
            return
        if "scale" not in state or "surprises" not in state.get("replay", ()):
            raise BadInput(
                f"{self.out_dir} holds a run of an older version, which did not learn in this way; "
                "take another out_dir to start afresh"
            )
        own = self._learning()
        with torch.no_grad():
            for name, value in state["parameters"].items():
                own[name].copy_(value)
        self.trainer.copies.give_back()
        self.trainer.optimizer.load_state_dict(state["optimizer"])
        self.trainer.imitation.load_state_dict(state["imitation"])
        self.trainer.kl_ctl.value = state["kl_coef"]
        self.scale = RewardScale(**state["scale"])
        self.replay.load(state["replay"])

    def _learning(self) -> dict[str, torch.Tensor]:
        """What learns, by name: parameters, or their float32 copies."""
        named = {n: p for n, p in self.policy.named_parameters() if p.requires_grad}
        return dict(zip(named, self.trainer.copies.of(list(named.values())), strict=True))

    # -- several processes

    def _check_shares(self) -> None:
        units = {"batch_size": self.settings.samples_per_problem, "mini_batch_size": 1}
        units |= {"replay_batch_size": 1} if self.settings.replay else {}
        for name, unit in units.items():
            size, unit = getattr(self.settings, name), unit * self.processes
            if size % unit:
                raise BadInput(
                    f"{name} {size} cannot be shared out evenly to {self.processes} processes; "
                    f"take a multiple of {unit}"
                )

    def _share(self, problems: Sequence) -> list:
        """This process's share of `problems`."""
        return list(problems)[self.process :: self.processes]

    def _set_seed(self, number: int) -> None:
        """Seed all random generators: the main process as a single one would be, others apart."""
        mixed = np.random.SeedSequence([number, self.process]).generate_state(1)
        set_seed(int(mixed[0]) if self.process else number)
