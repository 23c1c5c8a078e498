"""Notebook 05: the PPO loop, around TRL's classic ``PPOTrainer``.

The loop takes a policy with a value head and a reward function. It knows neither ChatGLM nor
linear programs: ``add_value_head`` prepared the first, ``Evaluator`` is one example of the second.
"""

import hashlib
import json
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accelerate import PartialState
from accelerate.utils import gather_object, parse_flag_from_env
from torch.utils.tensorboard import SummaryWriter
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase, set_seed
from trl import PPOConfig, PPOTrainer, PreTrainedModelWrapper, create_reference_model
from trl.core import logprobs_from_logits, masked_mean, masked_whiten

from glm_ppo_utils.gradient_checkpointing import (
    AdapterAtStart,
    adapter_is_fresh,
    checkpoint_layers,
    head_sequence_dim,
    logits_of_last,
    memory_advice,
    ppo_advice,
)
from glm_ppo_utils.ppo.folder import Checkpoints
from glm_ppo_utils.rollout import RewardFn, Rollout, grade, respond, summary
from glm_ppo_utils.settings import require


@dataclass(frozen=True)
class PPOSettings:
    """Knobs of PPO. Names and defaults follow Schulman et al. (2017) and TRL's ``PPOConfig``.

    Attributes
    ----------
    steps, batch_size, mini_batch_size, epochs : int
        PPO steps; responses sampled per step; responses per optimiser step; passes over a batch.
        All count the whole run: on several processes each takes an equal share of both batches,
        so that the same settings learn the same on any number of them. One pass over a large
        batch is for a policy that samples fast; where sampling is dear, take more passes.
    max_new_tokens : int
        Length limit of a response.
    policy_lr, value_lr : float
        Adam's learning rates, one group for the policy and one for the value head. The head starts
        from nothing and has to keep up with a changing policy, so it learns much faster.
    value_warmup : int
        First steps in which only the value head learns.
    lr_end : float
        Share of both learning rates that is left in the last step: they fall linearly after the
        value warm-up, so that the last steps average out noise instead of adding to it. A run
        that is taken up again with more `steps` follows the longer slope from there on.
    value_coef, clip, value_clip, gamma, lam : float
        Weight of the value loss, clip ranges of ratio and value, discount and lambda of GAE.
        Lambda is 1 because rewards come at the end of short responses: below 1 the errors of a
        value head that is still learning go into every advantage.
    kl_coef, kl_target : float
        Coefficient of the KL penalty: fixed when `kl_target` is None, else adapted towards it
        (in nats per response; Ziegler et al. 2019, section 2.2).
    max_grad_norm : float
        Gradient norm above which a gradient is scaled down.
    eval_every, eval_problems : int
        Steps between evaluations on the first `eval_problems` held-out problems; 0 turns it off.
    checkpoint_every : int
        Steps between checkpoints.
    rollout_batch_size : int
        Responses that one process generates at a time. More is not always faster: 128 responses of
        the tiny profile took 0.76 to 0.79 s by 64 and 0.93 to 1.14 s at once (2 x86-64 cores).
    gradient_checkpointing : bool
        Keep only the input of each layer and compute the rest again in the backward pass.

    Notes
    -----
    What the knobs cost in memory on each device, computed and not measured on a GPU. R responses
    at a time, T tokens of prompt and response, b bytes per number (2 in bfloat16):

    - generation, R = `rollout_batch_size`: ``2 * layers * groups * kv_channels * R * T * b`` of
      keys and values. ChatGLM3-6B: 28 KiB per token, 0.23 GB at R = 16 and T = 512.
    - optimisation, R = `mini_batch_size` / processes: the logits of the responses,
      ``R * max_new_tokens * vocabulary * (b + 4)`` with TRL's copy in float32, as many again for
      their gradients, and some times ``R * max_new_tokens * vocabulary * 4`` for log-probabilities
      and entropy. ChatGLM3-6B: 0.40 GB for the first at R = 4 and 256 new tokens.
    - the layers' inputs, ``layers * R * T * hidden * b``, which `gradient_checkpointing` keeps:
      0.47 GB there. Without it, roughly ``34 * hidden`` bytes a token and layer (Korthikanti et
      al. 2022, section 4.1, for a GPT layer without its attention scores): 8 GB.
    - `batch_size` and `epochs`: next to nothing, token ids and a few numbers per token.
    """

    steps: int = 50
    batch_size: int = 128
    mini_batch_size: int = 32
    epochs: int = 1
    max_new_tokens: int = 96
    policy_lr: float = 3e-4
    value_lr: float = 5e-3
    value_warmup: int = 5
    lr_end: float = 0.1
    value_coef: float = 0.5
    clip: float = 0.2
    value_clip: float = 0.2
    gamma: float = 1.0
    lam: float = 1.0
    kl_coef: float = 0.05
    kl_target: float | None = None
    max_grad_norm: float = 1.0
    eval_every: int = 25
    eval_problems: int = 200
    checkpoint_every: int = 25
    rollout_batch_size: int = 64
    gradient_checkpointing: bool = False
    seed: int = 0

    def __post_init__(self):
        require(self, steps=1, batch_size=1, mini_batch_size=1, epochs=1, max_new_tokens=1)
        require(self, policy_lr=0, value_lr=0, lr_end=0, value_coef=0, value_warmup=0)
        require(self, kl_coef=0, eval_every=0, eval_problems=0)
        require(self, checkpoint_every=1, rollout_batch_size=1)
        if self.batch_size % self.mini_batch_size:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of mini_batch_size "
                f"{self.mini_batch_size}; change one of them"
            )


