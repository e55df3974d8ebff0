"""One optimiser step: micro-batches in, one global division, one update.

The value of a step is `sum(weight * loss) / sum(weight)` over everything in it, whatever the micro-batches and ranks.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from accord.errors import NumericsError
from accord.objectives.monitors import monitors
from accord.objectives.primitives import pairwise, seq_log_ratio, seq_sum
from accord.objectives.terms import Terms
from accord.objectives.vocabulary import signature_of
from accord.policy.action_values import ACTION_VALUES, ActionValues
from accord.policy.critic import VALUES, Critic
from accord.policy.divergences import Measure
from accord.policy.heads import OUTPUTS, RewardHead
from accord.policy.moving import MovingReference
from accord.policy.policy import Policy
from accord.policy.reference import Reference, ReferencePolicy
from accord.policy.rows import Rows
from accord.policy.sharding import is_sharded
from accord.train import distributed
from accord.train.annotators import annotator_tensor
from accord.train.collate import Example, feedback_tensors, given_tensors
from accord.train.next_states import next_values
from accord.train.plan import micro_batches
from accord.train.values import value_tensors

Sums = dict[str, tuple[float, float]]
"""Metrics as (sum, count); their value is sum / count."""


@dataclass(frozen=True)
class Task:
    """What is optimised: an objective with its hyperparameters, and the policy and reference it reads.

    Attributes:
        objective: a function of the vocabulary's tensors.
        hyper: its keyword arguments.
        policy: what is trained.
        reference: needed when the objective names `reference` or `mismatched_kl`, unless the examples bring it.
        critic: needed when the objective names `value` or `cost_value`.
        teachers: policies with the same vocabulary, when the objective names `teacher`: the mean over them is taken,
            and no gradient reaches them.
        temperature: divides the policy's logits, so that it is compared with samples drawn at that temperature.
        annotators: names of the annotator groups that are trained on, when the objective names `annotator`.
        state: numbers that an objective which names `state` carries from step to step. The loop renews them after each
            update and checkpoints them; a measurement reads them.
    """

    objective: Callable[..., Terms]
    hyper: Mapping[str, Any]
    policy: Policy
    reference: Reference | ReferencePolicy | MovingReference | None = None
    critic: Critic | None = None
    teachers: tuple[Policy, ...] = ()
    temperature: float = 1.0
    annotators: tuple[str, ...] = ()
    state: dict[str, float] = field(default_factory=dict)

    @property
    def needs(self) -> tuple[str, ...]:
        """The tensors the objective names."""
        return signature_of(self.objective).needs

    @property
    def values(self) -> tuple[str, ...]:
        """The names of what a reward model of several values gives."""
        head = self.policy.reward_head
        return head.names if isinstance(head, RewardHead) else ()

    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that training changes: the policy's, and the critic's if there is one."""
        return self.policy.trainable() | (self.critic.trainable() if self.critic is not None else {})

    @property
    def moving(self) -> tuple[MovingReference | ActionValues, ...]:
        """What follows the trained weights, after each step."""
        return tuple(
            one
            for one in (self.reference, self.policy.action_values)
            if isinstance(one, MovingReference | ActionValues)
        )

    def terms(self, tensors: Mapping[str, Tensor]) -> Terms:
        """The objective's terms on the tensors of one micro-batch."""
        state = {name: torch.tensor(value, device=self.policy.device) for name, value in self.state.items()}
        given: dict[str, Any] = {**tensors, "state": state}
        return self.objective(*(given[name] for name in self.needs), **self.hyper)


@dataclass(frozen=True)
class StepResult:
    """What one pass over a step's micro-batches gave, over all ranks.

    Attributes:
        loss: the step's value.
        components: value of each component of the loss, by name.
        metrics: (sum, count) of every monitored quantity.
        tokens: of all sequences, a prompt counted once for each of its responses.
        state: what the objective carries to the next step, by name.
    """

    loss: float
    components: dict[str, float]
    metrics: Sums
    tokens: int
    state: dict[str, float]


Batch = tuple[list[Example], Rows]


