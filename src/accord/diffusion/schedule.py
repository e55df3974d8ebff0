"""How much noise each step of the diffusion holds, and the noised items."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from accord.errors import ConfigError

EpsModel = Callable[[Tensor, Tensor, Tensor], Tensor]
"""`eps_model(x_t, t, condition)`: the noise `[B,...]` in items `[B,...]` at steps `[B]` under conditions `[B,...]`."""


@dataclass(frozen=True)
class Schedule:
    r"""The share of signal left after each step, :math:`\bar\alpha_t`, from the first step (little noise) to the last.

    .. math:: x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \varepsilon

    Attributes:
        alpha_bar: `[T]`, falling, between 0 and 1.
    """

    alpha_bar: Tensor

    def __post_init__(self) -> None:
        inside = bool(((self.alpha_bar > 0) & (self.alpha_bar < 1)).all())
        if self.alpha_bar.ndim != 1 or not inside or not bool((self.alpha_bar.diff() < 0).all()):
            raise ConfigError("alpha_bar must fall from step to step, between 0 and 1", where="Schedule")

    @property
    def steps(self) -> int:
        """T."""
        return len(self.alpha_bar)

    @property
    def sigmas(self) -> Tensor:
        r"""`[T]` noise beside a signal of unit scale, :math:`\sigma_t = \sqrt{(1-\bar\alpha_t)/\bar\alpha_t}`."""
        return ((1 - self.alpha_bar) / self.alpha_bar).sqrt()

    def noised(self, items: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """The items `[B,...]` with `noise` in the amount of steps `t [B]`."""
        alpha_bar = beside(self.alpha_bar[t].to(items), items)
        return alpha_bar.sqrt() * items + (1 - alpha_bar).sqrt() * noise

    def draw_steps(self, count: int, generator: torch.Generator) -> Tensor:
        """Steps `[count]`, each equally likely."""
        return torch.randint(self.steps, (count,), generator=generator)

    def step_of(self, sigma: Tensor) -> Tensor:
        """The step whose noise is `sigma`, between two steps in proportion to its logarithm; at the ends, the end."""
        logs = self.sigmas.log().to(sigma)
        wanted = sigma.log().clamp(logs[0], logs[-1])
        above = torch.searchsorted(logs, wanted.contiguous()).clamp(1, self.steps - 1)
        return above - 1 + (wanted - logs[above - 1]) / (logs[above] - logs[above - 1])


def linear_schedule(steps: int = 100) -> Schedule:
    r"""The schedule of DDPM, whose :math:`\beta_t` grows evenly, stretched from its 1000 steps to `steps`.

    Source: Ho, Jain and Abbeel 2020, "Denoising diffusion probabilistic models" (arXiv:2006.11239), section 4.

    Raises:
        ConfigError: fewer than 25 steps, for which the stretched rates would leave the range of a share.
    """
    if steps < 25:
        raise ConfigError(f"{steps} is out of range", where="steps", mend="Give at least 25.")
    beta = torch.linspace(1e-4, 0.02, steps, dtype=torch.float64) * (1000 / steps)
    return Schedule((1 - beta).cumprod(0).float())


def beside(values: Tensor, items: Tensor) -> Tensor:
    """One value an item, `[B]`, shaped to multiply the items `[B,...]`."""
    return values.view(-1, *[1] * (items.ndim - 1))
