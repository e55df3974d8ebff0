"""DPO with an offset: the margin must clear a bar that the data sets for each pair."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.objectives.hyperparameters import Finite, NonNegative, Positive, Range
from accord.objectives.primitives import pairwise, seq_log_ratio
from accord.objectives.terms import Terms


def shaped_dpo(
    policy: Tensor,
    reference: Tensor,
    mask: Tensor,
    prefer: Tensor,
    score: Tensor,
    scored: Tensor,
    *,
    beta: Positive = 0.1,
    shaping: Finite = 0.5,
) -> Terms:
    r"""Reward-shaped DPO: a pair must be told apart in proportion to how far apart its scores are.

    .. math:: \mathcal L_{ij} = -\log\sigma(\beta(\rho_i - \rho_j) - \lambda(F_i - F_j))

    averaged over all pairs of scored responses with the weights :math:`\text{prefer}_{ij}`; :math:`\rho_i` is the
    log-ratio of policy to reference summed over the response, :math:`F_i` its score. The offset stands inside the
    sigmoid, where it changes the gradient; added outside it would be a constant. `shaping` of 0 is DPO. A potential
    that depends on the prompt alone cancels.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        reference: `[B,n,T]` the same under the frozen starting weights.
        mask: `[B,n,T]` 1 on trained tokens.
        prefer: `[B,n,n]` weight that response i is preferred to response j.
        score: `[B,n]` given score of each response, 0 where `scored` is 0.
        scored: `[B,n]` 1 where `score` was given.
        beta: strength of the pull towards the reference, above 0; the usual range is 0.01 to 0.5, higher stays closer.
        shaping: nats of scaled margin that one unit of score must add (lambda); negative lets scores count against.

    Returns:
        One component, `[B,n,n]` weighted by `prefer` where both responses are scored.

    Source: the linear offset of Amini, Vieira and Cotterell 2024, "Direct preference optimization with an offset"
    (arXiv:2402.10571), with a shaping function in place of the reward (Ng, Harada and Russell 1999).

    >>> import torch
    >>> policy = torch.tensor([[[-1.8], [-1.9]]])
    >>> reference = torch.tensor([[[-2.4], [-1.5]]])
    >>> prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    >>> score, scored = torch.tensor([[0.8, 0.5]]), torch.ones(1, 2)
    >>> shaped_dpo(policy, reference, torch.ones(1, 2, 1), prefer, score, scored).value()  # margin 0.1 - 0.5 * 0.3
    tensor(0.7185)
    """
    margin = beta * pairwise(seq_log_ratio(policy, reference, mask))
    offset = shaping * pairwise(score.to(margin.dtype))
    return Terms(loss=-logsigmoid(margin - offset), weight=prefer * _both(scored))


def odpo(
    policy: Tensor,
    reference: Tensor,
    mask: Tensor,
    prefer: Tensor,
    score: Tensor,
    scored: Tensor,
    *,
    beta: Positive = 0.1,
    alpha: NonNegative = 1.0,
) -> Terms:
    r"""DPO with an offset: a pair must be told apart by the logarithm of its difference in score.

    .. math:: \mathcal L_{ij} = -\log\sigma(\beta(\rho_i - \rho_j) - \alpha\log(s_i - s_j))

    averaged over the pairs whose preferred response has the higher score, with the weights
    :math:`\text{prefer}_{ij}`; :math:`\rho_i` is the log-ratio of policy to reference summed over the response. A pair
    that differs by less than one unit of score may have a margin below zero: nearly equal answers stay nearly equal.
    `alpha` of 0 is DPO. `shaped_dpo` has the offset proportional to the difference itself.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        reference: `[B,n,T]` the same under the frozen starting weights.
        mask: `[B,n,T]` 1 on trained tokens.
        prefer: `[B,n,n]` weight that response i is preferred to response j.
        score: `[B,n]` given score of each response, 0 where `scored` is 0.
        scored: `[B,n]` 1 where `score` was given.
        beta: strength of the pull towards the reference, above 0; the usual range is 0.01 to 0.5, higher stays closer.
        alpha: weight of the offset, at least 0; the unit of the scores matters.

    Returns:
        One component, `[B,n,n]` weighted by `prefer` where both responses are scored and the preferred one higher.

    Source: Amini, Vieira and Cotterell 2024, "Direct preference optimization with an offset" (arXiv:2402.10571),
    with the logarithm as scaling function.

    >>> import torch
    >>> policy = torch.tensor([[[-1.8], [-1.9]]])
    >>> reference = torch.tensor([[[-2.4], [-1.5]]])
    >>> prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    >>> score, scored = torch.tensor([[0.9, 0.3]]), torch.ones(1, 2)
    >>> odpo(policy, reference, torch.ones(1, 2, 1), prefer, score, scored).value()  # margin 0.1 - log(0.6)
    tensor(0.4337)
    """
    margin = beta * pairwise(seq_log_ratio(policy, reference, mask))
    lead = pairwise(score.to(margin.dtype))
    higher = lead > 0
    offset = alpha * torch.log(lead.masked_fill(~higher, 1.0))
    return Terms(loss=-logsigmoid(margin - offset), weight=prefer * _both(scored) * higher)


def modpo(
    policy: Tensor,
    reference: Tensor,
    mask: Tensor,
    prefer: Tensor,
    score: Tensor,
    scored: Tensor,
    *,
    beta: Positive = 0.1,
    weight: Annotated[float, Range(above=0.0, most=1.0)] = 0.5,
) -> Terms:
    r"""Multi-objective DPO: preferences on one objective, a given reward for another, traded at a fixed rate.

    .. math::
        \mathcal L_{ij} = -\log\sigma\left(\frac{\beta(\rho_i - \rho_j) - (1-w)(s_i - s_j)}{w}\right)

    averaged over all pairs of scored responses with the weights :math:`\text{prefer}_{ij}`; :math:`\rho_i` is the
    log-ratio of policy to reference summed over the response. What the score explains of the policy's reward is taken
    out before it is compared with the preferences, so the policy's reward becomes :math:`w` times the preferred
    objective plus :math:`1-w` times the score. One run for each `weight` draws the front between the two; 1 is DPO.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        reference: `[B,n,T]` the same under the frozen starting weights.
        mask: `[B,n,T]` 1 on trained tokens.
        prefer: `[B,n,n]` weight that response i is preferred to response j.
        score: `[B,n]` reward of the other objective for each response, 0 where `scored` is 0.
        scored: `[B,n]` 1 where `score` was given.
        beta: strength of the pull towards the reference, above 0; the usual range is 0.01 to 0.5, higher stays closer.
        weight: weight of the objective that the preferences are about, above 0 and at most 1; the score has the rest.

    Returns:
        One component, `[B,n,n]` weighted by `prefer` where both responses are scored.

    Source: Zhou et al. 2023, "Beyond one-preference-fits-all alignment: multi-objective direct preference optimization"
    (arXiv:2310.03708), with two objectives.

    >>> import torch
    >>> policy = torch.tensor([[[-1.8], [-1.9]]])
    >>> reference = torch.tensor([[[-2.4], [-1.5]]])
    >>> prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    >>> score, scored = torch.tensor([[0.2, 0.6]]), torch.ones(1, 2)
    >>> modpo(policy, reference, torch.ones(1, 2, 1), prefer, score, scored).value()  # margin (0.1 + 0.5 * 0.4) / 0.5
    tensor(0.4375)
    """
    margin = beta * pairwise(seq_log_ratio(policy, reference, mask))
    other = (1.0 - weight) * pairwise(score.to(margin.dtype))
    return Terms(loss=-logsigmoid((margin - other) / weight), weight=prefer * _both(scored))


def r_dpo(
    policy: Tensor,
    reference: Tensor,
    mask: Tensor,
    prefer: Tensor,
    *,
    beta: Positive = 0.1,
    alpha: NonNegative = 0.01,
) -> Terms:
    r"""Length-regularised DPO: length alone earns no margin.

    .. math:: \mathcal L_{ij} = -\log\sigma(\beta(\rho_i - \rho_j) + \alpha(|y_i| - |y_j|))

    averaged over all pairs with the weights :math:`\text{prefer}_{ij}`; :math:`\rho_i` is the log-ratio of policy to
    reference summed over the response and :math:`|y_i|` its trained tokens. A pair whose preferred response is longer
    is already explained in part by the length, so the policy learns less from it, and more from a pair whose
    preferred response is shorter. `alpha` of 0 is DPO.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        reference: `[B,n,T]` the same under the frozen starting weights.
        mask: `[B,n,T]` 1 on trained tokens.
        prefer: `[B,n,n]` weight that response i is preferred to response j.
        beta: strength of the pull towards the reference, above 0; the usual range is 0.01 to 0.5, higher stays closer.
        alpha: nats of margin that one token of length explains, at least 0; about 1 over a usual difference.

    Returns:
        One component, `[B,n,n]` weighted by `prefer`.

    Source: Park et al. 2024, "Disentangling length from quality in direct preference optimization" (arXiv:2403.19159).

    >>> import torch
    >>> policy = torch.tensor([[[-1.8, 0.0], [-1.9, 0.0]]])
    >>> reference = torch.tensor([[[-2.4, 0.0], [-1.5, 0.0]]])
    >>> prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    >>> mask = torch.tensor([[[1.0, 1.0], [1.0, 0.0]]])
    >>> r_dpo(policy, reference, mask, prefer, alpha=0.05).value()  # log(1 + exp(-(0.1 + 0.05)))
    tensor(0.6210)
    """
    margin = beta * pairwise(seq_log_ratio(policy, reference, mask))
    longer = pairwise(mask.sum(-1, dtype=margin.dtype))
    return Terms(loss=-logsigmoid(margin + alpha * longer), weight=prefer)


def _both(given: Tensor) -> Tensor:
    """1 for every two responses that both have it, `[B,n] -> [B,n,n]`."""
    return given.unsqueeze(-1) * given.unsqueeze(-2)
