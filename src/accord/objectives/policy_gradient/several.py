"""Credit from several numbers a response: the scores of its steps, and scores of different names."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from accord.objectives.hyperparameters import NonNegative
from accord.objectives.policy_gradient.credit import Credit, discounted_sum, over_tokens
from accord.objectives.policy_gradient.groups import Deviation, standardise


def standardised_steps(
    step_score: Tensor,
    step_end: Tensor,
    valid: Tensor,
    mask: Tensor,
    *,
    epsilon: NonNegative = 1e-4,
    deviation: Deviation = "unbiased",
) -> Credit:
    r"""Step scores standardised over all steps of the group; a token gets those of its own step and all later ones.

    .. math:: A_t = \sum_{\text{steps ending at } s \ge t} \tilde r_s, \qquad
        \tilde r = \frac{r - \operatorname{mean}(\mathbf r)}{\operatorname{std}(\mathbf r) + \epsilon}

    A response with more good steps than another collects more.

    Args:
        step_score: `[B,n,T]` score of the step that ends at this token.
        step_end: `[B,n,T]` 1 where a step with a score ends.
        valid: `[B,n]` 1 where the response exists.
        mask: `[B,n,T]` 1 on trained tokens.
        epsilon: added to the deviation, at least 0.
        deviation: `unbiased` divides squares by the number of steps less 1, `population` by their number.

    Source: Shao et al. 2024, "DeepSeekMath" (arXiv:2402.03300), section 4.1.3.
    """
    ends = ((step_end > 0) & (valid.unsqueeze(-1) > 0)).to(torch.promote_types(step_score.dtype, torch.float32))
    standard = standardise(step_score.flatten(1), ends.flatten(1), epsilon=epsilon, deviation=deviation)
    return Credit(discounted_sum(standard.view_as(ends), torch.ones_like(ends), discount=1.0) * (mask > 0))


def standardised_names(
    named_scores: Tensor,
    named_weight: Tensor,
    valid: Tensor,
    mask: Tensor,
    *,
    epsilon: NonNegative = 1e-4,
    deviation: Deviation = "unbiased",
    rescale: Literal["round", "none"] = "round",
) -> Credit:
    r"""Each named score standardised in its group, then summed with its weight: no score swamps another by its scale.

    .. math:: S_i = \sum_k w_k \frac{R_i^k - \bar R^k}{\operatorname{std}(R^k) + \epsilon}, \qquad
        A_i = \frac{S_i - \bar S}{\operatorname{std}(S) + \epsilon}

    the second over all responses of the round. Standardising the sum instead lets the score of the largest scale
    decide, and gives many combinations of scores the same advantage.

    Args:
        named_scores: `[B,n,K]` scores by name.
        named_weight: `[B,n,K]` the weight of each, 0 where it was not given.
        valid: `[B,n]` 1 where the response exists.
        mask: `[B,n,T]` 1 on trained tokens.
        epsilon: added to deviations, at least 0.
        deviation: `unbiased` divides squares by their number less 1, `population` by their number.
        rescale: `round` standardises the sums over the round, `none` leaves them.

    Source: Liu et al. 2026, "GDPO: group reward-decoupled normalization policy optimization" (arXiv:2601.05242).
    """
    given = ((named_weight != 0) & (valid.unsqueeze(-1) > 0)).to(torch.promote_types(named_scores.dtype, torch.float32))
    each = standardise(named_scores.mT, given.mT, epsilon=epsilon, deviation=deviation).mT
    total, counts = (each * named_weight).sum(-1), given.amax(-1)
    if rescale == "round":
        flat = standardise(total.flatten(), counts.flatten(), epsilon=epsilon, deviation=deviation)
        total = flat.view_as(total)
    return Credit(over_tokens(total, counts, mask))
