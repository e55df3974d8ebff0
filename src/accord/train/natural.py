"""The policy's step in methods with a trust region: along the natural gradient, as far as a divergence allows.

Everything is asked of `run_step`: gradients, measurements, and products with the Fisher information, which are
differences of the divergence's gradient. So micro-batches, ranks and kernels are those of any other step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from accord.objectives.policy_gradient import METHODS
from accord.objectives.policy_gradient.curvature import assign as write
from accord.objectives.policy_gradient.curvature import difference_product, flat
from accord.objectives.policy_gradient.kl import estimate
from accord.objectives.policy_gradient.limited_cost import EXCESS, expected_cost
from accord.objectives.policy_gradient.trust_region import Measured, TrustRegion, update
from accord.objectives.primitives import token_log_ratio
from accord.objectives.terms import Terms
from accord.train.collate import Example
from accord.train.config import TrainConfig
from accord.train.step import StepResult, Task, run_step

DIVERGENCE = "policy_kl_k3"
"""The metric by which a step is measured."""

_CRITICS = ("loss/value_loss", "loss/cost_value_loss")


def trust_region_of(config: TrainConfig) -> TrustRegion | None:
    """The settings of the method's own step, None if it takes those of the optimiser."""
    method = METHODS.get(config.objective)
    found = None if method is None else method.step_settings(config.hyper)
    return found if isinstance(found, TrustRegion) else None


def divergence(policy: Tensor, behaviour: Tensor, mask: Tensor) -> Terms:
    """Mean divergence of the policy from the one that sampled, in nats a token, by k3.

    Its Hessian where the two are the same is the Fisher information.
    """
    gone = -token_log_ratio(policy, behaviour).masked_fill(mask == 0, 0.0)
    return Terms(loss=estimate(gone, "k3"), weight=mask)


def natural_step(
    task: Task, examples: Sequence[Example], settings: TrustRegion, *, micro_batch_tokens: int
) -> Mapping[str, tuple[float, float]]:
    """Move the policy's parameters; their gradients are used up, those of the critic are left to the optimiser.

    Where the examples bring advantages of a cost, the step keeps the mean cost within its limit, or while it is above,
    lowers it; how far it is above is carried by the task's state.

    Args:
        task: what is optimised; the gradients of its loss on the examples are in `.grad`.
        examples: of the step.
        settings: bound on the divergence, damping, lengths.
        micro_batch_tokens: tokens that go through the model at once.

    Returns:
        (sum, count) of `step_share`, how much of the natural step was taken, and of `step_kl`, the divergence it made;
        with a cost also of `step_cost`, by how much the expected cost of a response changed, and of `step_recovery`, 1
        where the step was to lower the cost alone.
    """
    parameters = list(task.policy.trainable().values())
    gradient = -flat([_taken(parameter) for parameter in parameters])
    start = flat([parameter.detach() for parameter in parameters])
    limited = any("cost_advantage" in example.given for example in examples)
    diverged = replace(task, objective=divergence, hyper={}, critic=None)
    costed = replace(task, objective=expected_cost, hyper={}, critic=None)

    def evaluate(what: Task, *, backward: bool) -> StepResult:
        return run_step(what, examples, micro_batch_tokens=micro_batch_tokens, backward=backward)

    def gradient_of(what: Task, place: Tensor) -> Tensor:
        write(parameters, place)
        evaluate(what, backward=True)
        return flat([_taken(parameter) for parameter in parameters])

    def measure() -> Measured:
        result = evaluate(task, backward=False)
        total, count = result.metrics[DIVERGENCE]
        loss = sum(value for name, value in result.components.items() if name not in _CRITICS)
        cost = evaluate(costed, backward=False).loss if limited else 0.0
        return Measured(-loss, total / max(count, 1.0), cost)

    moved = update(
        parameters,
        gradient,
        difference_product(partial(gradient_of, diverged), start, damping=settings.damping),
        measure,
        settings=settings,
        cost_gradient=gradient_of(costed, start) if limited else None,
        excess=task.state.get(EXCESS, 0.0),
    )
    found = {"step_share": moved.share, "step_kl": moved.after.divergence}
    if limited:
        found["step_cost"] = moved.after.cost - moved.before.cost
        found["step_recovery"] = float(moved.step.case == "recovery")
    return {name: (value, 1.0) for name, value in found.items()}


def _taken(parameter: torch.nn.Parameter) -> Tensor:
    """The gradient, which is cleared."""
    gradient, parameter.grad = parameter.grad, None
    return torch.zeros_like(parameter) if gradient is None else gradient.detach()
