"""The verdict in a sentence: what it says of better, worse, undecided, unevaluated and interrupted runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from accord.evaluate import compare
from accord.record import Comparison, Estimate, Evaluation
from accord.report import Run, read_run
from accord.report.verdict import headline, unit_of


def run_of(*comparisons: Comparison, judge: str = "the oracle") -> Run:
    evaluation = Evaluation(
        suite="a suite", comparisons=comparisons, primary=comparisons[0].axis, judge={"name": judge} if judge else {}
    )
    return Run(
        path=Path("run"),
        config={"objective": "dpo"},
        environment={"finished": "now"},
        doctor={},
        series={},
        samples=(),
        evaluation=evaluation,
        unreadable=(),
    )


def axis(name: str, low: float, high: float, *, higher: bool | None = True, unit: str = "share") -> Comparison:
    """An axis that went from 0.5 to 0.5 and the middle of the interval of its difference."""
    mean = (low + high) / 2
    return Comparison(
        axis=name,
        before=Estimate(0.5, 0.45, 0.55, 200),
        after=Estimate(0.5 + mean, 0.45 + mean, 0.55 + mean, 200),
        difference=Estimate(mean, low, high, 200),
        higher_is_better=higher,
        unit=unit,
    )


@pytest.mark.parametrize(
    ("low", "high", "higher", "kind", "sentence"),
    [
        (0.1, 0.3, True, "better", "Better: gold rose from 0.50 to 0.70, a difference of +0.20 (95% interval +0.10 to"),
        (0.1, 0.3, False, "worse", "Worse: gold rose from 0.50 to 0.70"),
        (-0.3, -0.1, True, "worse", "Worse: gold fell from 0.50 to 0.30, a difference of −0.20 (95% interval −0.30 to"),
        (-0.3, -0.1, False, "better", "Better: gold fell from 0.50 to 0.30"),
        (-0.1, 0.3, True, "not distinguishable", "Not distinguishable from the start: gold rose from 0.50 to 0.60"),
        (0.0, 0.2, True, "not distinguishable", "the interval includes zero."),
        (0.1, 0.3, None, "none", "this axis has no better or worse."),
    ],
)
def test_the_interval_of_the_paired_difference_decides(
    low: float, high: float, higher: bool | None, kind: str, sentence: str
) -> None:
    found = headline(run_of(axis("gold", low, high, higher=higher)))
    assert found.kind == kind
    assert sentence in found.sentence
    assert "over 200 paired items" in found.sentence


def test_an_undecided_verdict_says_what_these_items_could_have_shown() -> None:
    found = headline(run_of(axis("gold", -0.1, 0.1)))
    # Half width 0.1 of a 95% interval is 1.96 standard errors; 80% power needs 2.80 of them.
    assert any("a true difference of 0.143 or more would be found four times out of five" in text
               for text in found.details)  # fmt: skip


def test_one_item_on_an_open_scale_decides_nothing() -> None:
    found = headline(run_of(compare("length", [3.0], [9.0], unit="words")))
    assert found.kind == "not distinguishable"
    assert "One item cannot show a difference; measure more items." in found.details


def test_the_price_on_other_axes_is_part_of_the_headline() -> None:
    found = headline(run_of(axis("gold", 0.1, 0.3), axis("refusals", 0.05, 0.1, higher=False), axis("kind", 0.1, 0.2)))
    assert "But refusals got worse: +0.08 (95% interval +0.05 to +0.10)." in found.details
    assert "Also better: kind." in found.details


@pytest.mark.parametrize(
    ("judge", "sentence"),
    [
        ("the oracle", "Measured on a suite, judged by the oracle."),
        ("", "Measured on a suite; the evaluation does not name its judge."),
    ],
)
def test_the_judge_is_named_or_said_to_be_missing(judge: str, sentence: str) -> None:
    assert sentence in headline(run_of(axis("gold", 0.1, 0.3), judge=judge)).details


def test_a_run_without_evaluation_has_no_verdict() -> None:
    run = replace(run_of(axis("gold", 0.1, 0.3)), evaluation=None)
    assert headline(run).sentence == ("No verdict: the run holds no evaluation of the model before and after training.")
    broken = replace(run, unreadable=("evaluation.json is not an evaluation: x",))
    assert headline(broken).sentence == "No verdict: evaluation.json could not be read."


def test_an_interrupted_run_says_how_far_it_came(interrupted_run: Path) -> None:
    found = headline(read_run(interrupted_run))
    assert (found.kind, found.sentence) == (
        "none",
        "No verdict: the run has not finished; its last recorded step is 120.",
    )


@pytest.mark.parametrize(("gain", "kind"), [(1.0, "better"), (-0.6, "worse"), (0.0, "not distinguishable")])
def test_verdict_of_a_run_directory(make_run: Callable[..., Path], gain: float, kind: str) -> None:
    path = make_run(gain=gain)
    found = headline(read_run(path))
    assert found.kind == kind
    assert msgspec.json.decode((path / "evaluation.json").read_bytes(), type=Evaluation).verdict == kind


@pytest.mark.parametrize(
    ("name", "unit", "shown"),
    [
        ("gold", "share", ""),
        ("length", "words", " words"),
        ("words", "words", ""),
        ("Words since sft", "words", ""),
        ("crosswords", "words", " words"),
    ],
)
def test_a_unit_is_not_said_twice(name: str, unit: str, shown: str) -> None:
    assert unit_of(axis(name, 1, 2, unit=unit)) == shown
