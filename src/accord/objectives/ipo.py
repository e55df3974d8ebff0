"""Identity preference optimisation: regress the margin to a finite target."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from accord.objectives.hyperparameters import Positive
from accord.objectives.primitives import pairwise, seq_mean, seq_sum, token_log_ratio
from accord.objectives.terms import Terms


def ipo(
    policy: Tensor,
    reference: Tensor,
    mask: Tensor,
    prefer: Tensor,
    *,
    tau: Positive = 0.1,
    length: Literal["token_mean", "sum"] = "token_mean",
) -> Terms:
    r"""Identity preference optimisation: bring the margin to one over twice tau, and no further.

    .. math:: \mathcal L_{ij} = \left(\rho_i - \rho_j - \frac{1}{2\tau}\right)^2

    averaged over all pairs with the weights :math:`\text{prefer}_{ij}`. :math:`\rho_i` is the log-ratio of policy to
    reference of response i, summed over its tokens (`length="sum"`, the equation as printed) or averaged over them
    (`length="token_mean"`, what widely used implementations compute). With the sum, long responses reach the
    target with a tiny change per token. The *target* is finite; the loss is quadratic and not bounded. It
    is :math:`(1/2\tau)^2` while the policy is the reference.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        reference: `[B,n,T]` the same under the frozen starting weights.
        mask: `[B,n,T]` 1 on trained tokens.
        prefer: `[B,n,n]` weight that response i is preferred to response j.
        tau: regularisation, above 0; the target margin is 1/(2 tau), so higher stays closer to the reference. It is
            not DPO's beta.
        length: how a response's log-ratio is reduced over its tokens, `token_mean` or `sum`.

    Returns:
        One component, `[B,n,n]` weighted by `prefer`.

    Source: Azar et al. 2023, "A general theoretical paradigm to understand learning from human preferences"
    (arXiv:2310.12036), eq. 17.

    Deviation: the paper does not normalise by length; `length="sum"` is its reading.

    >>> import torch
    >>> policy = torch.tensor([[[-1.8], [-1.9]]])
    >>> reference = torch.tensor([[[-2.4], [-1.5]]])
    >>> prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    >>> ipo(policy, reference, torch.ones(1, 2, 1), prefer).value()  # (0.6 + 0.4 - 5) ** 2
    tensor(16.)
    """
    reduce = seq_mean if length == "token_mean" else seq_sum
    margin = pairwise(reduce(token_log_ratio(policy, reference), mask))
    return Terms(loss=(margin - 1.0 / (2.0 * tau)).square(), weight=prefer)
