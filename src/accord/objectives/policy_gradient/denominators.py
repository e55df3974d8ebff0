"""How the losses of single tokens become one number: four divisions, each another objective.

A denominator takes `[B,n,T]` losses and their mask and returns `Terms`, whose weights come from the mask alone. A loss
of a whole response is given the same on each of its tokens; `sequence_mean` is then its mean over responses.
"""

from __future__ import annotations

from torch import Tensor

from accord.objectives.hyperparameters import Positive
from accord.objectives.primitives import seq_sum
from accord.objectives.terms import Terms


def token_mean(loss: Tensor, mask: Tensor) -> Terms:
    r"""Every token counts the same: :math:`\sum_{i,t} m_{it}\ell_{it} / \sum_{i,t} m_{it}`.

    Long responses weigh more than short ones. Used by DAPO (arXiv:2503.14476, eq. 8) and by PPO on language models.
    """
    return Terms(loss=loss.masked_fill(mask == 0, 0.0), weight=mask)


def sequence_mean(loss: Tensor, mask: Tensor) -> Terms:
    r"""Every response counts the same: :math:`\frac1N\sum_i \frac1{|y_i|}\sum_t m_{it}\ell_{it}`.

    A token of a long response weighs less, so long wrong responses are punished less than short ones. Used by GRPO
    (arXiv:2402.03300, eq. 3).
    """
    return Terms(loss=loss.masked_fill(mask == 0, 0.0), weight=mask / mask.sum(-1, keepdim=True).clamp_min(1.0))


def sequence_sum(loss: Tensor, mask: Tensor) -> Terms:
    r"""The sum over each response, averaged over responses: :math:`\frac1N\sum_i\sum_t m_{it}\ell_{it}`.

    With :math:`-A_t\log\pi(y_t)` as loss this is the policy gradient itself, without a bias by length.
    """
    return Terms(loss=seq_sum(loss, mask), weight=_answered(mask))


def constant(loss: Tensor, mask: Tensor, *, token_budget: Positive = 3000.0) -> Terms:
    r"""The sum over all tokens by a constant a response: :math:`\frac1{N C}\sum_{i,t} m_{it}\ell_{it}`.

    `sequence_sum` scaled to the size of a token mean. Used by Dr. GRPO (arXiv:2503.20783, section 3.2).

    Args:
        loss: `[B,n,T]` loss of each token.
        mask: `[B,n,T]` 1 on trained tokens.
        token_budget: tokens a response may have, the constant C the sum of each response is divided by, above 0.
    """
    return Terms(loss=seq_sum(loss, mask) / token_budget, weight=_answered(mask))


def _answered(mask: Tensor) -> Tensor:
    """1.0 for each response with a trained token, `[B,n]`."""
    return mask.amax(-1)
