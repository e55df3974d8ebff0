"""The quickstart at a small budget: it aligns, it says so, and it says so when it does the opposite."""

import json
from pathlib import Path

import msgspec
import pytest

from accord.errors import ModelError
from accord.recipes.quickstart import Plan, Quickstart, quickstart
from accord.record import read_groups
from accord.world.cases import case_of, distinct_cases
from accord.world.oracle import AXES
from accord.world.town import draw_town

SMALL = Plan(held_out=200, demonstrations=300, prompts=300, answers=6)
SWAPPED = msgspec.structs.replace(SMALL, swapped=True, prompts=900)
"""Enough preferences the wrong way round that the damage lies far from the edge of its interval."""


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> Quickstart:
    return quickstart(tmp_path_factory.mktemp("quickstart") / "run", seed=0, plan=SMALL)


@pytest.mark.learning
def test_the_oracle_score_rises_and_over_refusal_does_not(aligned: Quickstart) -> None:
    gold = aligned.evaluation.comparison("gold")
    assert gold.verdict == "better"
    assert gold.difference.mean > 0.25
    assert gold.after.mean > gold.stages["sft"].mean
    assert aligned.evaluation.comparison("over-refusal").difference.mean <= 0.03
    assert aligned.evaluation.comparison("harmless").verdict == "better"


@pytest.mark.learning
def test_the_summary_and_the_runs_are_whole(aligned: Quickstart) -> None:
    summary = json.loads((aligned.path / "summary.json").read_text())
    for stage in ("before", "sft", "after"):
        assert set(summary[stage]) == set(AXES)
        for axis in AXES:
            estimate = summary[stage][axis]
            assert estimate["low"] <= estimate["mean"] <= estimate["high"]
            assert estimate["n"] > 0
    assert summary["verdict"] == "better"
    assert {"before", "sft", "sample", "judge", "dpo", "after", "report"} <= set(summary["seconds"])
    page = (aligned.path / "report.html").read_text()
    assert "over-refusal" in page
    for run in ("sft", "dpo"):
        assert (aligned.path / run / "model" / "model.safetensors").exists()
        evaluation = json.loads((aligned.path / run / "evaluation.json").read_text())
        assert evaluation["primary"] == "gold"


@pytest.mark.learning
def test_no_held_out_prompt_was_trained_on(aligned: Quickstart) -> None:
    held_out = {case.key for case in distinct_cases(draw_town(0), "test", SMALL.held_out, seed=0)}
    files = sorted((aligned.path / "data").glob("*.jsonl"))
    assert len(files) == 3
    for path in files:
        assert not {case_of(group).key for group in read_groups(path)} & held_out


@pytest.mark.learning
def test_swapped_preferences_are_reported_as_worse(tmp_path: Path, aligned: Quickstart) -> None:
    broken = quickstart(tmp_path / "run", seed=0, plan=SWAPPED)
    assert broken.evaluation.verdict == "worse"
    assert broken.evaluation.comparison("gold since sft").difference.high < -0.05
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["verdict"] == "worse"
    assert broken.evaluation.comparison("gold").after.mean < aligned.evaluation.comparison("gold").after.mean
    assert "Worse" in (tmp_path / "run" / "report.html").read_text()


def test_a_base_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere"):
        quickstart(tmp_path / "run", base=tmp_path / "nowhere")
    assert not (tmp_path / "run").exists()
