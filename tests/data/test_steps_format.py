"""Solutions in labelled steps: TRL's lists, Math-Shepherd's tags, Accord's own Groups."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from accord.data import read
from accord.errors import DataError
from accord.record import Feedback, Group, Response, group_from_json, group_to_json
from accord.record.convert import merge_prompts, select
from accord.record.steps import line_ends, response_of_steps, step_texts, with_steps

LISTED = {"prompt": "2 + 3 + 1?", "completions": ["2 + 3 = 5", "5 + 1 = 7"], "labels": [True, False]}
TAGGED = {
    "input": "What is 2 + 3 + 1? Step 1: 2 + 3 = 5 ки\nStep 2: 5 + 1 = 7. The answer is: 7 ки",
    "label": "What is 2 + 3 + 1? Step 1: 2 + 3 = 5 +\nStep 2: 5 + 1 = 7. The answer is: 7 -",
    "task": "GSM8K",
}


def written(path: Path, *rows: Any) -> str:
    file = path / "steps.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(file)


def test_a_list_of_steps(tmp_path: Path) -> None:
    (group,) = read([written(tmp_path, LISTED)]).groups
    assert step_texts(group.responses[0]) == ["2 + 3 = 5\n", "5 + 1 = 7"]
    assert group.step_scores() == ((1.0, 0.0),)


def test_shares_and_missing_labels(tmp_path: Path) -> None:
    (group,) = read([written(tmp_path, LISTED | {"labels": [0.75, None]})]).groups
    assert group.step_scores() == ((0.75, None),)


def test_math_shepherd(tmp_path: Path) -> None:
    (group,) = read([written(tmp_path, TAGGED)]).groups
    assert group.prompt == "What is 2 + 3 + 1?"
    assert step_texts(group.responses[0]) == ["Step 1: 2 + 3 = 5\n", "Step 2: 5 + 1 = 7. The answer is: 7"]
    assert group.step_scores() == ((1.0, 0.0),)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"labels": [True]}, "1 entries for 2 steps"),
        ({"labels": [True, 2]}, "is 2. Give true or false"),
        ({"labels": [True, "yes"]}, "a number is expected"),
        ({"completions": ["a", ""]}, r"completions\[1\]` is empty"),
        ({"completions": [], "labels": []}, "an empty list"),
    ],
)
def test_what_is_wrong_with_a_list_is_said(tmp_path: Path, change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(DataError, match=complaint) as raised:
        read([written(tmp_path, LISTED | change)])
    assert raised.value.line == 1


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"label": TAGGED["label"].replace(" +", " ?")}, r"step 1 of `input` ends, \+ or - is expected"),
        ({"input": TAGGED["input"] + " and more"}, "goes on after its last"),
        ({"input": TAGGED["input"].replace("Step 1:", "First:")}, "no question"),
    ],
)
def test_what_is_wrong_with_tags_is_said(tmp_path: Path, change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        read([written(tmp_path, TAGGED | change)])


def test_groups_keep_their_steps(tmp_path: Path) -> None:
    (group,) = read([written(tmp_path, LISTED)]).groups
    assert group_from_json(group_to_json(group)) == group


@pytest.mark.parametrize(
    ("steps", "scores", "complaint"),
    [
        ([4, 4], [1.0, 0.0], "not in order within its text"),
        ([4, 99], [1.0, 0.0], "not in order within its text"),
        ([4], [1.0, 0.0], "2 step scores for the 1 steps of response 0"),
    ],
)
def test_groups_whose_steps_cannot_be_are_refused(
    tmp_path: Path, steps: list[int], scores: list[float], complaint: str
) -> None:
    row = {
        "prompt": "?",
        "responses": [{"text": "a b c d", "steps": steps}],
        "feedback": [{"source": "human", "step_scores": [scores]}],
    }
    with pytest.raises(DataError, match=complaint):
        read([written(tmp_path, row)])


def test_step_scores_follow_their_response() -> None:
    responses = (response_of_steps(["a", "b"]), Response("plain"), response_of_steps(["c"]))
    group = Group("?", responses, (Feedback("human", step_scores=((1.0, 0.0), (), (0.5,))),))
    assert select(group, [2, 0]).step_scores() == ((0.5,), (1.0, 0.0))
    joined = merge_prompts([Group("?", (Response("x"),)), group])
    assert joined[0].step_scores() == ((), (1.0, 0.0), (), (0.5,))


def test_step_scores_are_the_mean_over_sources() -> None:
    sources = (Feedback("human", step_scores=((1.0, None),)), Feedback("judge", step_scores=((0.0, 1.0),)))
    assert Group("?", (response_of_steps(["a", "b"]),), sources).step_scores() == ((0.5, 1.0),)


def test_lines_are_steps() -> None:
    assert line_ends("one\n\ntwo\nthree") == (5, 9, 14)
    assert line_ends("") == ()
    assert line_ends("\n\nx") == (2, 3)
    group = with_steps(Group("?", (Response("one\ntwo"), response_of_steps(["a b"]))))
    assert [response.steps for response in group.responses] == [(4, 7), (3,)]
