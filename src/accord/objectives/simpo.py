"""Simple preference optimisation: length-normalised, without a reference; and its reshaped reward (AlphaPO)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.objectives.hyperparameters import Finite, NonNegative, Positive
from accord.objectives.primitives import bounded_expm1, chosen_nll, pairwise, seq_mean
from accord.objectives.terms import Terms


def simpo(
    policy: Tensor,
    mask: Tensor,
    prefer: Tensor,
    *,
    beta: Positive = 2.0,
    gamma: Finite = 0.5,
    alpha: Finite = 0.0,
    link: Literal["logistic", "hinge"] = "logistic",
    nll: NonNegative = 0.0,
) -> Terms:
    r"""Simple preference optimisation: the mean log-probability of the preferred response must lead by a margin.

    .. math::
        \mathcal L_{ij} = f(\beta(h(a_i) - h(a_j)) - \gamma),
        \qquad a_i = \frac{1}{|y_i|}\sum_t m_{it} \log\pi(y_{it}),
        \qquad h(a) = \frac{1 - e^{-\alpha a}}{\alpha}

    averaged over all pairs with the weights :math:`\text{prefer}_{ij}`, plus `nll` times the mean negative
    log-likelihood of the preferred responses' tokens (CPO-SimPO). With :math:`\alpha=0`, where :math:`h(a)=a`,
    and the logistic loss :math:`f(t)=-\log\sigma(t)` this is the paper's loss. There is no reference, so nothing
    bounds how far the policy drifts from its start: watch `eval/kl`.

    Another :math:`\alpha` (AlphaPO) bends the reward: above 0 unlikely responses weigh more, so the loser falls first;
    below 0 likely ones do.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        mask: `[B,n,T]` 1 on trained tokens.
        prefer: `[B,n,n]` weight that response i is preferred to response j.
        beta: scale of the mean log-probability, above 0; the usual range is 2 to 10. It is a scale, not a pull towards
            a reference: DPO's 0.1 would leave `gamma` to dominate.
        gamma: lead that the preferred response must have, in scaled units; the usual range is 0 to `beta`. Other
            code names the ratio gamma/beta, usually 0.25 to 0.5.
        alpha: shape of the reward; 0 is SimPO, a few tenths either way is AlphaPO.
        link: loss of the margin, `logistic` or `hinge`, max(0, 1 - margin).
        nll: weight of the preferred responses' token-mean negative log-likelihood, at least 0; 0 leaves it out.

    Returns:
        Component `loss`, `[B,n,n]` weighted by `prefer`, and with `nll` above 0 component `nll`, `[B,n,T]`.

    Source: Meng, Xia and Chen 2024, "SimPO: simple preference optimization with a reference-free reward"
    (arXiv:2405.14734), eq. 6. The reward's shape: Gupta et al. 2025, "AlphaPO: reward shape matters for LLM alignment"
    (arXiv:2501.03884).

    Deviation: the exponential goes over into its tangent above an exponent of 20, so that it stays finite.

    >>> import torch
    >>> policy = torch.tensor([[[-0.6, -0.6], [-0.95, -0.95]]])
    >>> prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    >>> simpo(policy, torch.ones(1, 2, 2), prefer).value()  # log(1 + exp(-(2 * 0.35 - 0.5)))
    tensor(0.5981)
    """
    mean = seq_mean(policy, mask)
    reward = -bounded_expm1(-alpha * mean) / alpha if alpha else mean
    margin = beta * pairwise(reward) - gamma
    loss = -logsigmoid(margin) if link == "logistic" else torch.relu(1.0 - margin)
    preference = Terms(loss=loss, weight=prefer)
    return preference + nll * chosen_nll(policy, mask, prefer) if nll else preference
