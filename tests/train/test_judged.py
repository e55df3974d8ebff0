"""Online training on a judge's verdicts: another's, a rule's, and the policy's own."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from accord.errors import ConfigError
from accord.recipes.judged import JudgedActor, train_judged
from accord.recipes.train import train
from accord.record import Group
from accord.testing import preference_groups, tiny_model
from accord.train.config import TrainConfig

PROMPTS = [Group(group.prompt) for group in preference_groups(12)]


def config(tmp_path: Path, **settings: object) -> TrainConfig:
    return TrainConfig(
        objective="dpo",
        model=str(tiny_model(tmp_path / "model", "llama")),
        data=("prompts",),
        out=str(tmp_path / "run"),
        n=3,
        prompts=4,
        steps=2,
        max_tokens=6,
        lr=1e-3,
        samples=0,
        save_every=0,
        **settings,  # type: ignore[arg-type]
    )


def rounds(tmp_path: Path) -> list[dict[str, float]]:
    """The metrics of each round's first step."""
    lines = [msgspec.json.decode(line) for line in (tmp_path / "run" / "metrics.jsonl").read_bytes().splitlines()]
    return [line for line in lines if "judge/unjudged" in line]


@pytest.mark.parametrize("judge", ["control:longest", "self"])
def test_rounds_learn_from_a_judges_comparisons(tmp_path: Path, judge: str) -> None:
    result = train_judged(config(tmp_path, judge=judge), groups=PROMPTS, eval_groups=PROMPTS[:3], fresh=True)
    (first, *_) = rounds(tmp_path)
    assert first["judge/unjudged"] == 0.0
    assert first["loss"] == pytest.approx(0.6931, abs=1e-3), "the reference is the starting model"
    lines = (tmp_path / "run" / "rollouts.jsonl").read_bytes().splitlines()
    shown = [msgspec.json.decode(line, type=dict[str, object])["group"] for line in lines]
    for group in msgspec.convert(shown, list[Group]):
        (feedback,) = group.feedback
        assert (feedback.source, len(group.responses)) == ("judge", 3)
        weights = {(one.better, one.worse): one.weight for one in feedback.preferences}
        for (better, worse), weight in weights.items():
            assert weight + weights.get((worse, better), 0.0) == pytest.approx(1.0)
        if judge == "control:longest":
            longest = max(range(3), key=lambda index: len(group.responses[index].text))
            assert all(weights.get((longest, other), 0.5) >= 0.5 for other in range(3) if other != longest)
    assert (result.path / "model").is_dir()


def test_a_policy_is_measured_against_its_start(tmp_path: Path) -> None:
    """Before training the answers are the start's own, so that neither wins."""
    settings = config(tmp_path, judge="self")
    actor = JudgedActor(settings, None)
    examined = actor.examine(actor.start, PROMPTS[:3])
    assert [group.scores() for group in examined] == [(0.5,)] * 3


def test_policy_gradients_learn_from_win_rates(tmp_path: Path) -> None:
    settings = msgspec.structs.replace(config(tmp_path, judge="control:longest"), objective="rloo")
    train_judged(settings, groups=PROMPTS, eval_groups=PROMPTS[:3], fresh=True)
    assert len(rounds(tmp_path)) == 2


def test_settings_that_cannot_work_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--n: one answer has none"):
        train_judged(msgspec.structs.replace(config(tmp_path, judge="self"), n=1), groups=PROMPTS)
    with pytest.raises(ConfigError, match=r"--judge: cannot be combined with --reward"):
        train(config(tmp_path, judge="self", reward=("numeric",)))
    with pytest.raises(ConfigError, match=r"--principles: has no effect without a judge"):
        config(tmp_path, principles="town.txt")