class ResponseTrainer(PPOTrainer):
    """TRL's trainer, computing on the columns of the responses only.

    Queries and responses are joined and padded on the left, so the responses are the last columns
    of a batch. TRL carries log-probabilities, logits and values of every position through its
    losses and masks the prompt away; here the prompt's columns are dropped at once. Same losses,
    and less to compute: `test_ppo.py` compares the two.
    """

    @cached_property
    def _head_dim(self) -> int | None:
        return head_sequence_dim(self.accelerator.unwrap_model(self.model))

    def prepare_model_inputs(self, queries, responses):
        """As TRL's; also fixes the number of response columns for this batch."""
        self.width = max(len(r) for r in responses)
        inputs = super().prepare_model_inputs(queries, responses)
        if not self.is_distributed:
            return inputs
        # TRL pads ids and mask to the longest row of all processes, but not ChatGLM's position
        # ids; and it adds up statistics over processes, which must have the same shape.
        widths = torch.tensor([self.width], device=self.current_device)
        self.width = int(self.accelerator.gather(widths).max())
        return {
            name: self.accelerator.pad_across_processes(
                value,
                dim=1,
                pad_index=self.tokenizer.pad_token_id if name == "input_ids" else 0,
                pad_first=True,
            )
            for name, value in inputs.items()
        }

    def batched_forward_pass(
        self, model, queries, responses, model_inputs, return_logits=False, response_masks=None
    ):
        """Log-probabilities, logits, values and mask, each ``[batch, longest response]``."""
        self._no_dropout(model)  # so that the first ratio of every batch is exactly 1
        policy, width = self.accelerator.unwrap_model(model), self.width
        parts = []
        for start in range(0, len(queries), self.config.mini_batch_size):
            rows = slice(start, start + self.config.mini_batch_size)
            inputs = {name: value[rows] for name, value in model_inputs.items()}
            inputs = _without_empty_columns(inputs, keep=width + 1)
            with logits_of_last(policy, width + 1, self._head_dim):
                logits, _, values = model(**inputs)
            logits = logits[:, -width - 1 : -1]
            logprobs = logprobs_from_logits(logits, inputs["input_ids"][:, -width:])
            parts.append((logprobs, logits if return_logits else None, values[:, -width - 1 : -1]))
        logprobs, logits, values = zip(*parts, strict=True)
        mask = torch.zeros(len(queries), width, dtype=torch.long, device=logprobs[0].device)
        for row, response in enumerate(responses):
            mask[row, width - len(response) :] = 1
        logits = torch.cat(logits) if return_logits else None
        return torch.cat(logprobs), logits, torch.cat(values), mask

    def compute_advantages(self, values, rewards, mask):
        """As TRL's, whitened over the responses of all processes instead of each one's own."""
        values, advantages, returns = super().compute_advantages(values, rewards, mask)
        if self.is_distributed:
            pairs = torch.stack([returns - values, mask.float()])[None]
            every, masks = self.accelerator.gather(pairs).transpose(0, 1)
            first = len(values) * self.accelerator.process_index
            whitened = masked_whiten(every.flatten(0, 1), masks.flatten(0, 1))
            advantages = whitened[first : first + len(values)]
        return values, advantages, returns

    def loss(self, old_logprobs, values, logits, vpreds, logprobs, mask, advantages, returns):
        """As TRL's; on several processes the mean over the tokens of all of them.

        Gradients are averaged over processes. A mean over each one's own tokens would give those
        of a process with short responses more weight.
        """
        if self.config.gradient_checkpointing:
            self._no_dropout(self.model)  # TRL has switched it on; the backward pass recomputes
        # TRL takes the entropy from the logits, to report it and not to learn from it.
        policy_loss, value_loss, stats = super().loss(
            old_logprobs, values, logits.detach(), vpreds, logprobs, mask, advantages, returns
        )
        # TRL reports every column; in those of padding, old and new pass differ without meaning.
        stats["policy/ratio"] = masked_mean(stats["policy/ratio"], mask)
        if self.is_distributed:
            tokens = mask.sum().float()
            weight = tokens / self.accelerator.reduce(tokens, "mean")
            policy_loss, value_loss = weight * policy_loss, weight * value_loss
        return policy_loss, value_loss, stats

    def gather_stats(self, stats):
        """Means over processes. TRL's own adds up copies on CPUs and returns the addends."""
        return {
            name: self.accelerator.reduce(value, "mean") if torch.is_tensor(value) else value
            for name, value in stats.items()
        }

    def _no_dropout(self, model: torch.nn.Module) -> None:
        model.eval()
        # Layers are recomputed in training mode only, so TRL's own pass, in evaluation mode, would
        # never do it. Only the module that holds the layers is told that it trains.
        if self.config.gradient_checkpointing and torch.is_grad_enabled():
            for module in model.modules():
                if module.__dict__.get("gradient_checkpointing"):
                    module.training = True


