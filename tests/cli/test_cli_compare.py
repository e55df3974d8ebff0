"""`accord compare` from files to page, exit code and plan."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from accord.cli.app import main
from accord.evaluate.summary import summarise
from accord.record import Feedback, Group, Preference, Response, write_groups
from accord.record.measurement import Axis, Item, Measurement
from accord.record.measurement_files import measurement_path, write_measurement

AXES = (Axis("helpful"), Axis("over-refusal", higher_is_better=False))


def evaluation(directory: Path, helpful: float, refusal: float, *, n: int = 150, judge: str = "oracle") -> str:
    """A directory as `accord evaluate --out` leaves it."""
    draws = np.random.default_rng(0).random((n, 2))
    items = tuple(
        Item(str(place), {"helpful": float(one < helpful), "over-refusal": float(other < refusal)}, str(place))
        for place, (one, other) in enumerate(draws)
    )
    estimates = {axis.name: one for axis in AXES if (one := summarise(axis, items)) is not None}
    measured = Measurement("town", directory.name, directory.name, AXES, estimates, items, settings={"judge": judge})
    write_measurement(measurement_path(directory, "town"), measured)
    return str(directory)


def answers(path: Path, text: str, *, n: int = 30) -> str:
    write_groups(path, [Group(f"Prompt {number}?", (Response(f"{text} {number}"),)) for number in range(n)])
    return str(path)


@pytest.fixture
def old(tmp_path: Path) -> str:
    return evaluation(tmp_path / "old", 0.5, 0.1)


def test_one_page_and_one_verdict(tmp_path: Path, old: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", old, evaluation(tmp_path / "new", 0.7, 0.1)]) == 0
    said = capsys.readouterr().out
    assert "Better than old: helpful rose from" in said
    assert "over-refusal" in said
    summary = json.loads((tmp_path / "compare.json").read_text())
    assert summary["models"] == ["old", "new"]
    assert summary["pairs"][0]["verdict"] == "better"
    assert "<!doctype html>" in (tmp_path / "compare.html").read_text()


@pytest.mark.parametrize(
    ("helpful", "refusal", "code", "words"),
    [
        (0.7, 0.1, 0, "The gate accepts."),
        (0.7, 0.3, 1, "gate, failed: over-refusal lost"),
        (0.5, 0.1, 1, "gate, not shown: helpful gained 0"),
    ],
)
def test_the_exit_code_of_a_gate(
    tmp_path: Path, old: str, capsys: pytest.CaptureFixture[str], helpful: float, refusal: float, code: int, words: str
) -> None:
    new = evaluation(tmp_path / "new", helpful, refusal)
    flags = ["--require", "helpful", "--guard", "over-refusal:0.05"]
    assert main(["compare", old, new, *flags]) == code
    assert words in " ".join(capsys.readouterr().out.split())
    conditions = tmp_path / "gate.toml"
    conditions.write_text("[require]\nhelpful = 0\n[guard]\nover-refusal = 0.05\n")
    assert main(["compare", old, new, "--gate", str(conditions)]) == code


def test_mistakes_are_told_and_exit_with_2(tmp_path: Path, old: str, capsys: pytest.CaptureFixture[str]) -> None:
    new = evaluation(tmp_path / "new", 0.7, 0.1)
    other = evaluation(tmp_path / "other", 0.7, 0.1, judge="a model")
    file = answers(tmp_path / "answers.jsonl", "Yes")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").touch()
    for arguments, words in (
        ([old], "two models at least"),
        ([old, old], "given twice"),
        ([old, other], "judge is 'oracle' and 'a model'"),
        ([old, file], "measurements cannot be compared with answers"),
        ([old, str(tmp_path / "run")], "holds no measurement.json"),
        ([old, new, "--require", "honest"], "'honest' is no measured axis"),
        ([old, new, "--guard", "helpful"], "has no margin"),
        ([old, new, "--judge", "control:longest"], "has no effect on measurements"),
        ([old, new, "--names", "a"], "1 names for 2 models"),
        ([old, new, "--plan", "0"], "no plan for a difference of 0"),
        ([old, new, "--plan", "0.1", "--power", "1"], "at power 1"),
        ([old, new, other, "--despite", "judge", "--require", "helpful"], "a gate decides between two models"),
        ([file, answers(tmp_path / "more.jsonl", "No")], "nothing says which answer is better"),
        ([file], "only answers answered"),
    ):
        assert main(["compare", *arguments]) == 2, arguments
        assert words in capsys.readouterr().err


def test_settings_may_differ_where_it_is_said(tmp_path: Path, old: str, capsys: pytest.CaptureFixture[str]) -> None:
    other = evaluation(tmp_path / "other", 0.7, 0.1, judge="a model")
    assert main(["compare", old, other, "--despite", "judge", "--names", "before", "after"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Better than before" in said
    assert "judge differs ('oracle' and 'a model'), which was allowed" in said


def test_a_plan(tmp_path: Path, old: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", old, evaluation(tmp_path / "new", 0.6, 0.1), "--plan", "0.03"]) == 0
    assert "town/helpful: to see a difference of 0.03, questions needed:" in capsys.readouterr().out
    assert not (tmp_path / "compare.html").exists()


def test_a_plan_for_a_statistic_that_is_no_mean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Half the difference takes four times the items."""
    draws = np.random.default_rng(0).random(100).tolist()
    paths = []
    for name, scale in (("old", 1.0), ("new", 1.4)):
        items = tuple(
            Item(str(place), {"x": scale * one, "y": 1.0 + one}, str(place)) for place, one in enumerate(draws)
        )
        axes = (Axis("rate", "ratio", ("x", "y")),)
        path = measurement_path(tmp_path / name, "town")
        write_measurement(path, Measurement("town", name, name, axes, {}, items))
        paths.append(str(tmp_path / name))
    needed = []
    for effect in ("0.02", "0.01"):
        assert main(["compare", *paths, "--plan", effect]) == 0
        needed.append(int(capsys.readouterr().out.split("needed: ")[1].split()[0].replace(",", "")))
    assert needed[1] == pytest.approx(4 * needed[0], abs=4)


