"""Process reward models: is a step of a solution right, judged at its last token."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.objectives.terms import Terms


def process_reward(step_reward: Tensor, step_score: Tensor, step_end: Tensor) -> Terms:
    r"""Process reward model: at the end of each step, the probability that the step is good.

    .. math:: \mathcal L_{t} = -s_t \log\sigma(z_t) - (1 - s_t) \log\sigma(-z_t)

    averaged over all labelled steps, where z is the log-odds that the step is good, and s its label: 1 good, 0 bad, or
    in between (the share of continuations from there that came out right). It is the cross-entropy over {bad, good}
    with logits 0 and z. Steps without a label, and all other tokens, count for nothing.

    Args:
        step_reward: `[B,n,T]` log-odds that the step that ends at this token is good.
        step_score: `[B,n,T]` label of that step, from 0 to 1.
        step_end: `[B,n,T]` 1.0 where a labelled step ends.

    Returns:
        One component, `[B,n,T]` weighted by `step_end`. Metrics `accuracy`, the share of steps on the right side of one
        half, and `bad_found`, the share of bad steps that are called bad.

    Source: Uesato et al. 2022, "Solving math word problems with process- and outcome-based feedback"
    (arXiv:2211.14275), section 2.3; Lightman et al. 2023, "Let's verify step by step" (arXiv:2305.20050). Labels
    between 0 and 1: Wang et al. 2024, "Math-Shepherd" (arXiv:2312.08935), eq. 4.

    >>> import torch
    >>> z = torch.tensor([[[0.9, -1.2, 1.0]]])
    >>> process_reward(z, torch.tensor([[[1.0, 0.0, 1.0]]]), torch.ones(1, 1, 3)).value()
    tensor(0.3059)
    """
    wide = step_reward.to(torch.promote_types(step_reward.dtype, torch.float32)).masked_fill(step_end == 0, 0.0)
    loss = -(step_score * logsigmoid(wide) + (1.0 - step_score) * logsigmoid(-wide))
    called, meant = wide.detach() > 0, step_score > 0.5
    bad = step_end * (step_score < 0.5)
    metrics = {"accuracy": ((called == meant).to(wide.dtype), step_end), "bad_found": ((~called).to(wide.dtype), bad)}
    return Terms(loss=loss, weight=step_end, metrics=metrics)
