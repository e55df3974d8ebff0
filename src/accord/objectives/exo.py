"""Efficient exact optimisation: match the preference distribution by its reverse KL."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.objectives.hyperparameters import Positive, Range
from accord.objectives.primitives import pairwise, seq_log_ratio
from accord.objectives.terms import Terms


def exo(
    policy: Tensor,
    reference: Tensor,
    mask: Tensor,
    prefer: Tensor,
    *,
    beta: Positive = 0.1,
    flip_rate: Annotated[float, Range(above=0.0, below=0.5)] = 1e-3,
) -> Terms:
    r"""Efficient exact optimisation: bring the policy's preference to a target probability, mode-seeking.

    .. math::
        \mathcal L_{ij} = q_{ij}\log\frac{q_{ij}}{1-\varepsilon} + (1-q_{ij})\log\frac{1-q_{ij}}{\varepsilon},
        \qquad q_{ij} = \sigma(\beta(\rho_i - \rho_j))

    averaged over all pairs with the weights :math:`\text{prefer}_{ij}`; :math:`\rho_i` is the log-ratio of policy to
    reference summed over the response. It is the KL divergence from the policy's preference :math:`(q, 1-q)` to the
    target :math:`(1-\varepsilon, \varepsilon)`; cDPO takes the same two distributions the other way round. Its minimum
    is the margin :math:`\log\frac{1-\varepsilon}{\varepsilon}`, and unlike DPO's its gradient fades for pairs that are
    far in the wrong order.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        reference: `[B,n,T]` the same under the frozen starting weights.
        mask: `[B,n,T]` 1 on trained tokens.
        prefer: `[B,n,n]` weight that response i is preferred to response j.
        beta: strength of the pull towards the reference, above 0; the usual range is 0.01 to 0.5, higher stays closer.
        flip_rate: the target's probability of the other order, above 0 (which no finite margin meets) and below 0.5.

    Returns:
        One component, `[B,n,n]` weighted by `prefer`.

    Source: Ji et al. 2024, "Towards efficient exact optimization of language model alignment" (arXiv:2402.00856),
    eq. 16: the form for pairs.

    >>> import torch
    >>> policy = torch.tensor([[[-1.8], [-1.9]]])
    >>> reference = torch.tensor([[[-2.4], [-1.5]]])
    >>> prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    >>> exo(policy, reference, torch.ones(1, 2, 1), prefer, flip_rate=0.1).value()
    tensor(0.4572)
    """
    margin = beta * pairwise(seq_log_ratio(policy, reference, mask))
    kept = torch.sigmoid(margin) * (logsigmoid(margin) - math.log1p(-flip_rate))
    flipped = torch.sigmoid(-margin) * (logsigmoid(-margin) - math.log(flip_rate))
    return Terms(loss=kept + flipped, weight=prefer)
