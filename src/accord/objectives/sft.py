"""Supervised fine-tuning: imitate the given responses."""

from __future__ import annotations

from torch import Tensor

from accord.objectives.terms import Terms


def sft(policy: Tensor, mask: Tensor) -> Terms:
    r"""Supervised fine-tuning: maximum likelihood of the responses, averaged over their tokens.

    .. math:: \mathcal L = -\frac{\sum_{b,i,t} m_{bit} \log\pi(y_{bit}\mid x_b, y_{bi,<t})}{\sum_{b,i,t} m_{bit}}

    Every trained token of the optimiser step counts the same: a long response weighs more than a short one. Averaging
    each response first, or each micro-batch, is another objective. Prompt tokens are context and are not trained;
    the end-of-sequence token is part of the response and is.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        mask: `[B,n,T]` 1 on trained tokens.

    Returns:
        One component, `[B,n,T]`: loss in nats per token, weight `mask`.

    Source: Ouyang et al. 2022, "Training language models to follow instructions with human feedback"
    (arXiv:2203.02155), section 3.5. It trains with residual dropout; here dropout is off.

    >>> import torch
    >>> policy = torch.tensor([[[-0.5, -1.5, 0.0]], [[-2.0, -1.0, -0.4]]])
    >>> mask = torch.tensor([[[1.0, 1.0, 0.0]], [[1.0, 1.0, 1.0]]])
    >>> sft(policy, mask).value()  # (0.5 + 1.5 + 2 + 1 + 0.4) / 5
    tensor(1.0800)
    """
    return Terms(loss=-policy.masked_fill(mask == 0, 0.0), weight=mask)
