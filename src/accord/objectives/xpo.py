"""Exploratory preference optimisation: online DPO that is paid for leaving what the reference says."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.objectives.hyperparameters import NonNegative, Positive
from accord.objectives.primitives import pairwise, seq_log_ratio, seq_sum
from accord.objectives.terms import Terms


def xpo(
    policy: Tensor,
    reference: Tensor,
    mask: Tensor,
    valid: Tensor,
    prefer: Tensor,
    own_sample: Tensor,
    *,
    beta: Positive = 0.1,
    alpha: NonNegative = 1e-5,
) -> Terms:
    r"""Exploratory preference optimisation: online DPO that makes what the reference says less likely.

    .. math::
        \mathcal L = -\log\sigma(\beta(\rho_w - \rho_l)) + \alpha\,\log\pi(\tilde y), \qquad
        y \sim \pi,\ \tilde y \sim \pi_\text{ref}

    where :math:`(w, l)` are :math:`y` and :math:`\tilde y` as they were compared. The first part is DPO on pairs of one
    response of the policy and one of the reference; the second lowers the likelihood of the reference's responses,
    good or bad, so that the policy goes to see what nobody has judged yet. Every nat that they lose is paid with alpha,
    while DPO holds the policy by beta: a large alpha drives it away from the reference for nothing.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        reference: `[B,n,T]` the same under the frozen starting weights.
        mask: `[B,n,T]` 1 on trained tokens.
        valid: `[B,n]` 1 where the response exists.
        prefer: `[B,n,n]` weight that response i is preferred to response j.
        own_sample: `[B,n]` 1 on the policy's own responses, 0 on those of the reference.
        beta: strength of the pull towards the reference, above 0.
        alpha: weight of the likelihood of the reference's responses, at least 0; 0 is online DPO.

    Returns:
        Component `loss`, `[B,n,n]` weighted by `prefer`, and with `alpha` above 0 component `exploration`, `[B,n]`.

    Source: Xie et al. 2024, "Exploratory preference optimization: harnessing implicit Q*-approximation for
    sample-efficient RLHF" (arXiv:2405.21046), algorithm 1.

    Deviation: the paper minimises over all rounds so far; here each round is stepped on once (`--replay` adds earlier
    ones), and with several responses of a sampler every compared pair counts, not only pairs across samplers.

    >>> import torch
    >>> policy, reference = torch.tensor([[[-1.8], [-1.9]]]), torch.tensor([[[-2.4], [-1.5]]])
    >>> prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    >>> ones = torch.ones(1, 2)
    >>> terms = xpo(policy, reference, ones[..., None], ones, prefer, torch.tensor([[1.0, 0.0]]), alpha=0.1)
    >>> terms.value()  # log(1 + exp(-0.1)) - 0.1 * 1.9
    tensor(0.4544)
    """
    margin = beta * pairwise(seq_log_ratio(policy, reference, mask))
    preference = Terms(loss=-logsigmoid(margin), weight=prefer)
    if not alpha:
        return preference
    weight = valid * (1.0 - own_sample)
    return preference + alpha * Terms(loss=seq_sum(policy, mask), weight=weight, name="exploration")
