"""Offline reinforcement learning: what a token is worth is learned from logs of mixed quality, and decoded by."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from accord.objectives.hyperparameters import NonNegative, Range
from accord.objectives.policy_gradient.credit import last_token, next_trained
from accord.objectives.primitives import EXPONENT_LIMIT
from accord.objectives.terms import Terms

Discount = Annotated[float, Range(least=0.0, most=1.0)]
"""What a reward a step later is worth."""

Expectile = Annotated[float, Range(above=0.0, below=1.0)]
Share = Annotated[float, Range(above=0.0, most=1.0)]


def ilql(
    policy: Tensor,
    mask: Tensor,
    score: Tensor,
    scored: Tensor,
    value: Tensor,
    next_value: Tensor,
    first_q: Tensor,
    second_q: Tensor,
    target_q: Tensor,
    first_q_logprob: Tensor,
    second_q_logprob: Tensor,
    *,
    gamma: Discount = 0.99,
    expectile: Expectile = 0.7,
    cql: NonNegative = 0.25,
    awac: NonNegative = 0.0,
    polyak: Share = 0.005,
) -> Terms:
    r"""Implicit language Q-learning: learn what tokens are worth from scored logs, to decode better than the logs.

    .. math::
        \mathcal L = \sum_{k=1,2}\left[\left(Q_k(s_t,a_t) - r_t - \gamma \operatorname{sg}V(s_{t+1})\right)^2
            - \alpha\log\operatorname{softmax}(Q_k(s_t,\cdot))_{a_t}\right]
            + \left|\tau - [u_t<0]\right|u_t^2 - w_t\log\pi(a_t), \qquad
        u_t = \operatorname{sg}\min_k\bar Q_k(s_t,a_t) - V(s_t)

    each a mean over tokens. A token is an action, the text before it the state. The score is paid on the last trained
    token; the value after it is `next_value`, 0 where the episode ends. The expectile above one half makes V the value
    of the better actions *in the data*: no maximum over tokens that nobody tried, which is what explodes in Q-learning
    from logs. The conservative term keeps such tokens below those that were taken. The policy itself clones behaviour
    (:math:`w=1`, or :math:`e^{\text{awac}\cdot u}`); what improves on it is decoding from `extracted`.

    The targets :math:`\bar Q_k` follow the heads after each step (`follow`).

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        mask: `[B,n,T]` 1 on trained tokens.
        score: `[B,n]` reward of each response, 0 where `scored` is 0.
        scored: `[B,n]` 1 where it has one.
        value: `[B,n,T]` V before each token.
        next_value: `[B,n]` V of the state after the response, 0 where it ends the episode.
        first_q: `[B,n,T]` the first head's Q of each token.
        second_q: `[B,n,T]` the second head's.
        target_q: `[B,n,T]` the lesser of both target heads' Q.
        first_q_logprob: `[B,n,T]` log-softmax of the first head over the vocabulary, at each token.
        second_q_logprob: `[B,n,T]` the same of the second head.
        gamma: discount a token, at least 0 and at most 1.
        expectile: how good the actions are that V stands for, between 0 and 1: 0.5 is their mean, near 1 the best.
        cql: weight of the conservative term (alpha), 0 or more.
        awac: how much more better tokens are cloned than others, 0 or more; 0 clones all alike.
        polyak: share of the heads in each move of their targets, above 0 and at most 1; read after each step.

    Returns:
        Components `q`, `value`, `cql` and `cloning`, each `[B,n,T]`, weighted 1 on trained tokens of scored responses.

    Source: Snell et al. 2022, "Offline RL for natural language generation with implicit language Q learning"
    (arXiv:2206.11871); the weight of cloning from Nair et al. 2020, AWAC (arXiv:2006.09359). The authors' settings:
    expectile 0.6, 0.7, 0.8 and cql 0.25, 1e-4, 1 for toxicity, Wordle and visual dialogue.

    Deviation: weights of cloning beyond e^20 are e^20.

    >>> one = torch.ones(1, 1, 1)
    >>> terms = ilql(-one, one, one[0], one[0], 0 * one, 0 * one[0], 0 * one, 0 * one, one / 2, -one, -one)
    >>> {part.name: (part.scale * part.loss).item() for part in terms.components()}  # 1 + 1, 0.7 / 4, (1 + 1) / 4, 1
    {'q': 2.0, 'value': 0.17499999701976776, 'cql': 0.5, 'cloning': 1.0}
    """
    held = [_trained(x, mask) for x in (policy, value, first_q, second_q, target_q, first_q_logprob, second_q_logprob)]
    logprob, value, first, second, target, first_logprob, second_logprob = held
    last = last_token(mask)
    reward = score.to(value.dtype).unsqueeze(-1) * last
    after = next_trained(value, mask) + next_value.to(value.dtype).unsqueeze(-1) * last
    errors = [squared_td_error(q, reward, after.detach(), gamma=gamma) for q in (first, second)]
    advantage = target.detach() - value
    strength = torch.exp((awac * advantage.detach()).clamp_max(EXPONENT_LIMIT))
    weight = mask * scored.unsqueeze(-1).to(mask.dtype)
    seen = {"q": target, "value": value, "advantage": advantage}
    terms = Terms(errors[0] + errors[1], weight, name="q", metrics={k: (v.detach(), weight) for k, v in seen.items()})
    terms += Terms(expectile_loss(advantage, expectile=expectile), weight, name="value")
    if cql:
        terms += cql * Terms(-first_logprob - second_logprob, weight, name="cql")
    return terms + Terms(-strength * logprob, weight, name="cloning")


def squared_td_error(q: Tensor, reward: Tensor, after: Tensor, *, gamma: float) -> Tensor:
    r"""Temporal-difference error of Q-learning, :math:`(Q(s,a) - [r + \gamma\,\text{after}])^2`, any shape.

    Args:
        q: value of the action.
        reward: what was paid for it.
        after: what the next state is worth, without gradient; 0 where there is none. In Q-learning as first written,
            the largest Q of the next state's actions. Over a vocabulary that maximum finds the token whose value is
            overestimated most, and learns from it; `ilql` takes V, which stands for actions in the data.
        gamma: discount.
    """
    return (q - reward - gamma * after).square()


def expectile_loss(difference: Tensor, *, expectile: float) -> Tensor:
    r""":math:`|\tau - [u<0]|\,u^2`: its minimiser over a constant is the :math:`\tau`-expectile; 0.5 gives the mean.

    >>> expectile_loss(torch.tensor([2.0, -2.0]), expectile=0.75)
    tensor([3., 1.])
    """
    return torch.where(difference < 0, 1.0 - expectile, expectile) * difference.square()


def extracted(logprobs: Tensor, q: Tensor, value: Tensor, *, beta: float) -> Tensor:
    r"""Log-probabilities to decode from, `[...,V]`: :math:`\log\pi = \log\pi_\text{BC} + \beta(Q - V)`, normalised.

    Args:
        logprobs: `[...,V]` the cloned policy's.
        q: `[...,V]` what each token is worth, the lesser of the target heads.
        value: `[...]` V of the state.
        beta: how much worth counts; 0 decodes the cloned policy.
    """
    return (logprobs + beta * (q - value.unsqueeze(-1))).log_softmax(-1)


def follow(targets: Tensor, heads: Tensor, *, polyak: float) -> Tensor:
    r"""Where targets move: :math:`\bar\theta \leftarrow \text{polyak}\,\theta + (1-\text{polyak})\,\bar\theta`."""
    return targets.lerp(heads, polyak)


def _trained(values: Tensor, mask: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32)).masked_fill(mask == 0, 0.0)
