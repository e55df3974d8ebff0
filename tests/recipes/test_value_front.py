"""Fronts of models and their soups: shares, volumes, what each rule picks, and the page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from accord.cli.app import main
from accord.errors import ConfigError, DataError
from accord.feedback.reward import Part
from accord.feedback.spec import parse
from accord.policy.load import load_policy
from accord.policy.sample import Sampling
from accord.policy.soup import interpolate
from accord.recipes.value_front import Standing, front_of, measure_front, simplex, soups, stand
from accord.record import Group, write_groups
from accord.testing import tiny_model

POINTS = {"a": (0.9, 0.2), "b": (0.6, 0.6), "c": (0.3, 0.9), "d": (0.5, 0.5)}
PROMPTS = [Group(prompt=f"Say {word}") for word in ("red", "blue", "green")]
REWARDS = ("length_penalty:unit=tokens,name=brief", "repetition,name=fresh")


def standing(name: str, means: tuple[float, float], kind: str = "single") -> Standing:
    noise = np.random.default_rng(0).normal(size=(40, 2)) * 0.05
    rows = means + noise - noise.mean(0)
    return Standing(name=name, shares=(), scores=tuple(map(tuple, rows.tolist())), kind=kind)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two models that were changed a little from one start."""
    start, names = tmp_path_factory.mktemp("start"), []
    for seed in (1, 2):
        policy = load_policy(tiny_model(start))
        generator = torch.Generator().manual_seed(seed)
        for parameter in policy.trainable().values():
            parameter.data += 0.01 * torch.randn(parameter.shape, generator=generator)
        path = start.with_name(f"tuned-{seed}") / "model"
        policy.save(path)
        names.append(str(path))
    return names


def test_the_golden_front() -> None:
    """`multiobjective.pareto`, and the same as shares of a box."""
    points = [standing(name, means, "soup" if name == "b" else "single") for name, means in POINTS.items()]
    front = front_of(["kind", "right"], points, {"kind": 0.0, "right": 0.0})
    assert front.on_front() == [True, True, True, False]
    volume = front.volume(["single", "soup"])
    assert volume.mean == pytest.approx(0.51 / 0.81)
    assert volume.low < volume.mean < volume.high
    gain = front.gain(["single", "soup"], ["single"])
    # Without b, d's corner at (0.5, 0.5) is left: 0.45 of 0.81 against 0.51.
    assert gain.mean == pytest.approx((0.51 - 0.45) / 0.81)
    assert gain.low > 0
    assert front.chosen()["worst"] == "b"
    assert front.within("kind", {"right": 0.5}) == "b"
    assert front.within("kind", {"right": 0.95}) is None


def test_the_reference_is_below_the_lowest_of_each_unless_it_is_given() -> None:
    points = [standing(name, means) for name, means in POINTS.items()]
    assert front_of(["x", "y"], points).reference == pytest.approx((0.3 - 0.06, 0.2 - 0.07))
    assert front_of(["x", "y"], points, {"y": 0.0}).reference == pytest.approx((0.24, 0.0))
    with pytest.raises(ConfigError, match="no value is called 'z'"):
        front_of(["x", "y"], points, {"z": 0.0})


def test_every_mix_of_shares() -> None:
    assert simplex(1, 3) == [(1.0,)]
    assert len(simplex(3, 4)) == 15
    assert all(sum(shares) == 1 for shares in simplex(3, 4))


def test_soups_are_the_mean_weights_and_leave_the_models_alone(models: list[str]) -> None:
    weights = [load_policy(model).trainable() for model in models]
    for policy, share in zip(soups(models, 4, load_policy), (0.75, 0.5, 0.25), strict=True):
        expected = interpolate(weights, (share, 1 - share))
        for name, parameter in policy.trainable().items():
            assert parameter.equal(expected[name]), name


def test_models_and_soups_are_measured_on_the_same_prompts(models: list[str]) -> None:
    front = measure_front(models, PROMPTS, parse(REWARDS), parts=2, sampling=Sampling(max_tokens=6), n=2)
    assert [point.kind for point in front.points] == ["single", "single", "soup"]
    assert [point.shares for point in front.points] == [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5)]
    assert all(len(point.scores) == len(PROMPTS) for point in front.points)
    assert front.values == ("brief", "fresh")


def test_the_command_writes_the_page(models: list[str], tmp_path: Path) -> None:
    data, out = tmp_path / "prompts.jsonl", tmp_path / "front.md"
    write_groups(data, PROMPTS)
    command = ["values", "front", *models, "--data", str(data), "--reward", *REWARDS, "--out", str(out)]
    assert main([*command, "--soups", "2", "--max-tokens", "6", "--floors", "fresh=-1"]) == 0
    page = out.read_text(encoding="utf-8")
    assert "accord values front" in page
    assert "With fresh of at least -1: best on brief: *" in page
    assert "<svg" in out.with_suffix(".svg").read_text(encoding="utf-8")
    assert len(json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))["points"]) == 3


def test_mistakes_are_named(models: list[str]) -> None:
    assert main(["values", "front", "absent", "--data", "x", "--reward", "numeric", "--out", "a.html"]) == 2
    (one,) = parse(REWARDS[:1])
    with pytest.raises(ConfigError, match="two values or more"):
        measure_front(models, PROMPTS, [one])
    with pytest.raises(ConfigError, match="--soups"):
        measure_front(models[:1], PROMPTS, parse(REWARDS), parts=2)
    missing = Part(parse(["given:kind"])[0].reward)
    with pytest.raises(DataError, match="an answer of x lacks a value"):
        stand(
            load_policy(models[0]),
            PROMPTS,
            [one, missing],
            n=1,
            sampling=Sampling(max_tokens=2),
            name="x",
            kind="single",
        )
