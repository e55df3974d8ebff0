"""Sequence likelihood calibration: a hinge on log-probabilities, without a reference."""

from __future__ import annotations

import torch
from torch import Tensor

from accord.objectives.hyperparameters import NonNegative, Positive
from accord.objectives.primitives import chosen_nll, pairwise, seq_sum
from accord.objectives.terms import Terms


def slic(policy: Tensor, mask: Tensor, prefer: Tensor, *, delta: Positive = 1.0, nll: NonNegative = 1.0) -> Terms:
    r"""Sequence likelihood calibration: the preferred response must lead by a margin of log-probability, then rest.

    .. math::
        \mathcal L_{ij} = \max(0,\ \delta - \log\pi(y_i) + \log\pi(y_j))

    averaged over all pairs with the weights :math:`\text{prefer}_{ij}`, plus `nll` times the mean negative
    log-likelihood of the preferred responses' tokens, which takes the place of a reference. Log-probabilities are
    summed over the response. A pair that leads by :math:`\delta` has no gradient left. For the hinge on the margin
    relative to a reference use `gpo --link hinge`.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        mask: `[B,n,T]` 1 on trained tokens.
        prefer: `[B,n,n]` weight that response i is preferred to response j.
        delta: lead in nats that the preferred response must have, above 0.
        nll: weight of the preferred responses' token-mean negative log-likelihood, at least 0; 0 leaves it out.

    Returns:
        Component `loss`, `[B,n,n]` weighted by `prefer`, and with `nll` above 0 component `nll`, `[B,n,T]`.

    Source: Zhao et al. 2023, "SLiC-HF: sequence likelihood calibration with human feedback" (arXiv:2305.10425).

    Deviation: the paper regularises with the likelihood of its supervised targets; here with that of the preferred
    responses, which every preference data set has.

    >>> import torch
    >>> policy = torch.tensor([[[-1.8], [-1.9]]])
    >>> prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    >>> slic(policy, torch.ones(1, 2, 1), prefer, nll=0.0).value()  # 1 - 0.1
    tensor(0.9000)
    """
    preference = Terms(loss=torch.relu(delta - pairwise(seq_sum(policy, mask))), weight=prefer)
    return preference + nll * chosen_nll(policy, mask, prefer) if nll else preference
