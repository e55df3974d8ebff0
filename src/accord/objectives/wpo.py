"""Weighted preference optimisation: trust pairs as far as the policy could have written them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.objectives.hyperparameters import FlipRate, Positive
from accord.objectives.primitives import EXPONENT_LIMIT, pairwise, seq_log_ratio, seq_mean, token_log_ratio
from accord.objectives.terms import Terms


def wpo(
    policy: Tensor,
    reference: Tensor,
    mask: Tensor,
    prefer: Tensor,
    collision: Tensor,
    *,
    beta: Positive = 0.1,
    label_smoothing: FlipRate = 0.0,
) -> Terms:
    r"""Weighted preference optimisation: DPO in which a pair counts as far as the policy would have written it itself.

    .. math::
        \mathcal L_{ij} = -w_i\,w_j\,\log\sigma(\beta(\rho_i - \rho_j)), \qquad
        w_i = \exp\Big(\frac{1}{|y_i|}\sum_t \log\frac{\pi(y_{it})}{\sum_v \pi(v)^2}\Big)

    averaged over all pairs with the weights :math:`\text{prefer}_{ij}`; :math:`\rho_i` is the log-ratio of policy to
    reference summed over the response, and the weights carry no gradient. A response that somebody else wrote is
    unlikely under the policy and says little about what the policy does: off-policy pairs fade, and fade further as the
    policy moves away from them. Divided by :math:`\sum_v\pi(v)^2`, what a token drawn from the policy has on average,
    a response of the policy's own weighs about 1 whether the policy is sure or not (the paper's sampled alignment). The
    weights are not normalised: the loss falls as the policy leaves its data.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        reference: `[B,n,T]` the same under the frozen starting weights.
        mask: `[B,n,T]` 1 on trained tokens.
        prefer: `[B,n,n]` weight that response i is preferred to response j.
        collision: `[B,n,T]` log of the sum of squared probabilities of the policy's distribution at each token.
        beta: strength of the pull towards the reference, above 0; the usual range is 0.01 to 0.5, higher stays closer.
        label_smoothing: assumed share of flipped preferences, at least 0 and below 0.5.

    Returns:
        One component, `[B,n,n]` weighted by `prefer`, with the metric `pair_weight`.

    Source: Zhou et al. 2024, "WPO: enhancing RLHF with weighted preference optimization" (arXiv:2406.11827), eq. 2 and
    section 3.3.

    >>> import torch
    >>> policy = torch.tensor([[[-1.0], [-2.0]]])
    >>> prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    >>> collision = torch.full((1, 2, 1), -1.5)
    >>> wpo(policy, policy, torch.ones(1, 2, 1), prefer, collision).value()  # exp(0.5) * exp(-0.5) * log 2
    tensor(0.6931)
    """
    ratio = pairwise(seq_log_ratio(policy, reference, mask))
    own = seq_mean(token_log_ratio(policy.detach(), collision), mask)
    together = (own.unsqueeze(-1) + own.unsqueeze(-2)).clamp_max(EXPONENT_LIMIT)
    weight = torch.exp(together).to(ratio.dtype)
    margin = beta * ratio
    loss = -(1.0 - label_smoothing) * logsigmoid(margin) - label_smoothing * logsigmoid(-margin)
    return Terms(loss=weight * loss, weight=prefer, metrics={"pair_weight": (weight, prefer)})
