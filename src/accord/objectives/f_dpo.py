"""f-DPO: direct preference optimisation against other divergences than the reverse KL."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.objectives.hyperparameters import Positive, Range
from accord.objectives.primitives import bounded_expm1, pairwise, seq_log_ratio
from accord.objectives.terms import Terms

Divergence = Literal["forward_kl", "js", "alpha"]


def f_dpo(
    policy: Tensor,
    reference: Tensor,
    mask: Tensor,
    prefer: Tensor,
    *,
    beta: Positive = 0.1,
    divergence: Divergence = "js",
    alpha: Annotated[float, Range(above=0.0, below=1.0)] = 0.5,
) -> Terms:
    r"""f-DPO: DPO whose pull towards the reference is another divergence.

    .. math::
        \mathcal L_{ij} = -\log\sigma(\beta(f'(e^{\rho_i}) - f'(e^{\rho_j}))), \qquad
        f'(e^\rho) = \begin{cases}
            1 - e^{-\rho} & \text{forward\_kl} \\
            \log 2 + \log\sigma(\rho) & \text{js} \\
            (1 - e^{-\alpha\rho})/\alpha & \text{alpha}
        \end{cases}

    averaged over all pairs with the weights :math:`\text{prefer}_{ij}`; :math:`\rho_i` is the log-ratio of policy to
    reference summed over the response. DPO is :math:`f'(e^\rho)=\rho`, the reverse KL, which lets the policy leave out
    what the reference does; `alpha` goes from there (alpha towards 0) to the forward KL (alpha towards 1), which
    makes it keep all modes. Each is concave: a response far below the reference weighs much, one far above little. With
    long responses :math:`\rho` is tens of nats and the exponential of the forward KL dwarfs everything; prefer `js`.
    It is :math:`\log 2` for every pair while the policy is the reference.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        reference: `[B,n,T]` the same under the frozen starting weights.
        mask: `[B,n,T]` 1 on trained tokens.
        prefer: `[B,n,n]` weight that response i is preferred to response j.
        beta: strength of the pull towards the reference, above 0; the usual range is 0.01 to 0.5, higher stays closer.
        divergence: `forward_kl`, `js` (Jensen-Shannon) or `alpha`; for the reverse KL use `dpo`.
        alpha: place of the alpha divergence between reverse KL (0) and forward KL (1), above 0 and below 1; used
            with `alpha` alone.

    Returns:
        One component, `[B,n,n]` weighted by `prefer`.

    Source: Wang et al. 2023, "Beyond reverse KL: generalizing direct preference optimization with diverse divergence
    constraints" (arXiv:2309.16240).

    Deviation: exponentials go over into their tangent above an exponent of 20, so that they stay finite. Other code
    counts alpha from the other end (1 is the reverse KL): its value is one minus this one.

    >>> import torch
    >>> policy = torch.tensor([[[-1.8], [-1.9]]])
    >>> reference = torch.tensor([[[-2.4], [-1.5]]])
    >>> prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    >>> f_dpo(policy, reference, torch.ones(1, 2, 1), prefer).value()
    tensor(0.6697)
    """
    ratio = seq_log_ratio(policy, reference, mask)
    if divergence == "js":
        reward = math.log(2.0) + logsigmoid(ratio)
    else:
        order = alpha if divergence == "alpha" else 1.0
        reward = -bounded_expm1(-order * ratio) / order
    return Terms(loss=-logsigmoid(beta * pairwise(reward)), weight=prefer)
