"""The Bradley-Terry reward model: a scalar whose differences predict preferences."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.objectives.hyperparameters import NonNegative
from accord.objectives.primitives import pairwise
from accord.objectives.terms import Terms


def bradley_terry(reward: Tensor, prefer: Tensor, *, margin: NonNegative = 0.0, centre: NonNegative = 0.0) -> Terms:
    r"""Bradley-Terry reward model: the preferred response gets the higher reward.

    .. math:: \mathcal L_{ij} = -\log\sigma(r_i - r_j - m) + \eta\,(r_i + r_j)^2

    averaged over all pairs with the weights :math:`\text{prefer}_{ij}`. A soft label (0.8 one way, 0.2 the other) is
    two weights of `prefer` and gives the cross-entropy with that probability; a ranking of K responses is the
    K(K-1)/2 pairs of one group. Rewards are defined up to a constant per prompt; centring picks the constant.

    Args:
        reward: `[B,n]` scalar output of the reward head on each response.
        prefer: `[B,n,n]` weight that response i is preferred to response j.
        margin: lead that the preferred response must have, at least 0.
        centre: weight of the squared sum of the two rewards, at least 0, usually 0.01; keeps rewards around zero.

    Returns:
        Component `loss`, `[B,n,n]` weighted by `prefer`, and with `centre` above 0 component `centre`, likewise.

    Source: Ouyang et al. 2022 (arXiv:2203.02155), eq. 1. The margin: Touvron et al. 2023, "Llama 2"
    (arXiv:2307.09288), eq. 2. Centring: Eisenstein et al. 2023, "Helping or herding?" (arXiv:2312.09244).

    Deviations: Llama 2 takes a margin from each pair's rating, here it is one number; every pair counts
    the same, where InstructGPT gives each prompt the same weight whatever its number of pairs.

    >>> import torch
    >>> prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    >>> bradley_terry(torch.tensor([[1.2, 0.4]]), prefer).value()  # log(1 + exp(-0.8))
    tensor(0.3711)
    """
    wide = reward.to(torch.promote_types(reward.dtype, torch.float32))
    unused = prefer == 0
    lead = pairwise(wide).masked_fill(unused, 0.0)
    preference = Terms(loss=-logsigmoid(lead - margin), weight=prefer)
    if not centre:
        return preference
    total = (wide.unsqueeze(-1) + wide.unsqueeze(-2)).masked_fill(unused, 0.0)
    return preference + centre * Terms(loss=total.square(), weight=prefer, name="centre")
