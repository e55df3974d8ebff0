"""How often an interval holds the truth: populations whose truth is known, drawn again and again.

A 95% interval is honest if it holds the truth in 95% of the draws; a share of trials has a standard error of its own,
:math:`\\sqrt{0.95 \\cdot 0.05 / T}`, which is 0.7 percentage points at a thousand trials.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.special import expit

from accord.evaluate.contests import Contest, Floats
from accord.evaluate.ratings import CENTRE, SCALE, bootstrap_ratings, sandwich_ratings
from accord.evaluate.statistics import mean_estimate, paired_difference, wilson
from accord.evaluate.summary import summarise
from accord.record import Estimate
from accord.record.measurement import Axis, Item
from accord.record.ratings import Ratings

Draw = Callable[[np.random.Generator], tuple[Estimate, float]]
"""One trial: an estimate from a fresh sample, and the truth."""


@dataclass(frozen=True)
class Coverage:
    """What the trials came to.

    Attributes:
        covered: share of the trials whose interval holds the truth.
        trials: how many; 0 if every outcome was counted instead.
        width: mean width of the intervals.
    """

    covered: float
    trials: int
    width: float


def simulate(draw: Draw, *, trials: int, seed: int = 0) -> Coverage:
    """The coverage of an interval over fresh samples."""
    generator = np.random.default_rng(seed)
    held, width = 0, 0.0
    for _ in range(trials):
        estimate, truth = draw(generator)
        held += estimate.low <= truth <= estimate.high
        width += (estimate.high - estimate.low) / trials
    return Coverage(held / trials, trials, width)


def exact_wilson(n: int, share: float) -> Coverage:
    """Wilson's interval over every outcome of n items."""
    chances = stats.binom.pmf(np.arange(n + 1), n, share)
    estimates = [wilson(successes, n) for successes in range(n + 1)]
    held = [one.low <= share <= one.high for one in estimates]
    width = float(chances @ np.asarray([one.high - one.low for one in estimates]))
    return Coverage(float(chances @ np.asarray(held)), 0, width)


def means(n: int, *, skewed: bool = False) -> Draw:
    """Student's t on normal numbers, or on those of an exponential distribution."""

    def draw(generator: np.random.Generator) -> tuple[Estimate, float]:
        numbers = generator.exponential(size=n) if skewed else generator.normal(1.0, 1.0, size=n)
        return mean_estimate(numbers), 1.0

    return draw


def clustered_shares(clusters: int, size: int, *, share: float, correlation: float, ignored: bool = False) -> Draw:
    """Right or wrong in clusters of about `size` items, whose own shares have a Beta distribution.

    Args:
        clusters: how many.
        size: mean of their sizes, which differ.
        share: the truth.
        correlation: of two items of a cluster.
        ignored: take the items for independent, to show what that does.
    """

    def draw(generator: np.random.Generator) -> tuple[Estimate, float]:
        labels = np.repeat(np.arange(clusters), 1 + generator.poisson(size - 1, clusters))
        spread = (1 - correlation) / max(correlation, 1e-9)
        own = (
            generator.beta(share * spread, (1 - share) * spread, clusters) if correlation else np.full(clusters, share)
        )
        right = (generator.random(len(labels)) < own[labels]).astype(np.float64)
        return mean_estimate(right, None if ignored else labels.tolist()), share

    return draw


def clustered_means(clusters: int, size: int, *, correlation: float, skewed: bool = False) -> Draw:
    """Numbers in clusters of about `size` items that share their cluster's luck; the truth is 0."""

    def draw(generator: np.random.Generator) -> tuple[Estimate, float]:
        labels = np.repeat(np.arange(clusters), 1 + generator.poisson(size - 1, clusters))
        luck = generator.exponential(size=clusters) - 1 if skewed else generator.normal(size=clusters)
        own = generator.normal(size=len(labels))
        numbers = np.sqrt(correlation) * luck[labels] + np.sqrt(1 - correlation) * own
        return mean_estimate(numbers, labels.tolist()), 0.0

    return draw


def paired_shares(clusters: int, size: int, *, better: float, worse: float, correlation: float = 0.0) -> Draw:
    """Two models, right or wrong on the same items; items of a cluster change alike with probability `correlation`."""

    def draw(generator: np.random.Generator) -> tuple[Estimate, float]:
        chances = (better, worse, 1 - better - worse)
        kinds = generator.choice(3, size=(clusters, size), p=chances)
        alike = generator.random((clusters, size)) < np.sqrt(correlation)
        kinds = np.where(alike, generator.choice(3, size=(clusters, 1), p=chances), kinds).ravel()
        labels = np.repeat(np.arange(clusters), size).tolist()
        estimate = paired_difference((kinds == 1).astype(float), (kinds == 0).astype(float), labels)
        return estimate, better - worse

    return draw


def calibration(n: int, *, overconfident: float) -> Draw:
    """The expected calibration error of a model that is right less often than it says, by so much."""
    axis = Axis("ece", "ece", ("confidence", "right"))

    def draw(generator: np.random.Generator) -> tuple[Estimate, float]:
        # Confidences in the middle of bins: the binned error is then the true one, whatever the items.
        confidence = generator.choice([0.55, 0.65, 0.75, 0.85, 0.95], size=n)
        right = (generator.random(n) < confidence - overconfident).astype(np.float64)
        return _summarised(axis, {"confidence": confidence, "right": right}), overconfident

    return draw


def length_controlled(n: int, *, quality: float, length: float) -> Draw:
    """The length-controlled win rate of a model of known quality, by a judge who pays for length."""
    axis = Axis("controlled", "length_controlled", ("preference", "difference", "difficulty"))

    def draw(generator: np.random.Generator) -> tuple[Estimate, float]:
        difference = generator.normal(-200.0, 300.0, size=n)
        chance = expit(quality + length * np.tanh(difference / difference.std(ddof=1)))
        preference = (generator.random(n) < chance).astype(np.float64)
        values = {"preference": preference, "difference": difference, "difficulty": np.zeros(n)}
        return _summarised(axis, values), float(expit(quality))

    return draw


def ratings(models: int, prompts: int, *, spread: float, method: str) -> Draw:
    """The best of several models whose strengths are known, from one contest a prompt of each two.

    Args:
        models: how many, their log-odds evenly from `spread` to minus `spread`.
        prompts: how many prompts each two meet on.
        spread: log-odds of the best against an average one.
        method: `"bootstrap"` or `"sandwich"`.
    """
    strengths = np.linspace(spread, -spread, models)
    rate: dict[str, Callable[[Sequence[Contest]], Ratings]] = {
        "bootstrap": lambda contests: bootstrap_ratings(contests, rounds=300),
        "sandwich": sandwich_ratings,
    }

    def draw(generator: np.random.Generator) -> tuple[Estimate, float]:
        contests = [
            Contest(str(one), str(other), float(generator.random() < expit(strengths[one] - strengths[other])), prompt)
            for prompt in range(prompts)
            for one in range(models)
            for other in range(one + 1, models)
        ]
        return rate[method](contests).of("0").rating, CENTRE + SCALE * spread

    return draw


def _summarised(axis: Axis, columns: dict[str, Floats]) -> Estimate:
    n = len(next(iter(columns.values())))
    items = [
        Item(str(place), {name: float(column[place]) for name, column in columns.items()}, str(place))
        for place in range(n)
    ]
    estimate = summarise(axis, items)
    assert estimate is not None
    return estimate
