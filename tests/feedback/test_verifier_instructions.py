"""Verifiable instructions: each kind holds and fails where it should, and any ground truth is read or missing."""

from __future__ import annotations

import time
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.feedback.verifiers import constraints
from accord.feedback.verifiers.instructions import instructions, read_constraints

CASES: list[tuple[dict[str, Any], str, str]] = [
    ({"kind": "words", "least": 2, "most": 3}, "one two", "one"),
    ({"kind": "characters", "most": 3}, " abc ", "abcd"),
    ({"kind": "sentences", "least": 2, "most": 2}, 'One. "Two!"', "One. Two. Three"),
    ({"kind": "sentences", "least": 2}, "好。好。", "好。"),
    ({"kind": "paragraphs", "least": 2}, "a\n\nb", "a\nb"),
    ({"kind": "paragraphs", "least": 2, "separator": "***"}, "a\n***\nb", "a"),
    ({"kind": "bullets", "least": 2, "most": 2}, "* a\n- b", "* a"),
    ({"kind": "bullets", "least": 1}, "1. a", "1.a"),
    ({"kind": "highlights", "least": 1}, "an *important* word", "2 * 3 * 4"),
    ({"kind": "placeholders", "least": 1}, "Dear [name]", "Dear []"),
    ({"kind": "capital_words", "most": 1}, "one BIG word", "TWO BIG words"),
    ({"kind": "keyword", "word": "harbour"}, "The Harbour.", "harbours"),
    ({"kind": "keyword", "word": "a.b", "least": 2}, "a.b and A.B", "a.b and axb"),
    ({"kind": "keyword", "word": "no", "least": 0, "most": 0}, "know", "No"),
    ({"kind": "letter", "letter": "a", "least": 2}, "Aa", "a"),
    ({"kind": "sections", "marker": "SECTION", "least": 2}, "SECTION 1 x SECTION 2", "SECTION 1"),
    ({"kind": "forbidden", "words": ["bad"]}, "badly", "a Bad one"),
    ({"kind": "without", "text": ","}, "a b", "a, b"),
    ({"kind": "case", "case": "upper"}, "ABC 1", "Abc"),
    ({"kind": "case", "case": "lower"}, "abc", "123"),
    ({"kind": "starts_with", "phrase": "Dear"}, " dear you", "My dear"),
    ({"kind": "ends_with", "phrase": "Yours."}, 'x yours."', "yours"),
    ({"kind": "paragraph_start", "nth": 2, "word": "second"}, "a\n\n*Second* b", "a\n\nthe second"),
    ({"kind": "quoted"}, '"all"', 'not "all"'),
    ({"kind": "title"}, "<<A title>>\ntext", "<< >>"),
    ({"kind": "json"}, '```json\n{"a": 1}\n```', "{a: 1}"),
    ({"kind": "one_of", "texts": ["yes.", "no."]}, "My answer is no.", "maybe"),
    ({"kind": "different_parts"}, "a ****** b", "a ****** a"),
]


@pytest.mark.parametrize(("constraint", "right", "wrong"), CASES)
def test_each_kind_holds_and_fails(constraint: dict[str, Any], right: str, wrong: str) -> None:
    assert instructions(right, [constraint]) == 1.0
    assert instructions(wrong, [constraint]) == 0.0


def test_every_kind_has_a_case() -> None:
    kinds = {struct.__struct_config__.tag for struct in get_args(constraints.AnyConstraint)}
    assert kinds == {constraint["kind"] for constraint, _, _ in CASES}


def test_all_or_a_share() -> None:
    answer = [{"kind": "words", "most": 2}, {"kind": "without", "text": ","}]
    assert instructions("a, b", answer) == 0.0
    assert instructions("a, b", answer, grade="share") == 0.5
    assert instructions("a b", answer) == 1.0


def test_an_empty_response_satisfies_nothing() -> None:
    assert instructions(" ", [{"kind": "without", "text": ","}]) == 0.0


def test_ifeval_data_are_read_as_they_are() -> None:
    answer = {
        "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words", "keywords:existence"],
        "kwargs": [{}, {"relation": "less than", "num_words": 4}, {"keywords": ["lamp", "river"]}],
    }
    assert instructions("lamp and river", answer) == 1.0
    assert instructions("lamp and a river", answer) == 0.0
    assert instructions("lamp, river", answer, grade="share") == 0.75


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        "words",
        [{"kind": "unknown"}],
        [{"kind": "words", "atleast": 3}],
        {"instruction_id_list": ["language:response_language"], "kwargs": [{"language": "de"}]},
        {"instruction_id_list": ["punctuation:no_comma"], "kwargs": []},
        "[" * 100_000,
    ],
)
def test_a_ground_truth_that_cannot_be_read_is_missing(answer: Any) -> None:
    assert instructions("text", answer) is None


@given(st.text(max_size=300))
def test_any_text_is_checked(text: str) -> None:
    for constraint, _, _ in CASES:
        assert instructions(text, [constraint]) in (0.0, 1.0)


@pytest.mark.parametrize("hostile", ["*", "[", "<<", ".", " ", "\n", "* ", "*a", "[a", "1. \n", "S "])
def test_hostile_length_costs_little_time(hostile: str) -> None:
    text = "x" + hostile * (100_000 // len(hostile))
    begun = time.process_time()
    for constraint, _, _ in CASES:
        instructions(text, [constraint])
    assert time.process_time() - begun < 3.0


def test_text_as_json_is_read() -> None:
    assert read_constraints('[{"kind": "quoted"}]') == [constraints.Quoted()]
