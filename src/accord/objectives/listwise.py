"""Whole lists at once: rankings, target distributions, and pairs weighted by what swapping them would cost."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.objectives.hyperparameters import Positive
from accord.objectives.primitives import pairwise, seq_log_ratio, win_share
from accord.objectives.terms import Terms


def plackett_luce(policy: Tensor, reference: Tensor, mask: Tensor, prefer: Tensor, *, beta: Positive = 0.1) -> Terms:
    r"""Plackett-Luce DPO: the likelihood of a whole ranking, as a sequence of choices of the best that is left.

    .. math::
        \mathcal L = -\sum_i \log\frac{e^{\beta\rho_i}}{e^{\beta\rho_i} + \sum_{j \in W_i} e^{\beta\rho_j}},
        \qquad W_i = \{j : \text{prefer}_{ij} > 0\}

    averaged over prompts; :math:`\rho_i` is the log-ratio of policy to reference summed over the response and
    :math:`W_i` the responses that i was preferred to. For a complete ranking these are all that come after it, and the
    loss is minus the log-probability of that ranking: the probabilities of all rankings sum to 1. With two responses it
    is DPO. `dpo` on the same group takes every pair by itself; here the best response is compared with all others in
    one choice, so mistakes at the top cost most.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        reference: `[B,n,T]` the same under the frozen starting weights.
        mask: `[B,n,T]` 1 on trained tokens.
        prefer: `[B,n,n]` weight that response i is preferred to response j; a ranking prefers each to all after it.
        beta: strength of the pull towards the reference, above 0; the usual range is 0.01 to 0.5, higher stays closer.

    Returns:
        One component, `[B]`: the sum over a prompt's choices, weighted by the prompt's largest comparison.

    Source: Rafailov et al. 2023, "Direct preference optimization" (arXiv:2305.18290), appendix A.3.

    Deviations: tied or uncompared responses do not compete with each other; a choice among responses whose
    preferences have different weights has their mean.

    >>> import torch
    >>> policy = torch.tensor([[[0.9], [-0.2], [0.4]]])
    >>> prefer = torch.tensor([[[0.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])  # 0, then 2, then 1
    >>> plackett_luce(policy, torch.zeros(1, 3, 1), torch.ones(1, 3, 1), prefer, beta=0.5).value()
    tensor(1.4112)
    """
    reward = beta * seq_log_ratio(policy, reference, mask)
    beaten = prefer > 0
    against = reward.unsqueeze(-2).masked_fill(~beaten, -torch.inf)
    choice = torch.logsumexp(torch.cat([reward.unsqueeze(-1), against], -1), -1) - reward
    strength = prefer.sum(-1) / beaten.sum(-1).clamp_min(1)
    largest = _largest_comparison(prefer)
    return Terms(loss=(strength * choice).sum(-1) / largest.masked_fill(largest == 0, 1.0), weight=largest)


def lipo(policy: Tensor, reference: Tensor, mask: Tensor, prefer: Tensor, *, beta: Positive = 0.1) -> Terms:
    r"""Listwise preference optimisation (lambda): pairs weighted by what exchanging them would do to the ranking.

    .. math::
        \mathcal L = \sum_{i,j:\,P_i > P_j} \Delta_{ij}\log(1 + e^{-\beta(\rho_i - \rho_j)}), \qquad
        \Delta_{ij} = \left|2^{P_i} - 2^{P_j}\right|\,
            \left|\frac{1}{\log_2(1+\tau_i)} - \frac{1}{\log_2(1+\tau_j)}\right|

    averaged over prompts. :math:`\rho_i` is the log-ratio of policy to reference summed over the response,
    :math:`\tau_i` its place (from 1) in the policy's own order by :math:`\rho` (equals in the wrong order), and
    :math:`P_i` the share of its comparisons that response i wins. :math:`\Delta` is the change in discounted cumulative
    gain if the two exchanged places: it carries no gradient, and is largest where the policy puts a bad response
    first.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        reference: `[B,n,T]` the same under the frozen starting weights.
        mask: `[B,n,T]` 1 on trained tokens.
        prefer: `[B,n,n]` weight that response i is preferred to response j.
        beta: strength of the pull towards the reference, above 0; the usual range is 0.01 to 0.5, higher stays closer.

    Returns:
        One component, `[B]`: the sum over a prompt's pairs, weighted by the prompt's largest comparison.

    Source: Liu et al. 2024, "LiPO: listwise preference optimization through learning-to-rank" (arXiv:2402.01878),
    LiPO-lambda.

    Deviation: the labels are the shares of comparisons won, where the paper has a reward model's.

    >>> import torch
    >>> policy = torch.tensor([[[-1.8], [-1.9]]])
    >>> reference = torch.tensor([[[-2.4], [-1.5]]])
    >>> prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    >>> lipo(policy, reference, torch.ones(1, 2, 1), prefer).value()  # 0.6444 * (2 - 1) * (1 - 1 / log2(3))
    tensor(0.2378)
    """
    reward = beta * seq_log_ratio(policy, reference, mask)
    share, compared = win_share(prefer)
    ahead = _beats(reward, share) & (compared > 0).unsqueeze(-1)
    place = 1.0 + ahead.sum(-2).to(reward.dtype)
    gain, discount = torch.exp2(share.to(reward.dtype)), 1.0 / torch.log2(1.0 + place)
    change = pairwise(gain).clamp_min(0.0) * pairwise(discount).abs()
    listed = (compared > 0).unsqueeze(-1) & (compared > 0).unsqueeze(-2)
    loss = (listed * change * -logsigmoid(pairwise(reward))).sum((-1, -2))
    return Terms(loss=loss, weight=_largest_comparison(prefer))


def soft_listwise(
    policy: Tensor,
    reference: Tensor,
    mask: Tensor,
    distribution: Tensor,
    valid: Tensor,
    *,
    beta: Positive = 0.1,
) -> Terms:
    r"""Soft distributional DPO: the policy's implicit rewards, as a distribution over the list, match a given one.

    .. math:: \mathcal L = -\sum_i p_i \log q_i, \qquad q = \operatorname{softmax}(\beta\rho)

    averaged over prompts; :math:`\rho_i` is the log-ratio of policy to reference summed over the response and :math:`p`
    the probability that the feedback gives each response. All probabilities of a prompt count, so near ties stay near.
    With two responses it is DPO with each pair's own label smoothing, and for :math:`p=(1,0)` DPO. The least it can
    reach is the entropy of :math:`p`.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        reference: `[B,n,T]` the same under the frozen starting weights.
        mask: `[B,n,T]` 1 on trained tokens.
        distribution: `[B,n]` probability of each response, summing to 1 over the prompt; all 0 if not given.
        valid: `[B,n]` 1 where the group has this response; the others take no part in the softmax.
        beta: strength of the pull towards the reference, above 0; the usual range is 0.01 to 0.5, higher stays closer.

    Returns:
        One component, `[B]`, weighted 1 where a distribution is given.

    Source: the soft labels of the DPO family (Mitchell 2023) over a list, with the choice model of Rafailov et al. 2023
    (arXiv:2305.18290), appendix A.3. It is not stepwise DPO, which shares the abbreviation sDPO.

    Deviation: `distribution` holds probabilities and is used as it is, never put through another softmax.

    >>> import torch
    >>> policy, ones = torch.tensor([[[0.9], [-0.2], [0.4]]]), torch.ones(1, 3, 1)
    >>> target = torch.tensor([[0.6, 0.3, 0.1]])
    >>> soft_listwise(policy, torch.zeros(1, 3, 1), ones, target, torch.ones(1, 3), beta=0.5).value()
    tensor(1.0469)
    """
    reward = beta * seq_log_ratio(policy, reference, mask)
    present = reward.masked_fill(valid == 0, torch.finfo(reward.dtype).min)
    log_share = torch.log_softmax(present, -1).masked_fill(valid == 0, 0.0)
    given = (distribution.sum(-1) > 0).to(reward.dtype)
    return Terms(loss=-(distribution.to(reward.dtype) * log_share).sum(-1), weight=given)


def _beats(reward: Tensor, share: Tensor) -> Tensor:
    """Whether the policy puts response i before response j, `[B,n] -> [B,n,n]`; among equals the worse comes first."""
    return (pairwise(reward) > 0) | ((pairwise(reward) == 0) & (pairwise(share) < 0))


def _largest_comparison(prefer: Tensor) -> Tensor:
    """The most weight that any two responses of a prompt were compared with, `[B,n,n] -> [B]`."""
    return (prefer + prefer.mT).amax((-1, -2))
