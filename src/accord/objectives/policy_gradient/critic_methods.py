"""Methods that learn with a critic: actor-critic, PPO, TRPO, and the last two under a limited cost."""

from __future__ import annotations

from accord.objectives.policy_gradient.actor_critic import generalised_advantage
from accord.objectives.policy_gradient.denominators import token_mean
from accord.objectives.policy_gradient.lagrangian import lagrangian_advantage
from accord.objectives.policy_gradient.limited_cost import limited_advantage
from accord.objectives.policy_gradient.method import Method, Rollout
from accord.objectives.policy_gradient.parts import (
    COST_VALUE,
    MASKING,
    OF_DIVERGENCE,
    OF_SCORE,
    PENALTIES,
    SHAPING,
    VALUE,
)
from accord.objectives.policy_gradient.surrogates import importance, ppo_clip, reinforce
from accord.objectives.policy_gradient.trust_region import trust_region

A2C = Method(
    name="a2c",
    text=r"""Advantage actor-critic: the critic's one-step error as advantage, one update a round, no ratio.

    .. math::
        \mathcal L = -\operatorname{mean}_t \delta_t\log\pi(y_t) + c_V\operatorname{mean}_t\tfrac12(V_t - G_t)^2
            - c_H\operatorname{mean}_t H_t, \qquad \delta_t = r_t + \gamma V_{t+1} - V_t

    It trusts the critic entirely (`gae_lambda` 0): little noise, and biased while the critic is wrong. A round is used
    once; a second update on it would take the old policy's responses for the new one's.

    Source: Mnih et al. 2016, "Asynchronous methods for deep reinforcement learning" (arXiv:1602.01783), section 4, with
    entropy weight 0.01 and value weight 0.5.
    """,
    estimator=generalised_advantage,
    surrogate=reinforce,
    denominator=token_mean,
    shaping=SHAPING,
    masking=MASKING,
    parts=(VALUE, *PENALTIES),
    defaults={
        "gae_lambda": 0.0,
        "whiten": "none",
        "value_coefficient": 0.5,
        "value_clip": 0.0,
        "entropy_coefficient": 0.01,
    },
    rollout=Rollout(n=1),
)

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
    rollout=Rollout(n=1, passes=4),
)

TRPO = Method(
    name="trpo",
    text=r"""Trust region policy optimisation: the largest natural-gradient step that a bound on the divergence allows.

    .. math::
        \max_\theta \operatorname{mean}_t q_t A_t \quad\text{where}\quad
        \operatorname{mean}_t \mathrm{KL}(\mu_t\Vert\pi_t) \le \delta

    There is no learning rate and no clipping: conjugate gradient finds the direction, a line search the length
    (`trust_region`). The critic learns by its own optimiser.

    Source: Schulman et al. 2015, "Trust region policy optimization" (arXiv:1502.05477), eq. 14 and appendix C.
    """,
    estimator=generalised_advantage,
    surrogate=importance,
    denominator=token_mean,
    shaping=SHAPING,
    masking=MASKING,
    parts=(VALUE, *PENALTIES),
    step=trust_region,
    rollout=Rollout(n=1),
)

PPO_LAGRANGIAN = Method(
    name="ppo_lagrangian",
    text=r"""PPO under a limit on the mean cost, with a critic each for reward and cost and a learned multiplier.

    .. math::
        A = \frac{A_R - \lambda A_C}{1 + \lambda}, \qquad \log\lambda \leftarrow \log\lambda + \eta\,\lambda\,(J_C - d)

    What breaks the limit makes the cost dearer from round to round until the limit holds; what keeps it makes it
    cheaper. The limit is in the units of the cost.

    Source: Dai et al. 2023, "Safe RLHF" (arXiv:2310.12773), section 3.3 and appendix B, with their settings.
    """,
    estimator=lagrangian_advantage,
    surrogate=ppo_clip,
    denominator=token_mean,
    shaping=(*OF_SCORE, *OF_DIVERGENCE),
    masking=MASKING,
    parts=(VALUE, COST_VALUE, *PENALTIES),
    defaults={"kl_reward": 0.01, "score_clip": 50.0, "value_clip": 5.0},
    rollout=Rollout(n=1, passes=4),
)

CONSTRAINED_TRPO = Method(
    name="constrained_trpo",
    text=r"""Constrained policy optimisation: TRPO whose step keeps the mean cost within its limit, with a critic each.

    .. math::
        \max_\theta \operatorname{mean}_t q_t A_t \quad\text{where}\quad
        J_C - d + \operatorname{mean}_i \sum_t q_t A_{C,t} \le 0, \quad
        \operatorname{mean}_t \mathrm{KL}(\mu_t\Vert\pi_t) \le \delta

    Where no step within the region meets the limit, the step lowers the cost and nothing else. There is no multiplier
    to learn: each step holds the limit by itself, as far as the round's responses tell. The limit is in the units of
    the cost.

    Source: Achiam et al. 2017, "Constrained policy optimization" (arXiv:1705.10528), algorithm 1. It is known as CPO,
    which here is contrastive preference optimisation.
    """,
    estimator=limited_advantage,
    surrogate=importance,
    denominator=token_mean,
    shaping=SHAPING,
    masking=MASKING,
    parts=(VALUE, COST_VALUE, *PENALTIES),
    step=trust_region,
    rollout=Rollout(n=1),
)
