"""Bradley-Terry ratings: golden numbers, another implementation, properties, and models that defy the likelihood."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import choix
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import minimize

from accord.errors import ConfigError, DataError
from accord.evaluate.contests import Contest
from accord.evaluate.ratings import (
    SCALE,
    bootstrap_ratings,
    bradley_terry,
    elo,
    elo_update,
    ranks,
    sandwich_ratings,
)
from accord.evaluate.statistics import UNBOUNDED, wilson
from accord.record import Estimate

GOLDEN = {case["method"]: case for case in json.loads((Path(__file__).parents[1] / "golden.json").read_text())}


def contests_of(wins: list[list[int]]) -> list[Contest]:
    return [
        Contest(str(first), str(second), 1.0, (first, second, number))
        for first, row in enumerate(wins)
        for second, count in enumerate(row)
        for number in range(count)
    ]


def drawn(seed: int, *, models: int = 4, prompts: int = 30) -> list[Contest]:
    generator = np.random.default_rng(seed)
    return [
        Contest(f"m{first}", f"m{second}", float(generator.choice([0, 0.5, 1])), prompt)
        for prompt in range(prompts)
        for first in range(models)
        for second in range(first + 1, models)
    ]


def golden(method: str) -> dict[str, Any]:
    case: dict[str, Any] = GOLDEN[method]
    return case


def test_the_golden_maximum_of_the_likelihood() -> None:
    case = golden("eval.bradley_terry_mle")
    fitted = bradley_terry(contests_of(case["inputs"]["wins_matrix"]), prior=0)
    strengths = np.exp(list(fitted.models.values()))
    np.testing.assert_allclose(strengths / strengths.sum(), case["expected"]["strengths_sum1"], atol=1e-9)
    assert fitted.beats("0", "1") == pytest.approx(case["expected"]["p_0_beats_1"], abs=1e-9)


def test_the_golden_elo() -> None:
    case = golden("eval.elo")
    given_ = case["inputs"]
    after, other = elo_update(given_["Ra"], given_["Rb"], given_["score_a"], k=given_["K"])
    assert after == pytest.approx(case["expected"]["Ra_next"], abs=1e-9)
    assert after + other == given_["Ra"] + given_["Rb"]
    assert elo([Contest("a", "b", 1.0, 0)]) == {"a": 1002.0, "b": 998.0}


@pytest.mark.parametrize("seed", range(3))
def test_choix_finds_the_same(seed: int) -> None:
    generator = np.random.default_rng(seed)
    wins = generator.integers(1, 9, size=(5, 5)) * (1 - np.eye(5, dtype=int))
    data = [(i, j) for i in range(5) for j in range(5) for _ in range(wins[i, j])]
    theirs = choix.opt_pairwise(5, data, alpha=0.0, method="Newton-CG", tol=1e-10)
    ours = bradley_terry(contests_of(wins.tolist()), prior=0)
    np.testing.assert_allclose([ours.models[str(i)] for i in range(5)], theirs - theirs.mean(), atol=1e-6)


def test_the_arenas_formula_gives_the_same_ratings() -> None:
    """Chatbot Arena: maximise sum w [o log p + (1 - o) log(1 - p)], p = sigma(ln 10 (r_a - r_b)); 400 r + 1000."""
    contests = drawn(5, models=4, prompts=40)
    names = [f"m{number}" for number in range(4)]
    first = np.asarray([names.index(one.first) for one in contests])
    second = np.asarray([names.index(one.second) for one in contests])
    outcome = np.asarray([one.outcome for one in contests])

    def loss(r: np.ndarray) -> float:
        logit = math.log(10) * (r[first] - r[second])
        return float(np.sum(np.logaddexp(0, logit) - outcome * logit))

    found = minimize(loss, np.zeros(4), method="L-BFGS-B", options={"gtol": 1e-9, "ftol": 1e-15})
    theirs = 400 * (found.x - found.x.mean()) + 1000
    ours = bradley_terry(contests, prior=0).models
    np.testing.assert_allclose([1000 + SCALE * ours[name] for name in names], theirs, atol=0.01)


def test_the_sandwich_of_two_models_by_hand() -> None:
    """20 wins in 30 and one imagined contest: H = w p (1 - p), G the sum of the squared scores of the prompts."""
    contests = [Contest("a", "b", float(number < 20), number) for number in range(30)]
    rated = sandwich_ratings(contests)
    p = 20.5 / 31
    squares = 20 * (1 - p) ** 2 + 10 * p**2 + (0.5 * (1 - p)) ** 2 + (0.5 * p) ** 2
    error = math.sqrt(30 / 29 * squares) / (31 * p * (1 - p))
    half = stats.t.ppf(0.975, 29) * error * SCALE / 2  # each of the two lies half the difference from the middle
    best = rated.of("a").rating
    assert best.mean == pytest.approx(1000 + SCALE * math.log(20.5 / 10.5) / 2, abs=1e-6)
    assert best.high - best.mean == pytest.approx(half, rel=1e-6)


def test_a_prior_is_that_many_imagined_contests() -> None:
    """One of 26 without defeat: 26.5 wins to 0.5."""
    undefeated = [Contest("a", "b", 1.0, number) for number in range(26)]
    strengths = bradley_terry(undefeated).models
    assert strengths["a"] - strengths["b"] == pytest.approx(math.log(26.5 / 0.5), abs=1e-9)
    three = bradley_terry(undefeated, prior=3.0).models
    assert three["a"] - three["b"] == pytest.approx(math.log(27.5 / 1.5), abs=1e-9)


def test_an_undefeated_model_has_a_finite_rating_and_an_open_interval() -> None:
    """EVALS.md, section A: without regularisation it got 3467 and the others -234."""
    contests = [Contest("a", "b", 1.0, number) for number in range(26)]
    contests += [Contest("b", "c", float(number % 2), number) for number in range(26)]
    for rated in (bootstrap_ratings(contests, rounds=400), sandwich_ratings(contests)):
        best = rated.of("a")
        assert best.rank == 1
        assert 1400 < best.rating.mean < 1500
        assert best.rating.low > rated.of("b").rating.high
        # Not narrower than what 26 of 26 says by itself: Wilson's lower limit is 0.871.
        gap = (best.rating.low - rated.of("b").rating.mean) / SCALE
        assert gap < math.log(0.98 / 0.02)
    with pytest.raises(DataError, match="a never lost to another model"):
        bradley_terry(contests, prior=0)


def test_the_bootstrap_of_two_models_is_jeffreys_interval() -> None:
    contests = [Contest("a", "b", 1.0, number) for number in range(26)]
    rated = bootstrap_ratings(contests, rounds=4000)
    lowest = 1 / (1 + math.exp(-(rated.of("a").rating.low - rated.of("b").rating.high) / SCALE))
    assert lowest == pytest.approx(0.909, abs=0.01)  # the 2.5% quantile of Beta(26.5, 0.5)
    assert lowest > wilson(26, 26).low


def test_groups_that_never_met_are_named() -> None:
    contests = [Contest("a", "b", 1.0, 0), Contest("b", "c", 0.0, 1), Contest("x", "y", 0.5, 2)]
    with pytest.raises(DataError, match=r"never compared with each other: a, b, c \| x, y"):
        bradley_terry(contests)


@pytest.mark.parametrize(
    "broken",
    [Contest("a", "a", 1.0, 0), Contest("a", "b", 1.5, 0), Contest("a", "b", 1.0, 0, weight=0.0)],
)
def test_what_is_no_contest_is_refused(broken: Contest) -> None:
    with pytest.raises(DataError, match="is none"):
        bradley_terry([broken])


def test_ties_and_weights_count_as_they_should() -> None:
    """A tie is half a win for each; weight 2 is the contest twice."""
    tied = [Contest("a", "b", 0.5, 0), Contest("a", "b", 1.0, 1)]
    split = [Contest("a", "b", 1.0, 0, 0.5), Contest("a", "b", 0.0, 0, 0.5), Contest("a", "b", 1.0, 1)]
    twice = [*tied, *tied]
    heavy = [Contest("a", "b", one.outcome, one.cluster, 2.0) for one in tied]
    assert bradley_terry(tied).models == pytest.approx(bradley_terry(split).models)
    assert bradley_terry(twice).models == pytest.approx(bradley_terry(heavy).models)


def test_ranks_by_intervals() -> None:
    ends = [Estimate(3, 2, 4, 9), Estimate(2.5, 1.5, 3.5, 9), Estimate(0, -1, 1, 9), Estimate(-1, -2, 1.8, 9)]
    assert ranks(ends) == [1, 1, 3, 2]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_swapping_the_two_sides_changes_nothing(seed: int) -> None:
    contests = drawn(seed)
    swapped = [Contest(one.second, one.first, 1 - one.outcome, one.cluster) for one in contests]
    assert bradley_terry(contests).models == pytest.approx(bradley_terry(swapped).models, abs=1e-7)
    ours, theirs = sandwich_ratings(contests), sandwich_ratings(swapped)
    for rating in ours.models:
        assert theirs.of(rating.model).rating.low == pytest.approx(rating.rating.low, abs=1e-4)


def test_the_bootstrap_is_seeded_and_near_the_sandwich() -> None:
    contests = drawn(1, prompts=80)
    first, again = bootstrap_ratings(contests, seed=3), bootstrap_ratings(contests, seed=3)
    assert first == again
    assert first != bootstrap_ratings(contests, seed=4)
    for rating in sandwich_ratings(contests).models:
        other = first.of(rating.model).rating
        assert (other.high - other.low) == pytest.approx(rating.rating.high - rating.rating.low, rel=0.2)


def test_contests_of_one_prompt_are_worth_one() -> None:
    """Ten copies of each contest under one prompt leave the interval about as wide as one."""
    single = [Contest("a", "b", float(number % 3 > 0), number) for number in range(30)]
    copies = [one for one in single for _ in range(10)]
    alone, copied = (sandwich_ratings(given_).of("a").rating for given_ in (single, copies))
    assert copied.high - copied.low == pytest.approx(alone.high - alone.low, rel=0.1)


def test_one_prompt_gives_no_interval() -> None:
    contests = [Contest("a", "b", 1.0, "only")] * 5
    for rated in (bootstrap_ratings(contests, rounds=10), sandwich_ratings(contests)):
        assert (rated.of("a").rating.low, rated.of("a").rating.high) == (-UNBOUNDED, UNBOUNDED)
        assert [rating.rank for rating in rated.models] == [1, 1]


def test_style_control_takes_away_what_length_explains() -> None:
    """The longer answer wins 9 of 10; model a writes longer in 9 of 10 prompts, and is no better."""
    generator = np.random.default_rng(0)
    contests = []
    for prompt in range(600):
        longer = 1.0 if generator.random() < 0.8 else -1.0
        won = generator.random() < (0.8 if longer > 0 else 0.2)
        contests.append(Contest("a", "b", float(won), prompt, style=(longer,)))
    plain = sandwich_ratings([Contest("a", "b", one.outcome, one.cluster) for one in contests])
    controlled = sandwich_ratings(contests, style=["length"])
    assert plain.of("a").rating.low > plain.of("b").rating.high
    assert controlled.of("a").rank == controlled.of("b").rank == 1
    assert controlled.style["length"].low > 0
    assert controlled.style["length"].mean == pytest.approx(math.log(4), abs=0.3)


def test_intervals_want_a_prior_and_names_for_style() -> None:
    contests = drawn(0)
    with pytest.raises(ConfigError, match="prior above 0"):
        sandwich_ratings(contests, prior=0)
    with pytest.raises(ConfigError, match="at least one bootstrap round"):
        bootstrap_ratings(contests, rounds=0)
    with pytest.raises(ConfigError, match="1 names for 0 features"):
        sandwich_ratings(contests, style=["length"])
    with pytest.raises(DataError, match="no contest"):
        bradley_terry([])
