"""Distillation: whose gradient, at what temperature, and how far apart two models can be."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from accord.objectives import Terms
from accord.objectives.distill import Divergence, distill

MASK = torch.tensor([[[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]], dtype=torch.float64)
DIVERGENCES: tuple[Divergence, ...] = ("forward_kl", "reverse_kl", "jsd")


def taught(student: Tensor, source: Tensor) -> Callable[..., Tensor]:
    """A teacher as the loop gives it, from logits `[1,2,3,V]`."""

    def teacher(measure: Callable[[Tensor, Tensor], Tensor], *, temperature: float) -> Tensor:
        return measure((student / temperature).log_softmax(-1), (source / temperature).log_softmax(-1)) * MASK

    return teacher


@pytest.fixture
def logits() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    student, source = torch.randn(2, 1, 2, 3, 5, generator=generator, dtype=torch.float64)
    return student.requires_grad_(), source


def value(student: Tensor, source: Tensor, divergence: Divergence) -> Terms:
    return distill(taught(student, source), MASK, divergence=divergence, temperature=1.5)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_it_is_zero_where_both_agree_and_positive_elsewhere(
    divergence: Divergence, logits: tuple[Tensor, Tensor]
) -> None:
    student, source = logits
    assert float(value(student.detach(), source, divergence).value()) > 0.01
    same = value(student, student.detach() + 3.0, divergence).value()
    torch.autograd.backward(same)
    assert float(same.detach()) == pytest.approx(0.0, abs=1e-12)
    assert student.grad is not None
    assert float(student.grad.abs().max()) < 1e-12


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_the_gradient_is_that_of_finite_differences(divergence: Divergence, logits: tuple[Tensor, Tensor]) -> None:
    student, source = logits
    assert torch.autograd.gradcheck(lambda given: value(given, source, divergence).value(), (student,))


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_opposite_certainties_stay_finite(divergence: Divergence) -> None:
    student = torch.zeros(1, 2, 3, 5)
    student[..., 0] = 60.0
    student.requires_grad_()
    loss = value(student, -60.0 * torch.eye(5)[0].expand(1, 2, 3, 5), divergence).value()
    torch.autograd.backward(loss)
    assert torch.isfinite(loss)
    assert student.grad is not None
    assert bool(torch.isfinite(student.grad).all())


def test_a_mixture_leans_to_the_divergence_of_its_end(logits: tuple[Tensor, Tensor]) -> None:
    """With nearly nothing of the teacher in the mixture, it is the policy, and the divergence the teacher's from it."""
    student, source = logits
    nearly = distill(taught(student, source), MASK, divergence="jsd", mix=1e-6).value() / 1e-6
    forward = distill(taught(student, source), MASK, divergence="forward_kl").value()
    assert float(nearly.detach()) == pytest.approx(float(forward.detach()), rel=1e-4)
