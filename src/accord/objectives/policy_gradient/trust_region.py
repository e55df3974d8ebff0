"""Steps within a trust region: as far as a bound on the divergence allows, with or without a limited cost.

The problem is :math:`\\max_x g^\\top x` where :math:`\\tfrac12 x^\\top H x \\le \\delta` and, with a cost,
:math:`c + b^\\top x \\le 0`. :math:`g` is the gradient of what is to rise, :math:`b` that of the cost, :math:`c` the
cost above its limit now, and :math:`H` the Hessian of the divergence, known by its products with vectors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from accord.objectives.hyperparameters import NonNegative, Positive, Range
from accord.objectives.policy_gradient.curvature import (
    Product,
    assign,
    conjugate_gradient,
    flat,
    hessian_product,
)

Case = Literal["free", "boundary", "recovery"]


@dataclass(frozen=True)
class TrustRegion:
    """Settings of a step within a trust region; see `trust_region`."""

    kl_limit: float
    damping: float
    iterations: int
    backtrack: float
    backtracks: int


def trust_region(
    *,
    kl_limit: Positive = 0.01,
    damping: NonNegative = 0.1,
    iterations: Annotated[int, Range(least=1)] = 10,
    backtrack: Annotated[float, Range(above=0.0, below=1.0)] = 0.8,
    backtracks: Annotated[int, Range(least=1)] = 10,
) -> TrustRegion:
    """Settings of a step within a trust region.

    Args:
        kl_limit: how far a step may move the policy (delta), in nats a token, above 0.
        damping: added to the Hessian's diagonal, at least 0; higher is safer and shorter.
        iterations: of the conjugate gradient, at least 1; 10 to 15 are usual.
        backtrack: factor by which a step is shortened that does not hold what it promised, above 0 and below 1.
        backtracks: how many lengths are tried before the step is given up, at least 1.
    """
    return TrustRegion(kl_limit, damping, iterations, backtrack, backtracks)


@dataclass(frozen=True)
class Step:
    """The solution of the problem.

    Attributes:
        vector: the step x.
        multiplier: price of the divergence (lambda), 0 in recovery.
        cost_multiplier: price of the cost (nu), 0 where the limit does not bind.
        case: `free` if the limit does not bind, `boundary` if both bounds do, `recovery` if no step within the region
            meets the limit and this one lowers the cost as far as it can.
    """

    vector: Tensor
    multiplier: float
    cost_multiplier: float
    case: Case


@dataclass(frozen=True)
class Measured:
    """What a candidate gives: the objective (higher is better), the divergence from the start, and the cost."""

    objective: float
    divergence: float
    cost: float = 0.0


@dataclass(frozen=True)
class Update:
    """What an update did.

    Attributes:
        step: the step that was proposed.
        share: how much of it was taken; 0 if every length failed and the parameters are as before.
        before: the measurements at the start.
        after: at the end.
    """

    step: Step
    share: float
    before: Measured
    after: Measured


def free_step(gradient: Tensor, product: Product, *, kl_limit: float, iterations: int) -> Step:
    r"""The step of TRPO, :math:`x = \sqrt{2\delta / g^\top H^{-1} g}\; H^{-1} g`; no step where g is 0.

    Source: Schulman et al. 2015, "Trust region policy optimization" (arXiv:1502.05477), appendix C.
    """
    return _free(gradient, conjugate_gradient(product, gradient, iterations=iterations), kl_limit)


def _free(gradient: Tensor, natural: Tensor, kl_limit: float) -> Step:
    """The natural gradient, as long as the bound allows."""
    slope = float(gradient @ natural)
    if slope <= 0.0:
        return Step(torch.zeros_like(gradient), 0.0, 0.0, "free")
    return Step(math.sqrt(2.0 * kl_limit / slope) * natural, math.sqrt(slope / (2.0 * kl_limit)), 0.0, "free")


def constrained_step(
    gradient: Tensor, cost_gradient: Tensor, product: Product, *, excess: float, kl_limit: float, iterations: int
) -> Step:
    r"""The step of constrained policy optimisation, by the three cases of its dual.

    With :math:`q = g^\top H^{-1}g,\ r = g^\top H^{-1}b,\ s = b^\top H^{-1}b`:

    - `free`: TRPO's step, if it meets the limit;
    - `boundary`, where :math:`c^2/s \le 2\delta`: :math:`x = \lambda^{-1}H^{-1}(g - \nu b)` with
      :math:`\lambda = \sqrt{(q - r^2/s)/(2\delta - c^2/s)}` and :math:`\nu = (\lambda c + r)/s`;
    - `recovery`: :math:`x = -\sqrt{2\delta/s}\,H^{-1}b`.

    Args:
        gradient: of the objective, which is to rise (g); of a loss the sign of r would flip.
        cost_gradient: of the cost (b).
        product: products with H.
        excess: the cost less its limit now (c).
        kl_limit: delta.
        iterations: of each conjugate gradient.

    Source: Achiam et al. 2017, "Constrained policy optimization" (arXiv:1705.10528), theorem 2 and eq. 14.
    """
    natural = conjugate_gradient(product, gradient, iterations=iterations)
    free = _free(gradient, natural, kl_limit)
    if excess + float(cost_gradient @ free.vector) <= 0.0:
        return free
    relief = conjugate_gradient(product, cost_gradient, iterations=iterations)
    r, s = float(gradient @ relief), float(cost_gradient @ relief)
    if s <= 0.0:
        # The cost does not change with the parameters: nothing that a step could keep or mend.
        return free
    room = 2.0 * kl_limit - excess**2 / s
    if room < 0.0:
        return Step(-math.sqrt(2.0 * kl_limit / s) * relief, 0.0, math.sqrt(2.0 * kl_limit / s), "recovery")
    # x is the way to the limit, plus what is left of the region along it: the same as the formula, but finite where
    # objective and cost have the same gradient and lambda is 0.
    along = natural - r / s * relief
    rise = max(0.0, float(gradient @ natural) - r**2 / s)
    multiplier = math.sqrt(rise / room) if room > 0.0 else math.inf
    vector = (along / multiplier if multiplier > 0.0 else 0.0 * along) - excess / s * relief
    nu = (multiplier * excess + r) / s if math.isfinite(multiplier) else math.inf
    return Step(vector, multiplier, nu, "boundary")


def line_search(
    measure: Callable[[float], Measured], before: Measured, *, settings: TrustRegion, excess: float, case: Case
) -> tuple[float, Measured]:
    """The largest share of a step that keeps the divergence, improves the objective, and does not raise the cost.

    While the limit is kept the cost may rise to it; above the limit it may not rise. In recovery the objective may
    fall.

    Args:
        measure: what that share of the step gives.
        before: what share 0 gives.
        settings: lengths to try and the bound on the divergence.
        excess: the cost less its limit at the start.
        case: of the step.

    Returns:
        The share and what it gives; 0 and `before` if no length will do.
    """
    share = 1.0
    for _ in range(settings.backtracks):
        found = measure(share)
        near = found.divergence <= settings.kl_limit
        better = case == "recovery" or found.objective > before.objective
        cheap = found.cost - before.cost <= max(-excess, 0.0)
        if near and better and cheap and math.isfinite(found.objective):
            return share, found
        share *= settings.backtrack
    return 0.0, before


def update(
    parameters: Sequence[Tensor],
    gradient: Tensor,
    product: Product,
    measure: Callable[[], Measured],
    *,
    settings: TrustRegion,
    cost_gradient: Tensor | None = None,
    excess: float = 0.0,
) -> Update:
    """Move the parameters by one step within the trust region, in place.

    Args:
        parameters: what is moved.
        gradient: of what is to rise, in the order of `flat`.
        product: products with the Hessian of the divergence, damping included.
        measure: objective, divergence and cost with the parameters as they stand.
        settings: bound and lengths.
        cost_gradient: of the cost; None sets no limit.
        excess: the mean cost less its limit at the start.
    """
    start = flat([parameter.detach() for parameter in parameters])
    if cost_gradient is None:
        step = free_step(gradient, product, kl_limit=settings.kl_limit, iterations=settings.iterations)
    else:
        step = constrained_step(
            gradient,
            cost_gradient,
            product,
            excess=excess,
            kl_limit=settings.kl_limit,
            iterations=settings.iterations,
        )
    # Products by differences move the parameters.
    assign(parameters, start)
    before = measure()

    def measure_at(share: float) -> Measured:
        assign(parameters, start + share * step.vector)
        return measure()

    share, after = line_search(measure_at, before, settings=settings, excess=excess, case=step.case)
    assign(parameters, start + share * step.vector)
    return Update(step, share, before, after)


def trust_region_update(
    parameters: Sequence[Tensor],
    objective: Callable[[], Tensor],
    divergence: Callable[[], Tensor],
    *,
    settings: TrustRegion,
    cost: Callable[[], Tensor] | None = None,
    excess: float = 0.0,
) -> Update:
    """`update` for functions whose graph fits into memory and can be differentiated twice.

    Args:
        parameters: what is moved.
        objective: the expected advantage under the policy as the parameters stand, a scalar with gradient; to rise.
        divergence: from the policy at the start, a scalar that can be differentiated twice.
        settings: bound, damping and lengths.
        cost: the expected cost advantage, a scalar with gradient; None sets no limit.
        excess: the mean cost less its limit at the start.
    """

    @torch.no_grad()
    def measure() -> Measured:
        return Measured(float(objective()), float(divergence()), 0.0 if cost is None else float(cost()))

    def gradient(function: Callable[[], Tensor]) -> Tensor:
        return flat(torch.autograd.grad(function(), parameters, materialize_grads=True)).detach()

    return update(
        parameters,
        gradient(objective),
        hessian_product(divergence(), parameters, damping=settings.damping),
        measure,
        settings=settings,
        cost_gradient=None if cost is None else gradient(cost),
        excess=excess,
    )
