"""Weights of values from choices: the golden number, coverage of the intervals, and what cannot be told."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from accord.errors import DataError, NumericsError
from accord.evaluate.bandit import ucb1
from accord.evaluate.choice_groups import compare_groups
from accord.evaluate.choices import (
    Choices,
    bootstrap_weights,
    choice_losses,
    fit_weights,
    percentile_estimates,
    shares_of,
    weight_estimates,
)
from accord.evaluate.identifiable import doubts, separated, variance_inflation
from accord.evaluate.statistics import UNBOUNDED, Floats

GOLDEN = {case["method"]: case for case in json.loads((Path(__file__).parents[1] / "golden.json").read_text())}
TRUTH = np.array([1.0, -0.5, 0.0])


def drawn(
    generator: np.random.Generator, weights: Floats, prompts: int, *, each: int = 1, shared: float = 0.0
) -> Choices:
    """Choices by Bradley-Terry; those of one prompt share a part of their values, and a disturbance of the weights."""
    clusters = np.repeat(np.arange(prompts), each)
    common = generator.normal(size=(prompts, len(weights)))[clusters]
    phi = generator.normal(size=(len(clusters), len(weights))) + common
    own = weights + shared * generator.normal(size=(prompts, len(weights)))[clusters]
    better = generator.random(len(phi)) < 1 / (1 + np.exp(-(phi * own).sum(1)))
    return Choices(np.where(better[:, None], phi, -phi), clusters=clusters)


def test_golden_loss() -> None:
    """`value_learning.bt_features`."""
    given, wanted = GOLDEN["value_learning.bt_features"]["inputs"], GOLDEN["value_learning.bt_features"]["expected"]
    difference = np.subtract(given["phi_w"], given["phi_l"])
    assert choice_losses(difference[None], np.array(given["w"]))[0] == pytest.approx(wanted["loss"], abs=1e-12)


def test_the_fit_is_the_least_of_its_loss() -> None:
    choices = drawn(np.random.default_rng(1), TRUTH, 200)

    def loss(weights: Floats) -> float:
        return float(choice_losses(choices.differences, weights).sum() + 0.35 * ((choices.scales * weights) ** 2).sum())

    fitted = fit_weights(choices, ridge=0.7)
    for step in np.concatenate([np.eye(3), -np.eye(3)]) * 0.01:
        assert loss(fitted + step) > loss(fitted)
        assert loss(fitted + step) - loss(fitted - step) == pytest.approx(0.0, abs=1e-3)


def test_doubtful_choices_count_by_their_weight() -> None:
    row = np.array([[1.0]])
    fitted = fit_weights(Choices(np.concatenate([row, -row]), np.array([0.8, 0.2])), ridge=0.0)
    assert fitted[0] == pytest.approx(math.log(4), abs=1e-5)


@pytest.mark.parametrize(("each", "shared"), [(1, 0.0), (4, 0.0), (4, 0.7)])
def test_intervals_cover_the_truth_over_clusters(each: int, shared: float) -> None:
    generator, runs = np.random.default_rng(2), 250
    # Weights that differ from prompt to prompt shrink their mean; a large sample says to what.
    truth = TRUTH if not shared else fit_weights(drawn(generator, TRUTH, 60_000, each=each, shared=shared), ridge=0.0)
    covered = np.zeros(3)
    for _ in range(runs):
        choices = drawn(generator, TRUTH, 120, each=each, shared=shared)
        found = weight_estimates(choices, fit_weights(choices))
        covered += [one.low <= true <= one.high for one, true in zip(found, truth, strict=True)]
    assert np.all(np.abs(covered / runs - 0.95) < 0.045), covered / runs


def test_bootstrap_and_sandwich_agree() -> None:
    choices = drawn(np.random.default_rng(3), TRUTH, 300, each=2)
    fitted = fit_weights(choices)
    sandwich = weight_estimates(choices, fitted)
    bootstrap = percentile_estimates(fitted, bootstrap_weights(choices, resamples=200), len(choices))
    for one, other in zip(sandwich, bootstrap, strict=True):
        assert (other.high - other.low) / (one.high - one.low) == pytest.approx(1.0, abs=0.2)


def test_positive_weights_and_shares() -> None:
    choices = drawn(np.random.default_rng(4), TRUTH, 300)
    fitted = fit_weights(choices, sign="positive")
    assert fitted[1] == 0.0
    assert shares_of(fitted).sum() == pytest.approx(1.0)
    assert shares_of(np.zeros(4)).tolist() == [0.25] * 4


def test_units_do_not_matter() -> None:
    choices = drawn(np.random.default_rng(5), TRUTH, 150)
    other = Choices(choices.differences * [1000.0, 0.01, 1.0], clusters=choices.clusters)
    scaled = fit_weights(other) * [1000.0, 0.01, 1.0]
    assert scaled == pytest.approx(fit_weights(choices), rel=1e-4, abs=1e-5)


def test_what_choices_cannot_tell_is_said() -> None:
    generator = np.random.default_rng(6)
    phi = generator.normal(size=(80, 2))
    twin = phi[:, :1] + 0.01 * generator.normal(size=(80, 1))
    named = Choices(np.hstack([phi, twin, np.zeros((80, 1))]))
    said = doubts(named, ("right", "kind", "kind too", "never"))
    assert "never is the same" in said[0]
    assert "right goes with the others, most with kind too" in said[1]
    assert variance_inflation(np.hstack([phi, phi[:, :1]]))[0] == np.inf
    last = weight_estimates(named, fit_weights(named))[-1]
    assert (last.mean, last.low, last.high) == (0.0, -UNBOUNDED, UNBOUNDED)


def test_separation_is_found_exactly() -> None:
    generator = np.random.default_rng(7)
    phi = generator.normal(size=(60, 2))
    noisy = Choices(phi)
    assert separated(noisy) == 0
    assert not doubts(noisy, ("a", "b"))
    certain = Choices(phi * np.sign(phi @ [1.0, 2.0])[:, None])
    assert separated(certain) >= 58
    assert "contradict none" in doubts(certain, ("a", "b"))[-1]
    rare = np.zeros((60, 1))
    rare[3] = 1.0  # a value that decided the one choice in which it differed
    assert separated(Choices(np.hstack([phi, rare]))) == 1
    assert np.isfinite(fit_weights(certain)).all()


def test_groups_are_told_apart_and_alike_ones_rarely() -> None:
    generator, alarms, runs = np.random.default_rng(8), 0, 150
    names = ("a", "b", "c")
    for _ in range(runs):
        alike = {name: drawn(generator, TRUTH, 100) for name in "xy"}
        alarms += compare_groups(alike, names).p_value < 0.05
    assert abs(alarms / runs - 0.05) < 0.055, alarms / runs
    other = {"x": drawn(generator, TRUTH, 300), "y": drawn(generator, np.array([1.0, -0.5, 1.0]), 300)}
    found = compare_groups(other, names)
    assert found.p_value < 0.001
    assert found.by_value["c"] < 0.001 < found.by_value["a"]
    difference = found.differences["x", "y"]["c"]
    assert difference.low < 1.0 < difference.high
    assert difference.low > 0


def test_groups_that_judge_the_same_prompts_are_not_two_samples() -> None:
    """The same choices twice: no difference and no variance of one, where independence would see both."""
    choices = drawn(np.random.default_rng(9), TRUTH, 100)
    found = compare_groups({"x": choices, "y": choices}, ("a", "b", "c"))
    assert found.p_value == 1.0
    assert found.differences["x", "y"]["a"].mean == 0.0


def test_golden_bounds_of_methods() -> None:
    """`adaptive.ucb1_method_selection`."""
    case = GOLDEN["adaptive.ucb1_method_selection"]
    bounds = ucb1(case["inputs"]["mean_score"], case["inputs"]["pulls"])
    assert bounds == pytest.approx(case["expected"]["ucb"], abs=1e-12)
    assert bounds.index(max(bounds)) == case["expected"]["chosen"]
    assert ucb1([0.9, 0.0], [3, 0])[1] == math.inf


def test_mistakes_are_named() -> None:
    with pytest.raises(DataError, match="no choice"):
        Choices(np.zeros((0, 2)))
    with pytest.raises(NumericsError, match="choice 1 "):
        Choices(np.array([[0.0], [np.nan]]))
    with pytest.raises(DataError, match="1 groups"):
        compare_groups({"x": Choices(np.ones((3, 1)))}, ("a",))
    with pytest.raises(DataError, match="no arms"):
        ucb1([], [])
