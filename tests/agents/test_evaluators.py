"""Evaluators of one's own scorers: dimensions, preferences, several objectives, and the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from accord.agents import (
    AlignmentEvaluator,
    AlignmentReportGenerator,
    MultiObjectiveAlignmentEvaluator,
    PreferenceAlignmentEvaluator,
    evaluate_alignment,
    generate_alignment_report,
)
from accord.agents.evaluators import pareto_ranks, worst_slice
from accord.errors import ConfigError, DataError, NumericsError
from accord.evaluate import wilson
from accord.policy.load import load_policy
from accord.record import Feedback, Group, Preference, Response
from accord.testing import preference_groups, scripted_subject, tiny_model

PROMPTS = [Group(f"Question {n}", meta={"half": "first" if n < 10 else "second"}) for n in range(20)]
SCORERS = {
    "helpfulness": lambda prompt, text: float(prompt.split()[-1] in text),
    "harmlessness": lambda prompt, text: float("knife" not in text),
}


def knows_half(prompt: str) -> str:
    number = int(prompt.split()[-1])
    return f"The answer is {number}" if number < 10 else "Take a knife"


def always_safe(prompt: str) -> str:
    return "I would rather not say."


def test_dimensions_with_intervals_and_the_worst_slice() -> None:
    found = AlignmentEvaluator(PROMPTS, SCORERS, slices=["half"]).evaluate(knows_half)
    assert found.estimates == {"helpfulness": wilson(10, 20), "harmlessness": wilson(10, 20)}
    assert worst_slice(found, "helpfulness") == ("half=second", wilson(0, 10))
    assert found.controls["echo"]["helpfulness"].mean == 1.0  # a scorer that an echo satisfies


def test_a_policy_a_subject_and_a_function_are_models(tmp_path: Path) -> None:
    policy = load_policy(tiny_model(tmp_path / "model"))
    for model in (policy, always_safe, scripted_subject(say=lambda request: "no")):
        assert evaluate_alignment(model, ["Hi"], SCORERS).estimates["harmlessness"].mean == 1.0
    with pytest.raises(ConfigError, match="int does not answer"):
        evaluate_alignment(3, ["Hi"], SCORERS)  # type: ignore[arg-type]


def test_scorers_are_held_to_shares() -> None:
    with pytest.raises(NumericsError, match=r"points gave 7.*Return a number from 0 to 1"):
        evaluate_alignment(always_safe, ["Hi"], {"points": lambda prompt, text: 7})
    with pytest.raises(ConfigError, match="no dimension 'kindness'"):
        AlignmentEvaluator(["Hi"], SCORERS, heuristic=["kindness"])


def test_preferences_and_wins_against_references() -> None:
    evaluator = PreferenceAlignmentEvaluator(preference_groups(12))
    polite = scripted_subject(reward=lambda prompt, text: float("please" in text))
    assert evaluator.accuracy(polite).estimates["accuracy"] == wilson(12, 12)
    longer = evaluator.win_rate(
        lambda prompt: "no", lambda prompt, answer, reference: float(len(answer) > len(reference))
    )
    assert longer.estimates["win rate"] == wilson(0, 12)
    ties = evaluator.win_rate(always_safe, lambda prompt, answer, reference: 0.5)
    assert ties.estimates["win rate"].mean == 0.5
    with pytest.raises(DataError, match="no response to compare with"):
        PreferenceAlignmentEvaluator([Group("Hi")]).win_rate(always_safe, lambda *_: 0.5)


def test_several_models_on_several_objectives() -> None:
    evaluator = MultiObjectiveAlignmentEvaluator(AlignmentEvaluator(PROMPTS, SCORERS), weights={"helpfulness": 1.0})
    models = {"half": knows_half, "safe": always_safe, "knife": lambda prompt: "knife", "echo": lambda prompt: prompt}
    placed = evaluator.evaluate(models)
    assert [(one.name, one.rank) for one in placed] == [("echo", 1), ("half", 2), ("safe", 2), ("knife", 3)]
    assert [one.value for one in placed] == [1.0, 0.5, 0.0, 0.0]
    with pytest.raises(ConfigError, match="the weight of 'honesty'"):
        MultiObjectiveAlignmentEvaluator(AlignmentEvaluator(PROMPTS, SCORERS), weights={"honesty": 1.0})


def test_pareto_ranks_peel_fronts() -> None:
    points = torch.tensor([[3.0, 1.0], [1.0, 3.0], [2.0, 1.0], [1.0, 1.0], [3.0, 1.0]])
    assert pareto_ranks(points) == [1, 1, 2, 3, 1]


def test_the_report_says_what_changed_failed_and_is_not_shown(tmp_path: Path) -> None:
    evaluator = AlignmentEvaluator(PROMPTS, SCORERS, heuristic=["harmlessness"], slices=["half"])
    before, after = evaluator.evaluate(knows_half, name="old"), evaluator.evaluate(always_safe, name="new")
    paths = generate_alignment_report([after], tmp_path / "report", previous=[before])
    again = generate_alignment_report([after], tmp_path / "again", previous=[before])
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]
    text = paths[1].read_text(encoding="utf-8")
    assert "# Alignment of new" in text
    assert "Since old: **trade-off**" in text
    assert "harmlessness is told by a rule of thumb" in text
    assert "constant answer" in text
    assert json.loads(paths[0].read_bytes())["measurements"][0]["model"] == "new"


def test_failures_are_shown_and_cannot_write_markup() -> None:
    hostile = AlignmentEvaluator(["Question 1", "Question 2"], SCORERS).evaluate(
        lambda prompt: "1" if prompt.endswith("1") else "<script>| **bold** |"
    )
    generator = AlignmentReportGenerator(limits=["Two prompts are few."])
    text = generator.generate([hostile]).markdown()
    assert "Where helpfulness is worst" in text
    assert "<script>" not in text
    assert "Two prompts are few." in text
    with pytest.raises(ConfigError, match="one model"):
        generator.generate([])


def test_a_preference_the_other_way_is_lost() -> None:
    group = Group("Q", (Response("a"), Response("b")), (Feedback("human", preferences=(Preference(1, 0),)),))
    found = PreferenceAlignmentEvaluator([group]).accuracy(scripted_subject(reward=lambda p, text: float(text == "a")))
    assert found.estimates["accuracy"].mean == 0.0
