"""Methods that compare the responses of a group: GRPO and what others changed in it."""

from __future__ import annotations

from accord.objectives.policy_gradient.denominators import constant, sequence_mean, token_mean
from accord.objectives.policy_gradient.groups import group_mean, group_standardised
from accord.objectives.policy_gradient.method import Method, Rollout
from accord.objectives.policy_gradient.parts import MASKING, PENALTIES, SHAPING
from accord.objectives.policy_gradient.several import standardised_names, standardised_steps
from accord.objectives.policy_gradient.surrogates import cispo, gspo, gspo_token, ppo_clip

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
    rollout=Rollout(n=8, least=2),
)

DR_GRPO = Method(
    name="dr_grpo",
    text=r"""GRPO done right: no division by the group's deviation, none by the response's length.

    .. math:: \mathcal L = -\frac1{N C}\sum_{i,t}\min(q_t A_i, \operatorname{clip}(q_t, 1\pm\varepsilon)A_i),
        \qquad A_i = R_i - \bar R

    Up to a constant this is the gradient of the expected reward. C is a number of tokens (`token_budget`), the same for
    every response; it only scales the step.

    Source: Liu et al. 2025, "Understanding R1-Zero-like training: a critical perspective" (arXiv:2503.20783), section
    3.2.
    """,
    estimator=group_mean,
    surrogate=ppo_clip,
    denominator=constant,
    shaping=SHAPING,
    masking=MASKING,
    parts=PENALTIES,
    defaults={"kl_reward": 0.0},
    rollout=Rollout(n=8, least=2),
)

DAPO = Method(
    name="dapo",
    text=r"""Decoupled clip and dynamic sampling: GRPO with a higher upper bound, token mean, no divergence.

    .. math:: \mathcal L = -\frac{\sum_{i,t}\min(q_t A_i, \operatorname{clip}(q_t, 1-0.2, 1+0.28)A_i)}{\sum_i|y_i|}

    The higher bound lets unlikely tokens rise, so entropy does not collapse; every token counts the same, however long
    its response. Two more parts belong to it: groups whose rewards agree are replaced (`informative`), and responses
    near the limit pay a price (`overlong_limit`) or are left out of the loss (`truncated`).

    Source: Yu et al. 2025, "DAPO: an open-source LLM reinforcement learning system at scale" (arXiv:2503.14476), eq. 8
    to 13.
    """,
    estimator=group_standardised,
    surrogate=ppo_clip,
    denominator=token_mean,
    shaping=SHAPING,
    masking=MASKING,
    parts=PENALTIES,
    defaults={"kl_reward": 0.0, "clip_high": 0.28},
    rollout=Rollout(n=16, least=2, refill=3),
)

GSPO = Method(
    name="gspo",
    text=r"""Group sequence policy optimisation: the ratio, and its clipping, of the whole response.

    .. math:: \mathcal L = -\frac1N\sum_i\min(s_i A_i, \operatorname{clip}(s_i, 1-\varepsilon_\text{low},
        1+\varepsilon_\text{high})A_i), \qquad s_i = \left(\frac{\pi(y_i)}{\mu(y_i)}\right)^{1/|y_i|}

    What is rewarded is the response, so the response is what is weighed: single tokens with wild ratios (mixtures of
    experts) do not decide. The bounds are a thousand times tighter than PPO's. On the first update it is GRPO.

    Source: Zheng et al. 2025, "Group sequence policy optimization" (arXiv:2507.18071), eq. 5 to 7.
    """,
    estimator=group_standardised,
    surrogate=gspo,
    denominator=sequence_mean,
    shaping=SHAPING,
    masking=MASKING,
    parts=PENALTIES,
    defaults={"kl_reward": 0.0},
    rollout=Rollout(n=8, least=2),
)

GSPO_TOKEN = Method(
    name="gspo_token",
    text=r"""GSPO for advantages that differ from token to token: the response's ratio, each token's gradient.

    .. math:: s_{i,t} = \operatorname{sg}[s_i]\,\frac{\pi(y_t)}{\operatorname{sg}[\pi(y_t)]}

    in GSPO's loss, averaged over tokens and then responses. With one advantage a response it is `gspo`; it differs with
    step rewards.

    Source: Zheng et al. 2025, "Group sequence policy optimization" (arXiv:2507.18071), eq. 13 and 14.
    """,
    estimator=group_standardised,
    surrogate=gspo_token,
    denominator=sequence_mean,
    shaping=SHAPING,
    masking=MASKING,
    parts=PENALTIES,
    defaults={"kl_reward": 0.0},
    rollout=Rollout(n=8, least=2),
)

CISPO = Method(
    name="cispo",
    text=r"""Clipped importance weights: REINFORCE on group advantages, weights bounded and no token's gradient stopped.

    .. math:: \mathcal L = -\frac{\sum_{i,t}\operatorname{sg}[\operatorname{clip}(q_t, 1-\varepsilon_\text{low},
        1+\varepsilon_\text{high})]\,A_i\log\pi(y_t)}{\sum_i|y_i|}

    PPO's clip drops the tokens that changed most, often the rare ones on which reasoning turns; here they keep
    teaching.

    Source: MiniMax 2025, "MiniMax-M1" (arXiv:2506.13585), eq. 4 and 5; the bound 5 of Khatri et al. 2025
    (arXiv:2510.13786).
    """,
    estimator=group_standardised,
    surrogate=cispo,
    denominator=token_mean,
    shaping=SHAPING,
    masking=MASKING,
    parts=PENALTIES,
    defaults={"kl_reward": 0.0},
    rollout=Rollout(n=8, least=2),
)

GRPO_PROCESS = Method(
    name="grpo_process",
    text=r"""GRPO with a score for each step: a token gets the standardised scores of its own and all later steps.

    .. math:: A_t = \sum_{\text{steps ending at } s\ge t}\tilde r_s, \qquad
        \tilde r = \frac{r - \operatorname{mean}(\mathbf r)}{\operatorname{std}(\mathbf r) + \epsilon}

    over all steps of the group, in GRPO's loss. It says where a response went wrong; it needs a reward model of steps,
    and pays for more steps if steps are good on average.

    Source: Shao et al. 2024, "DeepSeekMath" (arXiv:2402.03300), section 4.1.3.
    """,
    estimator=standardised_steps,
    surrogate=ppo_clip,
    denominator=sequence_mean,
    masking=MASKING,
    parts=PENALTIES,
    defaults={"kl_loss": 0.04},
    rollout=Rollout(n=8, least=2),
)

GDPO = Method(
    name="gdpo",
    text=r"""GRPO for several rewards: each standardised in its group before they are summed.

    .. math:: A_i \propto \sum_k w_k\,\frac{R_i^k - \bar R^k}{\operatorname{std}(R^k) + \epsilon}

    standardised once more over the round. Summing first lets the reward with the largest scale decide, and gives
    different combinations the same advantage.

    Source: Liu et al. 2026, "GDPO: group reward-decoupled normalization policy optimization" (arXiv:2601.05242).
    """,
    estimator=standardised_names,
    surrogate=ppo_clip,
    denominator=sequence_mean,
    masking=MASKING,
    parts=PENALTIES,
    defaults={"kl_loss": 0.04},
    rollout=Rollout(n=8, least=2),
)
