"""Noise contrastive alignment: absolute rewards, so that the chosen response may not lose likelihood."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.objectives.hyperparameters import Positive
from accord.objectives.primitives import seq_log_ratio
from accord.objectives.terms import Terms


def nca(policy: Tensor, reference: Tensor, mask: Tensor, prefer: Tensor, *, beta: Positive = 0.1) -> Terms:
    r"""Noise contrastive alignment: tell preferred responses from noise by their own reward, not by a difference.

    .. math::
        \mathcal L_{ij} = -\log\sigma(r_i) - \tfrac12\log\sigma(-r_i) - \tfrac12\log\sigma(-r_j),
        \qquad r_i = \beta\rho_i

    averaged over all pairs with the weights :math:`\text{prefer}_{ij}`; :math:`\rho_i` is the log-ratio of policy to
    reference summed over the response. DPO fixes only the difference of two rewards, and both may fall. Here the
    preferred response has a target of its own, :math:`r_i=\log 2`, and the other falls: the data's preferred answers
    keep their likelihood. It is :math:`2\log 2` for every pair while the policy is the reference.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        reference: `[B,n,T]` the same under the frozen starting weights.
        mask: `[B,n,T]` 1 on trained tokens.
        prefer: `[B,n,n]` weight that response i is preferred to response j.
        beta: strength of the pull towards the reference, above 0; the usual range is 0.01 to 0.5, higher stays closer.

    Returns:
        One component, `[B,n,n]` weighted by `prefer`.

    Source: Chen et al. 2024, "Noise contrastive alignment of language models with explicit rewards"
    (arXiv:2402.05369), the preference form of NCA.

    >>> import torch
    >>> policy = torch.tensor([[[-1.8], [-1.9]]])
    >>> reference = torch.tensor([[[-2.4], [-1.5]]])
    >>> prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    >>> nca(policy, reference, torch.ones(1, 2, 1), prefer).value()
    tensor(1.3621)
    """
    reward = beta * seq_log_ratio(policy, reference, mask)
    better, worse = reward.unsqueeze(-1), reward.unsqueeze(-2)
    loss = -logsigmoid(better) - 0.5 * logsigmoid(-better) - 0.5 * logsigmoid(-worse)
    return Terms(loss=loss, weight=prefer)
