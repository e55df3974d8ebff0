"""What holds of Diffusion-DPO, the schedule, the samplers and the consistency function whatever the model."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from accord.diffusion.consistency import ConsistencyModel, ode_step, same_noise, sample_consistency
from accord.diffusion.denoiser import Denoiser
from accord.diffusion.objective import Pairs, denoising_error, diffusion_dpo, literal_difference, predicted_noise
from accord.diffusion.sample import sample
from accord.diffusion.schedule import Schedule, linear_schedule
from accord.diffusion.toys import drawings, leftness, prefer, rings
from accord.diffusion.train import align, frozen_copy
from accord.errors import AccordError

SCHEDULE = linear_schedule(50)


class Convolution(nn.Module):
    """Another noise predictor, of images with channels, conditioned on vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.spread, self.condition = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(5, 4)
        self.gather = nn.Conv2d(4, 1, 3, padding=1)

    def forward(self, items: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        shift = self.condition(condition) + t.float().unsqueeze(-1) / SCHEDULE.steps
        out: Tensor = self.gather(torch.tanh(self.spread(items) + shift[..., None, None]))
        return out


def image_pairs(count: int) -> Pairs:
    generator = torch.Generator().manual_seed(0)
    chosen, rejected = torch.randn(2, count, 1, 6, 6, generator=generator)
    return Pairs(chosen, rejected, torch.randn(count, 5, generator=generator))


def test_any_noise_predictor_starts_at_log_2_and_the_reference_gets_no_gradient() -> None:
    torch.manual_seed(0)
    policy, reference = Convolution(), Convolution()
    reference.load_state_dict(policy.state_dict())
    pairs, t, noise = image_pairs(4), torch.tensor([0, 10, 30, 49]), torch.randn(4, 1, 6, 6)

    def error(model: nn.Module) -> Tensor:
        return denoising_error(predicted_noise(model, SCHEDULE, pairs, t, noise), noise)

    terms = diffusion_dpo(error(policy), error(reference), beta=500.0)
    assert terms.value().item() == pytest.approx(math.log(2), abs=1e-6)
    terms.value().backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is None for p in reference.parameters())
    assert any(p.grad is not None and bool(p.grad.abs().max() > 0) for p in policy.parameters())


