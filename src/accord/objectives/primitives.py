"""The arithmetic that objectives share: masked sums, pairwise differences, and logarithms that stay finite.

Sums and differences run in float32 at least, so bfloat16 log-probabilities lose nothing further here.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from accord.objectives.terms import Terms

PROBABILITY_GAP = 1e-6
r"""How close to 1 a probability may come inside :math:`\log(1-p)`; see `log1mexp`."""

EXPONENT_LIMIT = 20.0
"""Where an exponential goes over into its tangent; see `bounded_expm1`."""


def seq_sum(values: Tensor, mask: Tensor) -> Tensor:
    """Sum over the trained tokens of each response, `[..., T] -> [...]`.

    Untrained positions are replaced, not multiplied, by zero: whatever stands there (even NaN) adds exactly nothing to
    the value and to the gradient.

    >>> seq_sum(torch.tensor([[-0.5, -1.0, float("nan")]]), torch.tensor([[1.0, 1.0, 0.0]]))
    tensor([-1.5000])
    """
    wide = torch.promote_types(values.dtype, torch.float32)
    return values.masked_fill(mask == 0, 0.0).sum(-1, dtype=wide)


def seq_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the trained tokens of each response, `[..., T] -> [...]`; 0 for a response without any.

    >>> seq_mean(torch.tensor([[-0.5, -1.0, 9.0], [9.0, 9.0, 9.0]]), torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]))
    tensor([-0.7500,  0.0000])
    """
    total = seq_sum(values, mask)
    return total / seq_sum(mask, mask).clamp_min(1.0).to(total.dtype)


def token_log_ratio(policy: Tensor, reference: Tensor) -> Tensor:
    r"""Per-token :math:`\log\pi - \log\pi_\text{ref}` in float32 or wider; no gradient reaches the reference.

    >>> token_log_ratio(torch.tensor([-1.0]), torch.tensor([-1.5]))
    tensor([0.5000])
    """
    wide = torch.promote_types(policy.dtype, torch.float32)
    return policy.to(wide) - reference.detach().to(wide)


def seq_log_ratio(policy: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    r"""Log-ratio :math:`\rho` of policy to reference summed over each response, `[B,n,T] -> [B,n]`.

    >>> seq_log_ratio(torch.tensor([[[-1.0, -2.0]]]), torch.tensor([[[-1.5, -2.5]]]), torch.tensor([[[1.0, 0.0]]]))
    tensor([[0.5000]])
    """
    return seq_sum(token_log_ratio(policy, reference), mask)


def pairwise(values: Tensor) -> Tensor:
    """Difference of every two responses of a group, `[B,n] -> [B,n,n]`; entry `[b,i,j]` is `values_i - values_j`.

    >>> pairwise(torch.tensor([[3.0, 1.0]]))
    tensor([[[ 0.,  2.],
             [-2.,  0.]]])
    """
    return values.unsqueeze(-1) - values.unsqueeze(-2)


def win_share(prefer: Tensor) -> tuple[Tensor, Tensor]:
    r"""Share of its comparisons that each response wins, and the weight of those comparisons, `[B,n]` each.

    .. math:: P_i = \frac{\sum_j \text{prefer}_{ij}}{c_i}, \qquad
        c_i = \sum_j (\text{prefer}_{ij} + \text{prefer}_{ji})

    A response that is not compared has weight 0 and share 0.

    >>> win_share(torch.tensor([[[0.0, 0.8, 1.0], [0.2, 0.0, 0.0], [0.0, 0.0, 0.0]]]))
    (tensor([[0.9000, 0.2000, 0.0000]]), tensor([[2., 1., 1.]]))
    """
    won, compared = prefer.sum(-1), (prefer + prefer.mT).sum(-1)
    return won / compared.masked_fill(compared == 0, 1.0), compared


def log1mexp(values: Tensor) -> Tensor:
    r""":math:`\log(1 - e^a)` for :math:`a < 0`, accurate near 0 and far from it.

    `values` above `-PROBABILITY_GAP` are treated as `-PROBABILITY_GAP`, where the gradient is zero: a response that is
    all but certain (log-probability 0) gives a finite number instead of minus infinity.

    Source: Mächler (2012), "Accurately computing log(1 - exp(-|a|))", eq. 7.

    >>> log1mexp(torch.tensor([-0.6931472]))  # 1 - 1/2
    tensor([-0.6931])
    """
    below = values.clamp_max(-PROBABILITY_GAP)
    near = torch.log(-torch.expm1(below))
    far = torch.log1p(-torch.exp(below))
    return torch.where(below > -0.6931471805599453, near, far)


def bounded_expm1(values: Tensor) -> Tensor:
    r""":math:`e^a - 1`, continued above `EXPONENT_LIMIT` by its tangent: convex, increasing, and never infinite.

    >>> bounded_expm1(torch.tensor([0.0, 1.0, 1e4])).isfinite().all(), bounded_expm1(torch.tensor([1.0]))
    (tensor(True), tensor([1.7183]))
    """
    beyond = torch.relu(values - EXPONENT_LIMIT)
    return torch.expm1(values.clamp_max(EXPONENT_LIMIT)) + math.exp(EXPONENT_LIMIT) * beyond


def chosen_nll(policy: Tensor, mask: Tensor, prefer: Tensor) -> Terms:
    r"""Mean negative log-likelihood of the tokens of preferred responses, as a component named `nll`.

    .. math:: -\frac{\sum_{b,i,t} c_{bi}\, m_{bit} \log\pi(y_{bit})}{\sum_{b,i,t} c_{bi}\, m_{bit}},
        \qquad c_{bi} = \sum_j \text{prefer}_{bij}

    A response preferred in two pairs counts twice, exactly as if the two pairs were two groups.

    >>> policy = torch.tensor([[[-0.5, -1.0], [-9.0, -9.0]]])
    >>> prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    >>> chosen_nll(policy, torch.ones(1, 2, 2), prefer).value()
    tensor(0.7500)
    """
    return Terms(
        loss=-policy.masked_fill(mask == 0, 0.0),
        weight=mask * prefer.sum(-1, keepdim=True),
        name="nll",
    )
