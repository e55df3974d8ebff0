"""`accord evaluate`: what it shows and writes, what it refuses, and that a killed job goes on where it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from accord.cli.app import main
from accord.evaluate.suites.registry import SUITES
from accord.record import write_groups
from accord.record.measurement_files import measurements_in, read_measurement
from accord.testing import preference_groups, tiny_model

SCRIPT = """
from pathlib import Path
from accord.evaluate import Task, axis, each, generate
from accord.record import Group

COUNTER, BROKEN = Path("asked.txt"), Path("broken")


def say(request):
    place = int(request.messages[-1].content)
    if BROKEN.exists() and place >= 70:
        raise RuntimeError("killed")
    with COUNTER.open("a") as file:
        file.write(f"{place}\\n")
    return str(place % 2)


def parity() -> Task:
    sizes = ["small"] * 50 + ["large"] * 40
    items = [Group(str(place), answer=place % 2, meta={"size": size}) for place, size in enumerate(sizes)]
    right = each(lambda item: {"right": item.responses[0].text == str(item.answer)})
    return Task("parity", items, ask=generate(), score=right, axes=[axis("right")], slices=["size"])
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ACCORD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_model(tmp_path_factory.mktemp("model")))


def test_suites_of_a_model_in_this_process(model: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_groups(place / "data" / "preference.jsonl", preference_groups(30))
    (place / "data" / "perplexity.txt").write_text("One line.\nAnother line.\nA third.", encoding="utf-8")
    suites = ["--suite", "preference", "perplexity:unit=line", "world:prompts=20,max_tokens=4"]
    command = ["evaluate", "--model", model, *suites, "--data", "data", "--out", "out", "--limit", "12"]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "accuracy ↑" in shown
    assert "longest" in shown
    found = {path.parent.name: read_measurement(path) for path in measurements_in(place / "out")}
    assert sorted(found) == ["perplexity", "preference", "world"]
    assert len(found["preference"].items) == 12
    assert found["world"].controls.keys() == {"constant answer", "empty answer", "echo"}
    assert "model: 12 asked, 0 known; 716 tokens read, 48 written" in shown
    assert main(command) == 0
    assert "model: 0 asked, 12 known" in capsys.readouterr().out
    again = {path.parent.name: read_measurement(path) for path in measurements_in(place / "out")}
    assert again == found


def test_a_policy_with_its_reference_has_implicit_rewards(model: str, place: Path) -> None:
    write_groups(place / "pairs.jsonl", preference_groups(10))
    command = ["evaluate", "--model", model, "--suite", "preference", "--data", "pairs.jsonl", "--out", "out"]
    assert main([*command, "--reference", model]) == 0
    (path,) = measurements_in(place / "out")
    estimates = read_measurement(path).estimates
    assert estimates["ties"].mean == 1.0  # a policy rewards nothing beside itself
    assert "per token" not in estimates


def test_a_killed_job_goes_on_where_it_was(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "parity_of_mine.py").write_text(SCRIPT, encoding="utf-8")
    (place / "broken").touch()
    command = ["evaluate", "--model", "parity_of_mine:say", "--suite", "parity_of_mine.py:parity", "--out", "out"]
    assert main(command) == 2
    assert "killed" in capsys.readouterr().err
    assert not (place / "out").exists()
    kept = 64  # answers are kept in parts
    (place / "broken").unlink()
    (place / "asked.txt").unlink()
    assert main(command) == 0
    asked = [int(line) for line in (place / "asked.txt").read_text(encoding="utf-8").split()]
    assert asked == list(range(kept, 90))
    found = read_measurement(place / "out" / "parity" / "measurement.json")
    assert found.estimates["right"].mean == 1.0
    assert {value: one["right"].n for value, one in found.slices["size"].items()} == {"small": 50, "large": 40}


def test_the_list_of_suites(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in SUITES)


def test_a_number_that_degenerate_models_reach_is_called_so(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"input": f"Q{n}", "target_scores": {f"a longer answer {n}": 1, f"no {n}": 0}} for n in range(20)]
    (place / "hhh.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert main(["evaluate", "--model", "reward:repetition", "--suite", "hhh", "--data", "."]) == 0
    assert "not clearly better than that of" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--suite", "hhh"], "--model: required"),
        (["--model", "reward:repetition"], "--suite: required"),
        (["--model", "reward:repetition", "--suite", "hhh", "hhh"], "--suite: hhh is asked for twice"),
        (["--model", "reward:repetition", "--suite", "world:prompts=5"], "reward:repetition does not answer"),
        (["--model", "reward:repetition", "--suite", "hhh", "--limit", "0"], "--limit: must be 1 or more"),
    ],
)
def test_mistakes_are_said(place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    (place / "hhh.jsonl").write_text('{"input": "Hi", "target_scores": {"a": 1, "b": 0}}\n', encoding="utf-8")
    assert main(["evaluate", *arguments, "--data", "."]) == 2
    assert said in capsys.readouterr().err
