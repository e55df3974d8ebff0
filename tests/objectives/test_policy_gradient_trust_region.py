"""Steps within a trust region against brute force, and on a policy with parameters."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from accord.objectives.policy_gradient.curvature import (
    assign,
    conjugate_gradient,
    difference_product,
    flat,
    hessian_product,
)
from accord.objectives.policy_gradient.trust_region import (
    Measured,
    Step,
    TrustRegion,
    constrained_step,
    free_step,
    line_search,
    trust_region,
    trust_region_update,
    update,
)

KL_LIMIT = 0.01


def problem(seed: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """A gradient, a cost's gradient, and a positive definite Hessian."""
    generator = torch.Generator().manual_seed(seed)
    gradient, cost = torch.randn(2, size, generator=generator, dtype=torch.float64)
    root = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return gradient, cost, root @ root.T + 0.3 * torch.eye(size, dtype=torch.float64)


def solved(seed: int, excess: float, size: int = 2) -> tuple[Step, tuple[Tensor, Tensor, Tensor]]:
    gradient, cost, hessian = problem(seed, size)
    step = constrained_step(
        gradient, cost, lambda x: hessian @ x, excess=excess, kl_limit=KL_LIMIT, iterations=3 * size
    )
    return step, (gradient, cost, hessian)


def test_conjugate_gradient_solves() -> None:
    gradient, _, hessian = problem(0, 12)
    found = conjugate_gradient(lambda x: hessian @ x, gradient, iterations=40)
    torch.testing.assert_close(hessian @ found, gradient, rtol=1e-8, atol=1e-8)
    assert not conjugate_gradient(lambda x: hessian @ x, 0.0 * gradient, iterations=5).any()


def test_products_with_the_hessian_are_the_hessians() -> None:
    parameters = [torch.tensor([0.3, -0.5]).double().requires_grad_(), torch.tensor([[1.2]]).double().requires_grad_()]

    def value(vector: Tensor) -> Tensor:
        return (vector[0] * vector[1]).exp() + vector[2] ** 3 * vector[0]

    product = hessian_product(value(flat(parameters)), parameters, damping=0.5)
    point = flat(parameters).detach().requires_grad_()
    (first,) = torch.autograd.grad(value(point), point, create_graph=True)
    hessian = torch.stack([torch.autograd.grad(entry, point, retain_graph=True)[0] for entry in first])
    vector = torch.tensor([1.0, -2.0, 0.5]).double()
    torch.testing.assert_close(product(vector), hessian @ vector + 0.5 * vector)

    def gradient_at(place: Tensor) -> Tensor:
        place = place.requires_grad_()
        return torch.autograd.grad(value(place), place)[0]

    by_difference = difference_product(gradient_at, flat(parameters).detach(), damping=0.5)
    torch.testing.assert_close(by_difference(vector), product(vector), rtol=1e-6, atol=1e-8)
    assert not by_difference(0.0 * vector).any()


def test_k3_at_the_start_has_the_fisher_information_as_hessian() -> None:
    """Of all tokens by their probability: the divergence's own Hessian."""
    logits = torch.tensor([0.5, -0.2, 1.0], dtype=torch.float64, requires_grad=True)
    share = logits.detach().softmax(-1)
    difference = logits.log_softmax(-1) - share.log()
    product = hessian_product((share * (difference.expm1() - difference)).sum(), [logits])
    fisher = torch.diag(share) - torch.outer(share, share)
    torch.testing.assert_close(torch.stack([product(row) for row in torch.eye(3).double()]), fisher)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), excess=st.floats(-0.4, 0.4))
def test_the_step_is_the_best_of_all(seed: int, excess: float) -> None:
    """No point of the region's edge or of the limit within it that keeps both does better."""
    step, (gradient, cost, hessian) = solved(seed, excess)
    root = torch.linalg.cholesky(hessian)
    angle = torch.linspace(0.0, 2.0 * math.pi, 20_001, dtype=torch.float64)
    circle = torch.stack([angle.cos(), angle.sin()])
    edge = math.sqrt(2.0 * KL_LIMIT) * torch.linalg.solve_triangular(root.T, circle, upper=True)
    allowed = excess + cost @ edge <= 1e-12
    assert 0.5 * step.vector @ hessian @ step.vector <= KL_LIMIT * (1.0 + 1e-6)
    if step.case == "recovery":
        assert not allowed.any()
        assert cost @ step.vector <= (cost @ edge).min() + 1e-8
        return
    assert excess + cost @ step.vector <= 1e-8
    if allowed.any():
        assert gradient @ step.vector >= (gradient @ edge)[allowed].max() - 1e-7


@pytest.mark.parametrize("excess", [-0.005, 0.005])
def test_a_cost_with_the_objectives_own_gradient(excess: float) -> None:
    """The multiplier of the divergence is 0 there; the step goes to the limit and no further."""
    gradient, _, hessian = problem(3, 2)
    step = constrained_step(gradient, gradient, lambda x: hessian @ x, excess=excess, kl_limit=KL_LIMIT, iterations=10)
    assert step.case == "boundary"
    assert step.vector.isfinite().all()
    assert float(excess + gradient @ step.vector) == pytest.approx(0.0, abs=1e-9)


def test_no_gradient_no_step() -> None:
    zeros = torch.zeros(3, dtype=torch.float64)
    assert not free_step(zeros, lambda x: x, kl_limit=0.01, iterations=5).vector.any()
    step = constrained_step(zeros, zeros, lambda x: x, excess=1.0, kl_limit=0.01, iterations=5)
    assert not step.vector.any()