def test_both_items_of_a_pair_get_the_same_step_and_noise() -> None:
    seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def model(items: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        seen.append((items, t, condition))
        return items

    pairs, t, noise = image_pairs(3), torch.tensor([3, 20, 49]), torch.randn(3, 1, 6, 6)
    predicted = predicted_noise(model, SCHEDULE, pairs, t, noise)
    ((items, steps, condition),) = seen
    assert steps.tolist() == [3, 20, 49] * 2
    torch.testing.assert_close(condition[:3], condition[3:])
    alpha_bar = SCHEDULE.alpha_bar[t].view(-1, 1, 1, 1)
    for noised, clean in ((items[:3], pairs.chosen), (items[3:], pairs.rejected)):
        torch.testing.assert_close((noised - alpha_bar.sqrt() * clean) / (1 - alpha_bar).sqrt(), noise)
    torch.testing.assert_close(predicted[:, 1], items[3:])


@given(st.floats(-1e4, 1e4), st.sampled_from([torch.float32, torch.bfloat16]))
def test_extreme_errors_stay_finite(difference: float, dtype: torch.dtype) -> None:
    policy = torch.tensor([[difference, 0.0]], dtype=dtype, requires_grad=True)
    loss = diffusion_dpo(policy, torch.zeros(1, 2, dtype=dtype), beta=500.0).value()
    loss.backward()  # type: ignore[no-untyped-call]
    assert policy.grad is not None
    assert bool(loss.isfinite())
    assert bool(policy.grad.isfinite().all())


def test_gradient_is_that_of_the_equation() -> None:
    policy = torch.rand(3, 2, dtype=torch.float64, requires_grad=True)
    reference = torch.rand(3, 2, dtype=torch.float64)

    def loss(errors: Tensor) -> Tensor:
        return diffusion_dpo(errors, reference, beta=3.0).value()

    assert torch.autograd.gradcheck(loss, (policy,))


def test_exchanging_the_items_raises_the_loss_of_a_trained_pair() -> None:
    errors, reference = torch.tensor([[0.1, 0.4]]), torch.tensor([[0.2, 0.2]])
    right = diffusion_dpo(errors, reference, beta=10.0).value()
    assert right < math.log(2) < diffusion_dpo(errors.flip(1), reference, beta=10.0).value()


def test_the_literal_difference_has_no_bottom() -> None:
    predicted = torch.ones(1, 2, 3)
    values = [literal_difference(predicted * torch.tensor([1.0, scale]).view(1, 2, 1)).value() for scale in (1, 1e3)]
    assert values[0] == 0
    assert values[1] < -1e5


def test_a_model_that_differs_from_its_own_copy_is_stopped() -> None:
    toy = rings()
    model = nn.Sequential(Denoiser(toy.shape, 3), nn.Dropout(0.5))

    class Dropping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.drop = model[0], model[1]

        def forward(self, items: Tensor, t: Tensor, condition: Tensor) -> Tensor:
            dropped: Tensor = self.drop(self.inner(items, t, condition) + items)
            return dropped

    generator = torch.Generator().manual_seed(0)
    items, condition = toy.draw(8, generator)
    pairs = prefer(toy, items, items.flip(0), condition)
    with pytest.raises(AccordError, match="Switch dropout off"):
        align(Dropping(), pairs, SCHEDULE, generator=generator, steps=1)


def test_a_perfect_predictor_samples_the_item_itself() -> None:
    target = torch.tensor([[0.3, -0.4], [0.1, 0.2]])

    def perfect(items: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        alpha_bar = SCHEDULE.alpha_bar[t].unsqueeze(-1)
        return (items - alpha_bar.sqrt() * target) / (1 - alpha_bar).sqrt()

    for eta, steps in ((1.0, None), (0.0, 5), (0.0, 1)):
        generator = torch.Generator().manual_seed(0)
        condition = torch.zeros(2, dtype=torch.long)
        items = sample(perfect, SCHEDULE, condition, (2,), generator=generator, eta=eta, steps=steps)
        torch.testing.assert_close(items, target, atol=1e-3, rtol=0)


def test_steps_and_their_noise_invert() -> None:
    torch.testing.assert_close(SCHEDULE.step_of(SCHEDULE.sigmas), torch.arange(50.0), atol=1e-3, rtol=1e-4)
    assert SCHEDULE.step_of(torch.tensor([1e-9, 1e9])).tolist() == [0.0, 49.0]


@pytest.mark.parametrize("alpha_bar", [[0.5, 0.6], [1.0, 0.5], [0.5, 0.0]])
def test_a_schedule_must_fall(alpha_bar: list[float]) -> None:
    with pytest.raises(AccordError, match="must fall"):
        Schedule(torch.tensor(alpha_bar))


def test_a_consistency_model_is_the_identity_at_its_smallest_noise() -> None:
    torch.manual_seed(0)
    network = Denoiser((2,), 3)
    nn.init.normal_(network.leave.weight)
    model = ConsistencyModel(network, sigma_min=0.05, sigma_max=10.0)
    items, condition = torch.randn(4, 2), torch.zeros(4, dtype=torch.long)
    torch.testing.assert_close(model(items, torch.full((4,), 0.05), condition), items)
    assert sample_consistency(model, condition, (2,), generator=torch.Generator(), steps=3).shape == (4, 2)


def test_neighbours_of_a_perfect_teacher_have_the_same_noise() -> None:
    items, noise = torch.randn(2, 6, 2, generator=torch.Generator().manual_seed(0)).double().unbind()
    high, low = torch.full((6,), 3.0).double(), torch.full((6,), 2.0).double()

    def perfect(noised: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        return noise

    teacher = ode_step(perfect, SCHEDULE)
    condition = torch.zeros(6, dtype=torch.long)
    expected = same_noise(items, noise, high, low, condition)
    torch.testing.assert_close(teacher(items, noise, high, low, condition), expected)


def test_the_toys_know_their_truth() -> None:
    generator = torch.Generator().manual_seed(0)
    for toy in (rings(), drawings()):
        items, condition = toy.draw(64, generator)
        assert toy.error(items, condition).max() < 0.1
        assert toy.error(items, (condition + 1) % 3).min() > 0.1
        pairs = prefer(toy, items, items.flip(0), condition)
        assert bool((toy.reward(pairs.chosen, condition) >= toy.reward(pairs.rejected, condition)).all())
    image = torch.full((1, 8, 8), -0.6)
    assert leftness(image).item() == 0.5
    image[0, :, 0] = 0.6
    assert leftness(image).item() == pytest.approx(1.0)


def test_a_frozen_copy_does_not_learn() -> None:
    model = Denoiser((2,), 3)
    assert not any(p.requires_grad for p in frozen_copy(model).parameters())
    assert all(p.requires_grad for p in model.parameters())
