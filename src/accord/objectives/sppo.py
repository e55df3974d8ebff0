"""Self-play preference optimisation: regress each response's log-ratio to how often it wins."""

from __future__ import annotations

from torch import Tensor

from accord.objectives.hyperparameters import Positive
from accord.objectives.primitives import seq_log_ratio, win_share
from accord.objectives.terms import Terms


def sppo(policy: Tensor, reference: Tensor, mask: Tensor, prefer: Tensor, *, beta: Positive = 1e-3) -> Terms:
    r"""Self-play preference optimisation: each response's log-ratio goes to a target set by its win rate.

    .. math::
        \mathcal L_i = \left(\rho_i - \frac{P_i - \frac12}{\beta}\right)^2, \qquad
        P_i = \frac{\sum_j \text{prefer}_{ij}}{\sum_j (\text{prefer}_{ij} + \text{prefer}_{ji})}

    averaged over the compared responses with the weights :math:`\sum_j(\text{prefer}_{ij}+\text{prefer}_{ji})`;
    :math:`\rho_i` is the log-ratio of policy to reference summed over the response. It is one step of a
    multiplicative-weights game whose equilibrium no other policy beats on average, also when preferences are not
    transitive. The data decides between its two forms: plain pairs give :math:`P` of 1 and 0 (hard), weights such as
    0.8 one way and 0.2 the other, or several comparisons of a response, give the estimated win rates (soft). Targets
    are absolute: the winner's likelihood must rise and the loser's fall.

    Args:
        policy: `[B,n,T]` log-probability of each response token.
        reference: `[B,n,T]` the same under the frozen starting weights.
        mask: `[B,n,T]` 1 on trained tokens.
        prefer: `[B,n,n]` weight that response i is preferred to response j.
        beta: inverse step size (1/eta), above 0; a sure win has the target 1/(2 beta), 500 nats by default, so that in
            practice the gradient is one constant push on every response.

    Returns:
        One component, `[B,n]` weighted by the comparisons of each response.

    Source: Wu et al. 2024, "Self-play preference optimization for language model alignment" (arXiv:2405.00675),
    eq. 4.7.

    Deviation: other code adds the two squares of a pair; here, as in the authors' code, they are averaged.

    >>> import torch
    >>> policy = torch.tensor([[[-1.8], [-1.9]]])
    >>> reference = torch.tensor([[[-2.4], [-1.5]]])
    >>> prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    >>> sppo(policy, reference, torch.ones(1, 2, 1), prefer, beta=0.1).value()  # (4.4 ** 2 + 4.6 ** 2) / 2
    tensor(20.2600)
    """
    ratio = seq_log_ratio(policy, reference, mask)
    share, compared = win_share(prefer)
    return Terms(loss=(ratio - (share.to(ratio.dtype) - 0.5) / beta).square(), weight=compared)
