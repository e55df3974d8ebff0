"""Second derivatives known by their products with vectors, and equations in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]
"""From a vector to the Hessian times it."""


def conjugate_gradient(product: Product, target: Tensor, *, iterations: int, tolerance: float = 1e-10) -> Tensor:
    """Solve `H x = target` for a positive definite H that is known by its products with vectors.

    Exact after as many iterations as H has distinct eigenvalues.

    >>> conjugate_gradient(lambda x: torch.tensor([2.0, 1.0]) * x, torch.tensor([1.0, 0.5]), iterations=10)
    tensor([0.5000, 0.5000])
    """
    solution = torch.zeros_like(target)
    residual = target.clone()
    direction = target.clone()
    size = residual @ residual
    for _ in range(iterations):
        if size <= tolerance**2:
            break
        image = product(direction)
        length = size / (direction @ image)
        solution = solution + length * direction
        residual = residual - length * image
        renewed = residual @ residual
        direction = residual + renewed / size * direction
        size = renewed
    return solution


def hessian_product(value: Tensor, parameters: Sequence[Tensor], *, damping: float = 0.0) -> Product:
    """Products with the Hessian of `value` plus `damping` times the identity, by two backward passes.

    Of the divergence between the policy before the step and the policy now, the Hessian at the start is the Fisher
    information. From sampled tokens use k3, :math:`q - 1 - \\log q`: its Hessian there is the mean outer product of the
    tokens' scores, never negative.

    Args:
        value: scalar with a graph that can be differentiated twice.
        parameters: what it depends on.
        damping: at least 0.
    """
    gradient = flat(torch.autograd.grad(value, parameters, create_graph=True, materialize_grads=True))

    def product(vector: Tensor) -> Tensor:
        along = gradient @ vector
        second = torch.autograd.grad(along, parameters, retain_graph=True, materialize_grads=True)
        return flat(second).detach() + damping * vector

    return product


def difference_product(
    gradient_at: Callable[[Tensor], Tensor], start: Tensor, *, damping: float = 0.0, width: float | None = None
) -> Product:
    r"""Products with the Hessian from gradients alone: :math:`Hv \approx (g(\theta + hv) - g(\theta - hv)) / 2h`.

    For what cannot be differentiated twice (fused kernels) or does not fit into memory as one graph.

    Args:
        gradient_at: the gradient at a vector of parameters.
        start: the parameters at which the Hessian is taken.
        damping: added to the diagonal, at least 0.
        width: length of a step to each side; None takes the cube root of the precision, 0.005 in float32: short beside
            what moves a policy, long beside rounding. Parameters in bfloat16 round too much.
    """
    reach = torch.finfo(start.dtype).eps ** (1.0 / 3.0) if width is None else width

    def product(vector: Tensor) -> Tensor:
        size = float(vector.norm())
        if size == 0.0:
            return torch.zeros_like(vector)
        shift = reach / size * vector
        second = (gradient_at(start + shift) - gradient_at(start - shift)) * (size / (2.0 * reach))
        return second + damping * vector

    return product


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """All numbers of the tensors as one vector."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def assign(parameters: Sequence[Tensor], vector: Tensor) -> None:
    """Write a vector into the parameters, in the order of `flat`."""
    with torch.no_grad():
        place = 0
        for parameter in parameters:
            size = parameter.numel()
            parameter.copy_(vector[place : place + size].view_as(parameter))
            place += size
