"""`accord sample`: how it draws, and whether the trainer agrees."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from accord.cli.app import main
from accord.record import read_groups
from accord.testing import tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_model(tmp_path_factory.mktemp("model")))


def test_the_trainer_agrees(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["--max-tokens", "9", "--n", "4", "--temperature", "0.7", "--check"]
    assert main(["sample", "hello", "--model", model, *settings]) == 0
    shown = re.search(
        r"differ by (\S+) nats a token on average and by (\S+) at most, over (\d+) tokens", capsys.readouterr().out
    )
    assert shown is not None
    assert float(shown[1]) <= float(shown[2]) <= 1e-5
    assert 4 <= int(shown[3]) <= 36


def test_a_cut_distribution_cannot_be_checked(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    for flag, value in (("--top-k", "3"), ("--top-p", "0.9")):
        assert main(["sample", "hello", "--model", model, "--check", flag, value]) == 2
        assert "--check: cannot be combined with --top-p or --top-k" in capsys.readouterr().err


def test_top_k_and_stop_texts(model: str, tmp_path: Path) -> None:
    out = tmp_path / "groups.jsonl"
    settings = ["--max-tokens", "60", "--n", "8", "--top-k", "40", "--stop", "e", "a", "--out", str(out)]
    assert main(["sample", "hello", "--model", model, *settings]) == 0
    (group,) = read_groups(out)
    ended = [response for response in group.responses if response.text.endswith(("e", "a"))]
    assert ended
    for response in ended:
        assert response.finished
        assert not {"e", "a"} & set(response.text[:-1])


def test_a_reward_guides_the_answers(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lengths = []
    for beta in ("0", "inf"):
        out = tmp_path / f"{beta}.jsonl"
        guide = ["--guide-reward", "length_penalty:unit=characters", "--guide-beta", beta, "--guide-block", "20"]
        settings = ["--max-tokens", "20", "--n", "6", "--out", str(out)]
        assert main(["sample", "hello", "--model", model, *guide, *settings]) == 0
        (group,) = read_groups(out)
        lengths.append(sum(len(response.text) for response in group.responses))
    assert lengths[1] < lengths[0]
    by_tokens = ["--guide-reward", "length_penalty", "--guide-by", "tokens", "--max-tokens", "3", "--temperature", "0"]
    assert main(["sample", "hello", "--model", model, *by_tokens]) == 0
    assert main(["sample", "hello", "--model", model, "--guide-reward", "length_penalty", "--check"]) == 2
    assert "--check: cannot be combined with --guide-reward" in capsys.readouterr().err
