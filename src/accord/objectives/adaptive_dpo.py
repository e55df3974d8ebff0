"""DPO whose beta is steered so that the policy keeps a chosen distance from the reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.objectives.hyperparameters import Positive, Range
from accord.objectives.primitives import pairwise, seq_sum, token_log_ratio
from accord.objectives.terms import Terms

MOST_CHANGE = 0.2
"""Largest relative error that a step answers to, as in Ziegler et al."""


def adaptive_dpo(
    policy: Tensor,
    reference: Tensor,
    mask: Tensor,
    prefer: Tensor,
    state: Mapping[str, Tensor],
    *,
    beta: Positive = 0.1,
    kl_target: Positive = 6.0,
    rate: Annotated[float, Range(least=0.0, most=1.0)] = 0.1,
) -> Terms:
    r"""Adaptive DPO: DPO whose beta rises while the policy is farther from the reference than asked, and falls below.

    .. math::
        \mathcal L_{ij} = -\log\sigma(\beta_k(\rho_i - \rho_j)), \qquad
        \beta_{k+1} = \beta_k\left(1 + \eta\,\operatorname{clip}\left(
            \frac{\widehat{\mathrm{KL}}_k}{\kappa} - 1,\ -0.2,\ 0.2\right)\right), \qquad
        \widehat{\mathrm{KL}} = \operatorname{mean}_i \sum_t \tfrac12 d_{it}^2

    averaged over all pairs with the weights :math:`\text{prefer}_{ij}`; :math:`\rho_i` is the log-ratio of policy to
    reference summed over the response and :math:`d_{it}` that of a token. The divergence is the mean of the step before
    over the compared responses, each as often as it is compared; beta carries no gradient. `rate` of 0 is DPO.

    The divergence is taken on the data's responses: how far the policy has moved *there*, not on what it would say
    itself (watch `eval/kl`), and rejected responses, which DPO pushes far down, dominate it.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        reference: `[B,n,T]` the same under the frozen starting weights.
        mask: `[B,n,T]` 1 on trained tokens.
        prefer: `[B,n,n]` weight that response i is preferred to response j.
        state: `[]` by name: `beta` of the step before and the divergence `kl` it had.
        beta: beta at the start, above 0; the usual range is 0.01 to 0.5.
        kl_target: divergence a response should have on average (kappa), in nats, above 0.
        rate: share of the clipped relative error that a step answers to (eta), at least 0 and at most 1; other code
            gives it as sequences a step over a horizon.

    Returns:
        One component, `[B,n,n]` weighted by `prefer`, with the metric `beta`, and beta and the divergence as state.

    Source: the proportional controller of Ziegler et al. 2019, "Fine-tuning language models from human preferences"
    (arXiv:1909.08593), section 2.2, on the beta of Rafailov et al. 2023 (arXiv:2305.18290).

    >>> import torch
    >>> policy, reference = torch.tensor([[[-1.8], [-1.9]]]), torch.tensor([[[-2.4], [-1.5]]])
    >>> prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    >>> before = {"beta": torch.tensor(0.1), "kl": torch.tensor(8.0)}  # a third too far: clipped to a fifth
    >>> adaptive_dpo(policy, reference, torch.ones(1, 2, 1), prefer, before).metrics["beta"][0].max()
    tensor(0.1020)
    """
    ratio = token_log_ratio(policy, reference).masked_fill(mask == 0, 0.0)
    margin = pairwise(seq_sum(ratio, mask))
    strength = state.get("beta", margin.new_tensor(beta)).to(margin.dtype)
    if "kl" in state:
        error = (state["kl"].to(margin.dtype) / kl_target - 1.0).clamp(-MOST_CHANGE, MOST_CHANGE)
        strength = strength * (1.0 + rate * error)
    compared = (prefer + prefer.mT).sum(-1)
    return Terms(
        loss=-logsigmoid(strength * margin),
        weight=prefer,
        metrics={"beta": (strength.expand_as(prefer), prefer)},
        state={
            "beta": (strength.expand_as(prefer), prefer),
            "kl": (0.5 * seq_sum(ratio.detach().square(), mask), compared),
        },
    )
