"""Objectives that look beyond their batch: numbers carried from step to step, and quantiles of a whole step."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from accord.objectives import OBJECTIVES, signature_of

Tensors = dict[str, Tensor]
RandomBatch = Callable[..., Tensors]


def batch_of(name: str, random_batch: RandomBatch, **sizes: int) -> Tensors:
    return random_batch(signature_of(OBJECTIVES[name]).needs, **sizes)


def test_methods_with_a_memory_start_as_they_should(random_batch: RandomBatch) -> None:
    tensors = batch_of("beta_dpo", random_batch)
    plain = {key: tensors[key] for key in ("policy", "reference", "mask", "prefer")}
    torch.testing.assert_close(
        OBJECTIVES["beta_dpo"](**tensors, state={}, alpha=0.0).value(), OBJECTIVES["dpo"](**plain).value()
    )
    torch.testing.assert_close(
        OBJECTIVES["constrained_dpo"](**plain, state={}, multiplier=0.0).value(), OBJECTIVES["dpo"](**plain).value()
    )


def test_the_first_loss_of_a_classifier_is_log_two(random_batch: RandomBatch) -> None:
    tensors = batch_of("bco", random_batch)
    tensors["reference"] = tensors["policy"].detach().clone()
    terms = OBJECTIVES["bco"](**tensors, state={})
    assert terms.value().item() == pytest.approx(math.log(2.0))
    assert all(not values.any() for values, _ in terms.state.values())


def test_the_classifiers_threshold_lies_between_its_classes(random_batch: RandomBatch) -> None:
    """After many steps on the same batch, halfway between the mean rewards of the two classes."""
    tensors = batch_of("bco", random_batch)
    state: Tensors = {}
    for _ in range(400):
        terms = OBJECTIVES["bco"](**tensors, state=state)
        state = {key: (values * weight).sum() / weight.sum() for key, (values, weight) in terms.state.items()}
    reward = 0.1 * ((tensors["policy"].detach() - tensors["reference"]) * tensors["mask"]).sum(-1)
    good, bad = tensors["label"].clamp_min(0.0), -tensors["label"].clamp_max(0.0)
    halfway = 0.5 * ((reward * good).sum() / good.sum() + (reward * bad).sum() / bad.sum())
    torch.testing.assert_close(terms.metrics["threshold"][0][0, 0], halfway)


def test_a_multiplier_falls_to_zero_and_no_further_within_the_limit(random_batch: RandomBatch) -> None:
    tensors = batch_of("constrained_dpo", random_batch)
    tensors["reference"] = tensors["policy"].detach().clone()
    state: Tensors = {}
    seen = []
    for _ in range(4):
        terms = OBJECTIVES["constrained_dpo"](**tensors, state=state, kl_limit=0.5, dual_rate=1.0)
        seen.append(terms.metrics["multiplier"][0].max().item())
        state = {key: (values * weight).sum() / weight.sum() for key, (values, weight) in terms.state.items()}
    assert seen == pytest.approx([1.0, 0.5, 0.0, 0.0])


def test_beta_has_a_floor(random_batch: RandomBatch) -> None:
    tensors = batch_of("beta_dpo", random_batch)
    terms = OBJECTIVES["beta_dpo"](**tensors, state={"threshold": torch.tensor(1e3)}, least=0.02)
    assert set(terms.metrics["beta"][0].flatten().tolist()) == {0.02}


def test_transport_of_one_pair_is_dpo(
    random_batch: RandomBatch, pairs_of_the_step: Callable[[Tensors], Tensor]
) -> None:
    tensors = batch_of("dpo", random_batch, groups=1, responses=2)
    tensors["prefer"] = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]], dtype=torch.float64)
    transport = OBJECTIVES["aot"](**tensors, step_pairs=pairs_of_the_step(tensors), label_smoothing=0.2)
    torch.testing.assert_close(transport.value(), OBJECTIVES["dpo"](**tensors, label_smoothing=0.2).value())


def test_transport_compares_sorted_margins(
    random_batch: RandomBatch, pairs_of_the_step: Callable[[Tensors], Tensor]
) -> None:
    tensors = batch_of("dpo", random_batch, groups=8, responses=2)
    tensors["prefer"] = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]], dtype=torch.float64).expand(8, 2, 2)
    pairs = pairs_of_the_step(tensors)
    expected = torch.nn.functional.softplus(-0.1 * (pairs[:, 1].sort().values - pairs[:, 2].sort().values)).mean()
    torch.testing.assert_close(OBJECTIVES["aot"](**tensors, step_pairs=pairs).value(), expected)


def test_transport_is_blind_to_which_pair_gained(
    random_batch: RandomBatch, pairs_of_the_step: Callable[[Tensors], Tensor]
) -> None:
    """Two pairs that exchange their margins under the policy cost what they cost before."""
    tensors = batch_of("dpo", random_batch, groups=2, responses=2, tokens=1)
    tensors["prefer"] = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]], dtype=torch.float64).expand(2, 2, 2)
    values = []
    for order in ([0, 1], [1, 0]):
        moved = tensors | {"policy": tensors["policy"][order]}
        values.append(OBJECTIVES["aot"](**moved, step_pairs=pairs_of_the_step(moved)).value())
    torch.testing.assert_close(values[0], values[1])
