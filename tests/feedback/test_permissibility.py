"""A constraint learned from labels, exported, and read again as a reward."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from accord.errors import ConfigError
from accord.feedback.permissibility import Permissibility
from accord.feedback.spec import parse_one
from accord.recipes.align import align
from accord.record import Feedback, Group, Response
from accord.testing import tiny_model
from accord.train.config import TrainConfig


def labelled(count: int) -> list[Group]:
    """Demonstrated answers say no, sampled ones yes."""
    return [
        Group(f"question {index}", (Response(text),), (Feedback("dataset", labels=(good,)),))
        for index in range(count)
        for text, good in (("no, never", True), ("yes it is", False))
    ]


def test_a_constraint_is_trained_exported_and_priced(tmp_path: Path) -> None:
    config = TrainConfig(
        objective="inverse_constraint",
        model=str(tiny_model(tmp_path / "tiny", "llama")),
        data=("labelled",),
        out=str(tmp_path / "rule"),
        lr=5e-3,
        epochs=2,
        batch_size=8,
        holdout=0.25,
        schedule="constant",
        save_every=0,
    )
    align(config, groups=labelled(16))
    held_out = [json.loads(line) for line in (tmp_path / "rule" / "heldout.jsonl").read_text().splitlines()]
    accuracy = [sum(line["values"]) / len(line["values"]) for line in held_out if line["name"] == "label accuracy"]
    assert accuracy == [0.5, 1.0]
    part = parse_one(f"permissible:{tmp_path / 'rule'},threshold=1,role=cost")
    assert (part.role, part.name, part.source) == ("cost", "permissible_violation", "reward_model")
    ((kept, broken),) = part.reward([Group("question 99", (Response("no, never"), Response("yes it is")))])
    assert kept is not None
    assert broken is not None
    assert 0.0 <= kept < 0.5 < broken <= 1.0
    assert isinstance(parse_one(f"permissible:{tmp_path / 'rule'}").reward, Permissibility)


def test_a_directory_is_asked_for() -> None:
    with pytest.raises(ConfigError, match="as in permissible:"):
        parse_one("permissible")
