"""Reward models of several named values on one trunk: from ratings, and from comparisons on each value."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.objectives.primitives import pairwise
from accord.objectives.terms import Terms


def reward_regression(named_rewards: Tensor, ratings: Tensor, rated: Tensor) -> Terms:
    r"""Reward regression: each output is the rating of a response on one named value.

    .. math:: \mathcal L_{ik} = (r_{ik} - s_{ik})^2

    averaged over all ratings that are given. The model learns the ratings' own scale (0 to 4 in HelpSteer), so that the
    values can be weighed against each other; a rating that is missing counts for nothing.

    Args:
        named_rewards: `[B,n,K]` outputs of the reward head on each response.
        ratings: `[B,n,K]` its rating on each value.
        rated: `[B,n,K]` 1.0 where there is a rating.

    Returns:
        One component, `[B,n,K]` weighted by `rated`.

    Source: Wang et al. 2024, "HelpSteer2: open-source dataset for training top-performing reward models"
    (arXiv:2406.08673), section 4; Wang et al. 2024, "Interpretable preferences via multi-objective reward modeling and
    mixture-of-experts" (arXiv:2406.12845), eq. 2.

    >>> import torch
    >>> rewards, scores = torch.tensor([[[3.0, 1.0]]]), torch.tensor([[[4.0, 0.0]]])
    >>> reward_regression(rewards, scores, torch.tensor([[[1.0, 0.0]]])).value()
    tensor(1.)
    """
    unused = rated == 0
    wide = named_rewards.to(torch.promote_types(named_rewards.dtype, torch.float32)).masked_fill(unused, 0.0)
    return Terms(loss=(wide - ratings.masked_fill(unused, 0.0)).square(), weight=rated)


def multi_bradley_terry(named_rewards: Tensor, named_prefer: Tensor) -> Terms:
    r"""Bradley-Terry on several named values: on each, the preferred response gets the higher output.

    .. math:: \mathcal L_{kij} = -\log\sigma(r_{ik} - r_{jk})

    averaged over all pairs of all values with the weights :math:`\text{prefer}_{kij}`. One response may be the more
    helpful and the other the safer one; each output learns its own ranking, and all share the trunk.

    Args:
        named_rewards: `[B,n,K]` outputs of the reward head on each response.
        named_prefer: `[B,K,n,n]` weight that response i is preferred to response j on a value.

    Returns:
        One component, `[B,K,n,n]` weighted by `named_prefer`. Metrics `margin` and `accuracy` over the pairs of all
        values.

    Source: Ouyang et al. 2022 (arXiv:2203.02155), eq. 1, on each value; one value a model in Dai et al. 2023,
    "Safe RLHF" (arXiv:2310.12773), section 3.2.

    Deviation: those train a model for each value.

    >>> import torch
    >>> prefer = torch.tensor([[[[0.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [1.0, 0.0]]]])  # helpful: first, safe: second
    >>> multi_bradley_terry(torch.tensor([[[1.2, 0.4], [0.4, 1.2]]]), prefer).value()  # log(1 + exp(-0.8)) twice
    tensor(0.3711)
    """
    wide = named_rewards.to(torch.promote_types(named_rewards.dtype, torch.float32))
    lead = pairwise(wide.mT).masked_fill(named_prefer == 0, 0.0)
    right = (lead.detach() > 0).to(lead.dtype)
    metrics = {"margin": (lead.detach(), named_prefer), "accuracy": (right, named_prefer)}
    return Terms(loss=-logsigmoid(lead), weight=named_prefer, metrics=metrics)