def run_step(task: Task, examples: Sequence[Example], *, micro_batch_tokens: int, backward: bool) -> StepResult:
    """Evaluate the objective on the examples of one step, and accumulate its gradients if asked.

    Gradients are left in `.grad`, summed over ranks; the caller clips and updates.

    Raises:
        NumericsError: a loss is not finite; names the prompt.
    """
    parts = micro_batches(examples, micro_batch_tokens, task.policy.cost)
    batches, idle = _laid_out(task, distributed.share(parts)), _laid_out(task, _idle(task, parts))
    shared: dict[str, Tensor] = {}
    if "mismatched_kl" in task.needs:
        shared["mismatched_kl"] = mismatched_kl(task, examples, micro_batch_tokens=micro_batch_tokens)
    if "step_pairs" in task.needs:
        shared["step_pairs"] = step_pairs(task, batches, idle)
    if "step_ratios" in task.needs:
        shared["step_ratios"] = step_ratios(task, batches, idle)
    denominators = _denominators(task, batches, shared)
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    with torch.set_grad_enabled(backward):
        for batch in batches:
            _run_part(task, batch, shared, denominators, sums, backward=backward)
        _pass_idly(task, idle, shared)
    if backward:
        gradients = _gradients(task)
        if not is_sharded(task.policy.model):
            distributed.sum_tensors(gradients)
    tokens = sum(example.tokens for examples_of_batch, _ in batches for example in examples_of_batch)
    return _over_ranks({name: (pair[0], pair[1]) for name, pair in sums.items()}, tokens)


def _run_part(
    task: Task,
    batch: Batch,
    shared: dict[str, Tensor],
    denominators: Mapping[str, Tensor],
    sums: dict[str, list[float]],
    *,
    backward: bool,
) -> None:
    """Evaluate the objective on a micro-batch, accumulate its gradients, and add what was seen to `sums`.

    Its graph ends here: what is left of one lies between the activations of the next, which then need more room.
    """
    tensors = _tensors(task, batch) | shared
    terms = task.terms(tensors)
    loss = torch.zeros((), device=batch[1].mask.device)
    for part in terms.components():
        value = (part.weight * part.loss).sum() / denominators[part.name]
        loss = loss + part.scale * value
        _add(sums, {f"loss/{part.name}": (value.detach(), None)})
    _require_finite(loss, terms, batch[0])
    if backward and loss.requires_grad:
        torch.autograd.backward(loss)
    _add(sums, {"loss": (loss.detach(), None)})
    _add(sums, {name: (value, weight) for name, (value, weight) in _observed(tensors, terms).items()})


def mismatched_kl(task: Task, examples: Sequence[Example], *, micro_batch_tokens: int) -> Tensor:
    """Mean over the step's mismatched rows of the summed log-ratio policy/reference, without gradient.

    This is the estimate that KTO clamps at zero to get its reference point (Ethayarajh et al. 2024, section 4.1).
    """
    assert task.reference is not None
    matched = [Example(example.group, example.mismatched) for example in examples if example.mismatched is not None]
    total = torch.zeros(2, dtype=torch.float64, device=task.policy.device)
    with torch.no_grad():
        parts = micro_batches(matched, micro_batch_tokens, task.policy.cost)
        own, idle = distributed.share(parts), _idle(task, parts)
        for counts, part in [*((1.0, part) for part in own), *((0.0, part) for part in idle)]:
            encoded = [example.encoded for example in part]
            rows = task.policy.rows(encoded)
            ratio = task.policy.logprobs(rows) - task.reference.logprobs(encoded, rows)
            total += counts * torch.stack([ratio.double().sum(), rows.valid.double().sum()])
    distributed.sum_tensors([total])
    return (total[0] / total[1].clamp_min(1.0)).float()


def step_pairs(task: Task, batches: Sequence[Batch], idle: Sequence[Batch] = ()) -> Tensor:
    """Every preferred pair of the step, over all ranks: weight, log-prob margin of the policy and of the reference."""
    rows: list[list[float]] = []
    with torch.no_grad():
        for batch in batches:
            tensors = _tensors(task, batch)
            prefer, mask = tensors["prefer"], tensors["mask"]
            margins = [pairwise(seq_sum(tensors[name], mask)) for name in ("policy", "reference")]
            rows += torch.stack([prefer, *margins], -1)[prefer > 0].tolist()
        for batch in idle:
            _tensors(task, batch)
    return _of_all_ranks(rows, columns=3, device=task.policy.device)


