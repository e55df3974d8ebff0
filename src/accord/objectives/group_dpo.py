"""Group-robust preference optimisation: serve the annotator group that is served worst."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from accord.objectives.hyperparameters import NonNegative, Positive
from accord.objectives.links import LOSS_OF_MARGIN, Link
from accord.objectives.primitives import pairwise, seq_log_ratio
from accord.objectives.terms import Terms


def group_dpo(
    policy: Tensor,
    reference: Tensor,
    mask: Tensor,
    prefer: Tensor,
    annotator: Tensor,
    state: Mapping[str, Tensor],
    *,
    beta: Positive = 0.1,
    step_size: NonNegative = 0.1,
    link: Link = "logistic",
) -> Terms:
    r"""Group-robust DPO: each annotator group's loss, weighted towards the group that is served worst.

    .. math::
        \mathcal L = \sum_g q_g \mathcal L_g, \qquad
        \mathcal L_g = \operatorname{mean}_{ij \in g} f(\beta(\rho_i - \rho_j)), \qquad
        q_g \leftarrow \frac{q_g\, e^{\eta \mathcal L_g}}{\sum_h q_h\, e^{\eta \mathcal L_h}}

    where a group's mean is over the pairs that it compared, with the weights :math:`\text{prefer}_{ij}`, and
    :math:`\rho_i` is the log-ratio of policy to reference summed over the response. The weights q start equal, carry no
    gradient and move after each step: minimising over the policy while q is raised along the worst group's loss is
    minimising the worst group's loss. Plain DPO minimises the mean over pairs, so a small group counts little. With
    `step_size` of 0 all groups count the same, whatever their size; with one group this is `gpo`.

    A group that has no pair in a step keeps its weight and adds nothing to the step. Pairs of groups that are not
    trained on are measured only.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        reference: `[B,n,T]` the same under the frozen starting weights.
        mask: `[B,n,T]` 1 on trained tokens.
        prefer: `[B,n,n]` weight that response i is preferred to response j.
        annotator: `[B,G+1,n,n]` share of each preference that a group gave; the last: groups that are not trained on.
        state: `[]` by name: `log_weight_0` to `log_weight_(G-1)`, the logarithm of q up to a constant.
        beta: strength of the pull towards the reference, above 0; the usual range is 0.01 to 0.5, higher stays closer.
        step_size: how fast the weights follow the losses (eta), at least 0; 0 keeps them equal.
        link: the loss f of the margin; logistic is GR-DPO, squared GR-IPO with beta of 2 tau.

    Returns:
        A component `group_g` for each trained group, `[B,n,n]`, scaled by its q, with the metrics `accuracy_g` (strict)
        and `weight_g`, `accuracy_unseen`, and the logarithms of the weights as state.

    Source: Ramesh et al. 2024, "Group robust preference optimization in reward-free RLHF" (arXiv:2405.20304), after
    Sagawa et al. 2020, "Distributionally robust neural networks for group shifts" (arXiv:1911.08731).

    Deviation: all groups of a step are weighted at once, where the paper samples one at a time.

    >>> import torch
    >>> rows = torch.zeros(2, 2, 1)
    >>> prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]]).expand(2, 2, 2)
    >>> annotator = torch.eye(3)[[0, 1]][..., None, None].expand(2, 3, 2, 2)  # a pair of each of two groups
    >>> terms = group_dpo(rows, rows, rows + 1, prefer, annotator, {"log_weight_0": torch.tensor(1.0)})
    >>> [round(part.scale, 4) for part in terms.components()], terms.value()  # e / (e + 1), 1 / (e + 1)
    ([0.7311, 0.2689], tensor(0.6931))
    """
    margin = pairwise(seq_log_ratio(policy, reference, mask))
    loss, right = LOSS_OF_MARGIN[link](beta * margin), (margin > 0).to(margin.dtype)
    logs = torch.stack(
        [state.get(_log_weight(g), margin.new_zeros(())).double() for g in range(annotator.shape[1] - 1)]
    )
    unseen = prefer * annotator[:, -1]
    parts = []
    for g, share in enumerate(torch.softmax(logs, 0)):
        weight = prefer * annotator[:, g]
        parts.append(
            Terms(
                loss=loss,
                weight=weight,
                name=f"group_{g}",
                metrics={f"accuracy_{g}": (right, weight), f"weight_{g}": (share.expand_as(weight), weight)},
                state={_log_weight(g): (logs[g] + step_size * loss.detach(), weight)},
                scale=float(share),
            )
        )
    parts[0].metrics["accuracy_unseen"] = (right, unseen)
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _log_weight(group: int) -> str:
    return f"log_weight_{group}"
