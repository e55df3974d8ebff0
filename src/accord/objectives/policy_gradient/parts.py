"""What every policy-gradient method can do to its rewards and add to its loss."""

from __future__ import annotations

from accord.objectives.policy_gradient.critics import cost_value_loss, entropy_bonus, pretraining_loss, value_loss
from accord.objectives.policy_gradient.denominators import token_mean
from accord.objectives.policy_gradient.guidance import guide_divergence, likeness
from accord.objectives.policy_gradient.kl import corrected_kl_penalty, full_kl_in_reward, kl_in_reward, kl_penalty
from accord.objectives.policy_gradient.method import Hyper, Part, Stage, nonzero
from accord.objectives.policy_gradient.shaping import (
    clipped_score,
    length_price,
    missing_end,
    soft_overlong,
    step_rewards,
    trained_tokens,
)


def _corrected(hyper: Hyper) -> bool:
    return bool(hyper["kl_loss"]) and str(hyper["kl_estimator"]).endswith("_ratio")


def _plain(hyper: Hyper) -> bool:
    return bool(hyper["kl_loss"]) and not _corrected(hyper)


def _full(hyper: Hyper) -> bool:
    return bool(hyper["kl_reward"]) and hyper["kl_reward_estimator"] == "full"


def _sampled(hyper: Hyper) -> bool:
    return bool(hyper["kl_reward"]) and hyper["kl_reward_estimator"] != "full"


OF_SCORE = (
    Stage(missing_end, nonzero("missing_eos")),
    Stage(length_price, nonzero("length_penalty")),
    Stage(soft_overlong, nonzero("overlong_limit")),
    Stage(clipped_score, nonzero("score_clip")),
)
"""What changes the score, in this order."""

OF_DIVERGENCE = (Stage(kl_in_reward, _sampled), Stage(full_kl_in_reward, _full))
"""The price of the divergence from the reference, on tokens."""

SHAPING = (*OF_SCORE, Stage(step_rewards, nonzero("step_weight")), *OF_DIVERGENCE)
"""All that changes rewards, in this order."""

PENALTIES = (
    Part("kl", kl_penalty, _plain),
    Part("kl", corrected_kl_penalty, _corrected),
    Part("entropy_bonus", entropy_bonus, nonzero("entropy_coefficient"), token_mean),
    Part("guide_kl", guide_divergence, nonzero("guide_kl"), token_mean),
    Part("diversity", likeness, nonzero("diversity_bonus"), token_mean),
    Part("pretraining", pretraining_loss, nonzero("ptx_coefficient"), token_mean, "pretrain_mask"),
)
"""What every method can add to its loss."""

VALUE = Part("value_loss", value_loss, nonzero("value_coefficient"), token_mean)
"""The critic of the reward."""

COST_VALUE = Part("cost_value_loss", cost_value_loss, nonzero("value_coefficient"), token_mean)
"""The critic of the cost."""

MASKING = (Stage(trained_tokens, lambda hyper: bool(hyper["truncated"] == "skip")),)
"""What leaves tokens out of the loss."""
