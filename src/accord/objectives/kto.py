"""Kahneman-Tversky optimisation: learn from single responses marked desirable or undesirable."""

from __future__ import annotations

import torch
from torch import Tensor

from accord.objectives.hyperparameters import NonNegative, Positive
from accord.objectives.primitives import seq_sum, token_log_ratio
from accord.objectives.terms import Terms


def kto(
    policy: Tensor,
    reference: Tensor,
    mask: Tensor,
    label: Tensor,
    mismatched_kl: Tensor,
    *,
    beta: Positive = 0.1,
    desirable_weight: NonNegative = 1.0,
    undesirable_weight: NonNegative = 1.0,
) -> Terms:
    r"""Kahneman-Tversky optimisation: gains and losses against a reference point, from unpaired labels.

    .. math::
        \mathcal L_i = \begin{cases}
            \lambda_D\,(1 - \sigma(\beta(\rho_i - z_0))) & \text{desirable} \\
            \lambda_U\,(1 - \sigma(\beta(z_0 - \rho_i))) & \text{undesirable}
        \end{cases},
        \qquad z_0 = \max(0, \text{mismatched\_kl})

    averaged over the labelled responses with the weights :math:`|\text{label}_i|`; :math:`\rho_i` is the log-ratio of
    policy to reference summed over the response. :math:`z_0` estimates how far the policy has moved in general, from
    responses paired with other prompts; it carries no gradient. The loss is bounded, so hopeless examples are
    ignored rather than fought. It is one half for every example while the policy is the reference.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        reference: `[B,n,T]` the same under the frozen starting weights.
        mask: `[B,n,T]` 1 on trained tokens.
        label: `[B,n]` positive desirable, negative undesirable, 0 not labelled; its size is the weight.
        mismatched_kl: `[]` mean log-ratio of policy to reference on mismatched rows, over the whole optimiser step.
        beta: strength of the pull towards the reference, above 0; the usual range is 0.01 to 0.5.
        desirable_weight: the paper's lambda_D, loss weight of desirable examples, at least 0.
        undesirable_weight: the paper's lambda_U, loss weight of undesirable examples, at least 0; choose both so that
            lambda_D n_D / (lambda_U n_U) lies between 1 and 4/3.

    Returns:
        One component, `[B,n]` weighted by the size of `label`.

    Source: Ethayarajh et al. 2024, "KTO: model alignment as prospect theoretic optimization" (arXiv:2402.01306), eq. 8.

    Deviation: the paper takes :math:`z_0` from each micro-batch; here it is the mean over the optimiser step, so the
    micro-batch size does not change the result.

    >>> import torch
    >>> policy, reference = torch.tensor([[[-1.8]], [[-1.9]]]), torch.tensor([[[-2.4]], [[-1.5]]])
    >>> label = torch.tensor([[1.0], [-1.0]])
    >>> terms = kto(policy, reference, torch.ones(2, 1, 1), label, torch.tensor(0.2))
    >>> terms.loss.flatten()  # sigmoid(-0.1 * (0.6 - 0.2)), sigmoid(-0.1 * (0.2 + 0.4))
    tensor([0.4900, 0.4850])
    """
    reference_point = mismatched_kl.detach().clamp_min(0.0)
    gain = beta * (seq_sum(token_log_ratio(policy, reference), mask) - reference_point)
    importance = torch.where(label > 0, gain.new_tensor(desirable_weight), gain.new_tensor(undesirable_weight))
    return Terms(loss=importance * torch.sigmoid(-torch.sign(label) * gain), weight=label.abs())
