"""Each public format, in the true shape of its data set, becomes the Groups that it means."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accord.data import Dataset, read
from accord.data.formats import FORMATS
from accord.errors import ConfigError, DataError
from accord.record import Feedback, Group, Message, Origin, Preference, Response, group_to_json

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_rows(*rows: Any, name: str = "rows.jsonl") -> str:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return str(path)

    return write_rows


def only(dataset: Dataset) -> Group:
    assert len(dataset.groups) == 1
    return dataset.groups[0]


def texts(group: Group) -> list[str]:
    return [response.text for response in group.responses]


def user(text: str) -> Message:
    return Message("user", text)


def assistant(text: str) -> Message:
    return Message("assistant", text)


def chat(*turns: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[index % 2], "content": turn} for index, turn in enumerate(turns)]


def test_text_pair(write: Write) -> None:
    path = write({"prompt": "Tide at noon?", "chosen": "Low.", "rejected": "Who cares."})
    dataset = read([path])
    group = only(dataset)
    assert group.prompt == "Tide at noon?"
    assert texts(group) == ["Low.", "Who cares."]
    assert list(group.preferences()) == [Preference(0, 1)]
    assert group.origin == Origin(path, 1)
    assert dataset.formats[0].name == "preference pairs"
    assert "prompt, chosen, rejected" in dataset.formats[0].why


def test_pair_keeps_scores_and_margin(write: Write) -> None:
    row = {"prompt": "a", "chosen": "b", "rejected": "c", "chosen_score": 4, "rejected_score": 1.5, "margin": 2.5}
    group = only(read([write(row)]))
    assert group.scores() == (4.0, 1.5)
    assert group.feedback[0].meta == {"margin": 2.5}


def test_chat_pair_with_explicit_prompt(write: Write) -> None:
    row = {"prompt": chat("hi"), "chosen": chat("hi", "hello")[1:], "rejected": chat("hi", "go away")[1:]}
    group = only(read([write(row)]))
    assert group.prompt == (user("hi"),)
    assert texts(group) == ["hello", "go away"]


def test_chat_pair_with_implicit_prompt_of_several_turns(write: Write) -> None:
    row = {"chosen": chat("hi", "hello", "tide?", "low"), "rejected": chat("hi", "hello", "tide?", "high")}
    group = only(read([write(row)]))
    assert group.prompt == (user("hi"), assistant("hello"), user("tide?"))
    assert texts(group) == ["low", "high"]


def test_chat_pair_that_parts_early_keeps_the_turns_as_context(write: Write) -> None:
    row = {"chosen": chat("hi", "hello", "tide?", "low"), "rejected": chat("hi", "no")}
    group = only(read([write(row)]))
    assert group.prompt == (user("hi"),)
    assert group.responses[0] == Response("low", context=(assistant("hello"), user("tide?")))
    assert group.responses[1] == Response("no")


def test_chat_pair_with_equal_sides_is_cut_before_the_answer(write: Write) -> None:
    group = only(read([write({"chosen": chat("hi", "same"), "rejected": chat("hi", "same")})]))
    assert group.prompt == (user("hi"),)
    assert texts(group) == ["same", "same"]


def test_implicit_text_prompt_is_cut_at_a_line_never_inside_a_word(write: Write) -> None:
    row = {"chosen": "Q: how high?\nA: hightide is 3 m", "rejected": "Q: how high?\nA: highly doubtful"}
    group = only(read([write(row)]))
    assert group.prompt == "Q: how high?\n"
    assert texts(group) == ["A: hightide is 3 m", "A: highly doubtful"]


def test_implicit_text_prompt_without_a_shared_line_is_explained(write: Write) -> None:
    path = write({"chosen": "the tide is low", "rejected": "the tide is high"})
    with pytest.raises(DataError, match=r"rows\.jsonl:1: no row can be used: .*--columns prompt=NAME"):
        read([path])


def test_hh_transcripts(write: Write) -> None:
    shared = "\n\nHuman: hi there\n\nAssistant: hello\n\nHuman: is it safe?\n\nAssistant:"
    dataset = read([write({"chosen": shared + " Yes, at low tide.", "rejected": shared + " No idea"})])
    group = only(dataset)
    assert dataset.formats[0].name == "HH-RLHF"
    assert group.prompt == (user("hi there"), assistant("hello"), user("is it safe?"))
    assert texts(group) == ["Yes, at low tide.", "No idea"]
    assert group.feedback[0].source == "human"


def test_hh_pairs_with_other_prefixes_are_reported_and_left_out(write: Write) -> None:
    good = {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"}
    other = {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: x\n\nAssistant: c"}
    dataset = read([write(good, other)])
    assert len(dataset.groups) == 1
    assert [(problem.kind, problem.line) for problem in dataset.problems] == [("prefixes differ", 2)]


def test_hh_with_its_prompt_in_a_column(write: Write) -> None:
    row = {"prompt": "\n\nHuman: a\n\nAssistant:", "chosen": " yes", "rejected": " no"}
    group = only(read([write(row)]))
    assert group.prompt == (user("a"),)
    assert texts(group) == ["yes", "no"]


def test_kto(write: Write) -> None:
    rows = [{"prompt": "a", "completion": "b", "label": True}, {"prompt": "a", "completion": "c", "label": False}]
    assert [group.labels() for group in read([write(*rows)]).groups] == [(1.0,), (-1.0,)]


def test_prompt_and_completion(write: Write) -> None:
    group = only(read([write({"prompt": "a", "completion": "b"})]))
    assert group == Group("a", (Response("b"),), origin=group.origin)


def test_scored_completion(write: Write) -> None:
    assert only(read([write({"prompt": "a", "response": "b", "score": 0.25})])).scores() == (0.25,)


def test_messages_train_every_answer(write: Write) -> None:
    turns = [{"role": "system", "content": "be brief"}, *chat("a", "b", "c", "d", "trailing question")]
    group = only(read([write({"messages": turns})]))
    assert group.prompt == (Message("system", "be brief"), user("a"))
    assert group.responses == (Response("d", context=(assistant("b"), user("c"))),)


def test_messages_without_an_answer_are_a_bare_prompt(write: Write) -> None:
    assert only(read([write({"messages": chat("a")})])).responses == ()


def test_message_content_in_parts(write: Write) -> None:
    parts = [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]
    turns: list[dict[str, Any]] = [{"role": "user", "content": parts}, {"role": "assistant", "content": "b"}]
    assert only(read([write({"messages": turns})])).prompt == (user("hello"),)
    turns = [{"role": "user", "content": [{"type": "image", "url": "x"}]}]
    with pytest.raises(DataError, match=r"messages\[0\].content. holds something other than text"):
        read([write({"messages": turns})])


def test_sharegpt(write: Write) -> None:
    turns = [{"from": "gpt", "value": "Welcome."}, {"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    dataset = read([write({"id": "x1", "conversations": turns})])
    group = only(dataset)
    assert dataset.formats[0].name == "ShareGPT"
    assert group.prompt == (assistant("Welcome."), user("a"))
    assert texts(group) == ["b"]
    assert group.id == "x1"


def test_alpaca(write: Write) -> None:
    rows = [{"instruction": "Sum", "input": "1 2", "output": "3"}, {"instruction": "Hi", "input": "", "output": "Ho"}]
    assert [group.prompt for group in read([write(*rows)]).groups] == [(user("Sum\n\n1 2"),), (user("Hi"),)]


def test_dolly_as_message_and_in_template(write: Write) -> None:
    row = {"instruction": "Who?", "context": "Ann rows.", "response": "Ann", "category": "closed_qa"}
    path = write(row, {**row, "context": ""})
    first, _ = read([path]).groups
    assert first.prompt == (user("Who?\n\nAnn rows."),)
    assert first.meta == {"category": "closed_qa"}
    first, second = read([path], template="instruction").groups
    assert first.prompt == "### Instruction:\nWho?\n\n### Context:\nAnn rows.\n\n### Response:\n"
    assert second.prompt == "### Instruction:\nWho?\n\n### Response:\n"
    assert texts(second) == ["Ann"]


def _completion(response: str, overall: float, ratings: dict[str, str]) -> dict[str, Any]:
    return {
        "model": "m",
        "response": response,
        "annotations": {name: {"Rating": rating, "Rationale": "..."} for name, rating in ratings.items()},
        "overall_score": overall,
        "critique": "...",
        "fine-grained_score": 4.0,
    }


def test_ultrafeedback_raw(write: Write) -> None:
    ratings = {"helpfulness": "5", "instruction_following": "N/A"}
    completions = [_completion("good", 8.5, ratings), _completion("bad", 3.0, {"helpfulness": "1"})]
    row = {"source": "s", "instruction": "Do", "models": ["m"], "completions": completions, "correct_answers": ["None"]}
    group = only(read([write(row)]))
    assert group.prompt == (user("Do"),)
    assert group.scores() == (8.5, 3.0)
    assert group.scores("helpfulness") == (5.0, 1.0)
    assert group.scores("instruction_following") is None


def test_ultrafeedback_ten_for_one_is_noticed(write: Write) -> None:
    wrong = {**_completion("bad", 10, {"helpfulness": "1", "honesty": "2"}), "fine-grained_score": 1.5}
    right = _completion("good", 10, {"helpfulness": "5"})
    dataset = read([write({"instruction": "Do", "completions": [wrong, right]})])
    assert only(dataset).scores() == (1.0, 10.0)
    assert [problem.kind for problem in dataset.problems] == ["overall score 10 for 1"]
    assert dataset.problems[0].message.startswith("`completions[0].overall_score`")


def test_ultrafeedback_binarised(write: Write) -> None:
    row = {
        "prompt": "Do",
        "prompt_id": "p1",
        "chosen": chat("Do", "done"),
        "rejected": chat("Do", "never"),
        "messages": chat("Do", "done"),
        "score_chosen": 8.0,
        "score_rejected": 2.0,
    }
    dataset = read([write(row)])
    group = only(dataset)
    assert dataset.formats[0].name == "UltraFeedback binarised"
    assert group.prompt == (user("Do"),)
    assert texts(group) == ["done", "never"]
    assert group.scores() == (8.0, 2.0)
    assert group.id == "p1"


def _oasst(identifier: str, parent: str | None, role: str, text: str, rank: int | None = None) -> dict[str, Any]:
    return {
        "message_id": identifier,
        "parent_id": parent,
        "text": text,
        "role": role,
        "lang": "en",
        "rank": rank,
        "deleted": False,
        "message_tree_id": "q",
    }


def test_openassistant_rows_in_any_order(write: Write) -> None:
    rows = [
        _oasst("a2", "q", "assistant", "worse", 1),
        _oasst("f", "a1", "prompter", "And then?"),
        _oasst("q", None, "prompter", "Why?"),
        _oasst("a1", "q", "assistant", "best", 0),
        _oasst("a3", "q", "assistant", "not ranked"),
        _oasst("fa", "f", "assistant", "The end.", 0),
    ]
    follow_up, question = read([write(*rows)]).groups
    assert question.prompt == (user("Why?"),)
    assert texts(question) == ["best", "worse", "not ranked"]
    assert list(question.preferences()) == [Preference(0, 1)]
    assert question.origin is not None
    assert question.origin.line == 3
    assert question.meta == {"language": "en"}
    assert follow_up.prompt == (user("Why?"), assistant("best"), user("And then?"))
    assert list(follow_up.preferences()) == []


def test_openassistant_broken_threads_are_reported(write: Write) -> None:
    rows = [
        _oasst("q", "gone", "prompter", "Why?"),
        _oasst("a", "q", "assistant", "So."),
        _oasst("x", "y", "prompter", "circle"),
        _oasst("y", "x", "assistant", "circle"),
        _oasst("r", None, "prompter", "Fine?"),
        _oasst("s", "r", "assistant", "Fine."),
    ]
    dataset = read([write(*rows)])
    assert texts(only(dataset)) == ["Fine."]
    assert [(problem.kind, problem.line) for problem in dataset.problems] == [
        ("broken thread", 1),
        ("broken thread", 3),
    ]


def test_openassistant_trees(write: Write) -> None:
    replies = [
        {"message_id": "b", "text": "second", "role": "assistant", "rank": 1, "replies": []},
        {"message_id": "a", "text": "first", "role": "assistant", "rank": 0, "replies": []},
    ]
    root = {"message_id": "q", "text": "Why?", "role": "prompter", "lang": "en", "replies": replies}
    group = only(read([write({"message_tree_id": "q", "tree_state": "ready_for_export", "prompt": root})]))
    assert texts(group) == ["first", "second"]
    assert list(group.preferences()) == [Preference(0, 1)]


def test_safe_rlhf_keeps_the_axes_apart(write: Write) -> None:
    row = {
        "prompt": "p",
        "response_0": "a",
        "response_1": "b",
        "is_response_0_safe": False,
        "is_response_1_safe": True,
        "better_response_id": 0,
        "safer_response_id": 1,
    }
    group = only(read([write(row)]))
    assert group.feedback == (
        Feedback("human", preferences=(Preference(0, 1),), meta={"axis": "helpfulness"}),
        Feedback("human", preferences=(Preference(1, 0),), labels=(False, True), meta={"axis": "safety"}),
    )


def test_ranking_is_an_order_best_first(write: Write) -> None:
    group = only(read([write({"prompt": "p", "responses": ["a", "b", "c"], "ranking": [2, 0, 1]})]))
    assert {(p.better, p.worse) for p in group.preferences()} == {(2, 0), (2, 1), (0, 1)}


def test_ranks_may_tie(write: Write) -> None:
    group = only(read([write({"prompt": "p", "responses": ["a", "b", "c"], "ranks": [2, 1, 1]})]))
    assert {(p.better, p.worse) for p in group.preferences()} == {(1, 0), (2, 0)}


@pytest.mark.parametrize("ranking", [[0, 1], [1, 2, 3], [0, 0, 1], [0, 1, "2"]])
def test_a_ranking_that_is_no_order_is_refused(write: Write, ranking: list[Any]) -> None:
    with pytest.raises(DataError, match="not an order of the 3 responses"):
        read([write({"prompt": "p", "responses": ["a", "b", "c"], "ranking": ranking})])


def test_scored_and_probable_responses(write: Write) -> None:
    scored = only(read([write({"prompt": "p", "responses": ["a", "b"], "scores": [1, None]})]))
    assert scored.scores() == (1.0, None)
    likely = only(read([write({"prompt": "p", "responses": ["a", "b"], "probs": [0.25, 0.75]})]))
    assert likely.feedback[0].distribution == (0.25, 0.75)


@pytest.mark.parametrize("column", ["ground_truth", "answer"])
def test_verifiable_prompts(write: Write, column: str) -> None:
    group = only(read([write({"prompt": "2+2?", column: 4})]))
    assert group == Group("2+2?", answer=4, origin=group.origin)


def test_own_groups_round_trip(tmp_path: Path) -> None:
    group = Group(
        (user("p"),),
        (Response("a", tokens=(1, 2), logprobs=(-0.5, -0.1), finished=False), Response("b")),
        (Feedback("judge", "j", (Preference(0, 1, 0.8), Preference(1, 0, 0.2)), scores={"overall": (1.0, None)}),),
        id="7",
        origin=Origin("elsewhere.jsonl", 3),
    )
    path = tmp_path / "groups.jsonl"
    path.write_bytes(group_to_json(group) + b"\n")
    assert read([str(path)]).groups == [group]


@pytest.mark.parametrize(
    ("feedback", "fault"),
    [
        ({"preferences": [{"better": 0, "worse": 2}]}, "names response 2 of 1"),
        ({"labels": [True, False]}, "2 labels for 1 responses"),
        ({"scores": {"overall": [1, 2]}}, "2 values for 1 responses"),
    ],
)
def test_own_groups_with_feedback_that_does_not_fit_are_refused(
    write: Write, feedback: dict[str, Any], fault: str
) -> None:
    with pytest.raises(DataError, match=fault):
        read([write({"prompt": "p", "responses": [{"text": "a"}], "feedback": [{"source": "judge", **feedback}]})])


def test_columns_map_anything_else(write: Write) -> None:
    dataset = read(
        [write({"question": "q", "good": "a", "bad": "b", "prompt": "not this"})],
        columns="prompt=question, chosen=good,rejected=bad",
    )
    assert only(dataset).prompt == "q"
    assert "mapped question to prompt" in dataset.formats[0].why


@pytest.mark.parametrize("columns", ["prompt", "prompt=", "nonsense=question"])
def test_columns_that_cannot_be_understood(write: Write, columns: str) -> None:
    with pytest.raises(ConfigError, match="--columns"):
        read([write({"question": "q"})], columns=columns)


def test_several_sources_keep_their_order_and_origin(write: Write) -> None:
    first = write({"prompt": "a", "chosen": "b", "rejected": "c"}, {"prompt": "d", "chosen": "e", "rejected": "f"})
    second = write({"prompt": "g", "completion": "h", "label": True}, name="labels.jsonl")
    dataset = read([first, second])
    assert [group.origin for group in dataset.groups] == [Origin(first, 1), Origin(first, 2), Origin(second, 1)]
    assert [found.groups for found in dataset.formats] == [2, 1]


def test_more_telling_formats_are_tried_first() -> None:
    for index, telling in enumerate(FORMATS):
        for later in FORMATS[index + 1 :]:
            assert not (set(telling.columns) < set(later.columns) and telling.shape is later.shape), (
                f"{telling.name} hides {later.name}"
            )


def test_prompts_that_accord_wrote_keep_their_meta(tmp_path: Path) -> None:
    group = Group((Message("user", "Hello?"),), id="a", answer=4, meta={"family": "fact"})
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(group_to_json(group) + b"\n")
    dataset = read([str(path)])
    assert dataset.formats[0].name == "Accord prompts"
    (read_back,) = dataset.groups
    assert (read_back.prompt, read_back.id, read_back.answer) == (group.prompt, "a", 4)
    assert read_back.meta == group.meta
