"""Reward models of every kind through a whole run: what is measured, said, exported, and trained as members."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

from accord.errors import ConfigError
from accord.feedback.calibration import calibration
from accord.recipes.align import align, held_out_evaluation
from accord.recipes.members import shared_out, train_members
from accord.recipes.reward_table import sentence_of
from accord.record import Feedback, Group
from accord.record.steps import response_of_steps
from accord.testing import preference_groups
from accord.train.config import TrainConfig


def labelled_steps(count: int) -> list[Group]:
    """Solutions whose steps are right if they say yes."""
    rng = random.Random(0)
    groups = []
    for index in range(count):
        good = [rng.random() < 0.5 for _ in range(rng.randint(1, 3))]
        response = response_of_steps(["yes it is" if right else "no way out" for right in good])
        scores = (tuple(map(float, good)),)
        groups.append(Group(f"question {index}", (response,), (Feedback("dataset", step_scores=scores),)))
    return groups


def rated(count: int) -> list[Group]:
    """Pairs rated on two values that point opposite ways."""
    feedback = (Feedback("human", scores={"helpfulness": (4.0, 1.0), "brevity": (0.0, 3.0)}),)
    return [replace(group, feedback=feedback) for group in preference_groups(count)]


def config(tiny: Path, out: Path, objective: str) -> TrainConfig:
    return TrainConfig(
        objective=objective,
        model=str(tiny),
        data=("given",),
        out=str(out),
        lr=5e-3,
        batch_size=8,
        epochs=3,
        holdout=0.25,
        schedule="constant",
        save_every=0,
    )


def notes_and_axes(path: Path) -> tuple[tuple[str, ...], dict[str, float]]:
    evaluation = held_out_evaluation(path)
    assert evaluation is not None
    return evaluation.notes, {one.axis: one.after.mean for one in evaluation.comparisons}


def test_a_process_reward_model_learns_which_steps_are_good(tiny: Path, tmp_path: Path) -> None:
    result = align(config(tiny, tmp_path / "run", "process_reward"), groups=labelled_steps(64))
    notes, axes = notes_and_axes(result.path)
    assert axes["step accuracy"] > 0.95
    assert axes["Brier score"] < 0.15
    assert notes[0].startswith("Calibration: ")
    model = AutoModelForTokenClassification.from_pretrained(result.path / "model")
    assert model.config.label2id == {"bad": 0, "good": 1}
    lines = [msgspec.json.decode(line) for line in (result.path / "metrics.jsonl").read_bytes().splitlines()]
    assert {"accuracy", "bad_found"} <= set(lines[1])


def test_ratings_are_learned_value_by_value(tiny: Path, tmp_path: Path) -> None:
    settings = replace(config(tiny, tmp_path / "run", "reward_regression"), lr=3e-3, epochs=14)
    result = align(settings, groups=rated(64))
    _, axes = notes_and_axes(result.path)
    assert axes["squared error of ratings"] < 2.0  # the mean rating of each value alone has 2.25
    model = AutoModelForSequenceClassification.from_pretrained(result.path / "model")
    assert model.config.id2label == {0: "brevity", 1: "helpfulness"}


def test_values_that_contradict_each_other_are_ranked_each_its_way(tiny: Path, tmp_path: Path) -> None:
    settings = replace(config(tiny, tmp_path / "run", "multi_bradley_terry"), lr=2e-3, epochs=5)
    result = align(settings, groups=rated(48))
    _, axes = notes_and_axes(result.path)
    assert axes["preference accuracy"] > 0.95


def test_members_have_their_own_seed_and_prompts(tiny: Path, tmp_path: Path) -> None:
    groups = preference_groups(20)
    settings = replace(config(tiny, tmp_path / "rm", "bradley_terry"), epochs=1, samples=0)
    results = train_members(settings, members=2, share=0.5, groups=groups)
    assert [result.path for result in results] == [tmp_path / "rm" / "member-0", tmp_path / "rm" / "member-1"]
    first, second = (shared_out(groups, share=0.5, seed=seed) for seed in (0, 1))
    assert (len(first), len(second)) == (10, 10)
    assert first != second
    assert shared_out(groups, share=1.0, seed=3) == groups


@pytest.mark.parametrize(("members", "share"), [(1, 1.0), (2, 0.0), (2, 1.5)])
def test_what_cannot_be_members(tiny: Path, tmp_path: Path, members: int, share: float) -> None:
    with pytest.raises(ConfigError, match="out of range"):
        train_members(config(tiny, tmp_path, "bradley_terry"), members=members, share=share, groups=[])


def test_calibration_in_a_sentence() -> None:
    assert sentence_of(calibration([5.0] * 60)).endswith("Brier score 0.000)")
    assert ": too sure; rewards divided by" in sentence_of(calibration([5.0] * 40 + [-5.0] * 20))
    assert ": not sure enough; rewards divided by 0." in sentence_of(calibration([0.2] * 59 + [-0.1]))
