"""The length-controlled win rate: golden numbers, what the fit must satisfy, and what lengths must not do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from accord.errors import DataError
from accord.evaluate.length_control import (
    Gamed,
    LengthFit,
    instruction_difficulty,
    length_controlled,
    length_controlled_win_rate,
    length_fit,
    lengths_overlap,
)
from accord.evaluate.soft_logistic import SoftLogistic
from accord.evaluate.statistics import Floats
from accord.evaluate.summary import STATISTICS, difference, summarise
from accord.evaluate.task import axis
from accord.record.measurement import Item

GOLDEN = {case["method"]: case for case in json.loads((Path(__file__).parents[1] / "golden.json").read_text())}


def judgements(
    n: int, *, quality: float, length: float, shift: float = 0.0, seed: int = 0
) -> tuple[Floats, Floats, Floats]:
    """Preferences, differences in length and difficulties of which the model is true."""
    generator = np.random.default_rng(seed)
    difference = generator.normal(shift, 300, n)
    difficulty = generator.normal(0, 1, n)
    logits = quality + length * np.tanh(difference / difference.std(ddof=1)) + 0.7 * difficulty
    return (generator.random(n) < expit(logits)).astype(np.float64), difference, difficulty


def test_golden_numbers() -> None:
    case = GOLDEN["eval.length_controlled_win_rate"]
    inputs, expected = case["inputs"], case["expected"]
    fit = LengthFit(inputs["theta_m_minus_b"], inputs["phi"], inputs["psi"])
    difficulty = np.array(inputs["gamma_x"])
    predicted = fit.predicted(np.tanh(inputs["std_len_diff"]), difficulty)
    assert predicted.mean() == pytest.approx(expected["raw_predicted"], abs=1e-12)
    assert fit.win_rate(difficulty) == pytest.approx(expected["length_controlled"], abs=1e-12)


@given(
    st.integers(0, 10_000),
    st.sampled_from([1e-3, 0.02, 0.3, 1.0, 100.0, 1e4]),
)
def test_the_fit_is_the_optimum(seed: int, strength: float) -> None:
    generator = np.random.default_rng(seed)
    features, target = generator.normal(size=(30, 3)), generator.random(30)
    weights = generator.integers(0, 3, size=(4, 30)).astype(np.float64)
    fitted = SoftLogistic(features, target).fit(weights, strength)
    for row, found in zip(weights, fitted, strict=True):
        slope = (row * (target - expit(features @ found))) @ features
        # Where a coefficient is not 0 the slope is the penalty's, with its sign; where it is, at most so steep.
        assert slope[found != 0] == pytest.approx(np.sign(found[found != 0]) / strength, abs=1e-6)
        assert np.all(np.abs(slope[found == 0]) <= 1 / strength + 1e-6)


def test_a_lead_in_length_alone_is_taken_away() -> None:
    preference, difference, difficulty = judgements(3000, quality=0.0, length=2.0, shift=300)
    assert preference.mean() > 0.65
    assert length_controlled_win_rate(preference, difference, difficulty) == pytest.approx(0.5, abs=0.03)
    fit = length_fit(preference, difference, difficulty)
    assert fit.length == pytest.approx(2.0, abs=0.25)
    assert fit.difficulty == pytest.approx(0.7, abs=0.15)


def test_the_win_rate_of_either_way_sums_to_one() -> None:
    difficulty = np.linspace(-2, 2, 50)
    one, other = LengthFit(0.8, 0.3, 1.1), LengthFit(-0.4, 1.0, 0.2)
    assert one.against(other, difficulty) + other.against(one, difficulty) == pytest.approx(1.0)
    baseline = LengthFit(0.0, 0.0)
    assert one.against(baseline, difficulty) == one.win_rate(difficulty)


def test_a_weight_of_two_is_a_row_twice() -> None:
    preference, difference, difficulty = judgements(60, quality=0.4, length=0.5)
    spread = difference / np.std(difference, ddof=1)  # fixed, so that both have the same unit of length
    weights = np.random.default_rng(1).integers(0, 3, 60)
    features = np.column_stack([np.tanh(spread), difficulty, np.ones(60)])
    weighted = SoftLogistic(features, preference).fit(weights[None, :].astype(np.float64), 1.0)
    rows = np.repeat(np.arange(60), weights)
    repeated = SoftLogistic(features[rows], preference[rows]).fit(np.ones((1, len(rows))), 1.0)
    assert weighted == pytest.approx(repeated, abs=1e-8)


def test_the_statistic_of_weights_begins_with_the_number_itself() -> None:
    preference, difference, difficulty = judgements(80, quality=0.5, length=0.5)
    weights = np.stack([np.ones(80), np.r_[np.zeros(40), np.ones(40)]])
    rates = length_controlled(weights, preference, difference, difficulty)
    assert rates[0] == length_controlled_win_rate(preference, difference, difficulty)
    assert rates[1] != rates[0]
    assert 0.5 < rates[0] < 0.75, "of few instructions the penalty takes nothing away"
    assert STATISTICS["length_controlled"] is length_controlled


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_model_that_always_wins_or_loses_has_a_finite_number(share: float) -> None:
    difference = np.random.default_rng(0).normal(size=40)
    rate = length_controlled_win_rate(np.full(40, share), difference)
    assert rate == pytest.approx(share, abs=0.01)


def test_equal_lengths_and_a_single_instruction_leave_the_win_rate() -> None:
    assert length_controlled_win_rate([1.0, 0.0, 1.0, 1.0] * 10, [0.0] * 40) == pytest.approx(0.75, abs=0.02)
    assert 0.5 < length_controlled_win_rate([0.8], [12.0]) < 1


def test_gamed_baselines_teach_what_length_is_worth() -> None:
    generator = np.random.default_rng(3)
    preference, difference = np.full(200, 0.6), generator.normal(-100, 5, 200)  # always longer by about as much
    longer = Gamed(np.full(200, 0.9), np.full(200, -400.0) + generator.normal(0, 5, 200))
    shorter = Gamed(np.full(200, 0.1), np.full(200, 400.0) + generator.normal(0, 5, 200))
    fit = length_fit(preference, difference, gamed=(longer, shorter))
    assert fit.length < -1, "less length, fewer wins: the sign of baseline minus model"
    assert fit.quality < 0, "at equal lengths it would lose"
    assert not lengths_overlap(difference)
    assert lengths_overlap(difference, (longer, shorter))
    with pytest.raises(DataError, match="quality cannot be told from length"):
        length_fit(preference, difference)
    with pytest.raises(DataError, match="gamed baselines"):
        length_controlled_win_rate(preference, difference)


def test_a_slice_without_overlap_is_not_controlled_and_stays_finite() -> None:
    preference, shorter_by = np.tile([1.0, 0.0, 1.0], 10), 66.0 + np.tile([0.0, 1.0, 2.0], 10)
    rate = length_controlled(np.ones((1, 30)), preference, shorter_by, np.zeros(30))
    assert rate[0] == pytest.approx(2 / 3, abs=0.01)


def test_difficulties_are_found_over_models() -> None:
    generator = np.random.default_rng(4)
    difficulty = generator.normal(0, 1, 150)
    difference = generator.normal(0, 200, (12, 150))
    quality = generator.normal(0, 1, 12)
    spread = difference.std(axis=1, ddof=1, keepdims=True)
    preference = expit(quality[:, None] + 0.6 * np.tanh(difference / spread) + difficulty)
    preference[0, :5] = np.nan
    found = instruction_difficulty(preference, difference)
    assert np.corrcoef(found, difficulty)[0, 1] > 0.99
    assert found.mean() == pytest.approx(0.0, abs=1e-9)
    with pytest.raises(DataError, match="two models or more"):
        instruction_difficulty(preference[:1], difference[:1])


def test_the_interval_is_that_of_refitting() -> None:
    columns = ("win_rate", "shorter_by", "difficulty")
    rows = zip(*judgements(120, quality=0.3, length=1.0), strict=True)
    items = [Item(str(k), dict(zip(columns, map(float, row), strict=True)), str(k)) for k, row in enumerate(rows)]
    estimate = summarise(axis("lc", statistic="length_controlled", columns=columns), items)
    assert estimate is not None
    assert estimate.low < estimate.mean < estimate.high
    assert 0.1 < estimate.high - estimate.low < 0.35


def test_two_models_are_compared_by_refitting_both_on_the_same_instructions() -> None:
    columns = ("win_rate", "shorter_by", "difficulty")

    def items(quality: float) -> list[Item]:
        rows = zip(*judgements(150, quality=quality, length=1.0, seed=2), strict=True)
        return [Item(str(k), dict(zip(columns, map(float, row), strict=True)), str(k)) for k, row in enumerate(rows)]

    lc = axis("lc", statistic="length_controlled", columns=columns)
    better, same = difference(lc, items(-0.5), items(1.0)), difference(lc, items(0.2), items(0.2))
    assert better is not None
    assert same is not None
    assert better.estimate.low > 0
    assert better.p_value < 0.01
    assert same.estimate.mean == 0
    assert -0.05 < same.estimate.low < 0 < same.estimate.high < 0.05
    assert same.p_value > 0.9


@pytest.mark.parametrize(
    ("preference", "difference"), [([], []), ([0.5], [1.0, 2.0]), ([1.5], [0.0]), ([float("nan")], [0.0])]
)
def test_columns_that_cannot_be_used_are_refused(preference: list[float], difference: list[float]) -> None:
    with pytest.raises(DataError):
        length_controlled_win_rate(preference, difference)
