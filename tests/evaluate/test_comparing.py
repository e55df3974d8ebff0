"""Two and more measurements compared: pairing, verdicts, slices, what is missing, what may not be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from accord.errors import ConfigError, DataError
from accord.evaluate.comparing import compare_measurements, compare_models
from accord.evaluate.gate import Conditions, gate
from accord.evaluate.summary import summarise
from accord.record import Estimate
from accord.record.measurement import Axis, Item, Measurement

AXES = (
    Axis("helpful"),
    Axis("over-refusal", higher_is_better=False),
    Axis("words", higher_is_better=None, unit="words"),
)


def measurement(
    model: str,
    helpful: float,
    over_refusal: float,
    *,
    n: int = 200,
    task: str = "town",
    seed: int = 0,
    axes: Sequence[Axis] = AXES,
    **settings: Any,
) -> Measurement:
    """A model that is helpful, and refuses too much, on such shares of the items; a share nests in a greater one."""
    generator = np.random.default_rng(seed)
    draws = generator.random((n, 2))
    items = tuple(
        Item(
            str(number),
            {"helpful": float(one < helpful), "over-refusal": float(other < over_refusal), "words": 8.0 + number % 3},
            cluster=str(number),
            slices={"half": "first" if number < n // 2 else "second"},
            prompt=f"Question {number}?",
            answers=(f"{model} says {number}",),
        )
        for number, (one, other) in enumerate(draws)
    )
    estimates = {axis.name: estimate for axis in axes if (estimate := summarise(axis, items)) is not None}
    return Measurement(
        task, model, f"sha {model}", tuple(axes), estimates, items,
        controls={"constant": {"helpful": Estimate(0.5, 0.4, 0.6, n)}}, settings=settings,
    )  # fmt: skip


def test_better_with_its_examples_controls_and_counts() -> None:
    found = compare_measurements(measurement("old", 0.5, 0.2), measurement("new", 0.7, 0.2))
    (first, *others) = found.findings
    assert (found.before, found.after, found.verdict) == ("old", "new", "better")
    assert (first.comparison.axis, first.primary, first.verdict) == ("helpful", True, "better")
    assert first.controls["constant"].mean == 0.5
    assert [finding.verdict for finding in others] == ["not distinguishable", None]
    assert first.moved
    better, worse, same = first.moved
    assert (worse, better + same) == (0, 200)
    assert first.comparison.difference.mean == pytest.approx(better / 200)
    assert {example.gain for example in found.examples} == {1.0}
    assert found.examples[0].before[0].startswith("old says")


def test_worse_and_not_distinguishable() -> None:
    old = measurement("old", 0.6, 0.2)
    assert compare_measurements(old, measurement("new", 0.4, 0.2)).verdict == "worse"
    even = compare_measurements(old, measurement("new", 0.61, 0.2))
    assert even.verdict == "not distinguishable"
    detectable = even.primary[0].detectable
    assert detectable is not None
    assert 0.01 < detectable < 0.2


def test_a_gain_at_a_price_is_a_trade_off() -> None:
    found = compare_measurements(measurement("old", 0.5, 0.1), measurement("new", 0.7, 0.4))
    assert found.verdict == "trade-off"
    assert [finding.verdict for finding in found.findings[:2]] == ["better", "worse"]
    assert found.findings[1].gain.mean == pytest.approx(-found.findings[1].comparison.difference.mean)


def test_a_loss_beside_the_primary_axis_alone_is_no_trade_off() -> None:
    found = compare_measurements(measurement("old", 0.5, 0.1), measurement("new", 0.5, 0.4))
    assert found.verdict == "not distinguishable"
    assert found.findings[1].verdict == "worse"


def test_holm_over_primary_axes_of_several_tasks() -> None:
    """Two tasks: the adjusted p-values are Holm's, and the lesser one is doubled."""
    old = [measurement("old", 0.5, 0.2, task=task) for task in ("one", "two")]
    new = [measurement("new", 0.53, 0.2, task="one"), measurement("new", 0.58, 0.2, task="two")]
    found = compare_measurements(old, new)
    assert [finding.task for finding in found.primary] == ["one", "two"]
    low, high = sorted(found.primary, key=lambda finding: finding.p_value)
    assert low.adjusted == pytest.approx(min(1.0, 2 * low.p_value))
    assert high.adjusted == pytest.approx(max(low.adjusted, high.p_value))


