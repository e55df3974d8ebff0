"""DiscoPOP: the loss that a language model found by searching over losses."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.objectives.hyperparameters import Positive, Range
from accord.objectives.primitives import pairwise, seq_log_ratio
from accord.objectives.terms import Terms


def discopop(
    policy: Tensor,
    reference: Tensor,
    mask: Tensor,
    prefer: Tensor,
    *,
    beta: Positive = 0.1,
    temperature: Annotated[float, Range(above=0.0, most=1.0)] = 0.05,
) -> Terms:
    r"""Discovered preference optimisation: a logistic loss of pairs in the wrong order, an exponential one of the rest.

    .. math::
        \mathcal L_{ij} = (1-g)\log(1+e^{-t}) + g\,e^{-t}, \qquad
        t = \beta(\rho_i - \rho_j), \quad g = \sigma(t/\tau)

    averaged over all pairs with the weights :math:`\text{prefer}_{ij}`; :math:`\rho_i` is the log-ratio of policy to
    reference summed over the response. The gate :math:`g` blends the two losses of the margin. The result is not
    convex: from :math:`t=-2.37\tau` to :math:`1.44\tau` it rises. All margins start at zero, inside that stretch, so
    the first steps lower them; noise carries some pairs over the hump and the others rest just below zero. A small
    :math:`\tau` beside the changes of a step makes this harmless. Offered for study: prefer `dpo` for use.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        reference: `[B,n,T]` the same under the frozen starting weights.
        mask: `[B,n,T]` 1 on trained tokens.
        prefer: `[B,n,n]` weight that response i is preferred to response j.
        beta: strength of the pull towards the reference, above 0; the usual range is 0.01 to 0.5, higher stays closer.
        temperature: width of the gate (tau), above 0 and at most 1; the paper's is 0.05.

    Returns:
        One component, `[B,n,n]` weighted by `prefer`.

    Source: Lu et al. 2024, "Discovering preference optimization algorithms with and for large language models"
    (arXiv:2406.08414), eq. 5: the log-ratio modulated loss.

    >>> import torch
    >>> policy = torch.tensor([[[-1.8], [-1.9]]])
    >>> reference = torch.tensor([[[-2.4], [-1.5]]])
    >>> prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    >>> discopop(policy, reference, torch.ones(1, 2, 1), prefer).value()  # 0.1192 * 0.6444 + 0.8808 * exp(-0.1)
    tensor(0.8738)
    """
    margin = beta * pairwise(seq_log_ratio(policy, reference, mask))
    logistic = torch.sigmoid(-margin / temperature) * -logsigmoid(margin)
    exponential = torch.exp(logsigmoid(margin / temperature) - margin)
    return Terms(loss=logistic + exponential, weight=prefer)
