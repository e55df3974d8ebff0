"""Anchored preference optimisation: say which way each response should move, not only how far apart they are."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from accord.objectives.hyperparameters import NonNegative, Positive
from accord.objectives.primitives import seq_log_ratio
from accord.objectives.terms import Terms


def apo(
    policy: Tensor,
    reference: Tensor,
    mask: Tensor,
    prefer: Tensor,
    *,
    beta: Positive = 0.1,
    anchor: Literal["zero", "down"] = "zero",
) -> Terms:
    r"""Anchored preference optimisation: DPO's contrast with a direction for each response.

    .. math::
        \mathcal L_{ij} = \begin{cases}
            1 - \sigma(r_i) + \sigma(r_j) & \text{zero} \\
            \sigma(r_i) + 1 - \sigma(r_i - r_j) & \text{down}
        \end{cases}, \qquad r_i = \beta\rho_i

    averaged over all pairs with the weights :math:`\text{prefer}_{ij}`; :math:`\rho_i` is the log-ratio of policy to
    reference summed over the response. `zero` raises the preferred response and lowers the other: for data better than
    the model. `down` lowers both, the other faster: for data worse than the model, where imitation would
    harm. Both losses are bounded; hopeless pairs are ignored. Each is 1 for every pair while the policy is the
    reference.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        reference: `[B,n,T]` the same under the frozen starting weights.
        mask: `[B,n,T]` 1 on trained tokens.
        prefer: `[B,n,n]` weight that response i is preferred to response j.
        beta: strength of the pull towards the reference, above 0; the usual range is 0.01 to 0.5, higher stays closer.
        anchor: `zero` when preferred responses are better than what the model writes, `down` when they are worse.

    Returns:
        One component, `[B,n,n]` weighted by `prefer`.

    Source: D'Oosterlinck et al. 2024, "Anchored preference optimization and contrastive revisions: addressing
    underspecification in alignment" (arXiv:2408.06266), eq. 7 (`zero`) and 8 (`down`).

    >>> import torch
    >>> policy = torch.tensor([[[-1.8], [-1.9]]])
    >>> reference = torch.tensor([[[-2.4], [-1.5]]])
    >>> prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    >>> apo(policy, reference, torch.ones(1, 2, 1), prefer).value()  # sigmoid(-0.06) + sigmoid(-0.04)
    tensor(0.9750)
    """
    reward = beta * seq_log_ratio(policy, reference, mask)
    better, worse = reward.unsqueeze(-1), reward.unsqueeze(-2)
    if anchor == "zero":
        loss = torch.sigmoid(-better) + torch.sigmoid(worse)
    else:
        loss = torch.sigmoid(better) + torch.sigmoid(worse - better)
    return Terms(loss=loss, weight=prefer)


def apo_unpaired(
    policy: Tensor,
    reference: Tensor,
    mask: Tensor,
    label: Tensor,
    *,
    beta: Positive = 0.1,
    desirable_weight: NonNegative = 1.0,
    undesirable_weight: NonNegative = 1.0,
) -> Terms:
    r"""Anchored preference optimisation without pairs: raise desirable responses, lower undesirable ones.

    .. math::
        \mathcal L_i = \begin{cases}
            \lambda_D\,(1 - \sigma(\beta\rho_i)) & \text{desirable} \\
            \lambda_U\,\sigma(\beta\rho_i) & \text{undesirable}
        \end{cases}

    averaged over the labelled responses with the weights :math:`|\text{label}_i|`; :math:`\rho_i` is the log-ratio of
    policy to reference summed over the response. It is `kto` with a reference point held at zero: no mismatched rows
    and half the forward passes, for data that is better and worse than what the model writes. It is one half for
    every example while the policy is the reference.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        reference: `[B,n,T]` the same under the frozen starting weights.
        mask: `[B,n,T]` 1 on trained tokens.
        label: `[B,n]` positive desirable, negative undesirable, 0 not labelled; its size is the weight.
        beta: strength of the pull towards the reference, above 0; the usual range is 0.01 to 0.5, higher stays closer.
        desirable_weight: loss weight of desirable examples, at least 0.
        undesirable_weight: loss weight of undesirable examples, at least 0.

    Returns:
        One component, `[B,n]` weighted by the size of `label`.

    Source: D'Oosterlinck et al. 2024 (arXiv:2408.06266), eq. 7, each side averaged over its own examples as in
    Ethayarajh et al. 2024 (arXiv:2402.01306).

    >>> import torch
    >>> policy, reference = torch.tensor([[[-1.8], [-1.9]]]), torch.tensor([[[-2.4], [-1.5]]])
    >>> apo_unpaired(policy, reference, torch.ones(1, 2, 1), torch.tensor([[1.0, -1.0]])).loss
    tensor([[0.4850, 0.4900]])
    """
    gain = beta * seq_log_ratio(policy, reference, mask)
    importance = torch.where(label > 0, gain.new_tensor(desirable_weight), gain.new_tensor(undesirable_weight))
    return Terms(loss=importance * torch.sigmoid(-torch.sign(label) * gain), weight=label.abs())
