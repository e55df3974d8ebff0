"""Consistency models: from pure noise to an item in one or a few steps."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from accord.diffusion.schedule import EpsModel, Schedule, beside
from accord.diffusion.train import Draw, History, frozen_copy, optimise
from accord.errors import ConfigError
from accord.objectives import Terms

SIGMA_DATA = 0.5
"""Standard deviation of the items that the scalings are made for."""


def karras_sigmas(
    count: int, *, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0, dtype: torch.dtype | None = None
) -> Tensor:
    r"""`count` noise levels from `sigma_max` down to `sigma_min`, close together where there is little noise.

    .. math::
        \sigma_i = \left(\sigma_\text{max}^{1/\rho}
                   + \tfrac{i}{N-1}(\sigma_\text{min}^{1/\rho} - \sigma_\text{max}^{1/\rho})\right)^\rho

    Source: Karras et al. 2022, "Elucidating the design space of diffusion-based generative models" (arXiv:2206.00364),
    eq. 5.

    Raises:
        ConfigError: fewer than 2 levels, or limits out of order.
    """
    if count < 2 or not 0 < sigma_min < sigma_max:
        raise ConfigError(f"no grid of {count} levels from {sigma_max} to {sigma_min}", where="karras_sigmas")
    ends = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return torch.linspace(*ends, count, dtype=dtype) ** rho


def scalings(sigma: Tensor, *, sigma_data: float = SIGMA_DATA, sigma_min: float = 0.002) -> tuple[Tensor, ...]:
    r"""What makes any network a consistency function: `c_skip`, `c_out`, `c_in` at noise levels `sigma`.

    .. math::
        c_\text{skip} = \frac{\sigma_d^2}{(\sigma-\sigma_\text{min})^2+\sigma_d^2}, \quad
        c_\text{out} = \frac{(\sigma-\sigma_\text{min})\sigma_d}{\sqrt{\sigma^2+\sigma_d^2}}, \quad
        c_\text{in} = \frac{1}{\sqrt{\sigma^2+\sigma_d^2}}

    At `sigma_min` they are 1 and 0: the function is the identity there, whatever the network says.

    Source: Song et al. 2023, "Consistency models" (arXiv:2303.01469), appendix C.
    """
    beyond, total = sigma - sigma_min, (sigma**2 + sigma_data**2).sqrt()
    return sigma_data**2 / (beyond**2 + sigma_data**2), beyond * sigma_data / total, 1 / total


class ConsistencyModel(nn.Module):
    r"""Maps an item at any noise level to the clean item at the beginning of its trajectory.

    .. math:: f(x, \sigma, c) = c_\text{skip}\, x + c_\text{out}\, F(c_\text{in}\, x, \tfrac14 \log\sigma, c)

    Noise is added, not mixed in: :math:`x = x_0 + \sigma z`.

    Args:
        network: F, from items `[B,...]`, times `[B]` and conditions `[B,...]` to the items' shape.
        sigma_min: the noise level that counts as clean.
        sigma_max: the one that counts as pure noise.
        sigma_data: standard deviation of the items.
    """

    def __init__(
        self, network: nn.Module, *, sigma_min: float = 0.002, sigma_max: float = 80.0, sigma_data: float = SIGMA_DATA
    ) -> None:
        super().__init__()
        self.network = network
        self.sigma_min, self.sigma_max, self.sigma_data = sigma_min, sigma_max, sigma_data

    def forward(self, items: Tensor, sigma: Tensor, condition: Tensor) -> Tensor:
        """The clean items `[B,...]` of noisy ones at levels `[B]`."""
        skip, out, into = scalings(beside(sigma, items), sigma_data=self.sigma_data, sigma_min=self.sigma_min)
        answer: Tensor = skip * items + out * self.network(into * items, 0.25 * sigma.log(), condition)
        return answer

    def sigmas(self, count: int) -> Tensor:
        """The grid of `count` levels between this model's ends, from noise to clean."""
        return karras_sigmas(count, sigma_min=self.sigma_min, sigma_max=self.sigma_max)


Neighbour = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
"""`neighbour(items, noise, high, low, condition)`: items `[B,...]` at levels `low [B]` on the trajectories that pass
through the clean `items` with `noise` at levels `high [B]`."""


def consistency_loss(
    model: nn.Module, target: nn.Module, high_items: Tensor, low_items: Tensor, high: Tensor, low: Tensor, c: Tensor
) -> Terms:
    r"""Two neighbours on one trajectory must end at the same item.

    .. math:: \mathcal L = \lambda(\sigma)\, d\left(f_\theta(x_\text{high}), f_{\theta^-}(x_\text{low})\right)

    with the mean square of an item's dimensions as d and no weighting, :math:`\lambda = 1`.

    Args:
        model: the student, a `ConsistencyModel`.
        target: a moving average of it, which gets no gradient.
        high_items: `[B,...]` items at levels `high`.
        low_items: `[B,...]` their neighbours at levels `low`.
        high: `[B]`.
        low: `[B]`.
        c: `[B,...]` conditions.

    Returns:
        `[B]`, each item with weight 1.

    Source: Song et al. 2023 (arXiv:2303.01469), eq. 7 and 10.
    """
    with torch.no_grad():
        aim = target(low_items, low, c)
    distance = (model(high_items, high, c) - aim).square().flatten(1).mean(-1)
    return Terms(loss=distance, weight=torch.ones_like(distance, requires_grad=False))


