"""The agent: one optimiser step on a batch of tensors, and samples to make the next batch of."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from accord.agents.batches import Batch
from accord.agents.credit import credited
from accord.agents.readers import read_labelled, read_pairs, read_scored
from accord.agents.samples import Samples, draw_samples
from accord.agents.settings import Settings, read_settings
from accord.errors import ConfigError, DataError
from accord.objectives import resolve
from accord.objectives.policy_gradient import METHODS
from accord.objectives.vocabulary import signature_of
from accord.policy.critic import VALUES, Critic
from accord.policy.logprobs import find_finish
from accord.policy.policy import Policy
from accord.policy.reference import ReferencePolicy
from accord.train.collate import Example
from accord.train.loop import make_optimizer, optimise
from accord.train.metrics import numbers
from accord.train.step import Task

Kind = Literal["pairs", "labels", "scores"]


@dataclass(frozen=True)
class Row:
    """What sets an agent apart.

    Attributes:
        method: the objective, or the policy-gradient method, that `accord train` has under this name.
        kind: of its batches: pairs, single rows with a label, or scored samples of the policy.
        aliases: keys of the configuration that are hyperparameters of the method under another name.
    """

    method: str
    kind: Kind
    aliases: Mapping[str, str] = field(default_factory=dict)


class Agent:
    """A method over plain tensors, for a loop of one's own: the same objectives, steps and sums as `accord train`.

    Args:
        config: `policy`, a causal language model of transformers, and for methods with a reference
            `reference_policy`, by default a copy of the policy as it is now. The agent freezes it and leaves it in
            evaluation mode. Everything else is in `Settings`, and all hyperparameters of the method go by their names.

    Raises:
        ConfigError: a key is unknown or a value out of range; names it.
    """

    row: ClassVar[Row]

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.settings: Settings = read_settings(config, self.row.method, self.row.aliases)
        hyper, method = self.settings.hyper, METHODS.get(self.row.method)
        objective: Callable[..., Any] = resolve(self.row.method) if method is None else method.objective(hyper)
        self.credit = None if method is None else method.credit(hyper)
        self.policy = _policy(self.settings.policy)
        self.generated: Samples | None = None
        self.learning_rate = self.settings.learning_rate
        needs = {*signature_of(objective).needs, *(self.credit.needs if self.credit is not None else ())}
        self.reference = self._frozen() if needs & {"reference", "mismatched_kl"} else None
        critic = self._critic(tuple(name for name in VALUES if name in needs or f"old_{name}" in needs))
        own = hyper if method is None else {}
        self.task = Task(
            objective, own, self.policy, self.reference, critic=critic, temperature=self.settings.temperature
        )
        self.steps = 0
        self._optimizer = make_optimizer(
            self.task.trainable(), weight_decay=self.settings.weight_decay, betas=(0.9, 0.999), critic_factor=10.0
        )

    def update(self, batch: Batch) -> dict[str, float]:
        """One optimiser step.

        Args:
            batch: tensors by name, as the agent's kind reads them (`read_pairs`, `read_labelled`, `read_scored`).

        Returns:
            The loss, its components, what training monitors, and the norm of the gradient.

        Raises:
            DataError: a tensor is missing or has the wrong shape; names it.
            NumericsError: the loss or the gradient is not finite; no update is made.
        """
        with _without_dropout(self.policy.model, *([self.task.critic.network.model] if self.task.critic else [])):
            examples, noted = self._examples(self._completed(batch))
            (update,) = optimise(
                self.task,
                [(self.steps, examples)],
                self._optimizer,
                learning_rate=lambda _: self.learning_rate,
                max_grad_norm=self.settings.max_grad_norm,
                micro_batch_tokens=self.settings.micro_batch_tokens,
            )
        self.steps += 1
        return {**noted, **numbers(update.result), "grad_norm": update.grad_norm}

    def generate_samples(self, prompts: Tensor, attention_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Sample `group_size` answers to each prompt from the policy.

        Args:
            prompts: `[B,P]` token ids.
            attention_mask: `[B,P]` 1 on what is no padding, on either side; by default everything.

        Returns:
            Prompts with answers `[B * group_size, L]`, padded on the right, those of a prompt after one another; and
            the log-probability of each token of an answer in its column, 0 elsewhere. `generated` has their masks as
            well, and `update` takes them from there for a batch of these samples.
        """
        self.generated = self._drawn(self.policy, prompts, attention_mask)
        return self.generated.input_ids, self.generated.log_probs

    def _drawn(self, policy: Policy, prompts: Tensor, attention_mask: Tensor | None) -> Samples:
        seed = self.settings.seed + self.steps
        return draw_samples(policy.model, prompts, attention_mask, self.settings, seed=seed)

    def _examples(self, batch: Batch) -> tuple[list[Example], dict[str, float]]:
        if self.row.kind == "pairs":
            return read_pairs(batch), {}
        if self.row.kind == "labels":
            return read_labelled(batch), {}
        assert self.credit is not None
        size, stops = self.settings.group_size, self.settings.stop_ids
        examples = read_scored(batch, group_size=size, stop_ids=stops)
        if "baseline" in self.credit.needs and "greedy_rewards" not in batch:
            mend = "Add the reward of the greedy answer to each row's prompt."
            raise DataError("the batch has no 'greedy_rewards'", mend=mend)
        return credited(examples, self.credit, self.task)

    def _completed(self, batch: Batch) -> Batch:
        """The batch with what the agent knows itself: the masks of its own samples, if the batch is made of them."""
        own, ids = self.generated, batch.get("input_ids")
        if own is None or not isinstance(ids, Tensor) or not torch.equal(ids.cpu(), own.input_ids.cpu()):
            return batch
        return {"attention_mask": own.attention_mask, "response_mask": own.response_mask, **batch}

    def _frozen(self) -> ReferencePolicy:
        given = self.settings.reference_policy
        if given is self.settings.policy:
            mend = "Give a copy of it, or leave it out: the agent copies the policy as it is."
            raise ConfigError("is the policy itself, and would move with it", where="'reference_policy'", mend=mend)
        model = copy.deepcopy(self.settings.policy) if given is None else given
        model.requires_grad_(False)
        return ReferencePolicy(_policy(model.eval()))

    def _critic(self, names: Sequence[str]) -> Critic | None:
        if not names:
            return None
        given = self.settings.critic
        model = copy.deepcopy(self.settings.policy) if given is None else given
        return Critic.on(_policy(model), tuple(names))


def _policy(model: Any) -> Policy:
    """A model as what training reads: ids in, ids out, so that there is no tokenizer and nothing to render."""
    renderer: Any = None
    return Policy(model, None, renderer, type(model).__name__, "fp32", find_finish(model))


@contextmanager
def _without_dropout(*models: nn.Module) -> Iterator[None]:
    """Evaluation mode with gradients; each module returns to the mode it was in.

    With dropout a policy would differ from its own samples and from its reference before the first step.
    """
    modes = [(module, module.training) for model in models for module in model.modules()]
    try:
        for model in models:
            model.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training