def step_ratios(task: Task, batches: Sequence[Batch], idle: Sequence[Batch] = ()) -> Tensor:
    """Every labelled response of the step, over all ranks: its label, and its log-ratio of policy to reference."""
    rows: list[list[float]] = []
    with torch.no_grad():
        for batch in batches:
            tensors = _tensors(task, batch)
            ratio = seq_log_ratio(tensors["policy"], tensors["reference"], tensors["mask"])
            rows += torch.stack([tensors["label"], ratio], -1)[tensors["label"] != 0].tolist()
        for batch in idle:
            _tensors(task, batch)
    return _of_all_ranks(rows, columns=2, device=task.policy.device)


def _of_all_ranks(rows: list[list[float]], *, columns: int, device: torch.device) -> Tensor:
    """The rows of every rank, or one of zeros."""
    every = [row for of_rank in distributed.gather(rows) for row in of_rank]
    return torch.tensor(every or [[0.0] * columns], device=device)


def _laid_out(task: Task, parts: Sequence[list[Example]]) -> list[Batch]:
    return [(part, task.policy.rows([example.encoded for example in part])) for part in parts]


def _idle(task: Task, parts: Sequence[list[Example]]) -> list[list[Example]]:
    """Micro-batches that this rank repeats to no effect: sharded weights need as many passes on every rank."""
    return distributed.idle(parts) if is_sharded(task.policy.model) else []


def _pass_idly(task: Task, idle: Sequence[Batch], shared: Mapping[str, Tensor]) -> None:
    """The passes of these batches, forward and where gradients are on backward, without a trace of them."""
    for batch in idle:
        parts = task.terms({**_tensors(task, batch), **shared}).components()
        loss = torch.stack([(part.weight * part.loss).sum() for part in parts]).sum()
        if loss.requires_grad:
            torch.autograd.backward(0.0 * loss)


def _tensors(task: Task, batch: Batch) -> dict[str, Any]:
    """The tensors the objective names, and those that monitors can use."""
    examples, rows = batch
    named: dict[str, Any] = {**data_tensors(task, batch)}
    if any(name in task.needs for name in ACTION_VALUES):
        named |= task.policy.estimates(rows)
    elif "entropy" in task.needs:
        named["policy"], named["entropy"] = task.policy.logprobs_and_entropies(rows, temperature=task.temperature)
    elif "collision" in task.needs:
        named["policy"], named["collision"] = task.policy.logprobs_and_collisions(rows, temperature=task.temperature)
    elif "policy" in task.needs:
        named["policy"] = task.policy.logprobs(rows, temperature=task.temperature)
    if any(name in task.needs for name in OUTPUTS):
        named |= task.policy.head_outputs(rows)
    if any(name in task.needs for name in VALUES if name not in named):
        assert task.critic is not None
        named |= task.critic.values(rows)
    if "next_value" in task.needs:
        named["next_value"] = next_values(task.policy, examples, rows.valid)
    if "pretrain" in task.needs:
        named["pretrain"] = task.policy.logprobs(_kept_rows(task, examples))
    if "teacher" in task.needs:
        assert task.teachers
        named["teacher"] = partial(_taught, task, rows)
    if "reference" in task.needs and "reference" not in named:
        assert task.reference is not None
        named["reference"] = task.reference.logprobs([example.encoded for example in examples], rows)
    return named


def data_tensors(task: Task, batch: Batch) -> dict[str, Tensor]:
    """The tensors that come from the data alone."""
    examples, rows = batch
    groups, width = [example.group for example in examples], rows.valid.shape[1]
    feedback = feedback_tensors(groups, width, task.needs) | value_tensors(groups, width, task.values, task.needs)
    if "annotator" in task.needs:
        feedback["annotator"] = annotator_tensor(groups, width, task.annotators)
    if "pretrain" in task.needs:
        feedback["pretrain_mask"] = _kept_rows(task, examples).mask
    given = given_tensors(examples, rows.mask.shape, task.needs)
    return {name: tensor.to(rows.mask.device) for name, tensor in (feedback | given).items()} | {
        "mask": rows.mask,
        "valid": rows.valid,
    }


def _kept_rows(task: Task, examples: Sequence[Example]) -> Rows:
    """The texts that are to stay likely, one an example."""
    return task.policy.rows([example.kept for example in examples if example.kept is not None])


