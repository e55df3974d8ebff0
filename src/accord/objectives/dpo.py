"""Direct preference optimisation, with label smoothing (cDPO) and an added likelihood term."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.objectives.hyperparameters import FlipRate, NonNegative, Positive
from accord.objectives.primitives import chosen_nll, pairwise, seq_mean, seq_sum, token_log_ratio
from accord.objectives.terms import Terms


def dpo(
    policy: Tensor,
    reference: Tensor,
    mask: Tensor,
    prefer: Tensor,
    *,
    beta: Positive = 0.1,
    label_smoothing: FlipRate = 0.0,
    nll: NonNegative = 0.0,
    length: Literal["sum", "token_mean"] = "sum",
) -> Terms:
    r"""Direct preference optimisation: raise the preferred response over the other, relative to the reference.

    .. math::
        \mathcal L_{ij} = -(1-\varepsilon)\log\sigma(\beta(\rho_i - \rho_j))
                          - \varepsilon\log\sigma(\beta(\rho_j - \rho_i)),
        \qquad \rho_i = \sum_t m_{it}\,(\log\pi(y_{it}) - \log\pi_\text{ref}(y_{it}))

    averaged over all pairs with the weights :math:`\text{prefer}_{ij}`, plus `nll` times the mean negative
    log-likelihood of the preferred responses' tokens. With :math:`\varepsilon = 0` and `nll` = 0 this is the paper's
    loss. It is :math:`\log 2` for every pair while the policy is the reference.

    The loss looks only at differences: chosen and rejected log-probabilities may both fall while the margin grows
    (likelihood displacement). `nll` counters that. With `length="token_mean"` the log-ratios are averaged over
    tokens, so that long responses do not have the larger margins; beta must then grow by about a response's length.

    Several published methods are this loss on other data. A ranking of K responses is its K(K-1)/2 pairs in one group.
    SPIN prefers demonstrations to the policy's own answers, with the policy that wrote them as reference. Stepwise DPO
    (sDPO) and iterative DPO go over the data in parts, each with the policy of the part before as reference. RS-DPO
    takes pairs of sampled answers whose rewards differ enough.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        reference: `[B,n,T]` the same under the frozen starting weights.
        mask: `[B,n,T]` 1 on trained tokens.
        prefer: `[B,n,n]` weight that response i is preferred to response j.
        beta: strength of the pull towards the reference, above 0; the usual range is 0.01 to 0.5, higher stays closer.
        label_smoothing: assumed share of flipped preferences (cDPO), at least 0 and below 0.5.
        nll: weight of the preferred responses' token-mean negative log-likelihood, at least 0; 0 leaves it out.
        length: how a response's log-ratio is reduced over its tokens, `sum` or `token_mean`.

    Returns:
        Component `loss`, `[B,n,n]` weighted by `prefer`, and with `nll` above 0 component `nll`, `[B,n,T]`.

    Source: Rafailov et al. 2023, "Direct preference optimization" (arXiv:2305.18290), eq. 7. Label smoothing: Mitchell
    2023, "A note on DPO with noisy preferences and relationship to IPO". The likelihood term: Pang et al. 2024,
    "Iterative reasoning preference optimization" (arXiv:2404.19733), eq. 1. The mean over tokens: Lambert et al. 2024,
    "Tulu 3" (arXiv:2411.15124).

    Deviation: Pang et al. average the likelihood term over each response first; here every token counts the same.

    >>> import torch
    >>> policy = torch.tensor([[[-1.8], [-1.9]]])
    >>> reference = torch.tensor([[[-2.4], [-1.5]]])
    >>> prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    >>> dpo(policy, reference, torch.ones(1, 2, 1), prefer).value()  # log(1 + exp(-0.1 * (0.6 + 0.4)))
    tensor(0.6444)
    """
    reduce = seq_sum if length == "sum" else seq_mean
    margin = beta * pairwise(reduce(token_log_ratio(policy, reference), mask))
    loss = -(1.0 - label_smoothing) * logsigmoid(margin) - label_smoothing * logsigmoid(-margin)
    preference = Terms(loss=loss, weight=prefer)
    return preference + nll * chosen_nll(policy, mask, prefer) if nll else preference
