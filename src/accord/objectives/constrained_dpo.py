"""DPO under a limit on how far it may move on the data, with a multiplier that learns what the limit costs."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.objectives.hyperparameters import NonNegative, Positive
from accord.objectives.primitives import pairwise, seq_sum, token_log_ratio
from accord.objectives.terms import Terms


def constrained_dpo(
    policy: Tensor,
    reference: Tensor,
    mask: Tensor,
    prefer: Tensor,
    state: Mapping[str, Tensor],
    *,
    beta: Positive = 0.1,
    kl_limit: NonNegative = 0.05,
    multiplier: NonNegative = 1.0,
    dual_rate: NonNegative = 0.1,
) -> Terms:
    r"""Constrained DPO: DPO while the policy stays within a divergence of the reference, by a Lagrange multiplier.

    .. math::
        \mathcal L = \mathcal L_\text{DPO} + \lambda\,(\widehat{\mathrm{KL}} - \kappa), \qquad
        \widehat{\mathrm{KL}} = \operatorname{mean}_t \tfrac12 d_t^2, \qquad
        \lambda \leftarrow \max\left(0,\ \lambda + \eta(\widehat{\mathrm{KL}} - \kappa)\right)

    where :math:`d_t` is the log-ratio of policy to reference on a token of a compared response; the tokens of a
    response count once for each comparison. DPO's own pull is on differences, so it lets both responses fall together;
    this one is on every token. The multiplier carries no gradient and moves after each step. With `dual_rate` of 0 it
    stays, and the constraint is a penalty; with it and `multiplier` of 0 this is DPO.

    For tokens that the policy samples, the estimate has little bias and its gradient is that of the divergence. On the
    data's responses it measures how far the policy has moved *there*: zero only if it has not, but not its divergence
    on what it would say itself (watch `eval/kl`).

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        reference: `[B,n,T]` the same under the frozen starting weights.
        mask: `[B,n,T]` 1 on trained tokens.
        prefer: `[B,n,n]` weight that response i is preferred to response j.
        state: `[]` by name: `multiplier`, as the steps before have left it.
        beta: strength of the pull towards the reference, above 0; the usual range is 0.01 to 0.5, higher stays closer.
        kl_limit: divergence a token may have on average (kappa), in nats, at least 0.
        multiplier: the multiplier at the start (lambda), at least 0.
        dual_rate: how fast the multiplier follows the constraint (eta), at least 0; 0 keeps it fixed.

    Returns:
        Component `loss`, `[B,n,n]` weighted by `prefer`, and component `constraint`, `[B,n,T]` weighted by the
        comparisons of each response, with the multiplier as metric and as state.

    Source: the Lagrangian of Rafailov et al. 2023 (arXiv:2305.18290), eq. 3, with its multiplier learnt as in Dai et
    al. 2023 (arXiv:2310.12773); the estimate is k2 of Schulman 2020, "Approximating KL divergence". It is neither cDPO
    (`dpo --label-smoothing`) nor C-DPO, whose constraint is a cost.

    >>> import torch
    >>> policy = torch.tensor([[[-1.8], [-1.9]]])
    >>> reference = torch.tensor([[[-2.4], [-1.5]]])
    >>> prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    >>> terms = constrained_dpo(policy, reference, torch.ones(1, 2, 1), prefer, {})
    >>> [float(round(part.value().item(), 4)) for part in terms.components()]  # (0.18 + 0.08) / 2 - 0.05
    [0.6444, 0.08]
    """
    ratio = token_log_ratio(policy, reference).masked_fill(mask == 0, 0.0)
    divergence = 0.5 * ratio.square()
    current = state.get("multiplier", divergence.new_tensor(multiplier)).clamp_min(0.0).to(divergence.dtype)
    tokens = mask * (prefer + prefer.mT).sum(-1, keepdim=True)
    preference = Terms(
        loss=-logsigmoid(beta * pairwise(seq_sum(ratio, mask))),
        weight=prefer,
        metrics={"multiplier": (current.expand_as(tokens), tokens)},
        state={"multiplier": (current + dual_rate * (divergence.detach() - kl_limit), tokens)},
    )
    return preference + Terms(loss=current * (divergence - kl_limit), weight=tokens, name="constraint")
