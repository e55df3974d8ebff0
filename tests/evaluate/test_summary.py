"""Statistics that are no mean: hand numbers, the bootstrap's intervals and their coverage, paired differences."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from accord.errors import ConfigError
from accord.evaluate import bootstrap
from accord.evaluate.bootstrap import Bootstrap, interval_of_gaps
from accord.evaluate.statistics import UNBOUNDED, Floats
from accord.evaluate.summary import difference, summarise
from accord.evaluate.weighted import area_under_risk, calibration_gaps, perplexity, selective_accuracy
from accord.record.measurement import Axis, Item

GOLDEN = {case["method"]: case for case in json.loads((Path(__file__).parents[1] / "golden.json").read_text())}
ONES = np.ones((1, 4))


def items_of(*, of: Sequence[int] | None = None, **columns: Sequence[float | None]) -> list[Item]:
    rows = list(zip(*columns.values(), strict=True))
    return [
        Item(str(place), dict(zip(columns, row, strict=True)), str(place if of is None else of[place]))
        for place, row in enumerate(rows)
    ]


PERPLEXITY = Axis("perplexity", "perplexity", ("loss", "tokens"), higher_is_better=False, unit="tokens")
ECE = Axis("ece", "ece", ("confidence", "right"), higher_is_better=False)


def test_perplexity_weighs_tokens() -> None:
    case = GOLDEN["sft.perplexity"]
    losses = case["inputs"]["token_nll"]
    found = summarise(PERPLEXITY, items_of(loss=[sum(one) for one in losses], tokens=[len(one) for one in losses]))
    assert found is not None
    assert found.mean == pytest.approx(case["expected"]["ppl"], rel=1e-6)


def test_calibration_error_by_hand() -> None:
    """Bins of width 0.1: {0.62, 0.68} with one right, {0.9} right: (|1 - 1.3| + |1 - 0.9|) / 3."""
    found = summarise(ECE, items_of(confidence=[0.62, 0.68, 0.9], right=[1.0, 0.0, 1.0]))
    assert found is not None
    assert found.mean == pytest.approx((0.3 + 0.1) / 3)


def test_golden_calibration_error_with_its_bins() -> None:
    """golden.json's two bins over 0.5 to 1 hold one bin of tenths each here but for 0.55: the gaps are then joined."""
    case = GOLDEN["eval.ece"]["inputs"]
    confidence, right = np.asarray(case["confidence"]), np.asarray(case["correct"], dtype=float)
    gaps = calibration_gaps(ONES, confidence, right)[0]
    joined = abs(gaps[5:7].sum()) + abs(gaps[7:].sum())
    assert joined == pytest.approx(GOLDEN["eval.ece"]["expected"]["ece"], rel=1e-6)


def test_area_under_risk_by_hand() -> None:
    """Risks after 1, 2, 3, 4 answers: 0, 1/2, 1/3, 1/2. Two that are equally sure are answered together."""
    right = np.asarray([1.0, 0.0, 1.0, 0.0])
    distinct = area_under_risk(ONES, np.asarray([0.9, 0.8, 0.7, 0.6]), right)
    tied = area_under_risk(ONES, np.asarray([0.9, 0.8, 0.8, 0.6]), right)
    assert distinct[0] == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    assert tied[0] == pytest.approx((0 + 2 * 1 / 3 + 1 / 2) / 4)


def test_selective_accuracy_by_hand() -> None:
    confidence, right = np.asarray([0.9, 0.8, 0.7, 0.6]), np.asarray([1.0, 1.0, 0.0, 0.0])
    assert selective_accuracy(ONES, confidence, right, coverage=0.5)[0] == 1.0
    assert selective_accuracy(ONES, confidence, right, coverage=0.75)[0] == pytest.approx(2 / 3)
    tied = np.asarray([0.9, 0.8, 0.8, 0.8])
    assert selective_accuracy(ONES, tied, right, coverage=0.5)[0] == pytest.approx((1 + 1 / 3) / 2)


@pytest.mark.parametrize("statistic", [area_under_risk, perplexity, calibration_gaps])
def test_a_weight_of_two_is_the_item_twice(statistic: Callable[..., Floats]) -> None:
    first, second = np.asarray([0.9, 0.3, 0.6]), np.asarray([1.0, 1.0, 2.0])
    weighted = statistic(np.asarray([[2.0, 1.0, 0.0]]), first, second)
    repeated = statistic(np.ones((1, 3)), first[[0, 0, 1]], second[[0, 0, 1]])
    assert weighted == pytest.approx(repeated)


def test_items_without_all_columns_are_left_out() -> None:
    items = items_of(loss=[1.0, None, 4.0], tokens=[1.0, 5.0, 1.0])
    found = summarise(PERPLEXITY, items)
    assert found is not None
    assert found.n == 2
    assert found.mean == pytest.approx(math.exp(2.5))
    assert summarise(PERPLEXITY, items[1:2]) is None


