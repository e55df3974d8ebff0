"""Policy gradients: credit x surrogate x denominator x divergence, and the published methods as rows of them.

    method = METHODS["grpo"]
    credit = method.credit(hyper)              # once a round: credit({name: tensor for name in credit.needs})
    objective = method.objective(hyper)        # each step: objective(*(given[n] for n in objective.signature.needs))

- `groups`, `actor_critic`: credits; `shaping` and `kl` change the rewards before them;
- `surrogates` and `denominators`: the loss of the policy; `kl` and `critics`: further parts of it;
- `method`: how a row is put together; `methods`: the rows.
"""

from accord.objectives.policy_gradient.credit import Credit
from accord.objectives.policy_gradient.groups import informative
from accord.objectives.policy_gradient.kl import should_stop
from accord.objectives.policy_gradient.method import BoundCredit, BoundObjective, Method
from accord.objectives.policy_gradient.methods import METHODS

__all__ = ["METHODS", "BoundCredit", "BoundObjective", "Credit", "Method", "informative", "should_stop"]
