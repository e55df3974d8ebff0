"""Reward models from comparisons: a scalar whose differences predict preferences, and one that also knows its sign."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.objectives.hyperparameters import NonNegative
from accord.objectives.primitives import pairwise
from accord.objectives.terms import Terms


def bradley_terry(
    reward: Tensor,
    prefer: Tensor,
    *,
    margin: NonNegative = 0.0,
    centre: NonNegative = 0.0,
    average: Literal["pairs", "prompts"] = "pairs",
) -> Terms:
    r"""Bradley-Terry reward model: the preferred response gets the higher reward.

    .. math:: \mathcal L_{ij} = -\log\sigma(r_i - r_j - m) + \eta\,(r_i + r_j)^2

    averaged over all pairs with the weights :math:`\text{prefer}_{ij}`, or (K-wise) first over the pairs of each prompt
    and then over prompts, so that a ranking of nine does not outweigh one of four. A soft label (0.8 one way, 0.2 the
    other) is two weights of `prefer` and gives the cross-entropy with that probability; a ranking of K responses is
    the K(K-1)/2 pairs of one group. Rewards are defined up to a constant per prompt; centring picks the constant.

    Args:
        reward: `[B,n]` scalar output of the reward head on each response.
        prefer: `[B,n,n]` weight that response i is preferred to response j.
        margin: lead that the preferred response must have, at least 0.
        centre: weight of the squared sum of the two rewards, at least 0, usually 0.01; keeps rewards around zero.
        average: what counts the same, all `pairs` or all `prompts` with a comparison.

    Returns:
        Component `loss`, `[B,n,n]` weighted by `prefer`, and with `centre` above 0 component `centre`, likewise.

    Source: Ouyang et al. 2022 (arXiv:2203.02155), eq. 1: `average="prompts"`. The margin: Touvron et al. 2023,
    "Llama 2" (arXiv:2307.09288), eq. 2. Centring: Eisenstein et al. 2023, "Helping or herding?" (arXiv:2312.09244).

    Deviation: Llama 2 takes a margin from each pair's rating, here it is one number.

    >>> import torch
    >>> prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    >>> bradley_terry(torch.tensor([[1.2, 0.4]]), prefer).value()  # log(1 + exp(-0.8))
    tensor(0.3711)
    """
    wide = reward.to(torch.promote_types(reward.dtype, torch.float32))
    unused = prefer == 0
    lead = pairwise(wide).masked_fill(unused, 0.0)
    weight = prefer if average == "pairs" else _shares(prefer)
    preference = Terms(loss=-logsigmoid(lead - margin), weight=weight)
    if not centre:
        return preference
    total = (wide.unsqueeze(-1) + wide.unsqueeze(-2)).masked_fill(unused, 0.0)
    return preference + centre * Terms(loss=total.square(), weight=weight, name="centre")


def cost_model(reward: Tensor, prefer: Tensor, label: Tensor) -> Terms:
    r"""Cost model: the safer response gets the higher output, and its sign says whether it is safe at all.

    .. math::
        \mathcal L_{ij} = -\log\sigma(r_i - r_j) - \log\sigma(s_i r_i) - \log\sigma(s_j r_j), \qquad
        s_i = \operatorname{sign}(\text{label}_i)

    averaged over all pairs with the weights :math:`\text{prefer}_{ij}`. A reward model knows only differences; a
    constraint needs a threshold, and the labels put it at zero: of two harmful answers one is less harmful, but both
    have :math:`r<0`. A response without a label is only ranked.

    Args:
        reward: `[B,n]` scalar output of the reward head on each response: minus the cost, positive where safe.
        prefer: `[B,n,n]` weight that response i is safer than response j.
        label: `[B,n]` positive safe, negative unsafe, 0 not labelled.

    Returns:
        One component, `[B,n,n]` weighted by `prefer`.

    Source: Dai et al. 2023, "Safe RLHF: safe reinforcement learning from human feedback" (arXiv:2310.12773).

    Deviation: the paper's cost is positive where unsafe; the output here is minus that, so that higher is better for
    every reward model.

    >>> import torch
    >>> prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    >>> cost_model(torch.tensor([[0.3, -0.8]]), prefer, torch.tensor([[1.0, -1.0]])).value()
    tensor(1.2128)
    """
    wide = reward.to(torch.promote_types(reward.dtype, torch.float32)).masked_fill(_uncompared(prefer), 0.0)
    known = torch.where(label == 0, 0.0, -logsigmoid(torch.sign(label) * wide))
    loss = -logsigmoid(pairwise(wide)) + known.unsqueeze(-1) + known.unsqueeze(-2)
    return Terms(loss=loss, weight=prefer)


def _shares(prefer: Tensor) -> Tensor:
    """Weights of the same proportions that sum to 1 in each prompt with a comparison, `[B,n,n]`."""
    total = prefer.sum((-1, -2), keepdim=True)
    return prefer / total.masked_fill(total == 0, 1.0)


def _uncompared(prefer: Tensor) -> Tensor:
    """Responses without any comparison, `[B,n]`: whatever their reward is, it may not enter the loss."""
    return (prefer + prefer.mT).sum(-1) == 0
