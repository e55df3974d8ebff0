"""What is minimised in place of the expected reward: functions of log-probabilities and advantages, token by token.

Each returns `Surrogate(loss, ...)` with `[B,n,T]` losses, whose gradient where the policy is the behaviour is that of
:math:`-A_t \\log\\pi(y_t)`. One that treats a response as one action gives its loss on each of the response's tokens,
to be averaged by `sequence_mean`. Ratios are continued by their tangent above :math:`e^{20}`, so nothing overflows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from accord.objectives.hyperparameters import NonNegative, Positive
from accord.objectives.primitives import bounded_expm1, seq_mean, seq_sum, token_log_ratio


@dataclass(frozen=True)
class Surrogate:
    """Losses of tokens, and what to watch of the ratio behind them.

    Attributes:
        loss: `[B,n,T]`, finite everywhere.
        ratio: `[B,n,T]` detached weight of each token: probability under policy by that under behaviour; None if the
            surrogate has none.
        clipped_low: `[B,n,T]` 1.0 where the lower bound stopped the gradient.
        clipped_high: `[B,n,T]` 1.0 where the upper bound did.
    """

    loss: Tensor
    ratio: Tensor | None = None
    clipped_low: Tensor | None = None
    clipped_high: Tensor | None = None


SurrogateFunction = Callable[..., Surrogate]


def reinforce(policy: Tensor, advantage: Tensor, mask: Tensor) -> Surrogate:
    r"""The score-function estimator, :math:`-A_t\log\pi(y_t)`; right only for responses of the policy itself.

    Source: Williams 1992, "Simple statistical gradient-following algorithms", eq. 11.
    """
    return Surrogate(-advantage * policy.masked_fill(mask == 0, 0.0))


def weighted_reinforce(
    policy: Tensor, behaviour: Tensor, advantage: Tensor, mask: Tensor, *, importance_cap: Positive = 2.0
) -> Surrogate:
    r"""REINFORCE on another policy's responses: :math:`-\operatorname{sg}[\min(q_t, c)]\,A_t\log\pi(y_t)`.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        behaviour: `[B,n,T]` the same under the policy that sampled it.
        advantage: `[B,n,T]` advantage of each token.
        mask: `[B,n,T]` 1 on trained tokens.
        importance_cap: largest weight of a token (c), above 0; higher is less biased and noisier.

    Source: Espeholt et al. 2018, "IMPALA" (arXiv:1802.01561), the truncated weight rho of section 4.1.
    """
    ratio = token_ratio(policy, behaviour, mask).detach()
    weight = ratio.clamp_max(importance_cap)
    loss = -weight * advantage * policy.masked_fill(mask == 0, 0.0)
    return Surrogate(loss, ratio, torch.zeros_like(ratio), (ratio > importance_cap).to(ratio.dtype))


def importance(policy: Tensor, behaviour: Tensor, advantage: Tensor, mask: Tensor) -> Surrogate:
    r"""The ratio times the advantage, unclipped: :math:`-q_t A_t`. What a trust region bounds instead.

    Source: Schulman et al. 2015, "Trust region policy optimization" (arXiv:1502.05477), eq. 14.
    """
    ratio = token_ratio(policy, behaviour, mask)
    return Surrogate(-advantage * ratio, ratio.detach())


def ppo_clip(
    policy: Tensor,
    behaviour: Tensor,
    advantage: Tensor,
    mask: Tensor,
    *,
    clip_low: NonNegative = 0.2,
    clip_high: NonNegative = 0.2,
    dual_clip: NonNegative = 0.0,
) -> Surrogate:
    r"""The clipped surrogate of PPO, token by token, with bounds of their own below and above.

    .. math::
        \ell_t = \max\left(-A_t q_t,\ -A_t \operatorname{clip}(q_t, 1-\varepsilon_\text{low},
        1+\varepsilon_\text{high})\right), \qquad q_t = e^{\log\pi(y_t) - \log\mu(y_t)}

    and for :math:`A_t < 0` at most :math:`-c A_t` (dual clip), where the policy has already left the behaviour far
    behind.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        behaviour: `[B,n,T]` the same under the policy that sampled it.
        advantage: `[B,n,T]` advantage of each token.
        mask: `[B,n,T]` 1 on trained tokens.
        clip_low: how far the ratio may fall below 1 before the gradient stops, at least 0.
        clip_high: how far the ratio may rise above 1 before the gradient stops, at least 0; DAPO raises it.
        dual_clip: largest ratio that counts for a negative advantage (c), usually 3; 0 sets no limit.

    Source: Schulman et al. 2017, "Proximal policy optimization algorithms" (arXiv:1707.06347), eq. 7. Bounds of their
    own: Yu et al. 2025, "DAPO" (arXiv:2503.14476), eq. 10. Dual clip: Ye et al. 2020 (arXiv:1912.09729), eq. 5.
    """
    return _clipped(token_ratio(policy, behaviour, mask), advantage, clip_low, clip_high, dual_clip)


def sequence_clip(
    policy: Tensor,
    behaviour: Tensor,
    advantage: Tensor,
    mask: Tensor,
    *,
    clip_low: NonNegative = 0.2,
    clip_high: NonNegative = 0.2,
) -> Surrogate:
    r"""The clipped surrogate with the response as one action: :math:`q_i = e^{\sum_t(\log\pi - \log\mu)}`.

    Its gradient where the policy is the behaviour is REINFORCE's with the summed log-probability.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        behaviour: `[B,n,T]` the same under the policy that sampled it.
        advantage: `[B,n,T]` advantage of each token; its mean over the response is used.
        mask: `[B,n,T]` 1 on trained tokens.
        clip_low: how far the ratio of the response may fall below 1 before the gradient stops, at least 0.
        clip_high: how far the ratio of the response may rise above 1 before the gradient stops, at least 0.

    Source: Ahmadian et al. 2024 (arXiv:2402.14740), section 3.3, with the ratio of Schulman et al. 2017.
    """
    ratio = 1.0 + bounded_expm1(seq_sum(token_log_ratio(policy, behaviour), mask))
    return _of_responses(ratio, advantage, mask, clip_low, clip_high)


def gspo(
    policy: Tensor,
    behaviour: Tensor,
    advantage: Tensor,
    mask: Tensor,
    *,
    clip_low: NonNegative = 3e-4,
    clip_high: NonNegative = 4e-4,
) -> Surrogate:
    r"""The clipped surrogate with the geometric mean of a response's ratios.

    .. math:: s_i = \exp\left(\frac1{|y_i|}\sum_t(\log\pi(y_t) - \log\mu(y_t))\right)

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        behaviour: `[B,n,T]` the same under the policy that sampled it.
        advantage: `[B,n,T]` advantage of each token; its mean over the response is used.
        mask: `[B,n,T]` 1 on trained tokens.
        clip_low: how far the mean ratio may fall below 1 before the gradient stops, at least 0.
        clip_high: how far the mean ratio may rise above 1 before the gradient stops, at least 0.

    Source: Zheng et al. 2025, "Group sequence policy optimization" (arXiv:2507.18071), eq. 5 to 7.
    """
    ratio = 1.0 + bounded_expm1(seq_mean(token_log_ratio(policy, behaviour), mask))
    return _of_responses(ratio, advantage, mask, clip_low, clip_high)


def gspo_token(
    policy: Tensor,
    behaviour: Tensor,
    advantage: Tensor,
    mask: Tensor,
    *,
    clip_low: NonNegative = 3e-4,
    clip_high: NonNegative = 4e-4,
) -> Surrogate:
    r"""GSPO with an advantage for each token.

    .. math:: s_{i,t} = \operatorname{sg}[s_i]\,\frac{\pi(y_t)}{\operatorname{sg}[\pi(y_t)]}

    Where all tokens of a response have the same advantage, value and gradient are those of `gspo`.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        behaviour: `[B,n,T]` the same under the policy that sampled it.
        advantage: `[B,n,T]` advantage of each token.
        mask: `[B,n,T]` 1 on trained tokens.
        clip_low: how far the mean ratio may fall below 1 before the gradient stops, at least 0.
        clip_high: how far the mean ratio may rise above 1 before the gradient stops, at least 0.

    Source: Zheng et al. 2025 (arXiv:2507.18071), eq. 13 and 14.
    """
    difference = token_log_ratio(policy, behaviour).masked_fill(mask == 0, 0.0)
    own = difference - difference.detach()
    ratio = 1.0 + bounded_expm1(seq_mean(difference, mask).detach().unsqueeze(-1) + own)
    return _clipped(ratio, advantage, clip_low, clip_high)


def cispo(
    policy: Tensor,
    behaviour: Tensor,
    advantage: Tensor,
    mask: Tensor,
    *,
    clip_low: NonNegative = 1.0,
    clip_high: NonNegative = 4.0,
) -> Surrogate:
    r"""REINFORCE with a clipped weight: no token's gradient is ever stopped, only its weight is bounded.

    .. math::
        \ell_t = -\operatorname{sg}\left[\operatorname{clip}(q_t, 1-\varepsilon_\text{low},
        1+\varepsilon_\text{high})\right] A_t \log\pi(y_t)

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        behaviour: `[B,n,T]` the same under the policy that sampled it.
        advantage: `[B,n,T]` advantage of each token.
        mask: `[B,n,T]` 1 on trained tokens.
        clip_low: how far below 1 a weight may lie, at least 0; 1 or more sets no lower bound.
        clip_high: how far above 1 a weight may lie, at least 0.

    Source: MiniMax 2025, "MiniMax-M1" (arXiv:2506.13585), eq. 4 and 5.
    """
    ratio = token_ratio(policy, behaviour, mask).detach()
    weight = ratio.clamp(1.0 - clip_low, 1.0 + clip_high)
    loss = -weight * advantage * policy.masked_fill(mask == 0, 0.0)
    low, high = ratio < 1.0 - clip_low, ratio > 1.0 + clip_high
    return Surrogate(loss, ratio, low.to(ratio.dtype), high.to(ratio.dtype))


def token_ratio(policy: Tensor, behaviour: Tensor, mask: Tensor) -> Tensor:
    """Probability of each token under the policy by that under the behaviour, 1 where mask is 0; bounded growth."""
    return 1.0 + bounded_expm1(token_log_ratio(policy, behaviour).masked_fill(mask == 0, 0.0))


def _of_responses(ratio: Tensor, advantage: Tensor, mask: Tensor, clip_low: float, clip_high: float) -> Surrogate:
    """The clipped surrogate of whole responses, `[B,n]` ratios, the same on each of their tokens."""
    whole = _clipped(ratio, seq_mean(advantage, mask), clip_low, clip_high)
    each = [part.unsqueeze(-1).expand_as(mask) for part in (whole.loss, ratio.detach(), *_stopped(whole))]
    return Surrogate(*each)


def _stopped(whole: Surrogate) -> tuple[Tensor, Tensor]:
    assert whole.clipped_low is not None
    assert whole.clipped_high is not None
    return whole.clipped_low, whole.clipped_high


def _clipped(ratio: Tensor, advantage: Tensor, clip_low: float, clip_high: float, dual_clip: float = 0.0) -> Surrogate:
    bounded = ratio.clamp(1.0 - clip_low, 1.0 + clip_high)
    loss = torch.maximum(-advantage * ratio, -advantage * bounded)
    if dual_clip:
        loss = torch.where(advantage < 0, torch.minimum(loss, -advantage * dual_clip), loss)
    low = ((ratio < 1.0 - clip_low) & (advantage < 0)).to(ratio.dtype)
    high = ((ratio > 1.0 + clip_high) & (advantage > 0)).to(ratio.dtype)
    return Surrogate(loss, ratio.detach(), low, high)
