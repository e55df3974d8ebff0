"""Methods tried by upper confidence bounds: all are tried, the better ones more often, and the command says so."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from accord.cli.app import main
from accord.errors import ConfigError
from accord.recipes.method_trial import allot
from accord.record import write_groups
from accord.testing import preference_groups, tiny_model


def test_the_better_arm_is_tried_more_often() -> None:
    rng, chances = random.Random(0), {"a": 0.2, "b": 0.8, "c": 0.3}
    trials = allot(list(chances), lambda name, _: float(rng.random() < chances[name]), pulls=300)
    assert trials[0].method == "b"
    assert len(trials[0].outcomes) > 200
    assert all(len(one.outcomes) > 5 for one in trials)
    assert sum(len(one.outcomes) for one in trials) == 300


def test_each_method_is_tried_once_before_any_is_tried_twice() -> None:
    order: list[tuple[str, int]] = []
    allot(["a", "b", "c"], lambda name, number: order.append((name, number)) or 0.5, pulls=4)  # type: ignore[func-returns-value]
    assert order == [("a", 0), ("b", 0), ("c", 0), ("a", 1)]


def test_the_command_tries_objectives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, model = tmp_path / "prefs.jsonl", tiny_model(tmp_path / "model")
    write_groups(data, preference_groups(12))
    command = ["advise", "--data", str(data), "--model", str(model), "--try", "dpo", "simpo", "--trials", "3"]
    assert main([*command, "--trial-steps", "1"]) == 0
    said = capsys.readouterr().out
    assert "What was tried" in said
    assert "simpo" in said


def test_mistakes_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="--try"):
        allot(["a", "a"], lambda *_: 0.0, pulls=5)
    with pytest.raises(ConfigError, match="2 trials do not reach 3 methods"):
        allot(["a", "b", "c"], lambda *_: 0.0, pulls=2)
    data = tmp_path / "prefs.jsonl"
    write_groups(data, preference_groups(4))
    assert main(["advise", "--data", str(data), "--try", "dpo", "ipo"]) == 2
    assert "--try" in capsys.readouterr().err
    assert main(["advise", "--data", str(data), "--model", "m", "--try", "dpo", "sft"]) == 2
    assert "sft does not learn from preferences" in capsys.readouterr().err
