"""Alignment by optimal transport: the whole distribution of margins must be ahead, not each pair by itself."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.objectives.hyperparameters import FlipRate, Positive
from accord.objectives.primitives import pairwise, seq_sum
from accord.objectives.terms import Terms


def aot(
    policy: Tensor,
    reference: Tensor,
    mask: Tensor,
    prefer: Tensor,
    step_pairs: Tensor,
    *,
    beta: Positive = 0.1,
    label_smoothing: FlipRate = 0.0,
) -> Terms:
    r"""Alignment by optimal transport: every quantile of the policy's margins must exceed the reference's.

    .. math::
        \mathcal L_{ij} = -(1-\varepsilon)\log\sigma(\beta(u_{ij} - v_{(k)}))
                          - \varepsilon\log\sigma(\beta(v_{(k)} - u_{ij})),
        \qquad u_{ij} = \log\pi(y_i) - \log\pi(y_j)

    averaged over all pairs with the weights :math:`\text{prefer}_{ij}`. :math:`v_{(k)}` is the reference's margin at
    the same quantile: the pairs of the optimiser step are sorted once by the policy's margin and once by the
    reference's, and equal places are compared. DPO compares each pair with itself under the reference; here a margin
    may fall on one pair if it rises on another, which asks for stochastic dominance and not for progress everywhere.
    With one pair in the step it is DPO; the larger the step, the better the quantiles. This is the paired form.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        reference: `[B,n,T]` the same under the frozen starting weights.
        mask: `[B,n,T]` 1 on trained tokens.
        prefer: `[B,n,n]` weight that response i is preferred to response j.
        step_pairs: `[P,3]` weight, policy's and reference's log-probability margin of every pair of the optimiser step.
        beta: strength of the pull towards the reference, above 0; the usual range is 0.01 to 0.5, higher stays closer.
        label_smoothing: assumed share of flipped preferences, at least 0 and below 0.5.

    Returns:
        One component, `[B,n,n]` weighted by `prefer`.

    Source: Melnyk et al. 2024, "Distributional preference alignment of LLMs via optimal transport" (arXiv:2406.05882).

    Deviation: pairs of unequal weight are compared at the middle of the quantiles that their weights cover.

    >>> import torch
    >>> policy = torch.tensor([[[2.0], [0.0]], [[1.0], [0.0]]])
    >>> reference = torch.tensor([[[0.0], [0.5]], [[0.5], [0.0]]])
    >>> prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]]).expand(2, 2, 2)
    >>> pairs = torch.tensor([[1.0, 2.0, -0.5], [1.0, 1.0, 0.5]])  # margins of the two pairs, policy and reference
    >>> aot(policy, reference, torch.ones(2, 2, 1), prefer, pairs, beta=1.0).loss[:, 0, 1]  # 2 - 0.5 and 1 + 0.5
    tensor([0.2014, 0.2014])
    """
    margin, own = (pairwise(seq_sum(values, mask)) for values in (policy, reference.detach()))
    matched = _at_the_same_quantile(margin.detach(), own, step_pairs.detach().to(margin.dtype))
    lead = beta * (margin - matched)
    loss = -(1.0 - label_smoothing) * logsigmoid(lead) - label_smoothing * logsigmoid(-lead)
    return Terms(loss=loss, weight=prefer)


def _at_the_same_quantile(margin: Tensor, own: Tensor, step_pairs: Tensor) -> Tensor:
    """The reference's margin at the quantile that the policy's margin has in the step, for every two responses."""
    weight, by_policy, by_reference = step_pairs.unbind(-1)
    order, reference_order = by_policy.argsort(), by_reference.argsort()
    total = weight.sum().clamp_min(1e-30)
    middle = (weight[order].cumsum(0) - 0.5 * weight[order]) / total
    reached = weight[reference_order].cumsum(0) / total
    place = torch.searchsorted(reached, middle).clamp_max(len(weight) - 1)
    matched = torch.empty_like(by_reference).scatter(0, order, by_reference[reference_order][place])
    distance = (margin.unsqueeze(-1) - by_policy).abs() + (own.unsqueeze(-1) - by_reference).abs()
    return matched[distance.argmin(-1)]
