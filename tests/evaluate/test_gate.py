"""The regression gate, and how many items a plan asks for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from accord.errors import ConfigError, DataError
from accord.evaluate import mean_estimate, minimum_detectable_effect, paired_difference, paired_p_value
from accord.evaluate.gate import Conditions, parse_conditions, read_conditions, regression_gate
from accord.evaluate.power import detectable, items_needed, spread
from accord.record import Estimate
from accord.record.measurement import Axis, Item

GOLDEN = {case["method"]: case for case in json.loads((Path(__file__).parents[1] / "golden.json").read_text())}


def known(value: float) -> Estimate:
    """A number without uncertainty."""
    return Estimate(value, value, value, 100)


def test_the_golden_gate() -> None:
    case = GOLDEN["practice.regression_gate"]
    before, after = case["inputs"]["before"], case["inputs"]["after"]
    gains = {axis: known(after[axis] - before[axis]) for axis in before}
    target, most = case["inputs"]["target"], case["inputs"]["max_drop"]
    conditions = Conditions({target: 0.0}, {axis: most for axis in before if axis != target})
    found = regression_gate(gains, conditions)
    assert found.accept is case["expected"]["accept"]
    assert found.worst_drop == pytest.approx(case["expected"]["worst_drop"], abs=1e-9)
    assert (found.checks[0].outcome == "passed") is case["expected"]["improved"]
    assert not regression_gate(gains, Conditions({target: 0.0}, {"harmless": 0.01})).accept


def test_what_failed_and_by_how_much() -> None:
    gains = {"helpful": Estimate(0.05, 0.01, 0.09, 200), "harmless": Estimate(-0.05, -0.07, -0.03, 200)}
    found = regression_gate(gains, Conditions({"helpful": 0.0}, {"harmless": 0.02}))
    assert [check.outcome for check in found.checks] == ["passed", "failed"]
    assert not found.accept
    assert found.checks[1].message == (
        "harmless lost 0.05 (95% interval of the gain -0.07 to -0.03): 0.03 more than the 0.02 that it may."
    )


def test_what_the_items_cannot_show_does_not_pass_and_says_what_would() -> None:
    gains = {"helpful": Estimate(0.02, -0.02, 0.06, 100), "harmless": Estimate(0.0, -0.04, 0.04, 100)}
    found = regression_gate(gains, Conditions({"helpful": 0.0}, {"harmless": 0.02}))
    assert [check.outcome for check in found.checks] == ["not shown", "not shown"]
    # Half width 0.04 is 1.96 standard errors; 2.8016 of them are found: 0.05718; (0.05718 / 0.02)^2 * 100.
    assert all("about 818 items" in check.message for check in found.checks)


def test_limits_of_a_gate() -> None:
    axis = {"x": known(-0.02)}
    assert regression_gate(axis, Conditions({}, {"x": 0.02})).accept
    assert not regression_gate({"x": known(0.0)}, Conditions({"x": 0.0}, {})).accept
    with pytest.raises(ConfigError, match="needs a condition"):
        regression_gate(axis, Conditions())
    with pytest.raises(ConfigError, match="0 or more"):
        regression_gate(axis, Conditions({}, {"x": -0.1}))


def test_conditions_from_flags_and_file(tmp_path: Path) -> None:
    assert parse_conditions(["hhh/helpful", "honest:0.01"], ["harmless:0.02"]) == Conditions(
        {"hhh/helpful": 0.0, "honest": 0.01}, {"harmless": 0.02}
    )
    with pytest.raises(ConfigError, match="has no margin"):
        parse_conditions([], ["harmless"])
    path = tmp_path / "gate.toml"
    path.write_text("[require]\nhelpful = 0\n[guard]\n'over-refusal' = 0.02\n")
    assert read_conditions(path) == Conditions({"helpful": 0.0}, {"over-refusal": 0.02})
    path.write_text("[gaurd]\nharmless = 0.02\n")
    with pytest.raises(ConfigError, match="is no gate"):
        read_conditions(path)
    with pytest.raises(ConfigError, match="is no gate"):
        read_conditions(tmp_path / "none.toml")


def test_items_needed_by_hand() -> None:
    """(1.959964 + 0.841621)^2 * (0.1 + 0.2 / 4 + 0.3 / 2) / 0.05^2 = 941.9"""
    assert items_needed(0.05, between=0.1, within=(0.2, 0.3), samples=(4, 2)) == 942
    assert items_needed(-0.05, between=0.1, within=(0.2, 0.3), samples=(4, 2)) == 942
    assert minimum_detectable_effect(0.3**0.5, 942) == pytest.approx(0.05, rel=1e-3)
    assert items_needed(0.05, between=0.1, tests=3) > items_needed(0.05, between=0.1)
    with pytest.raises(DataError, match="no number of items follows"):
        items_needed(0.0, between=0.1)


def test_a_detectable_difference_is_found_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    pilot = paired_difference(np.zeros(60), generator.normal(size=60))
    effect = detectable(pilot)
    assert effect is not None
    scale = (pilot.high - pilot.low) / 2 / 2.0009954 * 60**0.5  # Student's t with 59 degrees of freedom
    found = [paired_p_value(np.zeros(60), generator.normal(effect, scale, size=60)) < 0.05 for _ in range(1000)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.04)
    assert detectable(mean_estimate([7.3])) is None


def test_a_pilot_tells_items_from_repeated_answers() -> None:
    generator = np.random.default_rng(1)
    before: list[Item] = []
    after: list[Item] = []
    for number in range(400):
        shift = generator.normal(0.1, 0.5)
        for sample in range(3):
            ends = generator.normal(0, 1.0), generator.normal(shift, 2.0)
            for items, value in zip((before, after), ends, strict=True):
                items.append(Item(f"{number}-{sample}", {"score": value}, str(number)))
    found = spread(Axis("score"), before, after)
    assert (found.items, found.repeated) == (400, True)
    assert found.between == pytest.approx(0.25, abs=0.2)
    assert found.within == pytest.approx((1.0, 4.0), rel=0.15)
    assert found.variance(4) == pytest.approx(found.between + sum(found.within) / 4)
    single = spread(Axis("score"), before[::3], after[::3])
    assert (single.repeated, single.within) == (False, (0.0, 0.0))
    assert single.between == pytest.approx(0.25 + 5.0, rel=0.15)
    with pytest.raises(DataError, match="needs at least two"):
        spread(Axis("score"), before[:3], after[:3])
    with pytest.raises(DataError, match="is no mean"):
        spread(Axis("score", "perplexity"), before, after)