def test_what_an_interval_shows_alone_holms_correction_can_take_back() -> None:
    """Five tasks, one with a p-value between 0.01 and 0.05."""
    old = [measurement("old", 0.5, 0.2, task=str(task)) for task in range(5)]
    new = [measurement("new", 0.5, 0.2, task=str(task)) for task in range(4)]
    new.append(measurement("new", 0.535, 0.2, task="4"))
    found = compare_measurements(old, new)
    last = next(finding for finding in found.primary if finding.task == "4")
    assert 0.01 < last.p_value < 0.05
    assert last.comparison.verdict == "better"
    assert last.verdict == found.verdict == "not distinguishable"


def test_primary_axes_by_name() -> None:
    old, new = measurement("old", 0.5, 0.1), measurement("new", 0.7, 0.4)
    found = compare_measurements(old, new, primary=["town/over-refusal"])
    assert [finding.comparison.axis for finding in found.primary] == ["over-refusal"]
    with pytest.raises(ConfigError, match=r"named 'honest'.*town/helpful, town/over-refusal"):
        compare_measurements(old, new, primary=["honest"])
    with pytest.raises(ConfigError, match="no axis with a direction is named 'words'"):
        compare_measurements(old, new, primary=["words"])


def test_slices_have_their_own_correction() -> None:
    old, new = measurement("old", 0.5, 0.2), measurement("new", 0.5, 0.2)
    items = tuple(
        replace(item, values={**item.values, "helpful": 1.0}) if item.slices["half"] == "first" else item
        for item in new.items
    )
    found = compare_measurements(old, replace(new, items=items)).findings[0]
    assert [(one.slice, one.value, one.verdict) for one in found.slices] == [
        ("half", "first", "better"),
        ("half", "second", "not distinguishable"),
    ]
    assert sum(one.comparison.difference.n for one in found.slices) == 200


def test_items_that_only_one_has_are_named() -> None:
    old, new = measurement("old", 0.5, 0.2), measurement("new", 0.7, 0.2)
    found = compare_measurements(replace(old, items=old.items[:150]), replace(new, items=new.items[3:]))
    (unpaired,) = found.unpaired
    assert unpaired.before == ("0", "1", "2")
    assert len(unpaired.after) == 50
    assert found.findings[0].comparison.difference.n == 147


def test_numbers_that_only_one_model_has_are_counted_and_bounded() -> None:
    """10 of 100 verdicts of the second model could not be read: worst all wrong, best all right."""
    old, new = measurement("old", 0.5, 0.2, n=100), measurement("new", 0.5, 0.2, n=100)
    items = tuple(
        replace(item, values={**item.values, "helpful": None}) if place < 10 else item
        for place, item in enumerate(new.items)
    )
    finding = compare_measurements(old, replace(new, items=items)).findings[0]
    assert finding.missing == 10
    assert finding.comparison.difference.n == 90
    assert finding.bounds is not None
    worst, best = finding.bounds
    right = sum(item.values["helpful"] or 0.0 for item in old.items[:10])
    assert worst.mean == pytest.approx(-right / 100)
    assert best.mean == pytest.approx((10 - right) / 100)
    assert worst.low < finding.comparison.difference.low


