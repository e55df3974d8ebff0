"""`accord verify` from a file to a scored file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from accord.cli.app import main
from accord.record import Group, Response, read_groups, write_groups


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "groups.jsonl"
    groups = [
        Group("6 * 7?", (Response("It is 42."), Response("41 \x1b[2J")), answer="42"),
        Group("1 / 2?", (Response(r"\boxed{0.5}"), Response("0.25")), answer="1/2"),
        Group("Who?", (Response("7"),)),
    ]
    write_groups(path, groups)
    return path


def test_it_scores_a_file_and_says_what_it_found(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scored.jsonl"
    arguments = ["numeric", "repetition,weight=0.5", "unfinished,role=cost"]
    assert main(["verify", "--data", str(data), "--reward", *arguments, "--out", str(out)]) == 0
    scored = list(read_groups(out))
    assert [group.scores("numeric") for group in scored] == [(1.0, 0.0), (1.0, 0.0), (None,)]
    assert [group.scores() for group in scored] == [(1.0, 0.0), (1.0, 0.0), (None,)]
    assert [group.scores("cost") for group in scored] == [(0.0, 0.0), (0.0, 0.0), (0.0,)]
    shown = capsys.readouterr().out
    for words in ("numeric │ 20% │ 0.5 │ 0.", "numeric is missing for 1, first at", "unfinished is 0 for every"):
        assert words in " ".join(shown.split()), words
    assert "\x1b[2J" not in shown


def test_no_example_is_shown_where_none_is_asked_for(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--data", str(data), "--reward", "repetition", "--examples", "0"]) == 0
    assert "repetition 0: '" not in capsys.readouterr().out


def test_it_lists_the_rewards(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--list"]) == 0
    shown = capsys.readouterr().out
    for words in ("numeric: Whether", "tolerance (default", "cache (required)", "module:function", "model:DIR"):
        assert words in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--reward", "numeric"], "--data: required"),
        (["--data", "DATA"], "--reward: required"),
        (["--data", "DATA", "--reward", "nothing"], "no reward is named 'nothing'"),
        (["--data", "DATA", "--reward", "numeric", "--limit", "0"], "--limit: must be 1 or more"),
        (["--data", "absent.jsonl", "--reward", "numeric"], "absent.jsonl"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: list[str], message: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(data) if argument == "DATA" else argument for argument in arguments]
    assert main(["verify", *given]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_prompts_alone_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps({"prompt": "p", "responses": []}) + "\n")
    assert main(["verify", "--data", str(path), "--reward", "numeric"]) == 2
    assert "no responses" in capsys.readouterr().err


def test_a_broken_reward_stops_or_is_recorded(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken_rewards_for_verify.py").write_text("def inverse(response): return 1 / (len(response) - 1)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    arguments = ["verify", "--data", str(data), "--reward", "broken_rewards_for_verify:inverse"]
    assert main(arguments) == 2
    assert "groups.jsonl:3, prompt 'Who?': raised ZeroDivisionError" in capsys.readouterr().err
    assert main([*arguments, "--missing", "record"]) == 0
    assert "ZeroDivisionError" in capsys.readouterr().out
