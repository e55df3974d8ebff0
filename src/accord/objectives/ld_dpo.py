"""Length-desensitised DPO: count less what only the longer response has."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.objectives.hyperparameters import Positive, Range
from accord.objectives.primitives import seq_sum, token_log_ratio
from accord.objectives.terms import Terms


def ld_dpo(
    policy: Tensor,
    reference: Tensor,
    mask: Tensor,
    prefer: Tensor,
    *,
    beta: Positive = 0.1,
    alpha: Annotated[float, Range(least=0.0, most=1.0)] = 0.5,
) -> Terms:
    r"""Length-desensitised DPO: tokens beyond the length of the shorter response count less.

    .. math::
        \mathcal L_{ij} = -\log\sigma(\beta(\rho_{i|j} - \rho_{j|i})), \qquad
        \rho_{i|j} = \sum_{t \le \ell_{ij}} d_{it} + \alpha \sum_{t > \ell_{ij}} d_{it}, \qquad
        \ell_{ij} = \min(|y_i|, |y_j|)

    averaged over all pairs with the weights :math:`\text{prefer}_{ij}`; :math:`d_{it}` is the log-ratio of policy to
    reference on token t, counted over trained tokens. In DPO's sums the longer response has the larger gradient, so
    training on pairs whose preferred response is longer teaches length. With :math:`\alpha=1` this is DPO, with 0 only
    the shared length counts.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        reference: `[B,n,T]` the same under the frozen starting weights.
        mask: `[B,n,T]` 1 on trained tokens.
        prefer: `[B,n,n]` weight that response i is preferred to response j.
        beta: strength of the pull towards the reference, above 0; the usual range is 0.01 to 0.5, higher stays closer.
        alpha: weight of the tokens beyond the shorter response's length, at least 0 and at most 1; 1 is DPO.

    Returns:
        One component, `[B,n,n]` weighted by `prefer`.

    Source: Liu et al. 2024, "Length desensitization in direct preference optimization" (arXiv:2409.06411).

    >>> import torch
    >>> policy = torch.tensor([[[-1.0, -1.0], [-2.0, 0.0]]])
    >>> reference = torch.tensor([[[-2.0, -5.0], [-2.0, 0.0]]])
    >>> mask = torch.tensor([[[1.0, 1.0], [1.0, 0.0]]])
    >>> prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    >>> ld_dpo(policy, reference, mask, prefer).value()  # log(1 + exp(-0.1 * (1 + 0.5 * 4)))
    tensor(0.5544)
    """
    place, length = mask.cumsum(-1, dtype=torch.float32), mask.sum(-1, dtype=torch.float32)
    shared = length.unsqueeze(-1).minimum(length.unsqueeze(-2))
    within = mask.unsqueeze(2) * (place.unsqueeze(2) <= shared.unsqueeze(-1))
    ratio = token_log_ratio(policy, reference)
    head = seq_sum(ratio.unsqueeze(2).expand_as(within), within)
    discounted = alpha * seq_sum(ratio, mask).unsqueeze(-1) + (1.0 - alpha) * head
    return Terms(loss=-logsigmoid(beta * (discounted - discounted.mT)), weight=prefer)
