"""Several values by learned weights, as a reward: written, read, and used wherever a reward is."""

from __future__ import annotations

from pathlib import Path

import pytest

from accord.errors import ConfigError, DataError
from accord.feedback.reward import Part
from accord.feedback.score import score
from accord.feedback.spec import parse_one
from accord.feedback.values import LearnedValues, Value, ValueReward, load_values, save_values, value_part
from accord.record import Estimate, Feedback, Group, Response

GROUP = Group(
    prompt="How do I wash a pot?",
    responses=(Response("Take a sponge and wash it slowly."), Response("No no no no no no.")),
    feedback=(Feedback("human", scores={"kind": (1.0, 3.0)}),),
)
WORDS = "length_penalty:alpha=1,role=penalty"


def exactly(mean: float) -> Estimate:
    return Estimate(mean, mean, mean, 10)


@pytest.fixture
def weights(tmp_path: Path) -> str:
    learned = LearnedValues(
        values=(
            Value("kind", "given:kind", exactly(0.5), 1.0, 0.0, 4.0),
            Value("words", WORDS, exactly(0.1), 1.0, 0.0, 10.0),
        ),
        kind="positive",
        choices=10,
        groups={"brisk": {"kind": exactly(0.0), "words": exactly(-2.0)}},
    )
    path = tmp_path / "weights.json"
    save_values(path, learned)
    assert load_values(path) == learned
    return str(path)


def test_the_value_is_the_weighted_sum(weights: str) -> None:
    part = parse_one(f"values:{weights}")
    assert part.name == "value"
    assert part.reward([GROUP]) == [pytest.approx((0.5 * 1 + 0.1 * 7, 0.5 * 3 + 0.1 * 6))]
    assert parse_one(f"values:{weights},group=brisk").reward([GROUP]) == [(-14.0, -12.0)]
    (scored,) = score([GROUP], [parse_one(f"values:{weights},weight=2,name=ours")])
    assert scored.scores("overall") == pytest.approx((2.4, 4.2))
    assert scored.scores("ours") == pytest.approx((1.2, 2.1))


@pytest.mark.parametrize(("how", "first"), [("worst", 0.25), ("chebyshev", -5 / 6 * 0.75), ("nash", -1.2147)])
def test_other_rules_weigh_values_from_0_to_1(weights: str, how: str, first: float) -> None:
    """kind is 1 of 4 and words 7 of 10, at shares of 5/6 and 1/6."""
    row = parse_one(f"values:{weights},how={how}").reward([GROUP])[0]
    assert row[0] == pytest.approx(first, abs=1e-4)


def test_a_missing_value_is_a_missing_sum(weights: str) -> None:
    bare = Group(prompt="Hi", responses=(Response("Hello."),))
    assert parse_one(f"values:{weights}").reward([bare, GROUP])[0] == (None,)


def test_mistakes_are_named(weights: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no annotator group is called 'warm'.*It has brisk"):
        parse_one(f"values:{weights},group=warm")
    with pytest.raises(ConfigError, match="how=worst needs weights of at least 0"):
        parse_one(f"values:{weights},group=brisk,how=worst")
    with pytest.raises(ConfigError, match="the file is missing"):
        parse_one("values:")
    with pytest.raises(DataError, match="accord values fit wrote"):
        parse_one(f"values:{tmp_path / 'no.json'}")
    (tmp_path / "other.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match="holds no weights"):
        parse_one(f"values:{tmp_path / 'other.json'}")
    with pytest.raises(ConfigError, match="role=cost is not weighed"):
        value_part("repetition:role=cost")
    with pytest.raises(ConfigError, match="no weight for repetition"):
        ValueReward([Part(parse_one("repetition").reward)], {})
