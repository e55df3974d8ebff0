"""The policy's step in methods with a trust region: along the natural gradient, as far as a divergence allows.

Everything is asked of `run_step`: gradients, measurements, and products with the Fisher information, which are
differences of the divergence's gradient. So micro-batches, ranks and kernels are those of any other step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from accord.objectives.policy_gradient import METHODS
from accord.objectives.policy_gradient.curvature import assign as write
from accord.objectives.policy_gradient.curvature import difference_product, flat
from accord.objectives.policy_gradient.kl import estimate
from accord.objectives.policy_gradient.trust_region import Measured, TrustRegion, update
from accord.objectives.primitives import token_log_ratio
from accord.objectives.terms import Terms
from accord.train.collate import Example
from accord.train.config import TrainConfig
from accord.train.step import Task, run_step

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

    Args:
        task: what is optimised; the gradients of its loss on the examples are in `.grad`.
        examples: of the step.
        settings: bound on the divergence, damping, lengths.
        micro_batch_tokens: tokens that go through the model at once.

    Returns:
        (sum, count) of `step_share`, how much of the natural step was taken, and of `step_kl`, the divergence it made.
    """
    parameters = list(task.policy.trainable().values())
    gradient = -flat([_taken(parameter) for parameter in parameters])
    measured = replace(task, objective=divergence, hyper={}, critic=None)

    def gradient_at(place: Tensor) -> Tensor:
        write(parameters, place)
        run_step(measured, examples, micro_batch_tokens=micro_batch_tokens, backward=True)
        return flat([_taken(parameter) for parameter in parameters])

    def measure() -> Measured:
        result = run_step(task, examples, micro_batch_tokens=micro_batch_tokens, backward=False)
        total, count = result.metrics[DIVERGENCE]
        loss = sum(value for name, value in result.components.items() if name not in _CRITICS)
        return Measured(-loss, total / max(count, 1.0))

    start = flat([parameter.detach() for parameter in parameters])
    product = difference_product(gradient_at, start, damping=settings.damping)
    moved = update(parameters, gradient, product, measure, settings=settings)
    return {"step_share": (moved.share, 1.0), "step_kl": (moved.after.divergence, 1.0)}


def _taken(parameter: torch.nn.Parameter) -> Tensor:
    """The gradient, which is cleared."""
    gradient, parameter.grad = parameter.grad, None
    return torch.zeros_like(parameter) if gradient is None else gradient.detach()
