"""Hand numbers, published numbers, properties and coverage of the intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from accord.errors import DataError, NumericsError
from accord.evaluate import (
    compare,
    holm,
    mean_estimate,
    minimum_detectable_effect,
    paired_difference,
    paired_p_value,
    wilson,
)
from accord.evaluate.statistics import UNBOUNDED

shares = st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=60)
numbers = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=60)
pairs = st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=60)


def test_win_rate_with_half_credit_for_ties() -> None:
    """golden.json, eval.win_rate: 45 wins, 10 ties, 25 losses."""
    estimate = mean_estimate([1.0] * 45 + [0.5] * 10 + [0.0] * 25)
    assert (estimate.mean, estimate.n) == (0.625, 80)
    assert estimate.low == pytest.approx(0.5154872546314301, abs=1e-6)
    assert estimate.high == pytest.approx(0.7230582129846882, abs=1e-6)


def test_wilson_stays_open_where_the_normal_interval_collapses() -> None:
    """EVALS.md, section A: 26 of 26 is [0.871, 1], 0 of 6 is not [0, 0]."""
    assert wilson(26, 26).low == pytest.approx(0.871, abs=5e-4)
    assert wilson(26, 26).high == 1.0
    assert wilson(0, 6).low == 0.0
    assert wilson(0, 6).high == pytest.approx(3.8414588 / (6 + 3.8414588), abs=1e-6)


@pytest.mark.parametrize(("successes", "n"), [(1, 0), (-1, 4), (5, 4), (0, 0)])
def test_wilson_refuses_what_is_not_a_share(successes: int, n: int) -> None:
    with pytest.raises(DataError, match="is not a share"):
        wilson(successes, n)


def test_t_interval_by_hand() -> None:
    """1..5: mean 3, s^2 = 2.5, SE = sqrt(0.5), t(4) = 2.776445."""
    estimate = mean_estimate([1, 2, 3, 4, 5])
    assert (estimate.mean, estimate.n) == (3.0, 5)
    assert estimate.high - 3 == pytest.approx(2.7764451 * math.sqrt(0.5), abs=1e-6)
    assert 3 - estimate.low == pytest.approx(2.7764451 * math.sqrt(0.5), abs=1e-6)


def test_clustered_error_by_hand() -> None:
    """Clusters {0, 1}, {2, 3}, {10}: mean 3.2, residual sums -5.4, -1.4, 6.8, so SE^2 = 3/2 * 77.36 / 25."""
    estimate = mean_estimate([0, 1, 2, 3, 10], clusters=["a", "a", "b", "b", "c"])
    half = stats.t.ppf(0.975, 2) * math.sqrt(1.5 * 77.36 / 25)
    assert estimate.high == pytest.approx(3.2 + half, abs=1e-9)


def test_clusters_of_one_item_change_nothing() -> None:
    values = [0.3, 1.7, 2.2, -1.0]
    assert mean_estimate(values, clusters=range(4)) == mean_estimate(values)
    assert mean_estimate([0, 1, 1, 0, 1], clusters="abcde") == mean_estimate([0, 1, 1, 0, 1])


def test_copies_of_an_item_are_worth_one_item() -> None:
    """Eight copies of each answer say no more than one: the interval is that of the clusters."""
    answers = [0, 1, 1, 1, 0, 1, 0, 1, 1, 1]
    copies = [answer for answer in answers for _ in range(8)]
    clustered = mean_estimate(copies, clusters=[index for index in range(10) for _ in range(8)])
    alone = mean_estimate(answers)
    assert clustered.mean == pytest.approx(alone.mean)
    # A little wider, since it is not known but estimated that they are copies: Student's t of ten clusters.
    assert alone.high - alone.low < clustered.high - clustered.low < 1.15 * (alone.high - alone.low)
    assert mean_estimate(copies).high - mean_estimate(copies).low < 0.5 * (clustered.high - clustered.low)


def test_constant_shares_in_clusters_count_clusters() -> None:
    estimate = mean_estimate([1.0] * 40, clusters=[index // 10 for index in range(40)])
    assert estimate.low == pytest.approx(wilson(4, 4).low)
    assert estimate.n == 40


def test_a_single_item() -> None:
    assert mean_estimate([1.0]).low == pytest.approx(1 / (1 + 3.8414588), abs=1e-6)
    assert mean_estimate([7.3]).low == -UNBOUNDED
    assert mean_estimate([7.3]).high == UNBOUNDED
    assert compare("words", [7.0], [9.0], unit="words").verdict == "not distinguishable"


def test_constant_values() -> None:
    assert mean_estimate([0.4] * 10).low == pytest.approx(wilson(4, 10).low)
    open_scale = mean_estimate([12.1, 12.1, 12.1])
    assert open_scale.low == open_scale.high == open_scale.mean


def test_paired_difference_of_an_open_scale_is_a_t_interval_on_the_differences() -> None:
    before, after = np.array([3.0, 8.0, 1.0, 4.0]), np.array([4.0, 8.5, 3.0, 3.5])
    expected = mean_estimate(after - before)
    assert paired_difference(before, after) == expected
    assert paired_p_value(before, after) == pytest.approx(stats.ttest_rel(after, before).pvalue)


def test_paired_shares_by_hand() -> None:
    """8 better, 2 worse of 20: p12 = 9/22, p21 = 3/22; SE^2 = (12/22 - (6/22)^2) / 21 with the sample factor."""
    before = [0.0] * 8 + [1.0] * 2 + [1.0] * 10
    after = [1.0] * 8 + [0.0] * 2 + [1.0] * 10
    estimate = paired_difference(before, after)
    half = stats.t.ppf(0.975, 21) * math.sqrt((12 / 22 - (6 / 22) ** 2) / 21)
    assert (estimate.mean, estimate.n) == (0.3, 20)
    assert estimate.low == pytest.approx(6 / 22 - half)
    assert estimate.high == pytest.approx(6 / 22 + half)


def test_five_wins_in_five_are_a_difference_and_four_are_not() -> None:
    assert compare("helpful", [0] * 4, [1] * 4).verdict == "not distinguishable"
    assert compare("helpful", [0] * 5, [1] * 5).verdict == "better"
    assert compare("refusal", [0] * 5, [1] * 5, higher_is_better=False).verdict == "worse"


def test_unchanged_shares_leave_room_for_rare_changes() -> None:
    few, many = paired_difference([1] * 10, [1] * 10), paired_difference([1] * 1000, [1] * 1000)
    assert few.mean == 0.0
    assert -0.3 < few.low < -0.2
    assert 0.2 < few.high < 0.3
    assert many.high < 0.003


def test_pairing_finds_what_separate_intervals_miss() -> None:
    generator = np.random.default_rng(0)
    difficulty = generator.normal(size=50)
    comparison = compare("score", difficulty, difficulty + 0.1 + generator.normal(scale=0.05, size=50), unit="points")
    assert comparison.before.high > comparison.after.low
    assert comparison.verdict == "better"


def test_clustered_pairs_need_more_evidence() -> None:
    before, after = [0] * 40, [1] * 30 + [0] * 10
    clusters = [index // 10 for index in range(40)]
    assert paired_difference(before, after).low > 0
    assert paired_difference(before, after, clusters).low < 0


def test_comparison_carries_stages_and_direction() -> None:
    comparison = compare(
        "words", [10, 12, 9], [20, 21, 25], higher_is_better=None, unit="words", stages={"sft": [11, 12, 13]}
    )
    assert comparison.verdict is None
    assert comparison.stages["sft"].mean == 12
    assert comparison.difference.mean == pytest.approx(35 / 3)


def test_intervals_of_shares_stay_between_0_and_1() -> None:
    before = [0.99, 0.98, 0.6, 1.0]
    assert mean_estimate(before).high > 1
    assert compare("gold", before, before).before.high == 1.0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_stop_with_the_item(value: float) -> None:
    with pytest.raises(NumericsError, match="item 2"):
        mean_estimate([0, 1, value])
    with pytest.raises(NumericsError, match=r"axis 'helpful'.*item 1"):
        compare("helpful", [0, 1], [1, value])


def test_items_that_cannot_be_paired() -> None:
    with pytest.raises(DataError, match="axis 'helpful': 2 items before and 3 after"):
        compare("helpful", [0, 1], [1, 1, 0])
    with pytest.raises(DataError, match="at least one item"):
        mean_estimate([])
    with pytest.raises(DataError, match="1 clusters for 2 items"):
        mean_estimate([1, 2], clusters=["a"])


def test_minimum_detectable_effect() -> None:
    """(1.959964 + 0.841621) * 0.5 / sqrt(100)."""
    assert minimum_detectable_effect(0.5, 100) == pytest.approx(0.14007925, abs=1e-7)
    assert minimum_detectable_effect(0.5, 400) == pytest.approx(0.14007925 / 2, abs=1e-7)
    with pytest.raises(DataError):
        minimum_detectable_effect(0.5, 0)


def test_holm_by_hand() -> None:
    """0.01 * 3 = 0.03; 0.03 * 2 = 0.06; 0.04 * 1 = 0.04, made monotone: 0.06."""
    adjusted = holm({"a": 0.04, "b": 0.01, "c": 0.03})
    assert list(adjusted) == ["a", "b", "c"]
    assert adjusted == pytest.approx({"a": 0.06, "b": 0.03, "c": 0.06})
    assert holm({}) == {}


@given(shares)
def test_interval_of_shares_holds_the_mean_and_mirrors(values: list[float]) -> None:
    estimate = mean_estimate(values)
    mirrored = mean_estimate([1 - value for value in values])
    assert 0 <= estimate.low <= estimate.mean <= estimate.high <= 1
    assert estimate.low < estimate.high
    assert mirrored.low == pytest.approx(1 - estimate.high)


@given(pairs)
def test_paired_shares_hold_the_mean_mirror_and_agree_with_the_test(items: list[tuple[float, float]]) -> None:
    before, after = [first for first, _ in items], [second for _, second in items]
    estimate, reverse = paired_difference(before, after), paired_difference(after, before)
    assert -1 <= estimate.low <= estimate.mean <= estimate.high <= 1
    assert estimate.low < estimate.high
    assert reverse.low == pytest.approx(-estimate.high)
    assert (paired_p_value(before, after) < 0.05) == (estimate.low > 0 or estimate.high < 0)


@given(numbers, st.randoms(use_true_random=False))
def test_order_of_items_does_not_matter(values: list[float], random: object) -> None:
    clusters = [index % 3 for index in range(len(values))]
    order = list(range(len(values)))
    random.shuffle(order)  # type: ignore[attr-defined]
    first = mean_estimate(values, clusters)
    second = mean_estimate([values[index] for index in order], [clusters[index] for index in order])
    assert second.mean == pytest.approx(first.mean, abs=1e-6)
    assert second.low == pytest.approx(first.low, rel=1e-6, abs=1e-3)


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), max_size=8))
def test_holm_lies_between_the_p_value_and_bonferroni(p_values: dict[str, float]) -> None:
    for axis, adjusted in holm(p_values).items():
        assert p_values[axis] <= adjusted <= min(1.0, p_values[axis] * len(p_values))


@pytest.mark.parametrize(("share", "n"), [(0.5, 30), (0.2, 50), (0.9, 100), (0.95, 250)])
def test_coverage_of_wilson(share: float, n: int) -> None:
    """Exact, over every outcome."""
    outcomes = stats.binom.pmf(np.arange(n + 1), n, share)
    covered = [wilson(k, n).low <= share <= wilson(k, n).high for k in range(n + 1)]
    assert 0.93 <= float(outcomes @ np.array(covered)) <= 0.97


@pytest.mark.parametrize(
    ("better", "worse", "n", "most"), [(0.3, 0.3, 25, 0.97), (0.4, 0.1, 25, 0.975), (0.02, 0, 20, 1)]
)
def test_coverage_of_paired_shares(better: float, worse: float, n: int, most: float) -> None:
    """Exact, over every outcome; where changes are rare the interval is wide, never short."""
    total = 0.0
    for gained in range(n + 1):
        for lost in range(n + 1 - gained):
            same = n - gained - lost
            chance = stats.multinomial.pmf([gained, lost, same], n, [better, worse, 1 - better - worse])
            if chance < 1e-12:
                continue
            estimate = paired_difference([0] * gained + [1] * (lost + same), [1] * gained + [0] * lost + [1] * same)
            total += chance * (estimate.low <= better - worse <= estimate.high)
    assert 0.93 <= total <= most


def test_coverage_of_clustered_differences() -> None:
    """Skewed items that share their cluster's luck; ignoring the clusters covers far less."""
    generator = np.random.default_rng(0)
    clusters = np.repeat(np.arange(30), 4)
    covered = ignored = 0
    trials = 1500
    for _ in range(trials):
        luck = generator.exponential(size=30)[clusters] - 1
        before = generator.normal(size=120)
        after = before + 0.2 + luck + 0.5 * generator.normal(size=120)
        estimate, naive = paired_difference(before, after, list(clusters)), paired_difference(before, after)
        covered += estimate.low <= 0.2 <= estimate.high
        ignored += naive.low <= 0.2 <= naive.high
    assert 0.92 <= covered / trials <= 0.97
    assert ignored / trials < 0.8
