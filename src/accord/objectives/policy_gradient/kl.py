"""Keeping the policy near its reference: estimators of the divergence, its price in the reward or in the loss.

All estimators look at one sampled token, with :math:`d = \\log\\pi(y_t) - \\log\\pi_\\text{ref}(y_t)`:

- k1 :math:`= d`: unbiased, of either sign, noisy;
- k2 :math:`= d^2/2`: a little biased, calm;
- k3 :math:`= e^{-d} - 1 + d`: unbiased and never negative.

Source: Schulman 2020, "Approximating KL divergence".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from accord.objectives.hyperparameters import NonNegative, Positive
from accord.objectives.policy_gradient.credit import Shaped, mean_of
from accord.objectives.policy_gradient.surrogates import token_ratio
from accord.objectives.primitives import bounded_expm1, seq_sum, token_log_ratio

Estimator = Literal["k1", "k2", "k3"]
LossEstimator = Literal["k1", "k2", "k3", "k1_ratio", "k2_ratio", "k3_ratio"]
RewardEstimator = Literal["k1", "abs", "k2", "full"]
Controller = Literal["fixed", "proportional", "doubling"]


def estimate(log_ratio: Tensor, estimator: Estimator) -> Tensor:
    r"""The divergence at sampled tokens, from their log-ratio of policy to reference.

    >>> d = torch.tensor([0.2, -0.1, -0.5])
    >>> torch.stack([estimate(d, "k1"), estimate(d, "k2"), estimate(d, "k3")]).mean(-1)
    tensor([-0.1333,  0.0500,  0.0575])
    """
    if estimator == "k1":
        return log_ratio
    if estimator == "k2":
        return 0.5 * log_ratio.square()
    return bounded_expm1(-log_ratio) + log_ratio


def kl_in_reward(
    token_reward: Tensor,
    behaviour: Tensor,
    reference: Tensor,
    mask: Tensor,
    state: Mapping[str, Tensor],
    *,
    kl_reward: NonNegative = 0.05,
    kl_reward_estimator: RewardEstimator = "k1",
    kl_controller: Controller = "fixed",
    kl_target: Positive = 6.0,
    kl_horizon: Positive = 10000.0,
) -> Shaped:
    r"""Take the divergence from the reference off the reward of each token: :math:`r_t \mathrel{-}= \beta\,k(d_t)`.

    With k1 the expected return is the reward less :math:`\beta` times the divergence from the reference. `abs` is
    :math:`|d|`. A controller moves :math:`\beta` from round to round, by the divergence of a response (k1, summed over
    its tokens) averaged over the n responses of the round:

    - `proportional`: :math:`\beta \leftarrow \beta\,(1 + \operatorname{clip}(\mathrm{KL}/\text{target} - 1, \pm 0.2)\,
      n / \text{horizon})`;
    - `doubling`: doubled above 1.5 times the target, halved below the target by 1.5.

    Args:
        token_reward: `[B,n,T]` reward paid on tokens so far.
        behaviour: `[B,n,T]` log-probability of each response token under the policy that sampled it.
        reference: `[B,n,T]` the same under the frozen starting weights.
        mask: `[B,n,T]` 1 on trained tokens.
        state: `[]` by name: `kl_coefficient`, as the rounds before have left it.
        kl_reward: price of the divergence from the reference in the reward, at least 0; 0 needs no reference. A
            controller starts from it.
        kl_reward_estimator: what is paid for on a token: `k1`, `abs`, `k2`, or the `full` divergence of the next-token
            distributions.
        kl_controller: how the price moves from round to round: `fixed`, `proportional` or `doubling`.
        kl_target: divergence of a response that a controller steers to, in nats, above 0.
        kl_horizon: responses over which the proportional controller acts, above 0; higher is slower.

    Raises:
        ValueError: the estimator is `full`, which `full_kl_in_reward` takes.

    Source: Ziegler et al. 2019, "Fine-tuning language models from human preferences" (arXiv:1909.08593), section 2.2;
    doubling: Schulman et al. 2017 (arXiv:1707.06347), section 4.
    """
    if kl_reward_estimator == "full":
        raise ValueError("the full divergence is no estimate from sampled tokens: full_kl_in_reward")
    ratio = token_log_ratio(behaviour, reference).masked_fill(mask == 0, 0.0)
    price = {"k1": ratio, "abs": ratio.abs(), "k2": 0.5 * ratio.square()}[kl_reward_estimator]
    controller = _Controller(kl_reward, kl_controller, kl_target, kl_horizon)
    return controller.paid(token_reward, price, seq_sum(ratio, mask), mask, state)


def full_kl_in_reward(
    token_reward: Tensor,
    divergence: Tensor,
    mask: Tensor,
    state: Mapping[str, Tensor],
    *,
    kl_reward: NonNegative = 0.05,
    kl_controller: Controller = "fixed",
    kl_target: Positive = 6.0,
    kl_horizon: Positive = 10000.0,
) -> Shaped:
    """`kl_in_reward` with the whole divergence at each token in place of an estimate from the sampled one."""
    price = divergence.masked_fill(mask == 0, 0.0)
    controller = _Controller(kl_reward, kl_controller, kl_target, kl_horizon)
    return controller.paid(token_reward, price, seq_sum(price, mask), mask, state)


@dataclass(frozen=True)
class _Controller:
    """The price of the divergence and what moves it."""

    start: float
    rule: Controller
    target: float
    horizon: float

    def paid(
        self, token_reward: Tensor, price: Tensor, of_responses: Tensor, mask: Tensor, state: Mapping[str, Tensor]
    ) -> Shaped:
        total, count = mean_of(of_responses, mask.amax(-1))
        coefficient = state.get("kl_coefficient", total.new_tensor(self.start)).to(total)
        seen = total / count.clamp_min(1.0)
        renewed = controlled(coefficient, seen, self.rule, self.target, count, self.horizon)
        return Shaped(
            {"token_reward": token_reward - coefficient * price},
            metrics={"reward_kl": (total, count), "kl_coefficient": (coefficient, torch.ones_like(coefficient))},
            state={} if self.rule == "fixed" else {"kl_coefficient": renewed},
        )


def controlled(
    coefficient: Tensor, kl: Tensor, controller: Controller, target: float, count: Tensor | float, horizon: float
) -> Tensor:
    """The coefficient for the next round, from the divergence `kl` seen over `count` responses.

    >>> controlled(torch.tensor(0.2), torch.tensor(9.0), "proportional", 6.0, 256, 10000)
    tensor(0.2010)
    """
    if controller == "proportional":
        return coefficient * (1.0 + (kl / target - 1.0).clamp(-0.2, 0.2) * count / horizon)
    if controller == "doubling":
        factor = torch.where(kl > 1.5 * target, 2.0, torch.where(kl < target / 1.5, 0.5, 1.0))
        return coefficient * factor.to(coefficient)
    return coefficient


def kl_penalty(
    policy: Tensor,
    reference: Tensor,
    mask: Tensor,
    *,
    kl_loss: NonNegative = 0.0,
    kl_estimator: LossEstimator = "k3",
) -> Tensor:
    r"""Divergence of policy from reference as a loss of each token, :math:`\beta\,k(d_t)`.

    Only its gradient matters, and on sampled tokens that is not the gradient of what it estimates: k2's is that of
    :math:`\mathrm{KL}(\pi\Vert\pi_\text{ref})`, k3's that of :math:`\mathrm{KL}(\pi_\text{ref}\Vert\pi)`, and k1's is 0
    on average. With the live ratio of policy to behaviour as a factor (`k1_ratio`, `k3_ratio`) it is that of
    :math:`\mathrm{KL}(\pi\Vert\pi_\text{ref})`, also for another policy's tokens.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        reference: `[B,n,T]` the same under the frozen starting weights.
        mask: `[B,n,T]` 1 on trained tokens.
        kl_loss: weight of the divergence from the reference in the loss, at least 0; 0 needs no reference.
        kl_estimator: `k1`, `k2`, `k3`, or one of them times the ratio: `k1_ratio`, `k2_ratio`, `k3_ratio`.

    Source: Shao et al. 2024 (arXiv:2402.03300), eq. 4. The ratio: Liu et al. 2025, "DeepSeek-V3.2"
    (arXiv:2512.02556), section 3.1.
    """
    ratio = token_log_ratio(policy, reference).masked_fill(mask == 0, 0.0)
    return kl_loss * estimate(ratio, _plain(kl_estimator))


def corrected_kl_penalty(
    policy: Tensor,
    behaviour: Tensor,
    reference: Tensor,
    mask: Tensor,
    *,
    kl_loss: NonNegative = 0.0,
    kl_estimator: LossEstimator = "k3_ratio",
) -> Tensor:
    """`kl_penalty` times the live ratio of policy to behaviour."""
    return token_ratio(policy, behaviour, mask) * kl_penalty(
        policy, reference, mask, kl_loss=kl_loss, kl_estimator=kl_estimator
    )


def _plain(estimator: LossEstimator) -> Estimator:
    plain: dict[str, Estimator] = {"k1": "k1", "k2": "k2", "k3": "k3"}
    return plain[estimator.removesuffix("_ratio")]


def should_stop(policy_kl: float, *, target_kl: float) -> bool:
    """True when the policy has moved far enough from the behaviour to end the updates of a round.

    Args:
        policy_kl: divergence of the policy from the behaviour, in nats a token; the metric `policy_kl`.
        target_kl: the round ends above 1.5 times this; 0 never ends it.

    >>> should_stop(0.16, target_kl=0.1), should_stop(0.14, target_kl=0.1), should_stop(9.0, target_kl=0.0)
    (True, False, False)
    """
    return target_kl > 0.0 and policy_kl > 1.5 * target_kl
