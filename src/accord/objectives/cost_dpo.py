"""C-DPO: preferences that weigh a reward against a cost, at a price that keeps the cost within its budget."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.objectives.hyperparameters import Finite, NonNegative, Positive
from accord.objectives.primitives import pairwise, seq_log_ratio
from accord.objectives.terms import Terms


def cost_dpo(
    policy: Tensor,
    reference: Tensor,
    mask: Tensor,
    score: Tensor,
    scored: Tensor,
    cost: Tensor,
    state: Mapping[str, Tensor],
    *,
    beta: Positive = 0.1,
    cost_limit: Finite = 0.0,
    multiplier: NonNegative = 1.0,
    dual_rate: NonNegative = 0.1,
    temperature: Positive = 1.0,
) -> Terms:
    r"""C-DPO: DPO on what a reward less the price of a cost prefers, with the price that keeps the cost in its budget.

    .. math::
        \mathcal L_{ij} = -p_{ij}\log\sigma(\beta(\rho_i - \rho_j)) - p_{ji}\log\sigma(\beta(\rho_j - \rho_i)), \qquad
        p_{ij} = \sigma\left(\frac{(r_i - \lambda c_i) - (r_j - \lambda c_j)}{\tau}\right), \qquad
        \lambda \leftarrow \max\left(0,\ \lambda + \eta(\hat c_\pi - C)\right)

    averaged over all pairs of scored responses of a prompt; :math:`\rho_i` is the log-ratio of policy to reference
    summed over the response. The expected cost of the policy, :math:`\hat c_\pi`, is the mean cost of a prompt's
    responses weighted by :math:`e^{\rho_i}` (normalised over the prompt): right in the limit if the reference sampled
    them. The price :math:`\lambda` carries no gradient and moves after each step; with `dual_rate` of 0 it stays, for
    rounds in which it is set from costs of fresh samples.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        reference: `[B,n,T]` the same under the frozen starting weights.
        mask: `[B,n,T]` 1 on trained tokens.
        score: `[B,n]` the reward r of each response, 0 where `scored` is 0.
        scored: `[B,n]` 1 where a reward was given.
        cost: `[B,n]` the score named `cost` of each response.
        state: `[]` by name: `multiplier`, as the steps before have left it.
        beta: strength of the pull towards the reference, above 0; the usual range is 0.01 to 0.5, higher stays closer.
        cost_limit: cost a response may have on average (C), in the cost's own unit.
        multiplier: the price of cost at the start (lambda), at least 0.
        dual_rate: how fast the price follows the constraint (eta), at least 0; 0 keeps it fixed.
        temperature: difference of reward less price that prefers with odds of e to one (tau), above 0.

    Returns:
        One component, `[B,n,n]` weighted 1 for each two scored responses, with the metrics `multiplier` and
        `expected_cost`, and the multiplier as state.

    Source: Liu et al. 2024, "Enhancing LLM safety via constrained direct preference optimization" (arXiv:2403.02475),
    algorithm 1. It is neither cDPO (`dpo --label-smoothing`) nor a constraint on divergence (`constrained_dpo`).

    Deviations: the paper draws one preference a pair with probability p; here the loss is its expectation. The paper
    solves for each price before it moves it, on the policy's own samples; here it moves with every step.

    >>> import torch
    >>> rows = torch.zeros(1, 2, 1)
    >>> r, c = torch.tensor([[1.0, 0.6]]), torch.tensor([[0.9, -0.2]])
    >>> terms = cost_dpo(rows, rows, rows + 1, r, torch.ones(1, 2), c, {"multiplier": torch.tensor(0.5)})
    >>> terms.value(), terms.metrics["expected_cost"][0]  # log 2, (0.9 - 0.2) / 2
    (tensor(0.6931), tensor([0.3500]))
    """
    ratio = seq_log_ratio(policy, reference, mask)
    price = state.get("multiplier", ratio.new_tensor(multiplier)).clamp_min(0.0).to(ratio.dtype)
    wanted = pairwise((score - price * cost) / temperature).to(ratio.dtype)
    margin = beta * pairwise(ratio)
    loss = -torch.sigmoid(wanted) * logsigmoid(margin) - torch.sigmoid(-wanted) * logsigmoid(-margin)
    share = torch.softmax(ratio.detach().masked_fill(scored == 0, -torch.inf), -1).nan_to_num(0.0)
    expected, some = (share * cost * scored).sum(-1), (scored.sum(-1) > 0).to(ratio.dtype)
    return Terms(
        loss=loss,
        weight=(scored.unsqueeze(-1) * scored.unsqueeze(-2)).triu(1),
        metrics={"multiplier": (price.expand_as(some), some), "expected_cost": (expected, some)},
        state={"multiplier": (price + dual_rate * (expected - cost_limit), some)},
    )