@pytest.mark.parametrize(
    ("excess", "case", "share"),
    [(-1.0, "free", 1.0), (-0.3, "boundary", 0.25), (0.5, "boundary", 0.0), (0.5, "recovery", 0.0)],
)
def test_the_line_search_keeps_what_was_promised(excess: float, case: str, share: float) -> None:
    """The cost rises by 1 over the whole step: all may be spent, a part, or nothing."""

    def measure(part: float) -> Measured:
        return Measured(objective=part, divergence=0.01 * part, cost=part)

    chosen = TrustRegion(kl_limit=0.01, damping=0.1, iterations=10, backtrack=0.5, backtracks=6)
    found, after = line_search(measure, Measured(0.0, 0.0), settings=chosen, excess=excess, case=case)  # type: ignore[arg-type]
    assert found == share
    assert after.cost == share


def test_the_line_search_shortens_what_goes_too_far() -> None:
    def measure(part: float) -> Measured:
        return Measured(objective=part if part < 0.6 else math.nan, divergence=0.02 * part)

    found, _ = line_search(measure, Measured(0.0, 0.0), settings=trust_region(), excess=0.0, case="free")
    assert 0.3 < found <= 0.5


def bandit(seed: int) -> tuple[nn.Linear, Tensor, Tensor, Tensor]:
    """A small policy over four actions in eight situations, with advantages and costs of each."""
    torch.manual_seed(seed)
    policy = nn.Linear(3, 4).double()
    situations = torch.randn(8, 3, dtype=torch.float64)
    advantage, cost = torch.randn(2, 8, 4, dtype=torch.float64)
    return policy, situations, advantage, cost


@pytest.mark.parametrize("excess", [None, -0.02, 0.01, 0.5])
def test_an_update_of_a_policy(excess: float | None) -> None:
    policy, situations, advantage, cost = bandit(1)
    parameters = list(policy.parameters())
    with torch.no_grad():
        old: Tensor = policy(situations).log_softmax(-1)

    def mean(values: Tensor) -> Tensor:
        share: Tensor = policy(situations).softmax(-1) - old.exp()
        return (share * values).sum(-1).mean()

    def divergence() -> Tensor:
        now: Tensor = policy(situations).log_softmax(-1)
        return (old.exp() * (old - now)).sum(-1).mean()

    moved = trust_region_update(
        parameters,
        lambda: mean(advantage),
        divergence,
        settings=trust_region(damping=1e-4),
        cost=None if excess is None else lambda: mean(cost),
        excess=excess or 0.0,
    )
    assert moved.share > 0.0
    assert float(divergence().detach()) == pytest.approx(moved.after.divergence)
    assert moved.after.divergence <= 0.01
    if excess is None or excess < 0.5:
        assert moved.after.objective > 0.0
    else:
        assert moved.step.case == "recovery"
    if excess is not None:
        assert float(mean(cost).detach()) <= max(-excess, 0.0) + 1e-9


def test_an_update_that_can_be_nothing_leaves_the_parameters() -> None:
    policy, situations, advantage, _ = bandit(2)
    parameters = list(policy.parameters())
    before = flat([parameter.detach().clone() for parameter in parameters])
    moved = trust_region_update(
        parameters,
        lambda: (policy(situations).softmax(-1) * advantage).sum(),
        lambda: 1.0 + (policy(situations) ** 2).mean(),
        settings=trust_region(),
    )
    assert moved.share == 0.0
    assert torch.equal(flat([parameter.detach() for parameter in parameters]), before)


Closures = tuple[list[nn.Parameter], Callable[[], Tensor], Callable[[], Tensor]]


def improving() -> Closures:
    """The parameters of a bandit, what is to rise, and the divergence from where it is now."""
    policy, situations, advantage, _ = bandit(1)
    old: Tensor = policy(situations).log_softmax(-1).detach()

    def objective() -> Tensor:
        share: Tensor = policy(situations).softmax(-1) - old.exp()
        return (share * advantage).sum(-1).mean()

    def divergence() -> Tensor:
        now: Tensor = policy(situations).log_softmax(-1)
        return (old.exp() * (old - now)).sum(-1).mean()

    return list(policy.parameters()), objective, divergence


def test_an_update_from_gradients_alone() -> None:
    """What a loop over micro-batches can give leads to the same place."""
    chosen = trust_region(damping=1e-3)
    wanted, objective, divergence = improving()
    trust_region_update(wanted, objective, divergence, settings=chosen)
    parameters, objective, divergence = improving()

    def gradient_at(place: Tensor) -> Tensor:
        assign(parameters, place)
        return flat(torch.autograd.grad(divergence(), parameters))

    def measure() -> Measured:
        return Measured(float(objective().detach()), float(divergence().detach()))

    start = flat([parameter.detach() for parameter in parameters])
    gradient = flat(torch.autograd.grad(objective(), parameters))
    moved = update(
        parameters,
        gradient,
        difference_product(gradient_at, start, damping=chosen.damping),
        measure,
        settings=chosen,
    )
    assert moved.before.objective == pytest.approx(0.0)
    assert moved.share > 0.0
    for found, other in zip(parameters, wanted, strict=True):
        torch.testing.assert_close(found, other, rtol=1e-5, atol=1e-7)


def test_vectors_and_parameters() -> None:
    parameters = [torch.zeros(2, 2), torch.zeros(3)]
    assign(parameters, torch.arange(7.0))
    assert torch.equal(flat(parameters), torch.arange(7.0))
