"""Simple preference optimisation: length-normalised, without a reference."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.objectives.hyperparameters import Finite, Positive
from accord.objectives.primitives import pairwise, seq_mean
from accord.objectives.terms import Terms


def simpo(
    policy: Tensor,
    mask: Tensor,
    prefer: Tensor,
    *,
    beta: Positive = 2.0,
    gamma: Finite = 0.5,
) -> Terms:
    r"""Simple preference optimisation: the mean log-probability of the preferred response must lead by a margin.

    .. math::
        \mathcal L_{ij} = -\log\sigma(\beta(a_i - a_j) - \gamma),
        \qquad a_i = \frac{1}{|y_i|}\sum_t m_{it} \log\pi(y_{it})

    averaged over all pairs with the weights :math:`\text{prefer}_{ij}`. There is no reference, so nothing
    bounds how far the policy drifts from its start: watch `eval/kl`.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        mask: `[B,n,T]` 1 on trained tokens.
        prefer: `[B,n,n]` weight that response i is preferred to response j.
        beta: scale of the mean log-probability, above 0; the usual range is 2 to 10. It is a scale, not a pull towards
            a reference: DPO's 0.1 would leave `gamma` to dominate.
        gamma: lead that the preferred response must have, in scaled units; the usual range is 0 to `beta`. Other
            code names the ratio gamma/beta, usually 0.25 to 0.5.

    Returns:
        One component, `[B,n,n]` weighted by `prefer`.

    Source: Meng, Xia and Chen 2024, "SimPO: simple preference optimization with a reference-free reward"
    (arXiv:2405.14734), eq. 6.

    >>> import torch
    >>> policy = torch.tensor([[[-0.6, -0.6], [-0.95, -0.95]]])
    >>> prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    >>> simpo(policy, torch.ones(1, 2, 2), prefer).value()  # log(1 + exp(-(2 * 0.35 - 0.5)))
    tensor(0.5981)
    """
    margin = beta * pairwise(seq_mean(policy, mask)) - gamma
    return Terms(loss=-logsigmoid(margin), weight=prefer)
