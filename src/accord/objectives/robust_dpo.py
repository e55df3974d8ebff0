"""Robust DPO: an unbiased loss under preferences flipped at a known rate."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.objectives.hyperparameters import FlipRate, Positive
from accord.objectives.primitives import pairwise, seq_log_ratio
from accord.objectives.terms import Terms


def robust_dpo(
    policy: Tensor,
    reference: Tensor,
    mask: Tensor,
    prefer: Tensor,
    *,
    beta: Positive = 0.1,
    flip_rate: FlipRate = 0.1,
) -> Terms:
    r"""Robust DPO: the loss whose expectation over flipped labels is DPO's loss on the true ones.

    .. math::
        \mathcal L_{ij} = \frac{-(1-\varepsilon)\log\sigma(\beta(\rho_i - \rho_j))
                                + \varepsilon\log\sigma(\beta(\rho_j - \rho_i))}{1 - 2\varepsilon}

    averaged over all pairs with the weights :math:`\text{prefer}_{ij}`; :math:`\rho_i` is the log-ratio of policy to
    reference summed over the response. If each label was flipped with probability :math:`\varepsilon`, the expected
    loss is that of DPO without noise. `dpo --label-smoothing` (cDPO) has the opposite sign on the second term:
    it assumes the noise and asks for a finite margin, this one removes its bias and asks for a larger one. The loss
    may be negative and is not bounded below: a wrong value of `flip_rate` is paid for in variance.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        reference: `[B,n,T]` the same under the frozen starting weights.
        mask: `[B,n,T]` 1 on trained tokens.
        prefer: `[B,n,n]` weight that response i is preferred to response j.
        beta: strength of the pull towards the reference, above 0; the usual range is 0.01 to 0.5, higher stays closer.
        flip_rate: share of preferences that are flipped, at least 0 and below 0.5; 0 is DPO.

    Returns:
        One component, `[B,n,n]` weighted by `prefer`.

    Source: Chowdhury, Kini and Natarajan 2024, "Provably robust DPO: aligning language models with noisy feedback"
    (arXiv:2403.00409).

    >>> import torch
    >>> policy = torch.tensor([[[-1.8], [-1.9]]])
    >>> reference = torch.tensor([[[-2.4], [-1.5]]])
    >>> prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    >>> robust_dpo(policy, reference, torch.ones(1, 2, 1), prefer).value()  # (0.9 * 0.6444 - 0.1 * 0.7444) / 0.8
    tensor(0.6319)
    """
    margin = beta * pairwise(seq_log_ratio(policy, reference, mask))
    kept, flipped = -logsigmoid(margin), -logsigmoid(-margin)
    loss = ((1.0 - flip_rate) * kept - flip_rate * flipped) / (1.0 - 2.0 * flip_rate)
    return Terms(loss=loss, weight=prefer)
