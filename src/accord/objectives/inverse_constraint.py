"""Constraints learned from demonstrations: what demonstrators leave undone although it would pay."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.objectives.hyperparameters import NonNegative, Positive
from accord.objectives.terms import Terms

Form = Literal["max_entropy", "classifier"]


def inverse_constraint(
    reward: Tensor,
    label: Tensor,
    *,
    form: Form = "max_entropy",
    regulariser: NonNegative = 0.5,
    epsilon: Positive = 1e-5,
) -> Terms:
    r"""Inverse constraint: a response is forbidden if the policy gives such far more often than demonstrators do.

    .. math::
        \mathcal L = -\operatorname{mean}_{\text{demonstrated}} \log\zeta + \operatorname{mean}_{\text{sampled}} w
            \log\zeta + \delta\left(\operatorname{mean}_{\text{demonstrated}} (1 - \zeta) +
            \operatorname{mean}_{\text{sampled}} w(1 - \zeta)\right)

    where :math:`\zeta = \sigma(z)` is the permissibility of a response. Where demonstrators and policy answer alike,
    the regulariser alone is left, and permits it. From :math:`\zeta = \tfrac12`, where an untrained head stands,
    descent forbids what the policy does more than :math:`(2 + \delta)/(2 - \delta)` times as often, with 0.5 that is
    5/3. `classifier` takes :math:`-\log(1 - \zeta)` for the samples instead: what both do alike then has
    :math:`\zeta = \tfrac12`, and nothing is quite forbidden or quite permitted.

    Only what the policy does and demonstrators do not can be found, so that the samples must be those of a policy that
    breaks the rule because it pays.

    Args:
        reward: `[B,n]` log-odds that the response is permissible (z).
        label: `[B,n]` positive demonstrated, negative sampled, 0 neither; its size is the weight (w), for samples of an
            earlier policy how much likelier they are under that of today.
        form: the loss of the samples: `max_entropy` (log zeta) or `classifier` (-log(1 - zeta)).
        regulariser: price of forbidding (delta), at least 0; higher forbids less.
        epsilon: added to zeta inside logarithms, above 0: bounds what a sample can gain.

    Returns:
        Two components, demonstrations and samples, each `[B,n]` with its own mean. Metrics: the mean permissibility of
        both.

    Source: Malik et al. 2021, "Inverse constrained reinforcement learning" (arXiv:2011.09999), eq. 9 and section 4.2.

    >>> import torch
    >>> z = torch.logit(torch.tensor([[0.9, 0.8, 0.6, 0.3]]))
    >>> inverse_constraint(z, torch.tensor([[1.0, 1.0, -1.0, -1.0]])).value()
    tensor(-0.3431)
    """
    demonstrated, sampled = label.clamp_min(0.0), (-label).clamp_min(0.0)
    odds = reward.to(torch.promote_types(reward.dtype, torch.float32)).masked_fill(label == 0, 0.0)
    permitted = torch.sigmoid(odds)
    price, likely = regulariser * (1.0 - permitted), torch.log(permitted + epsilon)
    of_samples = likely if form == "max_entropy" else -logsigmoid(-odds)
    found = permitted.detach()
    return Terms(
        loss=price - likely,
        weight=demonstrated,
        metrics={"permitted_demonstrations": (found, demonstrated), "permitted_samples": (found, sampled)},
    ) + Terms(loss=price + of_samples, weight=sampled, name="samples")