def same_noise(items: Tensor, noise: Tensor, high: Tensor, low: Tensor, condition: Tensor) -> Tensor:
    """Consistency training: the neighbour of an item is the same item with less of the same noise; no model needed."""
    return items + beside(low, items) * noise


def ode_step(eps_model: EpsModel, schedule: Schedule) -> Neighbour:
    r"""Consistency distillation: the neighbour is one Heun step of the teacher's probability flow away.

    .. math:: \frac{dx}{d\sigma} = \varepsilon_\theta\left(\frac{x}{\sqrt{1+\sigma^2}}, t(\sigma), c\right)

    Args:
        eps_model: the teacher; must take steps between those of the schedule.
        schedule: of the teacher.
    """

    def slope(noisy: Tensor, sigma: Tensor, condition: Tensor) -> Tensor:
        scale = beside((1 + sigma**2).rsqrt(), noisy)
        return eps_model(scale * noisy, schedule.step_of(sigma), condition)

    @torch.no_grad()
    def before(items: Tensor, noise: Tensor, high: Tensor, low: Tensor, condition: Tensor) -> Tensor:
        start, width = items + beside(high, items) * noise, beside(low - high, items)
        first = slope(start, high, condition)
        second = slope(start + width * first, low, condition)
        return start + 0.5 * width * (first + second)

    return before


def train_consistency(
    model: ConsistencyModel,
    draw: Draw,
    neighbour: Neighbour,
    *,
    generator: torch.Generator,
    denoising_steps: int = 1000,
    steps: int = 1000,
    batch_size: int = 256,
    lr: float = 2e-3,
    levels: int = 18,
    target_decay: float = 0.95,
) -> History:
    """Train a consistency model, from data (`same_noise`) or from a diffusion model (`ode_step`).

    It starts as a denoiser: in the first steps each item's neighbour is the clean item itself, where the model is the
    identity, and so it learns to denoise. From there it learns consistency between neighbouring levels, and it is left
    with a moving average of its weights.

    Args:
        model: changed in place.
        draw: items with their conditions: data, or samples of the model that is distilled.
        neighbour: gives the end of each item's next step: `same_noise`, or an `ode_step` of a teacher.
        generator: of items, levels and noise.
        denoising_steps: of the optimiser, as a denoiser.
        steps: of the optimiser, on consistency.
        batch_size: items a step.
        lr: highest learning rate of either.
        levels: of the grid of noise; more make the trajectories finer and the training slower.
        target_decay: of the moving average that the model is compared with.

    Source: Song et al. 2023 (arXiv:2303.01469), algorithms 2 and 3; starting as a denoiser: Geng et al. 2024,
    "Consistency models made easy" (arXiv:2406.14548).
    """
    sigmas = model.sigmas(levels)

    def drawn() -> tuple[Tensor, Tensor, Tensor, Tensor]:
        items, condition = draw(batch_size, generator)
        place = torch.randint(levels - 1, (batch_size,), generator=generator)
        return items, condition, torch.randn(items.shape, generator=generator), place

    def denoising() -> Terms:
        items, condition, noise, place = drawn()
        high, clean = sigmas[place], sigmas[-1].expand(batch_size)
        high_items = items + beside(high, items) * noise
        return consistency_loss(model, model, high_items, items, high, clean, condition)

    optimise(model, denoising, steps=denoising_steps, lr=lr, warmup=50, average=0.995)
    target = frozen_copy(model)

    def consistency() -> Terms:
        items, condition, noise, place = drawn()
        high, low = sigmas[place], sigmas[place + 1]
        neighbours = neighbour(items, noise, high, low, condition)
        return consistency_loss(model, target, items + beside(high, items) * noise, neighbours, high, low, condition)

    def follow() -> None:
        with torch.no_grad():
            for ours, theirs in zip(target.parameters(), model.parameters(), strict=True):
                ours.lerp_(theirs, 1 - target_decay)

    return optimise(model, consistency, steps=steps, lr=lr, warmup=50, average=0.995, after_step=follow)


@torch.no_grad()
def sample_consistency(
    model: ConsistencyModel,
    condition: Tensor,
    shape: tuple[int, ...],
    *,
    generator: torch.Generator,
    steps: int = 1,
) -> Tensor:
    """Draw an item for each condition in `steps` calls of the model: denoise, add less noise, denoise again.

    Args:
        model: a trained consistency model.
        condition: `[N,...]`.
        shape: of one item.
        generator: of the noise.
        steps: how often the model is called.

    Returns:
        `[N, *shape]`.

    Source: Song et al. 2023 (arXiv:2303.01469), algorithm 1, with the levels of the Karras grid.
    """
    count = len(condition)
    items = torch.zeros(count, *shape)
    for sigma in model.sigmas(steps + 1)[:-1]:
        added = (sigma**2 - model.sigma_min**2).sqrt()
        noisy = items + added * torch.randn(items.shape, generator=generator)
        items = model(noisy, sigma.expand(count), condition)
    return items
