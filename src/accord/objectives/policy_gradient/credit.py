"""What a credit returns, and the sums over tokens that credits share.

A credit says how much better each token did than expected. It is a pure function of a whole round: all its groups, all
their tokens, detached. Beside the vocabulary it may name `token_reward`, `[B,n,T]`: what is paid on single tokens in
addition to `score`, which is paid on the last trained token of a response. `token_reward` comes from the shaping of
the method (the penalty for leaving the reference, step scores) and is 0 without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import torch
from torch import Tensor

from accord.objectives.monitors import Metric
from accord.objectives.primitives import seq_sum

CREDIT_NAMES: Mapping[str, str] = MappingProxyType(
    {"token_reward": "[B,n,T] reward paid on each token beside the score, from the shaping; 0 where mask is 0"}
)
"""What shaping makes for credits, in addition to the vocabulary."""


@dataclass(frozen=True)
class Credit:
    """How much better each token did than expected, and what the critics should have said.

    Attributes:
        advantage: `[B,n,T]`, detached, 0 where the mask is 0 or the response has no score.
        returns: `[B,n,T]` target of the value, for credits with a critic.
        cost_returns: `[B,n,T]` target of the cost value, for credits with a cost critic.
        cost_advantage: `[B,n,T]` how much more each token cost than expected, for steps that hold a limit on the cost.
        metrics: (sum, count) by name, detached.
        state: 0-d numbers to carry to the next round, by name.
    """

    advantage: Tensor
    returns: Tensor | None = None
    cost_returns: Tensor | None = None
    cost_advantage: Tensor | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    state: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Shaped:
    """Tensors that a stage of shaping replaces, by name, with what it has to report and to carry on."""

    values: Mapping[str, Tensor]
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    state: Mapping[str, Tensor] = field(default_factory=dict)


CreditFunction = Callable[..., Credit]
ShapingFunction = Callable[..., Shaped]


def counted(scored: Tensor, valid: Tensor) -> Tensor:
    """1.0 for each response that exists and has a score, `[B,n]`."""
    return ((scored > 0) & (valid > 0)).to(torch.promote_types(scored.dtype, torch.float32))


def over_tokens(values: Tensor, counts: Tensor, mask: Tensor) -> Tensor:
    """One number a response on each of its trained tokens, `[B,n] -> [B,n,T]`; 0 for responses that do not count."""
    return (values * counts).masked_fill(counts == 0, 0.0).unsqueeze(-1) * (mask > 0)


def last_token(mask: Tensor) -> Tensor:
    """1.0 on the last trained token of each response, 0.0 elsewhere.

    >>> last_token(torch.tensor([[1.0, 1.0, 0.0, 1.0, 0.0]]))
    tensor([[0., 0., 0., 1., 0.]])
    """
    trained = (mask > 0).to(mask.dtype)
    remaining = trained.flip(-1).cumsum(-1).flip(-1)
    return trained * (remaining == 1)


def rewards(score: Tensor, token_reward: Tensor, mask: Tensor) -> Tensor:
    """The reward of each token: its own, and on the last trained token the score, `[B,n,T]`."""
    wide = torch.promote_types(score.dtype, torch.float32)
    return token_reward.to(wide).masked_fill(mask == 0, 0.0) + score.to(wide).unsqueeze(-1) * last_token(mask)


def total_reward(score: Tensor, token_reward: Tensor, mask: Tensor) -> Tensor:
    """The reward of each response: its score and all that its tokens were paid, `[B,n]`."""
    return score + seq_sum(token_reward, mask)


def discounted_sum(values: Tensor, mask: Tensor, *, discount: float) -> Tensor:
    r"""Sum from each trained token to the end, :math:`G_t = x_t + \text{discount}\,G_{t+1}`; 0 where mask is 0.

    Only trained tokens take part and count as time: context in the middle of a response discounts nothing.

    >>> discounted_sum(torch.tensor([[0.0, 9.0, 0.0, 1.0]]), torch.tensor([[1.0, 0.0, 1.0, 1.0]]), discount=0.5)
    tensor([[0.2500, 0.0000, 0.5000, 1.0000]])
    """
    total = torch.zeros_like(values[..., 0])
    sums = []
    for token in reversed(range(values.shape[-1])):
        total = torch.where(mask[..., token] > 0, values[..., token] + discount * total, total)
        sums.append(total)
    return torch.stack(sums[::-1], -1).masked_fill(mask == 0, 0.0)


def next_trained(values: Tensor, mask: Tensor) -> Tensor:
    """The value at the next trained token of the response, 0 after the last.

    >>> next_trained(torch.tensor([[1.0, 9.0, 2.0, 3.0]]), torch.tensor([[1.0, 0.0, 1.0, 1.0]]))
    tensor([[2., 2., 3., 0.]])
    """
    following = torch.zeros_like(values[..., 0])
    found = []
    for token in reversed(range(values.shape[-1])):
        found.append(following)
        following = torch.where(mask[..., token] > 0, values[..., token], following)
    return torch.stack(found[::-1], -1)


def mean_of(values: Tensor, counts: Tensor) -> Metric:
    """Sum and count of what counts, as a metric."""
    return (values * counts).masked_fill(counts == 0, 0.0).sum(), counts.sum()
