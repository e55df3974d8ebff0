"""The policy-gradient methods by name: each a row of functions with its published defaults."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from accord.objectives.policy_gradient.actor_critic import generalised_advantage
from accord.objectives.policy_gradient.critics import entropy_bonus, pretraining_loss, value_loss
from accord.objectives.policy_gradient.denominators import sequence_mean, token_mean
from accord.objectives.policy_gradient.groups import group_standardised, leave_one_out
from accord.objectives.policy_gradient.kl import corrected_kl_penalty, full_kl_in_reward, kl_in_reward, kl_penalty
from accord.objectives.policy_gradient.method import Hyper, Method, Part, Stage, nonzero
from accord.objectives.policy_gradient.shaping import (
    clipped_score,
    length_price,
    missing_end,
    soft_overlong,
    step_rewards,
    trained_tokens,
)
from accord.objectives.policy_gradient.surrogates import ppo_clip, sequence_clip


def _corrected(hyper: Hyper) -> bool:
    return bool(hyper["kl_loss"]) and str(hyper["kl_estimator"]).endswith("_ratio")


def _plain(hyper: Hyper) -> bool:
    return bool(hyper["kl_loss"]) and not _corrected(hyper)


def _full(hyper: Hyper) -> bool:
    return bool(hyper["kl_reward"]) and hyper["kl_reward_estimator"] == "full"


def _sampled(hyper: Hyper) -> bool:
    return bool(hyper["kl_reward"]) and hyper["kl_reward_estimator"] != "full"


SHAPING = (
    Stage(missing_end, nonzero("missing_eos")),
    Stage(length_price, nonzero("length_penalty")),
    Stage(soft_overlong, nonzero("overlong_limit")),
    Stage(clipped_score, nonzero("score_clip")),
    Stage(step_rewards, nonzero("step_weight")),
    Stage(kl_in_reward, _sampled),
    Stage(full_kl_in_reward, _full),
)
"""What every method can do to the rewards, in this order."""

PENALTIES = (
    Part("kl", kl_penalty, _plain),
    Part("kl", corrected_kl_penalty, _corrected),
    Part("entropy_bonus", entropy_bonus, nonzero("entropy_coefficient")),
    Part("pretraining", pretraining_loss, nonzero("ptx_coefficient"), token_mean, "pretrain_mask"),
)
"""What every method can add to its loss."""

VALUE = Part("value_loss", value_loss, nonzero("value_coefficient"), token_mean)
MASKING = (Stage(trained_tokens, lambda hyper: bool(hyper["truncated"] == "skip")),)

PPO = Method(
    name="ppo",
    text=r"""Proximal policy optimisation with a critic, the divergence from the reference paid in the reward.

    .. math::
        \mathcal L = \operatorname{mean}_t \max\left(-A_t q_t, -A_t \operatorname{clip}(q_t, 1 \pm \varepsilon)\right)
            + c_V \operatorname{mean}_t \tfrac12 (V_t - G_t)^2

    The advantage is generalised advantage estimation of :math:`r_t = -\beta(\log\mu_t - \log\pi_{\text{ref},t})`, with
    the score on the last token, whitened over the round. It alone learns what each token is worth, at the price of
    a second network.

    Source: Schulman et al. 2017, "Proximal policy optimization algorithms" (arXiv:1707.06347), eq. 7 and 9; for
    language models Ziegler et al. 2019 (arXiv:1909.08593) and Ouyang et al. 2022 (arXiv:2203.02155).
    """,
    estimator=generalised_advantage,
    surrogate=ppo_clip,
    denominator=token_mean,
    shaping=SHAPING,
    masking=MASKING,
    parts=(VALUE, *PENALTIES),
)

RLOO = Method(
    name="rloo",
    text=r"""REINFORCE with the mean reward of the other responses as baseline; the response is one action.

    .. math:: A_i = R_i - \frac1{K-1}\sum_{j\ne i}R_j, \qquad
        R_i = r_i - \beta\sum_t(\log\mu_t - \log\pi_{\text{ref},t})

    The gradient is unbiased and needs no critic. A round that is used again goes through the clipped ratio of the whole
    response; on the first use that is REINFORCE.

    Source: Ahmadian et al. 2024, "Back to basics: revisiting REINFORCE style optimization for learning from human
    feedback in LLMs" (arXiv:2402.14740), eq. 8.
    """,
    estimator=leave_one_out,
    surrogate=sequence_clip,
    denominator=sequence_mean,
    shaping=SHAPING,
    masking=MASKING,
    parts=PENALTIES,
)

GRPO = Method(
    name="grpo",
    text=r"""Group relative policy optimisation: rewards standardised in the group in place of a critic.

    .. math::
        \mathcal L = -\frac1N\sum_i\frac1{|y_i|}\sum_t\left[\min(q_t A_i, \operatorname{clip}(q_t, 1\pm\varepsilon)A_i)
            - \beta k_3\right], \qquad A_i = \frac{R_i - \bar R}{\operatorname{std}(R) + \epsilon}

    The divergence is in the loss, not in the reward. Dividing by the deviation favours prompts that are nearly decided,
    dividing by the length short right and long wrong answers; `dr_grpo` does neither.

    Source: Shao et al. 2024, "DeepSeekMath" (arXiv:2402.03300), eq. 3 and 4.
    """,
    estimator=group_standardised,
    surrogate=ppo_clip,
    denominator=sequence_mean,
    shaping=SHAPING,
    masking=MASKING,
    parts=PENALTIES,
    defaults={"kl_reward": 0.0, "kl_loss": 0.04},
)

METHODS: Mapping[str, Method] = MappingProxyType({method.name: method for method in (PPO, RLOO, GRPO)})
"""The command line's name of each policy-gradient method, and its row."""