def test_settings_that_differ_are_named_unless_allowed() -> None:
    old = measurement("old", 0.5, 0.2, sampling={"temperature": 0.0, "max_tokens": 8}, judge="a", items="1")
    new = measurement("new", 0.5, 0.2, sampling={"temperature": 0.7, "max_tokens": 8}, judge="b", items="2")
    with pytest.raises(ConfigError) as caught:
        compare_measurements(old, new)
    assert "sampling.temperature is 0.0 and 0.7; judge is 'a' and 'b'" in str(caught.value)
    assert "--despite sampling.temperature judge" in str(caught.value)
    found = compare_measurements(old, new, despite=["sampling", "judge"])
    assert any("sampling.temperature differs (0.0 and 0.7)" in note for note in found.notes)
    assert any("joined by id and question" in note for note in found.notes)


def test_what_is_not_the_same_is_refused() -> None:
    old, new = measurement("old", 0.5, 0.2), measurement("new", 0.5, 0.2)
    with pytest.raises(ConfigError, match=r"no task was measured for all of them \(old: town; new: moon\)"):
        compare_measurements(old, measurement("new", 0.5, 0.2, task="moon"))
    with pytest.raises(ConfigError, match="axes of 'town' differ"):
        compare_measurements(old, measurement("new", 0.5, 0.2, axes=AXES[:2]))
    other = (replace(new.items[0], prompt="Another?"), *new.items[1:])
    with pytest.raises(DataError, match="item '0' of 'town' is another question"):
        compare_measurements(old, replace(new, items=other))
    with pytest.raises(DataError, match="'5' of 'town' occurs twice"):
        compare_measurements(replace(old, items=(*old.items, old.items[5])), new)
    elsewhere = tuple(replace(item, id=f"x{item.id}") for item in new.items)
    with pytest.raises(DataError, match="no item of 'town' was measured under both"):
        compare_measurements(old, replace(new, items=elsewhere))
    with pytest.raises(DataError, match="'town' was measured twice"):
        compare_measurements([old, old], new)
    with pytest.raises(ConfigError, match="two models at least"):
        compare_models({"old": [old]})


def test_several_models_stand_by_their_paired_differences() -> None:
    models = {name: [measurement(name, share, 0.2)] for name, share in (("a", 0.5), ("b", 0.7), ("c", 0.71))}
    found = compare_models(models)
    assert [(pair.before, pair.after, pair.verdict) for pair in found.pairs] == [
        ("a", "b", "better"),
        ("a", "c", "better"),
    ]
    helpful = found.standings[0]
    assert [(one.model, one.rank) for one in helpful.standings] == [("a", 3), ("b", 1), ("c", 1)]
    assert [one.rank for one in found.standings[2].standings] == [0, 0, 0]
    p_values = sorted(pair.primary[0].p_value for pair in found.pairs)
    assert sorted(pair.primary[0].adjusted for pair in found.pairs) == pytest.approx(
        [2 * p_values[0], max(2 * p_values[0], p_values[1])]
    )


def test_a_statistic_that_is_no_mean() -> None:
    axes = (Axis("ece", "ece", ("confidence", "right"), higher_is_better=False),)
    generator = np.random.default_rng(0)

    def sure(model: str, confidence: float) -> Measurement:
        items = tuple(
            Item(str(place), {"confidence": confidence, "right": float(draw < 0.6)}, str(place))
            for place, draw in enumerate(generator.random(150))
        )
        return Measurement("t", model, model, axes, {}, items)

    found = compare_measurements(sure("old", 0.95), sure("new", 0.6))
    assert found.verdict == "better"
    assert found.findings[0].moved == ()
    assert found.examples == ()


def test_the_gate_of_a_comparison() -> None:
    found = compare_measurements(measurement("old", 0.5, 0.1), measurement("new", 0.7, 0.4))
    result = gate(found, Conditions({"helpful": 0.0}, {"town/over-refusal": 0.05}))
    assert [(check.axis, check.outcome) for check in result.checks] == [
        ("helpful", "passed"),
        ("town/over-refusal", "failed"),
    ]
    with pytest.raises(ConfigError, match=r"'words' is no measured axis with a direction.*town/helpful"):
        gate(found, Conditions({"words": 0.0}, {}))