def _without_empty_columns(inputs: dict[str, torch.Tensor], keep: int) -> dict:
    """Drop leading columns in which every row is padding, but none of the last `keep`."""
    mask = inputs["attention_mask"]
    first = min(int(mask.any(dim=0).nonzero()[0]), mask.shape[1] - keep)
    return {name: value[:, first:] for name, value in inputs.items()}


class PPORun:
    """One PPO training run in one folder; calling :meth:`train` again resumes it.

    Parameters
    ----------
    policy : trl.PreTrainedModelWrapper
        Causal language model with a value head, values ``[batch, sequence]``
        (see ``glm_ppo_utils.chatglm.add_value_head``).
    tokenizer : PreTrainedTokenizerBase
    reward_fn : callable
        ``(prompts, completions, **columns) -> list[float]``: one finite reward per response.
    problems : sequence
        Training problems, dataclasses with ``text`` (the prompt); the other fields are the columns.
    settings : PPOSettings
    out_dir : Path
        Holds ``log.jsonl`` (a row per step), ``eval.jsonl``, ``tensorboard/``, ``checkpoints/``.
    heldout : sequence, optional
        Problems for evaluation during training.
    grader : callable, optional
        The yardstick of the exact and parse rates in the log; `reward_fn` when left out. Pass the
        evaluator here to train on another reward and still see what is exact.
    progress : bool
        Show a progress bar.

    Raises
    ------
    TypeError
        When `policy` has no value head.
    ValueError
        When there are no problems, `out_dir` holds a run of another policy or with other settings,
        problems or another reward, the batches cannot be shared out evenly, or gradient
        checkpointing has no effect on the policy's code.
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
    ):
        if not isinstance(policy, PreTrainedModelWrapper):
            raise TypeError(
                f"the policy is a {type(policy).__name__} without a value head; "
                "wrap it with add_value_head(policy) first"
            )
        if not problems:
            raise ValueError("no problems to train on; pass at least one")
        self.policy, self.tokenizer = policy, tokenizer
        self.reward_fn, self.grader = reward_fn, grader or reward_fn
        self.problems, self.heldout = list(problems), list(heldout)[: settings.eval_problems]
        self.settings, self.out_dir, self.progress = settings, Path(out_dir), progress
        processes = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))
        self.process, self.processes = processes.process_index, processes.num_processes
        self._check_shares()
        with processes.main_process_first():
            self._claim_folder()
        self.checkpoints = Checkpoints(self.out_dir / "checkpoints")
        self.trainer = self._trainer()

    # -- the loop -----------------------------------------------------------------------------

    def train(self) -> list[dict[str, float]]:
        """Run the steps that are still to do, and return the log of all steps.

        Ctrl-C ends the step, saves a checkpoint and raises ``KeyboardInterrupt``; so does the
        signal of a shutdown (SIGTERM), where it has a handler. A second one does not wait: in the
        middle of an optimisation, training then resumes from the last checkpoint. An error, such
        as one of the reward function, is raised after the finished steps are saved.
        """
        start = self._resume()
        main = self.process == 0
        if main:
            self._tensorboard = SummaryWriter(self.out_dir / "tensorboard", purge_step=start)
            for row in read_jsonl(self.out_dir / "eval.jsonl")[-1:]:
                self._show("eval", row)  # purged with the steps that are run again
        # Left out where it is wanted, because TQDM_DISABLE is the default of this argument.
        hide = {} if self.progress and main else {"disable": True}
        total = self.settings.steps
        bar = tqdm(range(start, total), desc="PPO", initial=start, total=total, unit="step", **hide)
        self._done, self._half_learnt = start, False
        try:
            self._evaluate_if_due()
            with _noted_signals() as pressed:
                for step in bar:
                    row = self.step(step)
                    self._write("log.jsonl", row)
                    self._done, self._half_learnt = step + 1, False
                    bar.set_postfix(reward=f"{row['reward']:.2f}", exact=f"{row['exact']:.2f}")
                    self._save_if_due()
                    self._evaluate_if_due()
                    if any(gather_object([bool(pressed)])):  # all processes stop at the same step
                        raise KeyboardInterrupt
        except KeyboardInterrupt:
            self._save()
            raise
        except BaseException:
            with suppress(Exception):  # what cannot be saved now must not hide what went wrong
                self._save()
            raise
        finally:
            if main:
                with suppress(OSError):  # a full disk is an error where the log is written
                    self._tensorboard.close()
        PartialState().wait_for_everyone()
        return self.log()

    def step(self, step: int) -> dict[str, float]:
        """One PPO step: sample, score, optimise. Returns its row of the log."""
        # Everything random in a step follows from (seed, step), so a resumed run repeats it.
        self._set_seed(self.settings.seed * 100_003 + step)
        clock = _Clock(self.settings)
        self._set_learning_rates(step)
        batch = self._share(self.batch(step))
        with clock("generate"):
            rollouts = self.rollout(batch)
        answers = [r.text for r in rollouts]
        with clock("score"):
            rewards = grade(self.reward_fn, batch, answers)
            own = self.grader is self.reward_fn
            grades = rewards if own else grade(self.grader, batch, answers)
        self._half_learnt = True  # until the step is in the log: not to be saved
        with clock("optimise"):
            stats = self._optimise(rollouts, rewards)
        clock.split("optimise", "logprobs", stats.pop("seconds_logprobs"))
        graded = summary(gather_object(list(grades)))
        lengths = gather_object([len(r.response) for r in rollouts])
        seconds = pd.DataFrame(gather_object([clock.seconds])).mean()
        return {
            "step": step,
            **summary(gather_object(list(rewards))),
            "exact": graded["exact"],
            "parsed": graded["parsed"],
            **stats,
            "response_tokens": float(np.mean(lengths)),
            **{f"seconds_{name}": value for name, value in seconds.items()},
        }

    def batch(self, step: int) -> list:
        """Problems of a step: a shuffled pass over all of them, then another shuffle."""
        size, count = self.settings.batch_size, len(self.problems)
        rows = []
        for k in range(step * size, (step + 1) * size):
            epoch, place = divmod(k, count)
            rows.append(self.problems[self._order(epoch)[place]])
        return rows

    def rollout(self, problems: Sequence, temperature: float = 1.0) -> list[Rollout]:
        """Responses of the policy to `problems`, from this process."""
        s = self.settings
        prompts = [p.text for p in problems]
        model = self.trainer.accelerator.unwrap_model(self.policy)
        return respond(
            model, self.tokenizer, prompts, s.max_new_tokens, temperature, s.rollout_batch_size
        )

    def evaluate(self, problems: Sequence | None = None, temperature: float = 1.0) -> dict:
        """Reward, exact and parse rate on `problems` (the held-out ones when left out)."""
        problems = self._share(self.heldout if problems is None else problems)
        with memory_advice("evaluate", ppo_advice("evaluate", self.settings)):
            answers = [r.text for r in self.rollout(problems, temperature)]
        rewards = grade(self.grader, problems, answers) if problems else []
        return summary(gather_object(rewards))

    def log(self) -> list[dict[str, float]]:
        """Rows of ``log.jsonl``."""
        return read_jsonl(self.out_dir / "log.jsonl")

    # -- parts --------------------------------------------------------------------------------

    def _trainer(self) -> ResponseTrainer:
        s = self.settings
        if s.gradient_checkpointing:
            checkpoint_layers(self.policy)
        config = PPOConfig(
            batch_size=s.batch_size // self.processes,
            mini_batch_size=s.mini_batch_size // self.processes,
            gradient_checkpointing=s.gradient_checkpointing,
            ppo_epochs=s.epochs,
            learning_rate=s.policy_lr,
            vf_coef=s.value_coef,
            cliprange=s.clip,
            cliprange_value=s.value_clip,
            gamma=s.gamma,
            lam=s.lam,
            init_kl_coef=s.kl_coef,
            adap_kl_ctrl=s.kl_target is not None,
            target=s.kl_target or 6.0,
            max_grad_norm=s.max_grad_norm,
            seed=s.seed,
            remove_unused_columns=False,
        )
        head = [p for n, p in self.policy.named_parameters() if "v_head" in n]
        heads = {id(p) for p in head}
        body = [p for p in self.policy.parameters() if p.requires_grad and id(p) not in heads]
        optimizer = torch.optim.Adam(
            [{"params": body, "lr": s.policy_lr}, {"params": head, "lr": s.value_lr}]
        )
        with warnings.catch_warnings():
            # Deprecation notices of the pinned TRL, and "no dataset": batches are made here.
            warnings.simplefilter("ignore")
            trainer = ResponseTrainer(
                config, self.policy, self._reference(), self.tokenizer, optimizer=optimizer
            )
        if trainer.ref_model is not None:
            trainer.ref_model = trainer.accelerator.unwrap_model(trainer.ref_model)
        # TRL keeps a generator here, which is empty after the first clipping.
        trainer.model_params = body + head
        if trainer.is_peft_model and not adapter_is_fresh(self.policy):
            trainer.optional_peft_ctx = AdapterAtStart(self.policy)
        return trainer

    def _reference(self) -> PreTrainedModelWrapper | None:
        """The reference model where TRL cannot make it: on several processes, without LoRA.

        On CPUs accelerate fails on a model in which nothing can learn, so its unused value head
        may. None leaves it to TRL: a copy, or the policy with its adapter disabled.
        """
        if self.processes == 1 or getattr(self.policy, "is_peft_model", False):
            return None
        reference = create_reference_model(self.policy)
        reference.v_head.requires_grad_(True)
        return reference

    def _check_shares(self) -> None:
        for name in ("batch_size", "mini_batch_size"):
            size = getattr(self.settings, name)
            if size % self.processes:
                raise ValueError(
                    f"{name} {size} cannot be shared out evenly to {self.processes} processes; "
                    f"take a multiple of {self.processes}"
                )

    def _share(self, problems: Sequence) -> list:
        """The problems that fall to this process."""
        return list(problems)[self.process :: self.processes]

    def _set_seed(self, number: int) -> None:
        """Seed the random states; each process has its own, the main one that of a single run."""
        mixed = np.random.SeedSequence([number, self.process]).generate_state(1)
        set_seed(int(mixed[0]) if self.process else number)

    def _optimise(self, rollouts: list[Rollout], rewards: list[float]) -> dict[str, float]:
        # By length, so that the passes before TRL shuffles the batch carry little padding.
        pairs = zip(rollouts, rewards, strict=True)
        pairs = sorted(pairs, key=lambda pair: len(pair[0].query) + len(pair[0].response))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The average ratio")
            stats = self.trainer.step(
                [r.query for r, _ in pairs],
                [r.response for r, _ in pairs],
                [torch.tensor(reward, dtype=torch.float32) for _, reward in pairs],
            )
        return {
            "kl": float(stats["objective/kl"]),
            "kl_coef": float(stats["objective/kl_coef"]),
            "entropy": float(stats["ppo/policy/entropy"]),
            "clip_fraction": float(stats["ppo/policy/clipfrac"]),
            "ratio": float(np.mean(stats["ppo/policy/ratio"])),
            "approx_kl": float(stats["ppo/policy/approxkl"]),
            "policy_loss": float(stats["ppo/loss/policy"]),
            "value_loss": float(stats["ppo/loss/value"]),
            "explained_variance": float(stats["ppo/val/var_explained"]),
            "seconds_logprobs": float(stats["time/ppo/forward_pass"]),
        }

    def _set_learning_rates(self, step: int) -> None:
        s = self.settings
        policy, value = self.trainer.optimizer.param_groups
        progress = max(0, step - s.value_warmup) / max(1, s.steps - 1 - s.value_warmup)
        share = 1 - (1 - s.lr_end) * progress
        policy["lr"] = 0.0 if step < s.value_warmup else share * s.policy_lr
        value["lr"] = share * s.value_lr

    def _order(self, epoch: int) -> np.ndarray:
        if getattr(self, "_order_cache", (None,))[0] != epoch:
            rng = np.random.default_rng([self.settings.seed, epoch])
            self._order_cache = (epoch, rng.permutation(len(self.problems)))
        return self._order_cache[1]

    def _save_if_due(self) -> None:
        if self._done == self.settings.steps or self._done % self.settings.checkpoint_every == 0:
            self._save()

    def _evaluate_if_due(self) -> None:
        """Evaluate after the steps that are done, unless a run before this one has done so."""
        s, done = self.settings, self._done
        due = s.eval_every and self.heldout and (done == s.steps or done % s.eval_every == 0)
        if due and not any(r["step"] == done for r in read_jsonl(self.out_dir / "eval.jsonl")):
            self._write("eval.jsonl", self.held_out_row(done))

    def held_out_row(self, done: int) -> dict[str, float]:
        """Sampled (temperature 1) and greedy rates on the held-out problems after `done` steps."""
        self._set_seed(self.settings.seed)
        sampled, greedy = self.evaluate(temperature=1.0), self.evaluate(temperature=0.0)
        rows = {f"sampled_{k}": v for k, v in sampled.items()}
        return {"step": done, **rows, **{f"greedy_{k}": v for k, v in greedy.items()}}

    # -- the folder ---------------------------------------------------------------------------

    def _claim_folder(self) -> None:
        """Make the folder, or make sure that it holds a run on these problems and settings."""
        path = self.out_dir / "settings.json"
        mine = {**asdict(self.settings), **self._identity()}
        try:
            self.out_dir.mkdir(parents=True, exist_ok=True)
            theirs = json.loads(path.read_text()) if path.exists() else mine
            self._refuse_another_run(mine, theirs)
            if self.process == 0:
                _replace(path, json.dumps(mine, indent=1))
        except OSError as error:
            raise OSError(
                f"cannot write to {self.out_dir}: {error.strerror}; mend that, or pass another "
                "out_dir"
            ) from error

    def _identity(self) -> dict[str, str]:
        """What else must be the same for a run to go on: it is not all in the checkpoint.

        The place in the data is the number of the step, which means something in this list of
        problems only; and the policy before the first step is the reference model.
        """
        reward = self.reward_fn if hasattr(self.reward_fn, "__qualname__") else type(self.reward_fn)
        return {
            "problems": hashlib.sha256(repr(self.problems).encode()).hexdigest(),
            "policy": _digest(self.policy),
            "reward": f"{reward.__module__}:{reward.__qualname__}",
        }

    def _refuse_another_run(self, mine: dict, theirs: dict) -> None:
        free = {"steps", "eval_every", "eval_problems", "checkpoint_every"}
        free |= {"rollout_batch_size", "gradient_checkpointing"}  # memory can be saved later
        changed = [k for k in mine if k not in free and theirs.get(k) != mine[k]]
        if changed:
            name = changed[0]
            what = f"{name}={theirs.get(name)}, not {mine[name]}; use its settings"
            if name == "problems":
                what = "other problems; pass the same ones, in their order,"
            if name == "policy":
                what = "another policy at its start; pass the one that it started from"
            raise ValueError(
                f"{self.out_dir} holds a run with {what} to resume it, or another out_dir to start "
                "afresh"
            )

    def _save(self) -> None:
        """Save the state after the steps that are done, unless it is saved or in between steps."""
        if self.process or self._half_learnt or self._done == self._saved:
            return
        self.checkpoints.save(
            self._done,
            {
                "parameters": _trainable(self.policy),
                "optimizer": self.trainer.optimizer.state_dict(),
                "kl_coef": float(self.trainer.kl_ctl.value),  # an adapted one is of numpy's type
            },
        )
        self._saved = self._done

    def _resume(self) -> int:
        """Load the newest good checkpoint; the number of steps that are done."""
        done, state = self.checkpoints.load_newest()
        if state is not None:
            own = dict(self.policy.named_parameters())
            with torch.no_grad():
                for name, value in state["parameters"].items():
                    own[name].copy_(value)
            self.trainer.optimizer.load_state_dict(state["optimizer"])
            self.trainer.kl_ctl.value = state["kl_coef"]
        self._saved = done
        if self.process == 0:
            for name, first in (("log.jsonl", done), ("eval.jsonl", done + 1)):
                self._truncate(self.out_dir / name, first)
        return done

    def _truncate(self, path: Path, step: int) -> None:
        """Drop rows of steps that will be run again, and a row that was cut while written."""
        rows = [r for r in read_jsonl(path) if r["step"] < step]
        _replace(path, "".join(json.dumps(r) + "\n" for r in rows))

    def _write(self, name: str, row: dict[str, float]) -> None:
        if self.process:
            return
        try:
            with (self.out_dir / name).open("a") as file:
                file.write(json.dumps(row) + "\n")
            self._show(name.removesuffix(".jsonl"), row)
        except OSError as error:
            raise OSError(
                f"{self.out_dir / name} could not be written ({error.strerror}); mend that, then "
                "run again: training continues from the newest checkpoint"
            ) from error

    def _show(self, group: str, row: dict[str, float]) -> None:
        for key, value in row.items():
            self._tensorboard.add_scalar(f"{group}/{key}", value, row["step"])


def _replace(path: Path, text: str) -> None:
    """Write a file so that a crash leaves the old one or the new one."""
    scratch = path.with_suffix(".tmp")
    scratch.write_text(text)
    scratch.replace(path)


def read_jsonl(path: Path | str) -> list[dict]:
    """Rows of a JSON-lines log; a last line that was cut while written is left out."""
    path = Path(path)
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def _digest(policy: torch.nn.Module) -> str:
    """A digest of the first numbers of each parameter that the reference model depends on.

    That is neither the value head nor the random half of an adapter that changes nothing yet.
    """
    fresh = adapter_is_fresh(policy)
    digest = hashlib.sha256()
    for name, parameter in policy.named_parameters():
        if "v_head" not in name and not (fresh and "lora_A" in name):
            first = parameter.detach().flatten()[:64].float().cpu()
            digest.update(f"{name} {list(parameter.shape)}".encode() + first.numpy().tobytes())
    return digest.hexdigest()


def _trainable(policy: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Parameters that learn: all of a small policy, adapter and value head under LoRA."""
    return {n: p.detach().cpu().clone() for n, p in policy.named_parameters() if p.requires_grad}


@contextmanager
def _noted_signals() -> Iterator[list[int]]:
    """Note a first Ctrl-C or SIGTERM in a list, for the block to look at; a second one acts.

    A signal without a handler of Python's keeps doing what it does.
    """
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    handlers = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    handlers = {number: handler for number, handler in handlers.items() if callable(handler)}

    def note(number, frame):
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


class _Clock:
    """Seconds of each phase of a step, and advice to the phase that runs out of memory."""

    def __init__(self, settings: PPOSettings):
        self.settings = settings
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str):
        start = time.perf_counter()
        with memory_advice(phase, ppo_advice(phase, self.settings)):
            yield
        self.seconds[phase] = time.perf_counter() - start

    def split(self, phase: str, part: str, seconds: float) -> None:
        """Name a part of a phase, and leave the rest to the phase."""
        self.seconds |= {part: seconds, phase: self.seconds[phase] - seconds}