def test_answers_are_compared_by_a_judge_and_rated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [
        answers(tmp_path / f"{name}.jsonl", text, n=n)
        for name, text, n in (("short", "No", 32), ("middle", "No, never", 30), ("long", "No, not for the world", 30))
    ]
    assert main(["compare", *files, "--judge", "control:longest", "--out", str(tmp_path / "page.html")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Better than short: wins rose from 0.00 to 1.00" in said
    assert "2 only short has (prompt 31, prompt 32)" in said
    assert "control 'whoever writes longer wins'" in said
    summary = json.loads((tmp_path / "page.json").read_text())
    ratings = summary["ratings"]["models"]
    assert [(one["model"], one["rank"], one["wins"]) for one in ratings] == [
        ("long", 1, 60.0),
        ("middle", 2, 30.0),
        ("short", 3, 0.0),
    ]
    assert all(abs(one["rating"]["mean"]) < 3000 for one in ratings)
    assert summary["judge"]["name"] == "longest"


def test_feedback_in_one_file_takes_the_place_of_a_judge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every third comparison has no verdict: it is counted, and the bounds say what it could do."""
    groups = [
        Group(
            f"Prompt {number}?",
            (Response("one", meta={"model": "a"}), Response("two", meta={"model": "b"})),
            (Feedback("human", preferences=(Preference(1, 0),)),) if number % 3 else (),
        )
        for number in range(30)
    ]
    write_groups(tmp_path / "arena.jsonl", groups)
    assert main(["compare", str(tmp_path / "arena.jsonl")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Better than a: wins rose from 0.00 to 1.00" in said
    assert "10 of 30 comparisons have no verdict" in said
    assert "10 items lack a number: if all of these went against b, the difference would be +0.33" in said
