"""Two short trainings of a noise predictor: on items (DDPM), then on preferences between items."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from accord.diffusion.objective import Pairs, denoising_error, diffusion_dpo, literal_difference, predicted_noise
from accord.diffusion.schedule import Schedule
from accord.errors import ConfigError, NumericsError
from accord.objectives import Terms

Draw = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]
"""`draw(n, generator)`: that many items `[n,...]` with their conditions `[n,...]`."""

_MAX_GRAD_NORM = 1.0


@dataclass(frozen=True)
class History:
    """What a training went through: each quantity's value at every step."""

    values: dict[str, list[float]] = field(default_factory=dict)

    def append(self, terms: Terms) -> None:
        """The loss and metrics of one step."""
        self.values.setdefault("loss", []).append(terms.value().item())
        for name, (value, weight) in terms.metrics.items():
            self.values.setdefault(name, []).append(((value * weight).sum() / weight.sum()).item())


def optimise(
    model: nn.Module,
    loss: Callable[[], Terms],
    *,
    steps: int,
    lr: float,
    warmup: int = 0,
    average: float | None = None,
    after_step: Callable[[], None] | None = None,
) -> History:
    """Take steps of AdamW down a loss, with gradients clipped to a norm of 1 and a cosine decay of the learning rate.

    Args:
        model: its trainable parameters are trained in place.
        loss: draws a batch and returns its loss; called once a step.
        steps: how many.
        lr: highest learning rate.
        warmup: steps over which it rises to that.
        average: decay of the moving average of the weights that the model is left with; the last weights by default.
        after_step: called after each step, for what follows the weights.

    Raises:
        NumericsError: the loss is not a finite number; names the step.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps, warmup))
    averaged = None if average is None else AveragedModel(model, multi_avg_fn=_moving_average(average))
    history = History()
    for step in range(steps):
        terms = loss()
        history.append(terms)
        if not math.isfinite(history.values["loss"][-1]):
            raise NumericsError(f"the loss of step {step + 1} is not a finite number", mend="Lower the learning rate.")
        optimizer.zero_grad()
        terms.value().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, _MAX_GRAD_NORM)
        optimizer.step()
        scheduler.step()
        if averaged is not None:
            averaged.update_parameters(model)
        if after_step is not None:
            after_step()
    if averaged is not None:
        model.load_state_dict(averaged.module.state_dict())
    return history


def pretrain(
    model: nn.Module,
    draw: Draw,
    schedule: Schedule,
    *,
    generator: torch.Generator,
    steps: int = 2000,
    batch_size: int = 256,
    lr: float = 2e-3,
) -> History:
    r"""Train a noise predictor from data, with :math:`\lVert \varepsilon - \varepsilon_\theta(x_t, t, c) \rVert^2`.

    The model is left with a moving average of its weights.

    Args:
        model: an `EpsModel`; changed in place.
        draw: the data.
        schedule: of the noise.
        generator: of data, steps and noise.
        steps: of the optimiser.
        batch_size: items a step.
        lr: highest learning rate.

    Source: Ho, Jain and Abbeel 2020 (arXiv:2006.11239), eq. 14.
    """

    def loss() -> Terms:
        items, condition = draw(batch_size, generator)
        t, noise = schedule.draw_steps(batch_size, generator), torch.randn(items.shape, generator=generator)
        errors = (model(schedule.noised(items, t, noise), t, condition) - noise).square().flatten(1).mean(-1)
        return Terms(loss=errors, weight=torch.ones_like(errors, requires_grad=False))

    return optimise(model, loss, steps=steps, lr=lr, warmup=50, average=0.995)


def align(
    policy: nn.Module,
    pairs: Pairs,
    schedule: Schedule,
    *,
    generator: torch.Generator,
    beta: float = 300.0,
    steps: int = 300,
    batch_size: int = 256,
    lr: float = 1e-4,
) -> History:
    """Train a noise predictor on preferences by Diffusion-DPO. The reference is a snapshot of its starting weights.

    Args:
        policy: an `EpsModel`; changed in place.
        pairs: the preferences.
        schedule: of the model.
        generator: of pairs, steps and noise.
        beta: strength of the pull towards the reference, above 0.
        steps: of the optimiser.
        batch_size: pairs a step.
        lr: highest learning rate.

    Raises:
        ConfigError: `beta` is not positive.
        NumericsError: the first step's margin is not 0: the model does not compute the same twice (dropout).
    """
    if not beta > 0:
        raise ConfigError(f"{beta} is out of range", where="beta", mend="Give a number above 0.")
    reference = frozen_copy(policy)

    def loss() -> Terms:
        batch, t, noise = _draw_pairs(pairs, schedule, batch_size, generator)
        with torch.no_grad():
            reference_error = denoising_error(predicted_noise(reference, schedule, batch, t, noise), noise)
        policy_error = denoising_error(predicted_noise(policy, schedule, batch, t, noise), noise)
        return diffusion_dpo(policy_error, reference_error, beta=beta)

    _check_start(loss())
    return optimise(policy, loss, steps=steps, lr=lr, warmup=steps // 10)


def align_literally(
    policy: nn.Module,
    pairs: Pairs,
    schedule: Schedule,
    *,
    generator: torch.Generator,
    steps: int = 300,
    batch_size: int = 256,
    lr: float = 1e-4,
) -> History:
    """The same training on `literal_difference`: the unsafe baseline, which destroys the model."""

    def loss() -> Terms:
        batch, t, noise = _draw_pairs(pairs, schedule, batch_size, generator)
        return literal_difference(predicted_noise(policy, schedule, batch, t, noise))

    return optimise(policy, loss, steps=steps, lr=lr, warmup=steps // 10)


def frozen_copy(model: nn.Module) -> nn.Module:
    """A copy that does not learn, in evaluation mode."""
    return copy.deepcopy(model).eval().requires_grad_(False)


def _draw_pairs(
    pairs: Pairs, schedule: Schedule, count: int, generator: torch.Generator
) -> tuple[Pairs, Tensor, Tensor]:
    batch = pairs[torch.randint(len(pairs), (count,), generator=generator)]
    noise = torch.randn(batch.chosen.shape, generator=generator)
    return batch, schedule.draw_steps(count, generator), noise


def _check_start(terms: Terms) -> None:
    margin, _ = terms.metrics["margin"]
    if bool(margin.abs().max() > 1e-3):
        raise NumericsError(
            f"the policy differs from its reference before the first step, by a margin of {margin.abs().max():.3g}",
            mend="Switch dropout off in both.",
        )


def _moving_average(decay: float) -> Callable[..., None]:
    averaging: Callable[..., None] = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    return averaging


def _rate(step: int, steps: int, warmup: int) -> float:
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
