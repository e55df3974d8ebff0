"""Odds ratio preference optimisation: imitation and preference in one loss, without a reference."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.objectives.hyperparameters import NonNegative
from accord.objectives.primitives import PROBABILITY_GAP, chosen_nll, log1mexp, pairwise, seq_mean
from accord.objectives.terms import Terms


def orpo(policy: Tensor, mask: Tensor, prefer: Tensor, *, weight: NonNegative = 0.1) -> Terms:
    r"""Odds ratio preference optimisation: imitate the preferred response and raise its odds over the other's.

    .. math::
        \mathcal L = \mathcal L_\text{NLL} + \lambda\,\mathcal L_\text{OR}, \qquad
        \mathcal L_{\text{OR},ij} = -\log\sigma\left(\log\frac{p_i}{1-p_i} - \log\frac{p_j}{1-p_j}\right), \qquad
        \log p_i = \frac{1}{|y_i|}\sum_t m_{it}\log\pi(y_{it})

    :math:`\mathcal L_\text{NLL}` is the mean negative log-likelihood of the preferred responses' tokens;
    :math:`\mathcal L_\text{OR}` is averaged over all pairs with the weights :math:`\text{prefer}_{ij}`. Each keeps its
    own denominator. One stage replaces supervised fine-tuning and preference training.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        mask: `[B,n,T]` 1 on trained tokens.
        prefer: `[B,n,n]` weight that response i is preferred to response j.
        weight: the paper's lambda, weight of the odds-ratio term, at least 0; the paper uses 0.1 to 0.25, the
            authors' code defaults to 1.

    Returns:
        Component `nll`, `[B,n,T]`, and component `odds`, `[B,n,n]` weighted by `prefer` and scaled by `weight`.

    Source: Hong, Lee and Thorne 2024, "ORPO: monolithic preference optimization without reference model"
    (arXiv:2403.07691), eq. 6 and 7.

    Deviations: the likelihood covers response tokens only (the authors' code includes the prompt by default), and
    a mean log-probability above -1e-6 is held there, where the odds would be infinite.

    >>> import torch
    >>> policy = torch.tensor([[[-0.6], [-0.95]]])
    >>> prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    >>> terms = orpo(policy, torch.ones(1, 2, 1), prefer)
    >>> [float(round(part.loss[0, 0, -1].item(), 4)) for part in terms.components()]  # -log(0.6), log(1 + 1/1.929)
    [0.6, 0.4177]
    """
    mean = seq_mean(policy, mask).clamp_max(-PROBABILITY_GAP)
    margin = pairwise(mean - log1mexp(mean))
    odds = Terms(loss=-logsigmoid(margin), weight=prefer, name="odds")
    return chosen_nll(policy, mask, prefer) + weight * odds