def _denominators(task: Task, batches: Sequence[Batch], shared: dict[str, Tensor]) -> dict[str, Tensor]:
    """The global weight of each component, from the objective itself on tensors of zeros: weights are data only."""
    sums: dict[str, float] = defaultdict(float)
    with torch.no_grad():
        for batch in batches:
            rows = batch[1]
            of_tokens = ("policy", "reference", "entropy", "collision", "step_reward", *VALUES, *ACTION_VALUES)
            zeros = dict.fromkeys(of_tokens, rows.mask) | dict.fromkeys(("reward", "next_value"), rows.valid)
            if "named_rewards" in task.needs:
                zeros["named_rewards"] = rows.valid.unsqueeze(-1).expand(-1, -1, len(task.values))
            model_outputs: dict[str, Any] = {name: torch.zeros_like(like) for name, like in zeros.items()}
            if "pretrain" in task.needs:
                model_outputs["pretrain"] = torch.zeros_like(_kept_rows(task, batch[0]).mask)
            model_outputs["teacher"] = partial(_nothing_like, rows.mask)
            for part in task.terms(model_outputs | data_tensors(task, batch) | shared).components():
                sums[part.name] += float(part.weight.expand_as(part.loss).double().sum())
    totals: dict[str, float] = defaultdict(float)
    for of_rank in distributed.gather(dict(sums)):
        for name, weight in of_rank.items():
            totals[name] += weight
    return {name: torch.tensor(total or 1.0, device=task.policy.device) for name, total in totals.items()}


def _taught(task: Task, rows: Rows, measure: Measure, *, temperature: float) -> Tensor:
    """The mean over the teachers of how far each is from the policy."""
    each = [task.policy.divergences(rows, teacher, measure, temperature=temperature) for teacher in task.teachers]
    return each[0] if len(each) == 1 else torch.stack(each).mean(0)


def _nothing_like(mask: Tensor, measure: Measure, *, temperature: float) -> Tensor:
    """A teacher that agrees."""
    return torch.zeros_like(mask)


def _observed(tensors: dict[str, Tensor], terms: Terms) -> dict[str, tuple[Tensor, Tensor]]:
    """Everything worth logging or carrying on about a micro-batch, as (sum, count)."""
    observed = monitors(tensors)
    for part in terms.components():
        for name, (value, weight) in part.metrics.items():
            observed[name] = ((value * weight).sum(), weight.sum())
        for name, (value, weight) in part.state.items():
            observed[f"state/{name}"] = ((value * weight).sum(), weight.sum())
    return observed


def _require_finite(loss: Tensor, terms: Terms, examples: Sequence[Example]) -> None:
    if bool(torch.isfinite(loss)):
        return
    for part in terms.components():
        per_group = (part.weight * part.loss).detach().reshape(len(examples), -1).sum(-1)
        for example, value in zip(examples, per_group.tolist(), strict=True):
            if not math.isfinite(value):
                raise NumericsError(
                    f"the loss is {value} on the prompt {example.group.prompt_text()[:200]!r}",
                    where=str(example.group.origin) if example.group.origin else None,
                    mend="Lower --lr, or look at this row.",
                )
    raise NumericsError(f"the loss is {float(loss.detach())}", mend="Lower --lr.")


def _gradients(task: Task) -> list[Tensor]:
    """The gradient of every trained parameter; ranks that saw no data contribute zeros."""
    gradients = []
    for parameter in task.trainable().values():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        gradients.append(parameter.grad)
    return gradients


def _add(sums: dict[str, list[float]], values: Mapping[str, tuple[Tensor, Tensor | None]]) -> None:
    for name, (total, count) in values.items():
        sums[name][0] += float(total)
        sums[name][1] += float(count) if count is not None else 0.0


def _over_ranks(sums: Sums, tokens: int) -> StepResult:
    """Add what every rank saw; losses are already divided, metrics keep their counts."""
    merged: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    total_tokens = 0
    for of_rank, tokens_of_rank in distributed.gather((sums, tokens)):
        total_tokens += tokens_of_rank
        for name, (total, count) in of_rank.items():
            merged[name][0] += total
            merged[name][1] += count
    loss = merged.pop("loss", [0.0, 0.0])[0]
    components = {name: merged.pop(name)[0] for name in list(merged) if name.startswith("loss/")}
    carried = {name: merged.pop(name) for name in list(merged) if name.startswith("state/")}
    state = {name.removeprefix("state/"): total / count for name, (total, count) in carried.items() if count}
    metrics = {name: (pair[0], pair[1]) for name, pair in merged.items()}
    return StepResult(loss, components, metrics, total_tokens, state)
