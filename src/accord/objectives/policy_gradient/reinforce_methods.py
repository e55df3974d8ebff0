"""Methods whose baseline is a number: REINFORCE, its whitened form, leave-one-out, the greedy response."""

from __future__ import annotations

from accord.objectives.policy_gradient.denominators import sequence_mean, sequence_sum, token_mean
from accord.objectives.policy_gradient.groups import leave_one_out
from accord.objectives.policy_gradient.method import Method, Rollout
from accord.objectives.policy_gradient.parts import MASKING, PENALTIES, SHAPING
from accord.objectives.policy_gradient.responses import greedy_baseline, returns_to_go, whitened_returns
from accord.objectives.policy_gradient.surrogates import ppo_clip, reinforce, sequence_clip

REINFORCE = Method(
    name="reinforce",
    text=r"""The policy gradient itself: log-probability times what was paid from the token on, no baseline.

    .. math:: \mathcal L = -\frac1N\sum_i\sum_t G_{it}\log\pi(y_{it}), \qquad G_t = \sum_{s\ge t}\gamma^{s-t}r_s

    Unbiased, and the noisiest of all: where every reward is positive, every response is pushed up and only the
    differences between rounds teach. The responses must be the policy's own; a round is used once.

    Source: Williams 1992, "Simple statistical gradient-following algorithms for connectionist reinforcement learning";
    for language models Ahmadian et al. 2024 (arXiv:2402.14740), section 3.2.
    """,
    estimator=returns_to_go,
    surrogate=reinforce,
    denominator=sequence_sum,
    shaping=SHAPING,
    masking=MASKING,
    parts=PENALTIES,
    defaults={"kl_reward": 0.0},
    rollout=Rollout(n=1),
)

REINFORCE_PP = Method(
    name="reinforce_pp",
    text=r"""REINFORCE++: returns of tokens whitened over the whole round, the clipped ratio, no critic and no groups.

    .. math:: A_t = \frac{G_t - \operatorname{mean}(G)}{\operatorname{std}(G)}, \qquad
        r_t = -\beta(\log\mu_t - \log\pi_{\text{ref},t}) + [t = T]\,r

    One response a prompt is enough. The baseline is that of all prompts together, so easy prompts look good and hard
    ones bad, and the step has the same size however little the returns differ.

    Source: Hu et al. 2025, "REINFORCE++" (arXiv:2501.03262), section 3.
    """,
    estimator=whitened_returns,
    surrogate=ppo_clip,
    denominator=token_mean,
    shaping=SHAPING,
    masking=MASKING,
    parts=PENALTIES,
    defaults={"kl_reward": 0.01},
    rollout=Rollout(n=1),
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
    rollout=Rollout(n=4, least=2),
)

REMAX = Method(
    name="remax",
    text=r"""REINFORCE with the greedy response's score as baseline; the divergence is paid token by token.

    .. math:: A_t = \gamma^{T-t}(r(x,y) - r(x,y_\text{greedy})) - \beta(\log\mu_t - \log\pi_{\text{ref},t})

    One sampled and one greedy response a prompt. The baseline is that of the policy as it is, so it costs a decoding
    and follows the policy without learning.

    Source: Li et al. 2023, "ReMax" (arXiv:2310.10505), algorithm 1, with the authors' settings.
    """,
    estimator=greedy_baseline,
    surrogate=reinforce,
    denominator=token_mean,
    shaping=SHAPING,
    masking=MASKING,
    parts=PENALTIES,
    rollout=Rollout(n=1),
)
