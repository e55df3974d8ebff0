"""Policy gradients: credit x surrogate x denominator x divergence, and the published methods as rows of them.

    method = METHODS["grpo"]
    credit = method.credit(hyper)              # once a round: credit({name: tensor for name in credit.needs})
    objective = method.objective(hyper)        # each step: objective(*(given[n] for n in objective.signature.needs))

- `responses`, `groups`, `several`, `actor_critic`, `lagrangian`: credits; `shaping` and `kl` change rewards before;
- `surrogates` and `denominators`: the loss of the policy; `kl` and `critics`: further parts of it; `watch`: metrics;
- `method`: how a row is put together; `parts`: what all rows share; `methods` and `*_methods`: the rows;
- `trust_region` and `curvature`: steps of TRPO and of constrained policy optimisation;
- `mixture`: guides and ensembles; `scalarise`: several scores as one.
"""

from accord.objectives.policy_gradient.credit import Credit
from accord.objectives.policy_gradient.groups import informative
from accord.objectives.policy_gradient.kl import should_stop
from accord.objectives.policy_gradient.method import BoundCredit, BoundObjective, Method, Part, Stage
from accord.objectives.policy_gradient.methods import METHODS

__all__ = [
    "METHODS",
    "BoundCredit",
    "BoundObjective",
    "Credit",
    "Method",
    "Part",
    "Stage",
    "informative",
    "should_stop",
]
