"""Contrastive preference optimisation: DPO without a reference, anchored by likelihood."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.objectives.hyperparameters import NonNegative, Positive
from accord.objectives.primitives import chosen_nll, pairwise, seq_sum
from accord.objectives.terms import Terms


def cpo(policy: Tensor, mask: Tensor, prefer: Tensor, *, beta: Positive = 0.1, nll: NonNegative = 1.0) -> Terms:
    r"""Contrastive preference optimisation: DPO with a uniform reference, plus imitation of the preferred response.

    .. math::
        \mathcal L_{ij} = -\log\sigma(\beta(\log\pi(y_i) - \log\pi(y_j)))

    averaged over all pairs with the weights :math:`\text{prefer}_{ij}`, plus `nll` times the mean negative
    log-likelihood of the preferred responses' tokens. Log-probabilities are summed over the response. Without a
    reference it needs the memory and time of one model; the likelihood term keeps the policy near its data. Sums favour
    short responses: a longer one starts with the lower log-probability whatever its quality.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        mask: `[B,n,T]` 1 on trained tokens.
        prefer: `[B,n,n]` weight that response i is preferred to response j.
        beta: scale of the log-probability, above 0; the usual range is 0.01 to 0.5.
        nll: weight of the preferred responses' token-mean negative log-likelihood, at least 0; the paper uses 1.

    Returns:
        Component `loss`, `[B,n,n]` weighted by `prefer`, and with `nll` above 0 component `nll`, `[B,n,T]`.

    Source: Xu et al. 2024, "Contrastive preference optimization: pushing the boundaries of LLM performance in machine
    translation" (arXiv:2401.08417). It is neither constrained nor constitutional policy optimisation.

    >>> import torch
    >>> policy = torch.tensor([[[-1.8], [-1.9]]])
    >>> prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    >>> cpo(policy, torch.ones(1, 2, 1), prefer).value()  # log(1 + exp(-0.01)) + 1.8
    tensor(2.4882)
    """
    preference = Terms(loss=-logsigmoid(beta * pairwise(seq_sum(policy, mask))), weight=prefer)
    return preference + nll * chosen_nll(policy, mask, prefer) if nll else preference
