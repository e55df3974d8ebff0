"""Diffusion-DPO learns on points, the literal form destroys the model, a consistency model samples in one step."""

import copy
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from accord.diffusion.consistency import ConsistencyModel, same_noise, sample_consistency, train_consistency
from accord.diffusion.denoiser import Denoiser
from accord.diffusion.objective import Pairs
from accord.diffusion.sample import sample
from accord.diffusion.schedule import Schedule, linear_schedule
from accord.diffusion.toys import Toy, prefer, rings
from accord.diffusion.train import align, align_literally, pretrain


class Start(NamedTuple):
    toy: Toy
    schedule: Schedule
    model: Denoiser
    condition: Tensor
    samples: Tensor
    pairs: Pairs


@pytest.fixture(scope="module")
def start() -> Start:
    toy, schedule, generator = rings(), linear_schedule(50), torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Denoiser(toy.shape, 3, width=64, depth=2, longest_time=50)
    pretrain(model, toy.draw, schedule, generator=generator, steps=500, batch_size=128)
    condition = toy.draw_conditions(1024, generator)
    first, second = (sample(model, schedule, condition, toy.shape, generator=generator) for _ in range(2))
    return Start(toy, schedule, model, condition, first, prefer(toy, first, second, condition))


def reward(start: Start, items: Tensor) -> float:
    return start.toy.reward(items, start.condition).mean().item()


def drawn(start: Start, model: Denoiser) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return sample(model, start.schedule, start.condition, start.toy.shape, generator=generator)


def noise_error(start: Start, model: Denoiser) -> float:
    """Mean squared error of the predicted noise in data."""
    generator = torch.Generator().manual_seed(4)
    items, condition = start.toy.draw(2048, generator)
    t, noise = start.schedule.draw_steps(2048, generator), torch.randn(items.shape, generator=generator)
    with torch.no_grad():
        return float((model(start.schedule.noised(items, t, noise), t, condition) - noise).square().mean())


@pytest.mark.learning
def test_diffusion_dpo_raises_the_reward_and_keeps_the_model(start: Start) -> None:
    policy = copy.deepcopy(start.model)
    generator = torch.Generator().manual_seed(2)
    history = align(policy, start.pairs, start.schedule, generator=generator, beta=200.0, steps=150, batch_size=128)
    assert history.values["loss"][0] == pytest.approx(0.693147, abs=1e-5)
    assert sum(history.values["accuracy"][-20:]) / 20 > 0.8
    assert noise_error(start, policy) < 4 * noise_error(start, start.model)
    items = drawn(start, policy)
    assert reward(start, items) > reward(start, start.samples) + 0.2
    off = start.toy.error(start.samples, start.condition).mean()
    assert start.toy.error(items, start.condition).mean() < 1.5 * off


@pytest.mark.learning
def test_the_literal_form_destroys_the_model(start: Start) -> None:
    policy = copy.deepcopy(start.model)
    generator = torch.Generator().manual_seed(2)
    history = align_literally(
        policy, start.pairs, start.schedule, generator=generator, steps=200, batch_size=128, lr=1e-3
    )
    assert history.values["loss"][-1] < -1000
    assert noise_error(start, policy) > 1000 * noise_error(start, start.model)
    assert start.toy.error(drawn(start, policy), start.condition).mean() > 1.0


@pytest.mark.learning
def test_a_consistency_model_samples_in_one_step(start: Start) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Denoiser(start.toy.shape, 3, width=64, depth=2, longest_time=4)
    model = ConsistencyModel(network, sigma_min=float(start.schedule.sigmas[0]), sigma_max=10.0)
    generator = torch.Generator().manual_seed(3)
    train_consistency(
        model, start.toy.draw, same_noise, generator=generator, denoising_steps=300, steps=200, batch_size=128
    )
    items = sample_consistency(model, start.condition, start.toy.shape, generator=generator)
    assert start.toy.error(items, start.condition).mean() < 0.15
    assert reward(start, items) == pytest.approx(reward(start, start.samples), abs=0.15)
