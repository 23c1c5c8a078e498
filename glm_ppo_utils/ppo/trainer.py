"""All that is changed in TRL's classic ``PPOTrainer``, and why.

================================  ============================  ===================================
what                              here                          TRL 0.11.4
================================  ============================  ===================================
columns that are computed         those of the responses        prompt and response, prompt masked
passes before learning            of the reference model only,  two, the policy's and the
                                  sampling gave the policy's    reference model's
dropout                           off in every pass, so the     on in the pass that learns
                                  first ratio is 1
learning rates                    one for the policy, a higher  one for all parameters
                                  one for the value head
gradient clipping                 always, the policy's and the  in the first update only: then its
                                  value head's apart            generator of parameters is used up
bfloat16 parameters               learnt in float32 copies      rounded at each step
reference model under LoRA        the adapter at PPO's start    the adapter switched off, which is
                                                                the model before SFT
gradient checkpointing            where a gradient is needed    never: passes in evaluation mode
several processes: padding        ids, mask and position ids    ids and mask
several processes: means          over the tokens of all        each process over its own
several processes: the log        means over processes          copies on CPUs are added up
================================  ============================  ===================================

Losses, advantages and the KL penalty are TRL's own. Added is a supervised update on given answers.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase
from trl import PPOConfig, PPOTrainer, PreTrainedModelWrapper, create_reference_model
from trl.core import logprobs_from_logits, masked_mean, masked_whiten

from glm_ppo_utils.gradient_checkpointing import turn_on_gradient_checkpointing
from glm_ppo_utils.profiles import PPOSettings
from glm_ppo_utils.rollout import Rollout

Tensor = torch.Tensor


class ResponseTrainer(PPOTrainer):
    """TRL's trainer, computing only on the columns of the responses.

    Queries and responses are joined and padded on the left, so the responses are the last columns
    of a batch. TRL carries the prompt's columns through its losses and masks them; here they are
    dropped at once. The losses are the same; ``tests/test_ppo.py`` compares the two.

    Parameters
    ----------
    policy : trl.PreTrainedModelWrapper
        With a value head, values ``[batch, sequence]``.
    processes : int
        Number of processes that share each batch and mini-batch.
    """

    ref_model: PreTrainedModelWrapper | None

    def __init__(
        self,
        policy: PreTrainedModelWrapper,
        tokenizer: PreTrainedTokenizerBase,
        settings: PPOSettings,
        processes: int = 1,
    ):
        if settings.gradient_checkpointing:
            turn_on_gradient_checkpointing(policy)
        learning = [(name, p) for name, p in policy.named_parameters() if p.requires_grad]
        self.body = [p for name, p in learning if "v_head" not in name]
        self.head = [p for name, p in learning if "v_head" in name]
        self.copies = Float32Copies([*self.body, *self.head])
        body, head = self.copies.of(self.body), self.copies.of(self.head)
        optimizer = torch.optim.Adam(
            [{"params": body, "lr": settings.policy_lr}, {"params": head, "lr": settings.value_lr}]
        )
        self.imitation = torch.optim.Adam(body, lr=settings.replay_lr)
        with warnings.catch_warnings():
            # Deprecation notices of the pinned TRL, and "no dataset": batches are made in the run.
            warnings.simplefilter("ignore")
            super().__init__(
                _config(settings, processes),
                policy,
                _reference(policy, processes),
                tokenizer,
                optimizer=optimizer,
            )
        if self.ref_model is not None:
            self.ref_model = self.accelerator.unwrap_model(self.ref_model)
        if self.is_peft_model and not adapter_is_fresh(policy):
            self.optional_peft_ctx = adapter_at_start(policy)
        self.settings = settings
        self.head_dim = head_sequence_dim(policy)
        self.width = 0  # response columns of the current batch
        self._known: list[list[tuple[Tensor, Tensor]] | None] = []  # see `spare_passes`
        self._float32 = all(p.dtype == torch.float32 for p in policy.parameters())

    def set_learning_rates(self, step: int) -> None:
        """Set both rates for a step: they fall linearly, the policy's is 0 in the value warm-up."""
        s = self.settings
        policy, value = self.optimizer.param_groups
        warmup = s.value_warmup if s.baseline == "value" else 0
        progress = max(0, step - warmup) / max(1, s.steps - 1 - warmup)
        share = 1 - (1 - s.lr_end) * progress
        policy["lr"] = 0.0 if step < warmup else share * s.policy_lr
        value["lr"] = share * s.value_lr
        self.imitation.param_groups[0]["lr"] = share * s.replay_lr

    def spare_passes(self, rollouts: list[Rollout]) -> None:
        """Say which of the two passes before learning the next step need not make.

        The first asks the policy, which said its log-probabilities and values when it sampled. In
        bfloat16 a pass over whole responses rounds otherwise than token by token (by up to 0.06
        nats for the tiny ChatGLM, and 5e-6 in float32), and is made. The second asks the reference
        model; without a price on the KL its answer changes nothing.
        """
        known = [
            (r.logprobs, r.values)
            for r in rollouts
            if self._float32 and r.logprobs is not None and r.values is not None
        ]
        nothing = [(torch.zeros(len(r.response)),) * 2 for r in rollouts]
        complete = len(known) == len(rollouts)
        self._known = [known if complete else None, None if self.settings.kl_coef else nothing]

    def prepare_model_inputs(self, queries: list[Tensor], responses: list[Tensor]) -> dict:
        """As TRL's; also fixes the number of response columns for this batch."""
        self.width = max(len(r) for r in responses)
        inputs = super().prepare_model_inputs(queries, responses)
        if not self.is_distributed:
            return inputs
        # All processes need the same shape, because statistics are gathered from them. TRL pads
        # ids and mask to the longest row of all processes, but not ChatGLM's position ids.
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
        self,
        model: nn.Module,
        queries: list[Tensor],
        responses: list[Tensor],
        model_inputs: dict[str, Tensor],
        return_logits: bool = False,
        response_masks: list[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        """Log-probabilities, logits, values and mask, each ``[batch, longest response]``."""
        self._no_dropout(model)
        policy, width = self.accelerator.unwrap_model(model), self.width
        known = self._known.pop(0) if self._known and not torch.is_grad_enabled() else None
        mask = torch.zeros(len(queries), width, dtype=torch.long, device=self.current_device)
        for row, response in enumerate(responses):
            mask[row, width - len(response) :] = 1
        if known:
            columns = torch.zeros(2, *mask.shape, device=mask.device)
            for row, (response, pair) in enumerate(zip(responses, known, strict=True)):
                columns[:, row, width - len(response) :] = torch.stack(pair)[:, : len(response)]
            return columns[0], None, columns[1], mask
        parts = []
        for start in range(0, len(queries), self.config.mini_batch_size):
            rows = slice(start, start + self.config.mini_batch_size)
            inputs = {name: value[rows] for name, value in model_inputs.items()}
            inputs = _without_empty_columns(inputs, keep=width + 1)
            with logits_of_last(policy, width + 1, self.head_dim):
                logits, _, values = model(**inputs)
            logits = logits[:, -width - 1 : -1]
            logprobs = logprobs_from_logits(logits, inputs["input_ids"][:, -width:])
            parts.append((logprobs, logits if return_logits else None, values[:, -width - 1 : -1]))
        logprobs, logits, values = zip(*parts, strict=True)
        logits = torch.cat(logits) if return_logits else None
        return torch.cat(logprobs), logits, torch.cat(values), mask

    def compute_advantages(
        self, values: Tensor, rewards: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As TRL's, whitened over the responses of all processes instead of each one's own.

        With the baseline of a group, which the rewards have in them, the values are 0.
        """
        if self.settings.baseline == "group":
            values = torch.zeros_like(values)
        values, advantages, returns = super().compute_advantages(values, rewards, mask)
        if self.is_distributed:
            pairs = torch.stack([returns - values, mask.float()])[None]
            every, masks = self.accelerator.gather(pairs).transpose(0, 1)
            first = len(values) * self.accelerator.process_index
            whitened = masked_whiten(every.flatten(0, 1), masks.flatten(0, 1))
            advantages = whitened[first : first + len(values)]
        return values, advantages, returns

    def loss(
        self,
        old_logprobs: Tensor,
        values: Tensor,
        logits: Tensor,
        vpreds: Tensor,
        logprobs: Tensor,
        mask: Tensor,
        advantages: Tensor,
        returns: Tensor,
    ) -> tuple[Tensor, Tensor, dict]:
        """As TRL's; on several processes the mean is over the tokens of all of them.

        Gradients are averaged over processes. If each took the mean over its own tokens, the tokens
        of a process with short responses would get more weight.
        """
        # Detached, because TRL uses the logits only to report the entropy.
        policy_loss, value_loss, stats = super().loss(
            old_logprobs, values, logits.detach(), vpreds, logprobs, mask, advantages, returns
        )
        # TRL reports the mean over all columns, but the ratio of a padding token means nothing.
        stats["policy/ratio"] = masked_mean(stats["policy/ratio"], mask)
        weight = self._weight(mask)
        return weight * policy_loss, weight * value_loss, stats

    def train_minibatch(
        self,
        old_logprobs: Tensor,
        values: Tensor,
        logprobs: Tensor,
        logits: Tensor,
        vpreds: Tensor,
        mask: Tensor,
        advantages: Tensor,
        returns: Tensor,
    ) -> dict:
        """As TRL's, but for the clipping of gradients and float32 copies; returns statistics."""
        policy_loss, value_loss, stats = self.loss(
            old_logprobs, values, logits, vpreds, logprobs, mask, advantages, returns
        )
        self._descend(policy_loss + value_loss, self.optimizer)
        return stats

    def imitate(self, pairs: list[tuple[Tensor, Tensor]]) -> tuple[float, list[float]]:
        """One supervised update on (query, response) pairs.

        Returns the loss in nats per token, and -log of the probability of each response in nats,
        both from before the update.
        """
        queries, responses = [q for q, _ in pairs], [r for _, r in pairs]
        inputs = self.prepare_model_inputs(queries, responses)
        logprobs, _, values, mask = self.batched_forward_pass(
            self.model, queries, responses, inputs
        )
        loss = -self._weight(mask) * masked_mean(logprobs, mask)
        # On several processes each parameter needs a gradient, and so the value head, too.
        self._descend(loss + 0 * values.sum(), self.imitation)
        surprises = -(logprobs * mask).sum(dim=1).detach()
        return float(self.accelerator.reduce(loss.detach(), "mean")), surprises.tolist()

    def _descend(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """A step of `optimizer`; gradients of policy and value head are clipped apart."""
        self.accelerator.backward(loss)
        for parameters in (self.body, self.head):
            self.accelerator.clip_grad_norm_(parameters, self.settings.max_grad_norm)
        self.copies.take_gradients()
        optimizer.step()
        self.copies.give_back()
        self.model.zero_grad()

    def _weight(self, mask: Tensor) -> Tensor | float:
        """This process's number of tokens, as a multiple of the mean of all processes."""
        if not self.is_distributed:
            return 1.0
        tokens = mask.sum().float()
        return tokens / self.accelerator.reduce(tokens, "mean")

    def gather_stats(self, stats: dict) -> dict:
        """Means over processes."""
        return {
            name: self.accelerator.reduce(value, "mean") if torch.is_tensor(value) else value
            for name, value in stats.items()
        }

    def _no_dropout(self, model: nn.Module) -> None:
        model.eval()
        # Layers are recomputed in training mode only, and TRL's passes run in evaluation mode. So
        # the module that holds the layers, and no other, is set to training mode.
        if self.config.gradient_checkpointing and torch.is_grad_enabled():
            for module in model.modules():
                if module.__dict__.get("gradient_checkpointing"):
                    module.training = True


def _config(s: PPOSettings, processes: int) -> PPOConfig:
    """What TRL itself needs of the settings, under its names; sizes are those of one process."""
    return PPOConfig(
        batch_size=s.batch_size // processes,
        mini_batch_size=s.mini_batch_size // processes,
        gradient_checkpointing=s.gradient_checkpointing,
        ppo_epochs=s.epochs,
        vf_coef=s.value_coef if s.baseline == "value" else 0.0,
        cliprange=s.clip,
        cliprange_value=s.value_clip,
        gamma=s.gamma,
        lam=s.lam if s.baseline == "value" else 1.0,  # without values there is nothing to mix
        init_kl_coef=s.kl_coef,
        adap_kl_ctrl=s.kl_target is not None,
        target=s.kl_target or 6.0,
        seed=s.seed,
    )


class Float32Copies:
    """Float32 copies of parameters in another type, for optimisers to work on.

    A number in bfloat16 has 8 bits: a step of less than 1/512 of it is lost in rounding, and
    nearly all of Adam's are. Parameters in float32 have no copy.
    """

    def __init__(self, parameters: list[nn.Parameter]):
        self._copies = {p: p.detach().float() for p in parameters if p.dtype != torch.float32}

    def of(self, parameters: list[nn.Parameter]) -> list[Tensor]:
        """For each parameter its copy, or itself where it has none."""
        return [self._copies.get(p, p) for p in parameters]

    def take_gradients(self) -> None:
        """Give the copies the gradients of their parameters."""
        for parameter, copy in self._copies.items():
            copy.grad = None if parameter.grad is None else parameter.grad.to(copy)

    @torch.no_grad()
    def give_back(self) -> None:
        """Set the parameters to their copies."""
        for parameter, copy in self._copies.items():
            parameter.copy_(copy)


def _reference(policy: PreTrainedModelWrapper, processes: int) -> PreTrainedModelWrapper | None:
    """The reference model where TRL cannot make it: on several processes, without LoRA.

    On CPUs accelerate fails on a model without trainable parameters, so its unused value head
    stays trainable. None leaves it to TRL: a copy, or the policy with its adapter disabled.
    """
    if processes == 1 or getattr(policy, "is_peft_model", False):
        return None
    reference = create_reference_model(policy)
    reference.v_head.requires_grad_(True)
    return reference


# -- the reference model under LoRA


def adapter_is_fresh(policy: nn.Module) -> bool:
    """Whether a LoRA adapter has no effect yet: every ``lora_B`` is zero."""
    return not any(p.any() for n, p in policy.named_parameters() if "lora_B" in n)


def adapter_at_start(policy: PreTrainedModelWrapper) -> Callable[[], AbstractContextManager]:
    """A function that makes a context in which the adapter has the weights PPO started from.

    TRL's reference model under LoRA is the policy with its adapter disabled. That is right for a
    fresh adapter. One that SFT has trained is part of the reference: disabling it would pull PPO
    back to the model before SFT. The copy of the adapter takes a few MB; the model is not copied.
    """
    adapter = [p for p in policy.pretrained_model.parameters() if p.requires_grad]
    copies = [p.detach().clone() for p in adapter]

    def swap() -> None:
        for parameter, other in zip(adapter, copies, strict=True):
            parameter.data, other.data = other.data, parameter.data

    @contextmanager
    def swapped() -> Iterator[None]:
        swap()
        try:
            yield
        finally:
            swap()

    return swapped


# -- logits of the responses only


@torch.no_grad()
def head_sequence_dim(policy: PreTrainedModelWrapper) -> int | None:
    """Which dimension of the language model head's input is the sequence, found by trying it once.

    None when the head is not a module of its own that the model calls.
    """
    head = getattr(policy.pretrained_model, "lm_head", None)
    if head is None:
        return None
    shapes: list[torch.Size] = []
    hook = head.register_forward_pre_hook(lambda _, args: shapes.append(args[0].shape))
    try:
        policy.pretrained_model(torch.zeros(2, 3, dtype=torch.long, device=head.weight.device))
    finally:
        hook.remove()
    return list(shapes[0]).index(3) if shapes and len(shapes[0]) == 3 else None


@contextmanager
def logits_of_last(policy: PreTrainedModelWrapper, count: int, dim: int | None) -> Iterator[None]:
    """Let the model compute the logits of the last `count` positions only.

    Those of the prompt would cost as much, and PPO does not use them.
    """
    if dim is None:
        yield
        return

    def cut(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden, *rest = args
        return hidden.narrow(dim, hidden.shape[dim] - count, count), *rest

    hook = policy.pretrained_model.lm_head.register_forward_pre_hook(cut)
    try:
        yield
    finally:
        hook.remove()


def _without_empty_columns(inputs: dict[str, Tensor], keep: int) -> dict[str, Tensor]:
    """Drop leading columns in which every row is padding, but none of the last `keep`."""
    mask = inputs["attention_mask"]
    first = min(int(mask.any(dim=0).nonzero()[0]), mask.shape[1] - keep)
    return {name: value[:, first:] for name, value in inputs.items()}
