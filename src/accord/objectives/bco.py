"""Binary classifier optimisation: tell desirable from undesirable responses by a threshold that follows the rewards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.objectives.hyperparameters import Positive, Range
from accord.objectives.primitives import seq_log_ratio
from accord.objectives.terms import Terms


def bco(
    policy: Tensor,
    reference: Tensor,
    mask: Tensor,
    label: Tensor,
    state: Mapping[str, Tensor],
    *,
    beta: Positive = 0.1,
    momentum: Annotated[float, Range(least=0.0, below=1.0)] = 0.9,
) -> Terms:
    r"""Binary classifier optimisation: logistic regression of the labels on the policy's implicit reward.

    .. math::
        \mathcal L_i = \begin{cases}
            -\log\sigma(r_i - \delta) & \text{desirable} \\
            -\log\sigma(\delta - r_i) & \text{undesirable}
        \end{cases}, \qquad r_i = \beta\rho_i, \quad
        \delta = \tfrac12\left(\overline{r}_\text{desirable} + \overline{r}_\text{undesirable}\right)

    averaged over the labelled responses with the weights :math:`|\text{label}_i|`; :math:`\rho_i` is the log-ratio of
    policy to reference summed over the response and :math:`\delta` lies halfway between the moving averages of the two
    classes' rewards. As a classifier's loss it bounds DPO's from above, most tightly with this threshold. It needs
    neither pairs nor, as `kto` does, mismatched rows; unlike `kto`'s its gradient does not fade for examples it gets
    wrong. It is :math:`\log 2` for every example while the policy is the reference.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        reference: `[B,n,T]` the same under the frozen starting weights.
        mask: `[B,n,T]` 1 on trained tokens.
        label: `[B,n]` positive desirable, negative undesirable, 0 not labelled; its size is the weight.
        state: `[]` by name: `desirable` and `undesirable`, the moving averages of the rewards up to the step before.
        beta: strength of the pull towards the reference, above 0; the usual range is 0.01 to 0.5, higher stays closer.
        momentum: how much of the moving averages a step keeps, at least 0 and below 1.

    Returns:
        One component, `[B,n]` weighted by the size of `label`, with the moving averages as state.

    Source: Jung et al. 2024, "Binary classifier optimization for large language model alignment" (arXiv:2404.04656).

    Deviations: the threshold is that of the steps before, so that one forward pass suffices; the paper's correction
    for prompts that differ between the classes is left out.

    >>> import torch
    >>> policy, reference = torch.tensor([[[-1.8], [-1.9]]]), torch.tensor([[[-2.4], [-1.5]]])
    >>> averages = {"desirable": torch.tensor(0.2), "undesirable": torch.tensor(0.0)}
    >>> bco(policy, reference, torch.ones(1, 2, 1), torch.tensor([[1.0, -1.0]]), averages).loss  # threshold 0.1
    tensor([[0.7133, 0.6256]])
    """
    reward = beta * seq_log_ratio(policy, reference, mask)
    desirable, undesirable = (state.get(name, reward.new_zeros(())) for name in ("desirable", "undesirable"))
    threshold = (0.5 * (desirable + undesirable)).to(reward.dtype)
    seen, weight = (1.0 - momentum) * reward.detach(), label.abs()
    return Terms(
        loss=-logsigmoid(torch.sign(label) * (reward - threshold)),
        weight=weight,
        metrics={"threshold": (threshold.expand_as(weight), weight)},
        state={
            "desirable": (momentum * desirable + seen, label.clamp_min(0.0)),
            "undesirable": (momentum * undesirable + seen, -label.clamp_max(0.0)),
        },
    )
