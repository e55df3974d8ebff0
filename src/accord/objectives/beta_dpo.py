"""DPO with a beta that follows the data of each step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.objectives.hyperparameters import NonNegative, Positive, Range
from accord.objectives.primitives import pairwise, seq_log_ratio
from accord.objectives.terms import Terms

NO_SPREAD = 1e-3
"""Margins that differ by less, in nats, are taken to be equal."""


def beta_dpo(
    policy: Tensor,
    reference: Tensor,
    mask: Tensor,
    prefer: Tensor,
    step_pairs: Tensor,
    state: Mapping[str, Tensor],
    *,
    beta: Positive = 0.1,
    alpha: NonNegative = 0.6,
    momentum: Annotated[float, Range(least=0.0, below=1.0)] = 0.9,
    least: Positive = 1e-3,
    drop: Annotated[float, Range(least=0.0, below=1.0)] = 0.0,
) -> Terms:
    r"""DPO with a dynamic beta: hold the policy closer where a step's pairs are easy, let it go where they are close.

    .. math::
        \mathcal L_{ij} = -\log\sigma(\hat\beta(\rho_i - \rho_j)), \qquad
        \hat\beta = \max\left(\beta_\text{least},\ \beta\,(1 + \alpha(\bar M - M_0))\right), \qquad
        M_0 \leftarrow m M_0 + (1-m)\bar M

    averaged over all pairs with the weights :math:`\text{prefer}_{ij}`; :math:`\rho_i` is the log-ratio of policy to
    reference summed over the response, :math:`\bar M` the mean of :math:`\rho_i - \rho_j` over the pairs of the
    optimiser step and :math:`M_0` its moving average, which takes the step in first. :math:`\hat\beta` carries no
    gradient. `alpha` of 0 is DPO. :math:`\bar M` is in nats and grows with training and with length: choose `alpha`
    such that alpha times its spread stays below 1.

    With `drop` above 0 a share of the pairs is left out of each step, those with unusual margins first (the paper's
    filter): a pair stays with a chance that grows with :math:`\exp(-\tfrac12((M - M_0)/s)^2)`, where :math:`s` is the
    moving average of the margins' spread, and counts with that chance in the loss and in :math:`\bar M`.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        reference: `[B,n,T]` the same under the frozen starting weights.
        mask: `[B,n,T]` 1 on trained tokens.
        prefer: `[B,n,n]` weight that response i is preferred to response j.
        step_pairs: `[P,3]` weight, policy's and reference's log-probability margin of every pair of the optimiser step.
        state: `[]` by name: `threshold` and, with `drop`, `spread`: the moving averages of the margin and of its
            standard deviation up to the step before.
        beta: beta of a step with the usual margin, above 0; the usual range is 0.01 to 0.5.
        alpha: how strongly beta follows the margin, per nat, at least 0; 0 leaves beta as it is.
        momentum: how much of the moving average a step keeps, at least 0 and below 1.
        least: beta is never below this, above 0.
        drop: share of a step's pairs to leave out, at least 0 and below 1; the paper drops 0.2.

    Returns:
        One component, `[B,n,n]` weighted by `prefer`, with the metric `beta` and the moving averages as state.

    Source: Wu et al. 2024, "beta-DPO: direct preference optimization with dynamic beta" (arXiv:2407.08639). As in the
    authors' code, the margin is not scaled by beta.

    Deviation: the paper draws the pairs that stay, one after the other without replacement; here every pair counts
    with its chance of being drawn (to Rosén's 1972 limit for large steps), so that a step is not random.

    >>> import torch
    >>> policy = torch.tensor([[[-1.8], [-1.9]]])
    >>> reference = torch.tensor([[[-2.4], [-1.5]]])
    >>> prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    >>> pairs = torch.tensor([[1.0, 0.1, -0.9], [1.0, -0.5, 0.0]])  # margins 1 and -0.5, with the one of this batch
    >>> terms = beta_dpo(policy, reference, torch.ones(1, 2, 1), prefer, pairs, {})
    >>> terms.metrics["beta"][0].max(), terms.value()  # 0.1 * (1 + 0.6 * (0.25 - 0.025))
    (tensor(0.1135), tensor(0.6380))
    """
    weight, by_policy, by_reference = step_pairs.detach().unbind(-1)
    margin, of_step = pairwise(seq_log_ratio(policy, reference, mask)), by_policy - by_reference
    kept, carried = torch.ones_like(margin), {}
    if drop:
        spread = _spread(of_step, weight)
        around = (state.get("threshold", _mean(of_step, weight)), state.get("spread", spread))
        rate = _rate(_closeness(of_step, *around), weight, share=1.0 - drop)
        weight = weight * -torch.expm1(-rate * _closeness(of_step, *around))
        kept = -torch.expm1(-rate * _closeness(margin.detach(), *around)) / (1.0 - drop)
        carried["spread"] = momentum * around[1] + (1.0 - momentum) * spread
    mean = _mean(of_step, weight)
    carried["threshold"] = momentum * state.get("threshold", mean.new_zeros(())) + (1.0 - momentum) * mean
    strength = (beta * (1.0 + alpha * (mean - carried["threshold"]))).clamp_min(least)
    return Terms(
        loss=-kept.to(margin.dtype) * logsigmoid(strength.to(margin.dtype) * margin),
        weight=prefer,
        metrics={"beta": (strength.expand_as(prefer), prefer)},
        state={name: (value.expand_as(prefer), prefer) for name, value in carried.items()},
    )


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    return (weight * values).sum() / weight.sum().clamp_min(1e-30)


def _spread(values: Tensor, weight: Tensor) -> Tensor:
    """The weighted standard deviation."""
    return _mean((values - _mean(values, weight)).square(), weight).sqrt()


def _closeness(margin: Tensor, centre: Tensor, spread: Tensor) -> Tensor:
    """The paper's weight of a pair in the draw, 1 for a usual margin and near 0 for an unusual one."""
    return torch.exp(-0.5 * ((margin - centre) / spread.clamp_min(NO_SPREAD)).square())


def _rate(closeness: Tensor, weight: Tensor, *, share: float) -> Tensor:
    """The r with which `1 - exp(-r * closeness)` is `share` on average: chances of a draw without replacement."""
    low, high = closeness.new_tensor(-20.0), closeness.new_tensor(20.0)
    for _ in range(60):
        middle = 0.5 * (low + high)
        enough = _mean(-torch.expm1(-middle.exp() * closeness), weight) >= share
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    return high.exp()
