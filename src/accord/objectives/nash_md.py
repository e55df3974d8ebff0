"""Nash learning from human feedback: a policy gradient against a mixture of the policy with its reference."""

from __future__ import annotations

from torch import Tensor

from accord.objectives.hyperparameters import NonNegative
from accord.objectives.primitives import seq_log_ratio, seq_sum
from accord.objectives.terms import Terms


def nash_md(
    policy: Tensor,
    reference: Tensor,
    mask: Tensor,
    prefer: Tensor,
    own_sample: Tensor,
    *,
    beta: NonNegative = 0.1,
) -> Terms:
    r"""Nash mirror descent: raise the own responses that beat a mixture of policy and reference.

    .. math::
        \mathcal L = -\operatorname{sg}\left[P(y \succ y') - \tfrac12 - \beta\rho(y)\right]\log\pi(y), \qquad
        y \sim \pi,\ y' \sim \pi^{1-\omega}\pi_\text{ref}^{\omega}

    averaged over the policy's own responses, :math:`\rho` the log-ratio of policy to reference summed over the
    response. There need be no score behind the preferences, and they may go in circles: the policy moves towards the
    equilibrium that no other policy beats on average. The opponent is drawn back to the reference by :math:`\omega`,
    which is what lets the last policy converge and not only the average of all.

    The responses must be the policy's own of this round: there is no ratio, so train on each round once.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        reference: `[B,n,T]` the same under the frozen starting weights.
        mask: `[B,n,T]` 1 on trained tokens.
        prefer: `[B,n,n]` weight that response i is preferred to response j.
        own_sample: `[B,n]` 1 on the policy's own responses, 0 on those of the mixture.
        beta: price of the divergence from the reference (the paper's tau), at least 0.

    Returns:
        One component, `[B,n]` weighted by how often each own response was compared with the mixture's. Only its
        gradient means anything; the metric `win_rate` is the share of these comparisons that the policy wins.

    Source: Munos et al. 2023, "Nash learning from human feedback" (arXiv:2312.00886), section 7, Nash-MD-PG.

    Deviation: TRL weighs each token's log-probability by its own log-ratio; here, as in the paper, the whole
    response's log-ratio does.

    >>> import torch
    >>> policy, reference = torch.tensor([[[-1.8], [-1.9]]]), torch.tensor([[[-2.4], [-1.5]]])
    >>> prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    >>> nash_md(policy, reference, torch.ones(1, 2, 1), prefer, torch.tensor([[1.0, 0.0]])).value()  # 0.44 * 1.8
    tensor(0.7920)
    """
    across = own_sample.unsqueeze(-1) * (1.0 - own_sample).unsqueeze(-2)
    won, compared = (prefer * across).sum(-1), ((prefer + prefer.mT) * across).sum(-1)
    win_rate = won / compared.masked_fill(compared == 0, 1.0)
    advantage = (win_rate - 0.5 - beta * seq_log_ratio(policy, reference, mask)).detach()
    loss = -advantage * seq_sum(policy, mask)
    return Terms(loss=loss, weight=compared, metrics={"win_rate": (win_rate, compared)})
