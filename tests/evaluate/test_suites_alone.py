"""Calibration, perplexity, robustness and the world: hand numbers, formats, what goes wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.chat.types import Reply, Request
from accord.errors import ConfigError, DataError
from accord.evaluate import Task, axis, each, generate, measure
from accord.evaluate.perturb import PERTURBATIONS, QUESTION, perturbed
from accord.evaluate.suites.calibration import calibration
from accord.evaluate.suites.perplexity import perplexity
from accord.evaluate.suites.robustness import invariance, perturbed_task, robustness
from accord.evaluate.suites.world import world
from accord.record import Group, Message
from accord.record.measurement import Measurement
from accord.testing import scripted_subject
from accord.world.cases import case_of
from accord.world.grammar import render_all
from accord.world.personas import good_acts

GOLDEN = {case["method"]: case for case in json.loads((Path(__file__).parents[1] / "golden.json").read_text())}


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def means(found: Measurement) -> dict[str, float]:
    return {name: estimate.mean for name, estimate in found.estimates.items()}


# Calibration

QUESTIONS = [{"question": f"Q{n}?", "choices": ["x", "y", "z"], "answer": n % 3, "subject": "law"} for n in range(3)]


def test_calibration_by_hand(tmp_path: Path) -> None:
    """Always 0.6, 0.3, 0.1: right once in three, Brier 0.26, 0.86 and 1.26."""
    sure = scripted_subject(say=lambda request: Reply("A", probabilities=(0.6, 0.3, 0.1), mass=0.8))
    found = means(measure(calibration(write_rows(tmp_path / "mc.jsonl", QUESTIONS)), sure))
    assert found["accuracy"] == pytest.approx(1 / 3)
    assert found["confidence"] == pytest.approx(0.6)
    assert found["ece"] == pytest.approx(0.6 - 1 / 3)
    assert found["brier"] == pytest.approx((0.26 + 0.86 + 1.26) / 3)
    assert found["accuracy at 50%"] == pytest.approx(1 / 3)
    assert found["mass"] == pytest.approx(0.8)


def test_who_always_finds_all_alike_is_calibrated_and_no_better_than_chance(tmp_path: Path) -> None:
    found = measure(calibration(write_rows(tmp_path / "mc.jsonl", QUESTIONS)), scripted_subject(say=lambda _: "B"))
    assert found.controls["constant answer"]["accuracy"].mean == pytest.approx(1 / 3)
    assert found.controls["constant answer"]["ece"].mean == pytest.approx(0, abs=1e-9)
    assert found.estimates["confidence"].mean == 1.0


def test_an_answer_that_is_no_option_is_wrong_and_counted(tmp_path: Path) -> None:
    subject = scripted_subject(say=lambda request: "A" if "Q0" in request.messages[-1].content else "I cannot say.")
    found = measure(calibration(write_rows(tmp_path / "mc.jsonl", QUESTIONS)), subject)
    assert means(found)["accuracy"] == pytest.approx(1 / 3)
    assert means(found)["no choice"] == pytest.approx(2 / 3)
    assert found.estimates["confidence"].n == 1


@pytest.mark.parametrize(
    "row",
    [
        {"choices": ["x", "y"], "answer": 1},
        {"choices": ["x", "y"], "answer": "B"},
        {"choices": ["x", "y"], "answer": "y"},
        {"choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": "2"},
    ],
)
def test_the_right_option_in_every_spelling(tmp_path: Path, row: dict[str, Any]) -> None:
    (item,) = calibration(write_rows(tmp_path / "mc.jsonl", [{"question": "Q?", **row}])).items
    assert item.answer == 1
    assert item.prompt == "Q?\nA. x\nB. y\nAnswer with the letter of the right option only."


@pytest.mark.parametrize(
    ("row", "said"),
    [({"choices": ["x", "y"], "answer": 2}, "no option"), ({"choices": ["x"], "answer": 0}, "1 options")],
)
def test_questions_that_cannot_be_asked_are_named(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=rf"mc\.jsonl:1: .*{said}"):
        calibration(write_rows(tmp_path / "mc.jsonl", [{"question": "Q?", **row}]))


# Perplexity


def test_perplexity_and_bits_by_hand(tmp_path: Path) -> None:
    """Two nats a word; three words of 13 bytes and one of 3 (ä has two)."""
    data = write_rows(tmp_path / "texts.jsonl", [{"text": "one two three"}, {"text": "ä!"}, {"text": " "}])
    found = measure(perplexity(data), scripted_subject(likelihood=lambda prompt, text: -2.0 * len(text.split())))
    assert found.estimates["perplexity"].n == 2
    assert means(found)["perplexity"] == pytest.approx(math.exp(2))
    assert means(found)["loss"] == pytest.approx(2)
    assert means(found)["bits per byte"] == pytest.approx(8 / math.log(2) / 16)


@pytest.mark.parametrize(("unit", "lines"), [("file", [1]), ("paragraph", [1, 4]), ("line", [1, 2, 4])])
def test_texts_by_unit(tmp_path: Path, unit: Any, lines: list[int]) -> None:
    path = tmp_path / "book.txt"
    path.write_text("One.\nTwo.\n\nThree.", encoding="utf-8")
    items = perplexity(str(path), unit=unit).items
    assert [item.origin.line for item in items if item.origin] == lines
    assert all(item.prompt == "" for item in items)
    assert perplexity(str(tmp_path), unit=unit).items == items


def test_texts_that_are_none(tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text("\n \n", encoding="utf-8")
    with pytest.raises(DataError, match="holds no text"):
        perplexity(str(empty))
    (tmp_path / "latin.txt").write_bytes(b"\xe4")
    with pytest.raises(DataError, match=r"latin\.txt: cannot be read as text"):
        perplexity(str(tmp_path / "latin.txt"))


# Robustness


def test_invariance_is_the_published_number() -> None:
    case = GOLDEN["robust.invariance"]
    given_, expected = case["inputs"], case["expected"]
    rows = [
        invariance(clean, changed, threshold=given_["threshold"])
        for clean, changed in zip(given_["score_clean"], given_["score_perturbed"], strict=True)
    ]

    def mean(name: str) -> float:
        return sum(float(row[name] or 0) for row in rows) / len(rows)

    assert mean("drop") == pytest.approx(expected["mean_drop"])
    assert mean("worst") == pytest.approx(expected["worst_case_mean"])
    assert mean("pass") == pytest.approx(expected["robust_pass_rate"])


def test_where_lower_is_better_the_worst_is_the_highest() -> None:
    found = invariance(0.1, [0.2, 0.5], threshold=0.3, lower=True)
    assert (found["worst"], found["pass"], found["consistency"]) == (0.5, 0.0, 0.0)
    assert found["drop"] == pytest.approx(0.25)


def shouting() -> Task:
    items = [Group("Capital of France?", answer="Paris"), Group((Message("user", "Capital of Peru?"),), answer="Lima")]
    right = each(lambda item: {"right": item.responses[0].text == item.answer})
    return Task("capitals", items, ask=generate(), score=right, axes=[axis("right")])


def test_a_model_that_understands_no_capitals_loses_by_case_alone() -> None:
    def say(request: Request) -> str:
        asked = request.messages[-1].content
        if asked in (asked.upper(), asked.lower()):
            return "What?"
        return "Paris" if "France" in asked else "Lima"

    task = perturbed_task(shouting(), ["case", "distractor", "suffix"])
    found = means(measure(task, scripted_subject(say=say)))
    assert found["unchanged"] == found["distractor"] == found["suffix"] == 1.0
    assert found["case"] == found["worst"] == found["pass"] == found["consistency"] == 0.0
    assert found["drop"] == pytest.approx(1 / 3)


def test_perturbations_of_another_suite(tmp_path: Path) -> None:
    rows = [{"input": f"Which is {n}?", "target_scores": {"kind": 1, "rude": 0}} for n in range(4)]
    data = write_rows(tmp_path / "hhh.jsonl", rows)
    kind = scripted_subject(reward=lambda prompt, text: float(text == "kind"))
    found = measure(robustness(data, suite="hhh", perturbations="typos+role_play"), kind)
    assert means(found) == {
        **dict.fromkeys(("worst", "pass", "consistency", "unchanged", "typos", "role_play"), 1.0),
        "drop": 0.0,
    }
    assert found.settings["perturbations"] == ["typos", "role_play"]
    with pytest.raises(ConfigError, match="Did you mean 'typos'"):
        robustness(data, perturbations="typo")
    with pytest.raises(ConfigError, match="no axis 'words'"):
        robustness(data, of="words")


@given(st.text(st.characters(codec="utf-8"), min_size=1), st.sampled_from([*PERTURBATIONS]))
def test_perturbations_are_the_same_every_time(text: str, name: str) -> None:
    item = Group(text, id="x")
    assert perturbed(item, name, seed=3) == perturbed(item, name, seed=3)
    assert perturbed(item, name, seed=3).id == f"x#{name}"


def test_typos_keep_the_letters_and_the_words() -> None:
    text = "Please describe the harbour in winter, and who works there at night."
    changed = str(perturbed(Group(text, id="x"), "typos", seed=0).prompt)
    assert changed != text
    assert sorted(changed) == sorted(text)
    assert [len(word) for word in changed.split()] == [len(word) for word in text.split()]


def test_only_the_question_of_a_framed_prompt_changes() -> None:
    item = Group("Q: Who?\nA: Nobody.\n\nQ: Where is it?\nA:", id="x", meta={QUESTION: "Where is it?"})
    changed = str(perturbed(item, "suffix", seed=0).prompt)
    assert changed.startswith("Q: Who?\nA: Nobody.\n\nQ: Where is it? ")
    assert changed.endswith("\nA:")


# The world


def test_the_world_knows_its_own_best_answers() -> None:
    task = world(prompts=40)
    rng = Random(0)
    best = {item.messages(): render_all(good_acts(case_of(item), rng), rng) for item in task.items}
    found = measure(task, scripted_subject(say=lambda request: best[request.messages]))
    assert means(found)["gold"] > 0.95
    assert means(found)["harmless"] == 1.0
    assert found.controls["constant answer"]["over-refusal"].mean == 1.0
    assert found.controls["empty answer"]["gold"].mean <= 0.0
    with pytest.raises(ConfigError, match="0 prompts"):
        world(prompts=0)
