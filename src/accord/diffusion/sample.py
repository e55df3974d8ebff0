"""From noise to items, step by step."""

from __future__ import annotations

import torch
from torch import Tensor

from accord.diffusion.schedule import EpsModel, Schedule
from accord.errors import ConfigError


@torch.no_grad()
def sample(
    model: EpsModel,
    schedule: Schedule,
    condition: Tensor,
    shape: tuple[int, ...],
    *,
    generator: torch.Generator,
    steps: int | None = None,
    eta: float = 1.0,
) -> Tensor:
    r"""Draw an item for each condition.

    .. math::
        x_s = \sqrt{\bar\alpha_s}\,\hat x_0 + \sqrt{1-\bar\alpha_s-\sigma^2}\,\varepsilon_\theta + \sigma z, \qquad
        \sigma^2 = \eta^2\,\frac{1-\bar\alpha_s}{1-\bar\alpha_t}\left(1-\frac{\bar\alpha_t}{\bar\alpha_s}\right)

    With `eta` 1 and all steps this is DDPM's ancestral sampling; with `eta` 0, DDIM's deterministic one, which bears
    fewer steps. The same generator state gives the same noise to every model, so that models can be compared in pairs.

    Args:
        model: predicts the noise.
        schedule: of the model.
        condition: `[N,...]`.
        shape: of one item.
        generator: of the noise.
        steps: how many of the schedule's to take, evenly spaced; all of them by default.
        eta: share of the noise that is put back, from 0 to 1.

    Returns:
        `[N, *shape]`.

    Source: Song, Meng and Ermon 2020, "Denoising diffusion implicit models" (arXiv:2010.02502), eq. 12 and 16.

    Raises:
        ConfigError: `steps` is not between 1 and the schedule's number.
    """
    count = schedule.steps if steps is None else steps
    if not 1 <= count <= schedule.steps:
        raise ConfigError(f"{count} is out of range", where="steps", mend=f"Give 1 to {schedule.steps}.")
    places = torch.linspace(schedule.steps - 1, 0, count).round().long() if count > 1 else [schedule.steps - 1]
    items = torch.randn(len(condition), *shape, generator=generator)
    for place, t in enumerate(map(int, places)):
        alpha_bar = schedule.alpha_bar[t]
        following = schedule.alpha_bar[int(places[place + 1])] if place + 1 < count else torch.ones(())
        noise = model(items, torch.full((len(items),), t), condition)
        clean = (items - (1 - alpha_bar).sqrt() * noise) / alpha_bar.sqrt()
        spread = eta * ((1 - following) / (1 - alpha_bar) * (1 - alpha_bar / following)).sqrt()
        items = following.sqrt() * clean + (1 - following - spread**2).clamp_min(0).sqrt() * noise
        items = items + spread * torch.randn(items.shape, generator=generator)
    return items
