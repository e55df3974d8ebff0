"""`accord world reward`: the page and its figures, made small; sums in steps are labelled as they are."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

from accord.errors import ConfigError
from accord.recipes.reward_study import Scale, study_rewards
from accord.recipes.reward_study_page import Page
from accord.recipes.step_study import solutions
from accord.record.steps import step_texts

SMALL = Scale(members=2, prompts=24, held_out=12, choices=3, epochs=1, labelled=32)


def test_the_page_has_every_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCORD_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "page.md"
    page = study_rewards(seeds=1, scale=SMALL, out=out)
    text = out.read_text(encoding="utf-8")
    for part in ("# Reward models", "one model |", "ensemble of 2, minimum", "the weakest step", "Calibration of the"):
        assert part in text
    assert all(len(line) <= 120 or line.startswith("|") for line in text.splitlines())
    assert msgspec.json.decode(out.with_suffix(".json").read_bytes(), type=Page) == page
    assert [pick.judge for pick in page.picks][:2] == ["one model", "mean"]
    assert page.picks[0].over_one is None
    assert page.steps.accuracy.n > 0


@pytest.mark.parametrize(("seeds", "out", "flag"), [(0, "page.md", "--seeds"), (1, "page.html", "--out")])
def test_what_cannot_be_studied(seeds: int, out: str, flag: str) -> None:
    with pytest.raises(ConfigError, match=flag):
        study_rewards(seeds=seeds, out=out)


def test_sums_are_labelled_as_they_are() -> None:
    rng = random.Random(0)
    wrong = 0
    for _ in range(50):
        group = solutions(rng, count=4)
        for response, labels in zip(group.responses, group.step_scores() or (), strict=True):
            before = int(str(group.prompt)[0])
            for step, label in zip(step_texts(response), labels, strict=True):
                left, _, result = step.strip().partition("=")
                first, second = map(int, left.split("+"))
                assert first == before
                assert label == float(first + second == int(result))
                before = int(result)
                wrong += label == 0.0
    assert 0.2 < wrong / (50 * 4 * 4) < 0.4
