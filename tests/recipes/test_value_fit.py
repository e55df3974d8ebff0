"""Weights from files of choices: planted ones come out, groups are told apart, mistakes are named."""

from __future__ import annotations

import json
import random
from io import StringIO
from math import exp
from pathlib import Path
from typing import Literal

import pytest
from rich.console import Console

from accord.cli.app import main
from accord.errors import ConfigError, DataError
from accord.evaluate.statistics import UNBOUNDED
from accord.feedback.spec import parse_one
from accord.recipes.value_fit import EQUAL, LEARNED, fit_values
from accord.recipes.value_table import render
from accord.record import Feedback, Group, Preference, Response, write_groups

REWARDS = ("given:right", "given:kind")


def chosen(
    weights: dict[str, tuple[float, float]], *, prompts: int, seed: int = 0, shared: bool = False
) -> list[Group]:
    """Choices by Bradley-Terry of annotators with these weights; `shared` has all of them judge every prompt."""
    rng = random.Random(seed)
    groups = []
    for index in range(prompts):
        phi = [(rng.gauss(0, 1), rng.gauss(0, 2)) for _ in range(3)]
        scores = Feedback("dataset", scores={"right": tuple(p[0] for p in phi), "kind": tuple(p[1] for p in phi)})
        who = list(weights) if shared else [list(weights)[index % len(weights)]]
        said = [_choice(rng, name, phi, weights[name]) for name in who]
        texts = tuple(Response(f"answer {index} {place}") for place in range(3))
        groups.append(Group(prompt=f"prompt {index}", responses=texts, feedback=(scores, *said)))
    return groups


def _choice(rng: random.Random, name: str, phi: list[tuple[float, float]], weights: tuple[float, float]) -> Feedback:
    one, other = rng.sample(range(3), 2)
    margin = sum(w * (phi[one][k] - phi[other][k]) for k, w in enumerate(weights))
    better, worse = (one, other) if rng.random() < 1 / (1 + exp(-margin)) else (other, one)
    return Feedback("human", name=name, preferences=(Preference(better, worse),))


def text_of(*parts: object) -> str:
    screen = Console(file=StringIO(), width=200)
    for part in parts:
        screen.print(part)
    assert isinstance(screen.file, StringIO)
    return screen.file.getvalue()


def test_planted_weights_are_found_and_foretell_better_than_any_value_alone() -> None:
    fitted = fit_values(chosen({"all": (1.0, 0.5)}, prompts=600), REWARDS, resamples=60)
    for value, truth in zip(fitted.learned.values, (1.0, 0.5), strict=True):
        assert value.weight.low < truth < value.weight.high
        assert fitted.bootstrap[value.name].low < truth < fitted.bootstrap[value.name].high
    for name in ("right alone", "kind alone"):
        beside = fitted.held_out[name].loss_beside
        assert beside is not None
        assert beside.high < 0, name
    assert fitted.held_out[LEARNED].loss.mean < fitted.held_out[EQUAL].loss.mean + 0.01
    assert fitted.held_out[LEARNED].loss_beside is None
    assert not fitted.learned.doubts
    assert not fitted.annotators


def test_groups_of_annotators_are_told_apart_and_have_weights_of_their_own() -> None:
    fitted = fit_values(chosen({"a": (1.0, 0.7), "b": (1.0, -0.7)}, prompts=300, shared=True), REWARDS, resamples=30)
    assert fitted.test is not None
    assert fitted.test.by_value["kind"] < 0.001
    assert fitted.test.by_value["right"] > 0.01
    assert fitted.learned.weights("a")["kind"] > 0.4 > -0.4 > fitted.learned.weights("b")["kind"]
    own = fitted.annotators["b"].own
    assert own is not None
    assert own.loss_beside is not None
    assert own.loss_beside.high < 0
    assert fitted.agreement is not None
    said = text_of(*render(fitted))
    assert "The groups differ in what they go by" in said
    assert "Krippendorff's alpha" in said


def test_shares_are_parts_of_one() -> None:
    fitted = fit_values(chosen({"all": (1.0, 1.0)}, prompts=300, seed=1), REWARDS, kind="shares", resamples=40)
    assert sum(value.weight.mean for value in fitted.learned.values) == pytest.approx(1.0)
    assert all(value.weight.low < 0.5 < value.weight.high for value in fitted.learned.values)


@pytest.mark.parametrize("kind", ["free", "positive"])
def test_a_value_that_never_differs_has_an_unknown_weight(kind: Literal["free", "positive"]) -> None:
    fitted = fit_values(chosen({"all": (1.0, 0.5)}, prompts=60), [*REWARDS, "unfinished"], kind=kind, resamples=20)
    for estimate in (fitted.learned.values[2].weight, fitted.bootstrap["unfinished"]):
        assert (estimate.mean, estimate.low, estimate.high) == (0.0, -UNBOUNDED, UNBOUNDED)
    assert "unfinished is the same" in fitted.learned.doubts[0]
    assert "0 (unknown)" in text_of(*render(fitted))


def test_few_choices_of_a_group_are_no_weights() -> None:
    groups = chosen({"many": (1.0, 0.5)}, prompts=60) + chosen({"few": (1.0, 0.5)}, prompts=5, seed=1)
    fitted = fit_values(groups, REWARDS, resamples=20)
    assert fitted.annotators["few"].own is None
    assert set(fitted.learned.groups) == {"many"}
    assert fitted.test is None
    assert "too few" in text_of(*render(fitted))


def test_the_command_writes_weights_that_are_a_reward(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = tmp_path / "choices.jsonl", tmp_path / "weights.json"
    groups = chosen({"a": (1.0, 0.5), "b": (1.0, 0.5)}, prompts=80)
    write_groups(data, groups)
    command = ["values", "fit", "--data", str(data), "--reward", *REWARDS, "--out", str(out), "--resamples", "20"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "What 80 choices go by" in said
    assert f"--reward values:{out}" in said
    first = json.loads(out.read_text(encoding="utf-8"))["values"][0]["weight"]["mean"]
    row = parse_one(f"values:{out}").reward(groups[:1])[0]
    rows = groups[0].scores("right"), groups[0].scores("kind")
    assert rows[0] is not None
    assert rows[1] is not None
    second = json.loads(out.read_text(encoding="utf-8"))["values"][1]["weight"]["mean"]
    assert row[0] == pytest.approx(first * (rows[0][0] or 0.0) + second * (rows[1][0] or 0.0))


def test_mistakes_are_named(tmp_path: Path) -> None:
    groups = chosen({"a": (1.0, 0.5)}, prompts=4)
    with pytest.raises(DataError, match="4 prompts cannot be divided into 5 parts"):
        fit_values(groups, REWARDS)
    with pytest.raises(DataError, match="no choice of 4 has all values"):
        fit_values(groups, ["given:honest"])
    with pytest.raises(DataError, match="holds no preference"):
        fit_values([Group(prompt="Hi")], REWARDS)
    with pytest.raises(ConfigError, match="--folds"):
        fit_values(groups, REWARDS, folds=1)
    assert main(["values", "fit", "--data", "x.jsonl"]) == 2
    assert main(["values", "front", "m", "--data", "x", "--reward", "numeric", "--out", "a.md", "--floors", "b"]) == 2