def test_intervals_are_the_same_every_time_and_wider_for_clusters() -> None:
    rng = np.random.default_rng(0)
    effect = np.repeat(rng.normal(3, 0.5, 20), 5)
    loss, tokens = (100 * effect).tolist(), [100.0] * 100
    plain, again = (summarise(PERPLEXITY, items_of(loss=loss, tokens=tokens)) for _ in range(2))
    of = [place // 5 for place in range(100)]
    clustered = summarise(PERPLEXITY, items_of(of=of, loss=loss, tokens=tokens))
    assert plain is not None
    assert clustered is not None
    assert plain == again
    assert clustered.high - clustered.low > 1.5 * (plain.high - plain.low)


def test_one_cluster_says_nothing_of_its_spread() -> None:
    found = summarise(PERPLEXITY, items_of(of=[0, 0], loss=[1.0, 2.0], tokens=[1.0, 1.0]))
    assert found is not None
    assert (found.low, found.high) == (-UNBOUNDED, UNBOUNDED)


def test_a_share_without_spread_stays_open() -> None:
    axis = Axis("score", "stratified", ("right", "stratum", "weight"))
    never, always = (
        items_of(right=[value] * 4, stratum=[0.0, 0.0, 1.0, 1.0], weight=[1.0] * 4) for value in (0.0, 1.0)
    )
    found = summarise(axis, never)
    assert found is not None
    assert found.low == 0.0
    assert found.high == pytest.approx(0.4899, abs=1e-4)
    changed, same = difference(axis, never, always), difference(axis, never, never)
    assert changed is not None
    assert same is not None
    assert changed.estimate.mean == 1.0
    assert same.p_value == 1.0
    assert same.estimate.low < 0 < same.estimate.high


def test_differences_are_paired_by_id() -> None:
    """The documents differ a thousand times more than the models: only the pairing can find the change."""
    rng = np.random.default_rng(1)
    loss = rng.normal(300, 100, 40)
    before = items_of(loss=loss.tolist(), tokens=[100.0] * 40)
    after = items_of(loss=(loss - rng.normal(1.0, 0.3, 40)).tolist(), tokens=[100.0] * 40)[::-1]
    found = difference(PERPLEXITY, before, after)
    own = summarise(PERPLEXITY, before)
    assert found is not None
    assert own is not None
    assert found.estimate.high < 0
    assert found.p_value < 1e-4
    assert own.high - own.low > 20 * (found.estimate.high - found.estimate.low)
    assert difference(PERPLEXITY, before[:3], after[:3]) is None


def test_the_p_value_and_the_interval_agree() -> None:
    rng = np.random.default_rng(2)
    for shift in np.linspace(-0.6, 0.6, 9):
        loss = rng.normal(3, 1, 30)
        before = items_of(loss=loss.tolist(), tokens=[1.0] * 30)
        after = items_of(loss=(loss + rng.normal(shift, 1, 30)).tolist(), tokens=[1.0] * 30)
        found = difference(PERPLEXITY, before, after)
        assert found is not None
        excludes = not found.estimate.low <= 0 <= found.estimate.high
        assert excludes == (found.p_value < 0.05) or abs(found.p_value - 0.05) < 0.005


def test_a_statistic_that_does_not_exist_is_named() -> None:
    with pytest.raises(ConfigError, match="axis 'x': no statistic is named 'median'"):
        summarise(Axis("x", "median"), items_of(x=[1.0]))


TRIALS = 200


@pytest.fixture
def fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "RESAMPLES", 500)


@pytest.mark.usefixtures("fewer_resamples")
def test_coverage_of_a_ratio() -> None:
    """30 texts of very different lengths: 95% intervals hold the truth 95% of the time, up to 3 standard errors."""
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(TRIALS):
        tokens = rng.integers(20, 400, 30).astype(float)
        loss = tokens * rng.normal(3, 0.5, 30)
        value = float(perplexity(np.ones((1, 30)), loss, tokens)[0])
        drawn = Bootstrap.of(lambda w, a=loss, b=tokens: perplexity(w, a, b), value, range(30))  # type: ignore[misc]
        low, high = drawn.interval()
        held += low <= math.exp(3) <= high
    assert held / TRIALS == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / TRIALS))


@pytest.mark.usefixtures("fewer_resamples")
@pytest.mark.parametrize("excess", [0.0, 0.15])
def test_coverage_of_a_calibration_error(excess: float) -> None:
    """Of a calibrated model the interval reaches 0, though its calibration error on 100 answers never is 0."""
    rng = np.random.default_rng(4)
    held = 0
    for _ in range(TRIALS):
        confidence = rng.uniform(0.35, 0.95, 100)
        right = (rng.random(100) < confidence - excess).astype(float)
        low, high = interval_of_gaps(lambda w, a=confidence, b=right: calibration_gaps(w, a, b), range(100))  # type: ignore[misc]
        held += low <= excess <= high
    assert held / TRIALS >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / TRIALS)


@pytest.mark.usefixtures("fewer_resamples")
def test_calibration_errors_that_are_truly_equal_are_seldom_told_apart() -> None:
    """Two models that are as much too sure as one another, 100 answers each: at most one pair in twenty."""
    rng = np.random.default_rng(5)
    told = 0
    for _ in range(TRIALS):
        first, second = (rng.uniform(0.35, 0.95, 100) for _ in range(2))
        right = [(rng.random(100) < confidence - 0.15).astype(float) for confidence in (first, second)]
        before = items_of(confidence=first.tolist(), right=right[0].tolist())
        found = difference(ECE, before, items_of(confidence=second.tolist(), right=right[1].tolist()))
        assert found is not None
        told += found.p_value < 0.05
    assert told / TRIALS <= 0.05
