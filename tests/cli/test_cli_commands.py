"""Each command end to end, on a tiny model and a small file."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from accord.cli.app import main
from accord.record import read_groups
from accord.testing import preference_groups, tiny_model

ROWS = 24


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_model(tmp_path_factory.mktemp("model")))


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A file as a user has it: prompt, chosen, rejected."""
    rows = []
    for group in preference_groups(ROWS):
        (preference,) = group.preferences()
        better, worse = group.responses[preference.better], group.responses[preference.worse]
        rows.append({"prompt": group.prompt_text(), "chosen": better.text, "rejected": worse.text})
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def broken(path: Path, line: int) -> Path:
    """The file with the `chosen` of one line replaced by a number."""
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[line - 1] = json.dumps({**json.loads(lines[line - 1]), "chosen": 3})
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_data_check_shows_what_is_there(pairs: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(pairs), "--model", model, "--objective", "dpo"]) == 0
    shown = capsys.readouterr().out
    assert "preference pairs" in shown
    assert "total tokens" in shown


def test_data_check_as_json(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(pairs), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["rows"] == report["kept"] == ROWS


def test_data_check_names_file_and_line(pairs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(broken(pairs, 7))]) == 2
    shown = capsys.readouterr().err
    assert f"{pairs}:7" in shown
    assert shown.count("\n") == 1


def test_data_check_without_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check"]) == 2
    assert "DATA" in capsys.readouterr().err


def test_train_then_again_then_fresh(
    pairs: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    command = ["train", "dpo", "--model", model, "--data", str(pairs), "--out", str(run), "--steps", "2"]
    command += ["--batch-size", "4", "--lr", "1e-3", "--beta", "0.2", "--samples", "2", "--sample-tokens", "8"]
    assert main(command) == 0
    for name in ("config.toml", "metrics.jsonl", "model/config.json", "report.html", "evaluation.json"):
        assert (run / name).exists(), name
    settings = tomllib.loads((run / "config.toml").read_text(encoding="utf-8"))
    assert (settings["objective"], settings["hyper"]["beta"], settings["steps"]) == ("dpo", 0.2, 2)
    first = (run / "metrics.jsonl").read_bytes()
    (run / "notes.txt").write_text("mine", encoding="utf-8")
    capsys.readouterr()

    assert main(command) == 0
    assert "finished run of 2 steps" in capsys.readouterr().out
    assert (run / "metrics.jsonl").read_bytes() == first

    assert main([*command, "--seed", "3"]) == 2
    assert "seed was 0 and is now 3" in capsys.readouterr().err
    assert (run / "metrics.jsonl").read_bytes() == first

    assert main(["train", "--config", str(run / "config.toml"), "--steps", "3", "--fresh"]) == 0
    assert len((run / "metrics.jsonl").read_bytes().splitlines()) > len(first.splitlines())
    assert (run / "notes.txt").read_text(encoding="utf-8") == "mine"

    page = tmp_path / "page"
    assert main(["report", str(run), "--out", str(page)]) == 0
    assert (page / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_training_on_a_broken_file_writes_nothing(
    pairs: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(["train", "dpo", "--model", model, "--data", str(broken(pairs, 7)), "--out", str(run)]) == 2
    assert f"{pairs}:7" in capsys.readouterr().err
    assert not run.exists()


def test_report_on_what_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path / "none")]) == 2
    assert str(tmp_path / "none") in capsys.readouterr().err


def test_sample_to_the_terminal(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "colour \x1b[31mred [bold]no[/bold]"
    assert main(["sample", hostile, "--model", model, "--max-tokens", "8"]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "[bold]no[/bold]" in shown


def test_sample_to_a_file(pairs: Path, model: str, tmp_path: Path) -> None:
    out = tmp_path / "answers.jsonl"
    arguments = ["sample", "--model", model, "--data", str(pairs), "--limit", "3", "--n", "2", "--max-tokens", "8"]
    assert main([*arguments, "--out", str(out)]) == 0
    groups = list(read_groups(out))
    assert [len(group.responses) for group in groups] == [2, 2, 2]
    assert all(len(response.tokens or ()) <= 8 for group in groups for response in group.responses)
    again = tmp_path / "again.jsonl"
    assert main([*arguments, "--out", str(again)]) == 0
    assert again.read_bytes() == out.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["sample", "--model", "m"], "there is nothing to answer"),
        (["sample", "hi", "--model", "m", "--n", "0"], "--n: must be 1 or more"),
        (["sample", "hi", "--model", "m", "--temperature", "-1"], "--temperature: -1.0 is out of range"),
        (["report"], "RUNS"),
    ],
)
def test_wrong_usage_of_commands(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert sentence in capsys.readouterr().err
