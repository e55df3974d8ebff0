"""Alignment by optimal transport: whole distributions must be ahead, not each pair by itself."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.objectives.hyperparameters import FlipRate, Positive
from accord.objectives.primitives import pairwise, seq_log_ratio, seq_sum
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


def aot_unpaired(
    policy: Tensor,
    reference: Tensor,
    mask: Tensor,
    label: Tensor,
    step_ratios: Tensor,
    *,
    beta: Positive = 0.1,
    label_smoothing: FlipRate = 0.0,
) -> Terms:
    r"""Alignment by optimal transport without pairs: every quantile of the desirable must exceed the undesirable's.

    .. math::
        \mathcal L = \operatorname{mean}_k \left[-(1-\varepsilon)\log\sigma(\beta(u_{(k)} - v_{(k)}))
                          - \varepsilon\log\sigma(\beta(v_{(k)} - u_{(k)}))\right]

    where :math:`u` are the log-ratios of policy to reference of the desirable responses of the optimiser step, summed
    over the response, :math:`v` those of the undesirable ones, and :math:`(k)` counts both in ascending order. The two
    classes need neither the same prompts nor the same number: each response is compared with the other class at its own
    quantile. A class without a counterpart in the step teaches nothing.

    The loss is taken once from either side, with the other side fixed, so that both learn and each class has its own
    mean: its gradient is the paper's, its value twice the paper's.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        reference: `[B,n,T]` the same under the frozen starting weights.
        mask: `[B,n,T]` 1 on trained tokens.
        label: `[B,n]` positive desirable, negative undesirable, 0 not labelled; its size is the weight.
        step_ratios: `[R,2]` label and summed log-ratio of every labelled response of the optimiser step.
        beta: strength of the pull towards the reference, above 0; the usual range is 0.01 to 0.5, higher stays closer.
        label_smoothing: assumed share of wrong labels, at least 0 and below 0.5.

    Returns:
        Components `desirable` and `undesirable`, `[B,n]` each, weighted by the size of `label`.

    Source: Melnyk et al. 2024, "Distributional preference alignment of LLMs via optimal transport" (arXiv:2406.05882).

    Deviation: with unequal numbers or weights, a response is compared at the middle of the quantiles that it covers.

    >>> import torch
    >>> policy, label = torch.tensor([[[2.0], [0.0]], [[1.0], [0.5]]]), torch.tensor([[1.0, -1.0], [1.0, -1.0]])
    >>> ratios = torch.tensor([[1.0, 2.0], [-1.0, 0.0], [1.0, 1.0], [-1.0, 0.5]])
    >>> terms = aot_unpaired(policy, torch.zeros(2, 2, 1), torch.ones(2, 2, 1), label, ratios, beta=1.0)
    >>> terms.loss[:, 0]  # 2 - 0.5 and 1 - 0
    tensor([0.2014, 0.3133])
    """
    ratio = seq_log_ratio(policy, reference, mask)
    labels, ratios = step_ratios.detach().to(ratio.dtype).unbind(-1)
    good, bad = ((ratios[labels * sign > 0], labels[labels * sign > 0].abs()) for sign in (1.0, -1.0))
    both = float(len(good[0]) > 0 and len(bad[0]) > 0)
    parts = []
    for name, sign, own, other in (("desirable", 1.0, good, bad), ("undesirable", -1.0, bad, good)):
        lead = sign * beta * (ratio - _counterpart(ratio.detach(), *own, *other)) if both else 0.0 * ratio
        loss = -(1.0 - label_smoothing) * logsigmoid(lead) - label_smoothing * logsigmoid(-lead)
        parts.append(Terms(loss=loss, weight=both * (sign * label).clamp_min(0.0), name=name))
    return parts[0] + parts[1]


def _counterpart(values: Tensor, own: Tensor, own_weight: Tensor, other: Tensor, other_weight: Tensor) -> Tensor:
    """What `other` has at the quantile that each of `values` has in `own`."""
    order, others = own.argsort(), other.argsort()
    middle = (own_weight[order].cumsum(0) - 0.5 * own_weight[order]) / own_weight.sum()
    reached = other_weight[others].cumsum(0) / other_weight.sum()
    matched = other[others][torch.searchsorted(reached, middle).clamp_max(len(other) - 1)]
    return matched[(values.unsqueeze(-1) - own[order]).abs().argmin(-1)]


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
