"""The loop: one, for every objective, offline lists and online generators alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import nn

from accord.errors import NumericsError
from accord.objectives.policy_gradient.trust_region import TrustRegion
from accord.policy.engine.gradients import Gradients
from accord.policy.sharding import whole
from accord.train.collate import Example
from accord.train.config import TrainConfig
from accord.train.natural import natural_step
from accord.train.step import StepResult, Task, run_step

Schedule = Literal["cosine", "linear", "constant"]


CRITIC_FACTOR = 10.0
"""The critic's learning rate as a multiple of the policy's, where none is given: its heads start from nothing."""


@dataclass(frozen=True)
class Update:
    """What one optimiser step did."""

    step: int
    result: StepResult
    grad_norm: float
    learning_rate: float


def optimise(
    task: Task,
    steps: Iterable[tuple[int, Sequence[Example]]],
    optimizer: torch.optim.Optimizer,
    *,
    learning_rate: Callable[[int], float],
    max_grad_norm: float,
    micro_batch_tokens: int,
    trust_region: TrustRegion | None = None,
) -> Iterator[Update]:
    """Take one optimiser step for each item of `steps`, and yield what it did.

    `steps` may be a list that was planned ahead or a generator that samples from the policy that is being trained: the
    next item is asked for only after the update, so a generator sees the newest weights.

    Args:
        task: objective, policy and reference.
        steps: the number of each step, counted from 0, and its examples.
        optimizer: over `task.trainable()`, from `make_optimizer`.
        learning_rate: the rate of a step, counted from 0.
        max_grad_norm: clipping threshold of the global norm; 0 switches it off.
        micro_batch_tokens: tokens that go through the model at once.
        trust_region: for methods that step within one; the optimiser is left with the critic.

    Raises:
        NumericsError: a loss or the gradient is not finite; no update is made.
    """
    parameters = list(task.trainable().values())
    gradients = Gradients(parameters)
    for step, examples in steps:
        rate = learning_rate(step)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["rate_factor"]
        optimizer.zero_grad(set_to_none=True)
        with gradients.collecting():
            result = run_step(task, examples, micro_batch_tokens=micro_batch_tokens, backward=True)
        norm = float(whole(nn.utils.clip_grad_norm_(parameters, max_grad_norm or math.inf)))
        if not math.isfinite(norm):
            raise NumericsError(
                f"the gradient of step {step + 1} is {norm}",
                mend="Lower --lr, or use --dtype fp32. No update was made.",
            )
        if trust_region is not None:
            moved = natural_step(task, examples, trust_region, micro_batch_tokens=micro_batch_tokens)
            result = replace(result, metrics={**result.metrics, **moved})
        optimizer.step()
        task.state.update(result.state)
        task.policy.version = f"step-{step + 1}"
        yield Update(step + 1, result, norm, rate)


def make_optimizer(
    parameters: Mapping[str, nn.Parameter],
    *,
    weight_decay: float,
    betas: tuple[float, float],
    critic_factor: float = 1.0,
) -> torch.optim.AdamW:
    """AdamW with decay on matrices only: decaying gains and biases moves them towards zero for no benefit.

    One pass over each matrix does everything: on a CPU a fifth of the time of the separate operations, without their
    temporary copies.

    Args:
        parameters: what is trained, by name.
        weight_decay: decoupled decay of the matrices.
        betas: decay of the moments.
        critic_factor: the critic's learning rate as a multiple of the policy's.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        groups.setdefault((name.startswith("critic"), parameter.ndim >= 2), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": members,
                "weight_decay": weight_decay if matrices else 0.0,
                "rate_factor": critic_factor if critic else 1.0,
            }
            for (critic, matrices), members in groups.items()
        ],
        lr=0.0,
        betas=betas,
        fused=True,
    )


def critic_factor(config: TrainConfig) -> float:
    """The critic's learning rate as a multiple of the policy's."""
    if config.critic_lr is None or not config.lr:
        return CRITIC_FACTOR
    return config.critic_lr / config.lr


def learning_rate_schedule(peak: float, total: int, *, schedule: Schedule, warmup: float) -> Callable[[int], float]:
    """The learning rate of each step: linear warm-up to `peak`, then a cosine or a line to zero, or constant.

    Args:
        peak: highest rate.
        total: number of steps.
        schedule: shape after warm-up.
        warmup: share of the steps (below 1) or number of steps (1 or more).

    >>> rate = learning_rate_schedule(1.0, 10, schedule="linear", warmup=2)
    >>> [round(rate(step), 3) for step in (0, 1, 2, 9)]
    [0.5, 1.0, 1.0, 0.125]
    """
    warm = min(total, int(warmup) if warmup >= 1 else math.ceil(warmup * total))

    def rate(step: int) -> float:
        if step < warm:
            return peak * (step + 1) / warm
        progress = (step - warm) / max(1, total - warm)
        if schedule == "cosine":
            return peak * 0.5 * (1.0 + math.cos(math.pi * progress))
        return peak * (1.0 - progress) if schedule == "linear" else peak

    return rate
