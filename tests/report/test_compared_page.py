"""The page of a comparison: what it says, hostile text, and how it looks in a real browser."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from msgspec.structs import replace
from rich.console import Console

from accord.evaluate.statistics import UNBOUNDED
from accord.record import Comparison, Estimate
from accord.record.compared import (
    AxisStandings,
    Example,
    Finding,
    Gate,
    GateCheck,
    ModelsComparison,
    Outcome,
    PairComparison,
    SliceFinding,
    Standing,
    Unpaired,
)
from accord.record.ratings import Rating, Ratings
from accord.report.compared import print_comparison, write_comparison
from accord.report.compared_verdict import pair_headline
from accord.report.compared_view import view_comparison

HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(1)> \u202egnp.exe \x1b[2J [bold]b[/] {{ 7 * 7 }}'


def comparison(axis: str, before: float, after: float, half: float, *, higher: bool | None = True) -> Comparison:
    gain = after - before
    return Comparison(
        axis,
        Estimate(before, before - 0.05, before + 0.05, 200),
        Estimate(after, after - 0.05, after + 0.05, 200),
        Estimate(gain, gain - half, gain + half, 200),
        higher_is_better=higher,
        description="What it means.",
    )


def finding(
    axis: str, before: float, after: float, half: float = 0.04, *, higher: bool | None = True, primary: bool = False
) -> Finding:
    found = comparison(axis, before, after, half, higher=higher)
    part = comparison("part", before, after, 2 * half, higher=higher)
    return Finding(
        task="town",
        comparison=found,
        p_value=0.01,
        primary=primary,
        adjusted=0.02,
        verdict=found.verdict,
        detectable=0.031,
        moved=(30, 10, 160),
        controls={"constant": Estimate(0.3, 0.25, 0.35, 200)},
        slices=tuple(SliceFinding("category", name, part, 0.2, part.verdict) for name in ("writing", "cooking")),
    )


def pair(after: str, verdict: Outcome, *findings: Finding) -> PairComparison:
    examples = tuple(
        Example("town", "helpful", f"q{number}", gain, "How do I wash it?", ("With sand.",), ("With a sponge.",),
                {"helpful": 0.0}, {"helpful": 1.0})
        for number, gain in enumerate((1.0, 1.0, -1.0))
    )  # fmt: skip
    return PairComparison(
        "base", after, findings, verdict, examples, (Unpaired("town", ("q7", "q8"), ()),), ("town: files differ.",)
    )


def compared(*pairs: PairComparison, text: str = "") -> ModelsComparison:
    models = ("base", *(one.after for one in pairs))
    ratings = Ratings(
        tuple(
            Rating(name, Estimate(1000 - 50 * place, 900, 1100, 60), 1, 3.5, 7.0) for place, name in enumerate(models)
        ),
        60,
        "bootstrap by prompt",
        {"words": Estimate(0.4, 0.2, 0.6, 60)},
    )
    standings = AxisStandings(
        "town", "helpful", "share", True, tuple(Standing(name, Estimate(0.5, 0.4, 0.6, 9), 1) for name in models)
    )
    check = GateCheck("helpful", "require", 0.0, Estimate(0.1, 0.06, 0.14, 200), "passed", f"It gained. {text}")
    failed = GateCheck("refusal", "guard", 0.02, Estimate(-0.1, -0.14, -0.06, 200), "failed", "0.08 more than it may.")
    return ModelsComparison(
        models,
        ("sha base", *("sha new" for _ in pairs)),
        ("town",),
        pairs,
        (standings,),
        ratings,
        ratings,
        Gate(False, (check, failed), 0.1),
        {"town": {"sampling": {"temperature": 0.7}, "judge": text or "oracle"}},
        {"name": text or "oracle", "consistency": [0.9, 0.8, 0.95]},
        (text or "Sampled once.",),
    )


HELPFUL = finding("helpful", 0.5, 0.6, primary=True)
REFUSAL = finding("over-refusal", 0.1, 0.3, higher=False)
SAME = finding("helpful", 0.5, 0.51, primary=True)


def test_better_names_the_other_model_and_what_qualifies_it() -> None:
    said = pair_headline(pair("new", "better", HELPFUL))
    assert said.sentence == (
        "Better than base: helpful rose from 0.50 to 0.60, a difference of +0.10 "
        "(95% interval +0.06 to +0.14) over 200 paired items."
    )
    assert "Item by item: 30 got better, 10 worse, 160 stayed." in said.details
    assert "Items of town that count for neither: 2 only base has (q7, q8)." in said.details


def test_a_trade_off_is_told_as_one() -> None:
    said = pair_headline(pair("new", "trade-off", HELPFUL, REFUSAL))
    assert said.title == "A trade-off"
    assert said.sentence == (
        "A trade-off with base: better on helpful, +0.10 (95% interval +0.06 to +0.14), "
        "but worse on over-refusal, +0.20 (95% interval +0.16 to +0.24)."
    )


def test_nothing_found_says_what_would_have_been_seen() -> None:
    said = pair_headline(pair("new", "not distinguishable", SAME, REFUSAL))
    assert said.sentence.startswith("Not distinguishable from base: helpful rose from 0.50 to 0.51")
    assert any("a true difference of 3.1 points or more four times out of five" in one for one in said.details)
    assert "But over-refusal got worse: +0.20 (95% interval +0.16 to +0.24)." in said.details


def test_an_interval_that_holms_correction_takes_back_is_explained() -> None:
    taken = replace(HELPFUL, verdict="not distinguishable", adjusted=0.08)
    said = pair_headline(pair("new", "not distinguishable", taken))
    assert "which does not count by its p-value after Holm's correction, 0.0800." in said.sentence


def test_several_primary_axes_are_counted() -> None:
    other = replace(REFUSAL, primary=True, verdict="not distinguishable")
    said = pair_headline(pair("new", "better", HELPFUL, other))
    assert said.sentence.startswith("Better than base on 1 of 2 primary axes: helpful +0.10")
    assert any("2 primary axes are adjusted by Holm" in one for one in said.details)


def test_a_control_that_does_as_well_and_numbers_that_are_missing_are_told() -> None:
    bounds = (Estimate(-0.02, -0.1, 0.06, 210), Estimate(0.12, 0.04, 0.2, 210))
    found = replace(SAME, controls={"constant": Estimate(0.6, 0.5, 0.7, 200)}, missing=10, bounds=bounds)
    details = " ".join(pair_headline(pair("new", "not distinguishable", found)).details)
    assert "control 'constant', which understands nothing, gets 0.60 on helpful: new is not clearly better" in details
    assert "10 items lack a number: if all of these went against new, the difference would be −0.02" in details


def test_the_files_hold_the_same_and_repeat_to_the_byte(tmp_path: Path) -> None:
    found = compared(pair("new", "trade-off", HELPFUL, REFUSAL))
    files = write_comparison(found, tmp_path / "one")
    again = write_comparison(found, tmp_path / "two.html")
    assert files.html == tmp_path / "one" / "compare.html"
    for one, other in zip(
        (files.html, files.markdown, files.json), (again.html, again.markdown, again.json), strict=True
    ):
        assert one.read_bytes() == other.read_bytes()
    page, markdown = files.html.read_text(), files.markdown.read_text()
    for words in ("A trade-off", "The gate refuses", "0.08 more than it may", "constant", "With a sponge.", "1,000"):
        assert words in page
        assert words in markdown or words == "A trade-off"
    summary = json.loads(files.json.read_text())
    assert summary["pairs"][0]["verdict"] == "trade-off"
    assert summary["gate"]["accept"] is False
    assert summary["sentences"][0].startswith("A trade-off with base")


def test_the_terminal_says_it_too() -> None:
    stream = io.StringIO()
    print_comparison(compared(pair("new", "better", HELPFUL)), Console(file=stream, width=200))
    shown = stream.getvalue()
    for words in ("Better than base", "helpful", "gate, failed: 0.08 more than it may.", "The gate refuses.", "won"):
        assert words in shown


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    hostile = replace(
        HELPFUL,
        task=HOSTILE,
        comparison=replace(HELPFUL.comparison, axis=HOSTILE, description=HOSTILE, unit=HOSTILE),
        controls={HOSTILE: Estimate(0.7, 0.6, 0.8, 9)},
        slices=tuple(replace(one, slice=HOSTILE, value=HOSTILE) for one in HELPFUL.slices),
    )
    one = replace(
        pair(HOSTILE, "better", hostile),
        examples=(Example(HOSTILE, HOSTILE, HOSTILE, 1.0, HOSTILE, (HOSTILE,), (HOSTILE,), {HOSTILE: 1.0}, {}),),
        unpaired=(Unpaired(HOSTILE, (HOSTILE,), (HOSTILE,)),),
        notes=(HOSTILE,),
    )
    files = write_comparison(compared(one, text=HOSTILE), tmp_path)
    page, stream = files.html.read_text(), io.StringIO()
    assert "<script" not in page
    assert "<img" not in page
    assert "{{ 7" in page
    print_comparison(compared(one, text=HOSTILE), Console(file=stream, width=100, markup=False))
    for text in (page, files.markdown.read_text(), stream.getvalue()):
        assert "\u202e" not in text
        assert "\x1b[2J" not in text
    outside_of_code = re.sub(r"```text\n.*?\n```", "", files.markdown.read_text(), flags=re.DOTALL)
    assert "<script" not in outside_of_code


@pytest.mark.parametrize("verdict", ["better", "worse", "not distinguishable", "trade-off"])
def test_every_verdict_has_a_page(tmp_path: Path, verdict: Outcome) -> None:
    files = write_comparison(compared(pair("a", verdict, HELPFUL), pair("b", "better", HELPFUL)), tmp_path)
    assert "3 models compared" in files.html.read_text()


def test_ratings_alone_make_a_page(tmp_path: Path) -> None:
    """No model met the first, and one prompt gives no interval."""
    found = compared(pair("new", "better", HELPFUL))
    assert found.ratings is not None
    open_ended = tuple(
        replace(one, rating=Estimate(one.rating.mean, -UNBOUNDED, UNBOUNDED, 1)) for one in found.ratings.models
    )
    alone = replace(
        found, pairs=(), gate=None, standings=(), ratings=replace(found.ratings, models=open_ended), style_ratings=None
    )
    text = write_comparison(alone, tmp_path).html.read_text()
    assert "no interval from one prompt" in text
    assert "The gate" not in text
    stream = io.StringIO()
    print_comparison(alone, Console(file=stream, width=100))
    assert "1,000" in stream.getvalue()


def test_two_models_of_one_name_are_told_apart() -> None:
    shown = view_comparison(compared(pair("base", "better", HELPFUL)))
    assert shown.pairs[0].columns == ("base (first)", "base (second)")
