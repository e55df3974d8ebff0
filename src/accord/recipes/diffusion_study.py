"""Diffusion-DPO on points and drawings: train the starting model, prefer, align, sample in many steps and in few."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from accord.diffusion.consistency import ConsistencyModel, ode_step, same_noise, sample_consistency, train_consistency
from accord.diffusion.denoiser import Denoiser
from accord.diffusion.objective import Pairs, denoising_error, diffusion_dpo, predicted_noise
from accord.diffusion.sample import sample
from accord.diffusion.schedule import Schedule, linear_schedule
from accord.diffusion.toys import Toy, prefer
from accord.diffusion.train import align, align_literally, pretrain

START, ALIGNED, LITERAL = "start", "Diffusion-DPO", "literal difference"
FROM_DATA, DISTILLED = "consistency, from data", "consistency, distilled"
FEW = (1, 4)
"""Calls of the model that the few-step samplers take."""


@dataclass(frozen=True)
class Budget:
    """How much of everything, for one toy.

    Attributes:
        width: of the networks, which have two blocks.
        pretraining: steps of the starting model.
        pairs: preferences, each between two samples of the starting model.
        alignment: steps of Diffusion-DPO, and of its literal form.
        denoising: steps of a consistency model as a denoiser.
        consistency: its steps on consistency.
        batch: items or pairs a step.
        samples: of every model that is measured.
        schedule: steps of the diffusion.
        beta: of Diffusion-DPO.
    """

    width: int = 96
    pretraining: int = 2000
    pairs: int = 2048
    alignment: int = 300
    denoising: int = 1000
    consistency: int = 600
    batch: int = 128
    samples: int = 1000
    schedule: int = 50
    beta: float = 500.0


@dataclass(frozen=True)
class Measured:
    """Samples of one model and what they are worth.

    Attributes:
        model: its name.
        calls: of the model, for one sample.
        items: `[N,...]`.
        rewards: of each.
        errors: distance of each from the nearest model of its condition.
    """

    model: str
    calls: int
    items: Tensor
    rewards: list[float]
    errors: list[float]


@dataclass(frozen=True)
class Outcome:
    """What one seed came to on one toy.

    Attributes:
        condition: of each sample.
        measured: every model's samples, by model and calls.
        noise_error: mean squared error of the noise that a model predicts in data, by model.
        accuracy: implicit accuracy on each held-out pair: the share of draws of step and noise with a margin above 0.
        literal_loss: the literal form's loss at its last step.
    """

    condition: Tensor
    measured: dict[tuple[str, int], Measured] = field(default_factory=dict)
    noise_error: dict[str, float] = field(default_factory=dict)
    accuracy: list[float] = field(default_factory=list)
    literal_loss: float = 0.0


def study(toy: Toy, budget: Budget, seed: int) -> Outcome:
    """Train and measure everything on one toy."""
    schedule, generator = linear_schedule(budget.schedule), torch.Generator().manual_seed(seed)
    start = _network(toy, budget, float(schedule.steps), seed)
    pretrain(start, toy.draw, schedule, generator=generator, steps=budget.pretraining, batch_size=budget.batch)
    train_pairs, held_out = _compared(toy, start, schedule, budget, generator)
    policy, literal = copy.deepcopy(start), copy.deepcopy(start)
    settings = {"generator": generator, "steps": budget.alignment, "batch_size": budget.batch}
    align(policy, train_pairs, schedule, beta=budget.beta, **settings)  # type: ignore[arg-type]
    history = align_literally(literal, train_pairs, schedule, **settings)  # type: ignore[arg-type]
    few = _consistency_models(toy, policy, schedule, budget, generator, seed)
    outcome = Outcome(toy.draw_conditions(budget.samples, generator), literal_loss=history.values["loss"][-1])
    outcome.accuracy.extend(implicit_accuracy(policy, start, schedule, held_out, budget.beta, generator))
    _measure(toy, outcome, schedule, {START: start, ALIGNED: policy, LITERAL: literal}, few, seed)
    for name, model in ((START, start), (ALIGNED, policy), (LITERAL, literal)):
        outcome.noise_error[name] = noise_error(model, toy, schedule, seed)
    return outcome


@torch.no_grad()
def implicit_accuracy(
    policy: nn.Module,
    reference: nn.Module,
    schedule: Schedule,
    pairs: Pairs,
    beta: float,
    generator: torch.Generator,
    draws: int = 8,
) -> list[float]:
    """For each pair, the share of draws of step and noise in which the policy ranks it right beside its reference."""
    right = torch.zeros(len(pairs))
    for _ in range(draws):
        t, noise = schedule.draw_steps(len(pairs), generator), torch.randn(pairs.chosen.shape, generator=generator)
        errors = [denoising_error(predicted_noise(m, schedule, pairs, t, noise), noise) for m in (policy, reference)]
        right += diffusion_dpo(errors[0], errors[1], beta=beta).metrics["accuracy"][0]
    return [float(share) for share in right / draws]


@torch.no_grad()
def noise_error(model: nn.Module, toy: Toy, schedule: Schedule, seed: int, count: int = 4096) -> float:
    """Mean squared error of the noise that a model predicts in data; every model is asked the same."""
    generator = torch.Generator().manual_seed(seed)
    items, condition = toy.draw(count, generator)
    t, noise = schedule.draw_steps(count, generator), torch.randn(items.shape, generator=generator)
    return float((model(schedule.noised(items, t, noise), t, condition) - noise).square().mean())


def _network(toy: Toy, budget: Budget, longest_time: float, seed: int) -> Denoiser:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Denoiser(toy.shape, len(toy.conditions), width=budget.width, depth=2, longest_time=longest_time)


def _compared(
    toy: Toy, model: Denoiser, schedule: Schedule, budget: Budget, generator: torch.Generator
) -> tuple[Pairs, Pairs]:
    """Preferences between samples of the starting model: to train on, and a quarter as many to test on."""
    condition = toy.draw_conditions(budget.pairs * 5 // 4, generator)
    first, second = (sample(model, schedule, condition, toy.shape, generator=generator) for _ in range(2))
    pairs = prefer(toy, first, second, condition)
    return pairs[: budget.pairs], pairs[budget.pairs :]


def _consistency_models(
    toy: Toy, policy: Denoiser, schedule: Schedule, budget: Budget, generator: torch.Generator, seed: int
) -> dict[str, ConsistencyModel]:
    """One trained on the data, to sample as the start does, and one distilled from the aligned model."""
    condition = toy.draw_conditions(budget.pairs, generator)
    items = sample(policy, schedule, condition, toy.shape, generator=generator)

    def drawn(count: int, chance: torch.Generator) -> tuple[Tensor, Tensor]:
        index = torch.randint(len(items), (count,), generator=chance)
        return items[index], condition[index]

    models = {}
    lessons = ((FROM_DATA, toy.draw, same_noise), (DISTILLED, drawn, ode_step(policy, schedule)))
    for name, draw, neighbour in lessons:
        network = _network(toy, budget, 4.0, seed)
        models[name] = ConsistencyModel(network, sigma_min=float(schedule.sigmas[0]), sigma_max=10.0)
        train_consistency(
            models[name],
            draw,
            neighbour,
            generator=generator,
            denoising_steps=budget.denoising,
            steps=budget.consistency,
            batch_size=budget.batch,
        )
    return models


def _measure(
    toy: Toy,
    outcome: Outcome,
    schedule: Schedule,
    many: dict[str, Denoiser],
    few: dict[str, ConsistencyModel],
    seed: int,
) -> None:
    """Samples of every model for the same conditions and from the same noise."""
    condition = outcome.condition

    def record(name: str, calls: int, items: Tensor) -> None:
        rewards, errors = toy.reward(items, condition).tolist(), toy.error(items, condition).tolist()
        outcome.measured[name, calls] = Measured(name, calls, items, rewards, errors)

    def chance() -> torch.Generator:
        return torch.Generator().manual_seed(seed + 1)

    for name, model in many.items():
        record(name, schedule.steps, sample(model, schedule, condition, toy.shape, generator=chance()))
    for calls in FEW:
        items = sample(many[ALIGNED], schedule, condition, toy.shape, generator=chance(), steps=calls, eta=0.0)
        record(ALIGNED, calls, items)
        for name, student in few.items():
            items = sample_consistency(student, condition, toy.shape, generator=chance(), steps=calls)
            record(name, calls, items)
