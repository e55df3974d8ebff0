"""Generalised preference optimisation: one margin, any convex loss of it."""

from __future__ import annotations

from torch import Tensor

from accord.objectives.hyperparameters import Positive
from accord.objectives.links import LOSS_OF_MARGIN, Link
from accord.objectives.primitives import pairwise, seq_log_ratio
from accord.objectives.terms import Terms


def gpo(
    policy: Tensor,
    reference: Tensor,
    mask: Tensor,
    prefer: Tensor,
    *,
    beta: Positive = 0.1,
    link: Link = "hinge",
) -> Terms:
    r"""Generalised preference optimisation: DPO's margin under another loss, chosen by its shape.

    .. math:: \mathcal L_{ij} = f(\beta(\rho_i - \rho_j)), \qquad f \text{ decreasing at } 0

    averaged over all pairs with the weights :math:`\text{prefer}_{ij}`; :math:`\rho_i` is the log-ratio of policy to
    reference summed over the response. With :math:`t` for the margin, `link` is one of

    - `logistic`, :math:`\log(1+e^{-t})`: DPO. Never satisfied, but ever less interested.
    - `squared`, :math:`(1-t)^2`: IPO with beta = 2 tau, up to the factor beta squared. Pulls a margin above 1 back.
    - `hinge`, :math:`\max(0,1-t)`: SLiC on the reference's scale. No gradient once the margin is 1.
    - `exponential`, :math:`e^{-t}`: pairs in the wrong order dominate, mislabelled ones too.
    - `truncated_quadratic`, :math:`\max(0,1-t)^2`: squared up to the target, hinge's rest beyond.
    - `savage`, :math:`(1+e^t)^{-2}`: not convex; gives up on pairs that are far in the wrong order.

    Around :math:`t=0` a member lowers its loss at the rate :math:`-f'(0)` and pulls the margin back to the reference's
    with the strength :math:`f''(0)`, so beta is not comparable between links: rescale it by :math:`f'(0)`.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        reference: `[B,n,T]` the same under the frozen starting weights.
        mask: `[B,n,T]` 1 on trained tokens.
        prefer: `[B,n,n]` weight that response i is preferred to response j.
        beta: scale of the margin, above 0; with a target of 1, the margin in nats that satisfies the loss is 1/beta.
        link: the loss of the margin; logistic is DPO's, squared IPO's, hinge SLiC's, savage gives hopeless pairs up.

    Returns:
        One component, `[B,n,n]` weighted by `prefer`.

    Source: Tang et al. 2024, "Generalized preference optimization: a unified approach to offline alignment"
    (arXiv:2402.05749). The hinge: Zhao et al. 2023, "SLiC-HF" (arXiv:2305.10425).

    Deviations: `savage` is not in the paper's (convex) family; `exponential` goes over into its tangent where the
    margin is below -20, so that it stays finite.

    >>> import torch
    >>> policy = torch.tensor([[[-1.8], [-1.9]]])
    >>> reference = torch.tensor([[[-2.4], [-1.5]]])
    >>> prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    >>> gpo(policy, reference, torch.ones(1, 2, 1), prefer).value()  # 1 - 0.1 * (0.6 + 0.4)
    tensor(0.9000)
    """
    margin = beta * pairwise(seq_log_ratio(policy, reference, mask))
    return Terms(loss=LOSS_OF_MARGIN[link](margin), weight=prefer)
