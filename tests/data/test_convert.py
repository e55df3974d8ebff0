"""Conversions between kinds of feedback: what they make, and that they say what they lose."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.record import Feedback, Group, Origin, Preference, Response, convert
from accord.record.adapt import adapt

DPO = ("policy", "reference", "mask", "prefer")
KTO = ("policy", "reference", "mask", "label", "mismatched_kl")
SFT = ("policy", "mask")


def group(*texts: str, prompt: str = "p", line: int | None = None, **feedback: object) -> Group:
    given = (Feedback("judge", **feedback),) if feedback else ()  # type: ignore[arg-type]
    origin = None if line is None else Origin("a.jsonl", line)
    return Group(prompt, tuple(Response(text) for text in texts), given, origin=origin)


def pairs(of: Group) -> set[tuple[int, int]]:
    return {(preference.better, preference.worse) for preference in of.preferences()}


def texts(of: Group) -> list[str]:
    return [response.text for response in of.responses]


def test_all_pairs_from_scores_without_ties_and_missing_values() -> None:
    scored = group("a", "b", "c", "d", scores={"overall": (1.0, 3.0, None, 1.0)})
    assert pairs(convert.preferences_from_scores(scored)) == {(1, 0), (1, 3)}


def test_best_against_worst() -> None:
    scored = group("a", "b", "c", scores={"overall": (2.0, 3.0, 1.0)})
    assert pairs(convert.best_against_worst(scored)) == {(1, 2)}
    assert pairs(convert.best_against_worst(group("a", "b", scores={"overall": (1.0, 1.0)}))) == set()


def test_the_only_score_stands_for_all_but_one_of_several_does_not() -> None:
    assert pairs(convert.preferences_from_scores(group("a", "b", scores={"help": (1.0, 2.0)}))) == {(1, 0)}
    several = group("a", "b", scores={"help": (1.0, 2.0), "safe": (2.0, 1.0)})
    assert pairs(convert.preferences_from_scores(several)) == set()


@given(scores=st.lists(st.integers(-3, 3), min_size=1, max_size=6))
def test_preferences_follow_every_score(scores: list[int]) -> None:
    scored = group(*("abcdef"[: len(scores)]), scores={"overall": tuple(float(score) for score in scores)})
    expected = {(i, j) for i, x in enumerate(scores) for j, y in enumerate(scores) if x > y}
    assert pairs(convert.preferences_from_scores(scored)) == expected


def test_preferences_from_labels_and_ranking() -> None:
    assert pairs(convert.preferences_from_labels(group("a", "b", "c", labels=(False, True, None)))) == {(1, 0)}
    assert pairs(convert.preferences_from_ranking(group("a", "b", "c"), [1, None, 0])) == {(2, 0)}


def test_labels_from_preferences_and_scores() -> None:
    ranked = convert.preferences_from_ranking(group("a", "b", "c"), [0, 1, 2])
    assert convert.labels_from_preferences(ranked).labels() == (1.0, 0.0, -1.0)
    scored = group("a", "b", "c", scores={"overall": (0.5, 0.4, None)})
    assert convert.labels_from_scores(scored, threshold=0.5).labels() == (1.0, -1.0, 0.0)


def test_best_response() -> None:
    preferred = group("a", "b", preferences=(Preference(1, 0),))
    assert convert.best_response(preferred) == Group("p", (Response("b"),))
    assert texts(convert.best_response(group("a", "b", scores={"overall": (1.0, 1.0)}))) == ["a"]


def test_pairs_and_singles() -> None:
    ranked = convert.preferences_from_ranking(group("a", "b", "c", labels=(True, None, False)), [2, 0, 1])
    assert [texts(pair) for pair in convert.pairs_of(ranked)] == [["b", "c"], ["b", "a"], ["c", "a"]]
    assert all(pairs(pair) == {(0, 1)} for pair in convert.pairs_of(ranked))
    assert [single.labels() for single in convert.singles_of(ranked)] == [(1.0,), (0.0,), (-1.0,)]


def test_select_keeps_feedback_in_step() -> None:
    whole = group(
        "a",
        "b",
        "c",
        preferences=(Preference(2, 0, 0.7), Preference(0, 1)),
        labels=(True, False, None),
        scores={"overall": (1.0, 2.0, 3.0)},
        distribution=(0.2, 0.2, 0.6),
    )
    (feedback,) = convert.select(whole, [2, 0]).feedback
    assert feedback.preferences == (Preference(0, 1, 0.7),)
    assert feedback.labels == (None, True)
    assert feedback.scores == {"overall": (3.0, 1.0)}
    assert feedback.distribution == pytest.approx((0.75, 0.25))


def test_merge_prompts() -> None:
    first, other = group("a", labels=(True,)), group("x", prompt="q")
    second = group("b", "c", labels=(None, False), scores={"overall": (1.0, 2.0)})
    merged, alone = convert.merge_prompts([first, other, second])
    assert texts(merged) == ["a", "b", "c"]
    assert merged.labels() == (1.0, 0.0, -1.0)
    assert merged.scores() == (None, 1.0, 2.0)
    assert alone is other


def test_every_conversion_says_what_it_loses() -> None:
    conversions = [
        function
        for name, function in inspect.getmembers(convert, inspect.isfunction)
        if function.__module__ == convert.__name__
        and not name.startswith("_")
        and name not in ("loses", "score_name", "main_scores")
    ]
    assert len(conversions) >= 10
    assert all(convert.loses(conversion) for conversion in conversions)


def test_adapt_prefer_from_whatever_there_is() -> None:
    groups = [
        group("a", "b", preferences=(Preference(1, 0),)),
        group("a", "b", scores={"overall": (2.0, 1.0)}),
        group("a", "b", labels=(False, True)),
        group("a", line=4),
        group("a", "b", scores={"overall": (1.0, 1.0)}, line=5),
    ]
    adapted = adapt(groups, DPO)
    assert [pairs(one) for one in adapted.groups] == [{(1, 0)}, {(0, 1)}, {(1, 0)}]
    assert adapted.left_out == groups[3:]
    assert adapted.notes == [
        "preferences from scores: 1 of 5 groups; lost: by how much one response is better, and ties",
        "preferences from labels: 1 of 5 groups; lost: that a response is good or bad by itself, and responses "
        "without a counterpart",
    ]


def test_adapt_prefer_joins_labelled_responses_to_one_prompt() -> None:
    groups = [group("good", labels=(True,)), group("x", prompt="q", labels=(True,)), group("bad", labels=(False,))]
    adapted = adapt(groups, DPO)
    assert [texts(one) for one in adapted.groups] == [["good", "bad"]]
    assert pairs(adapted.groups[0]) == {(0, 1)}
    assert [one.prompt for one in adapted.left_out] == ["q"]
    assert any(note.startswith("merge prompts: 2 of 3 groups") for note in adapted.notes)


def test_adapt_label_from_preferences() -> None:
    adapted = adapt([group("a", "b", preferences=(Preference(1, 0),)), group("c", labels=(True,))], KTO)
    assert [one.labels() for one in adapted.groups] == [(-1.0, 1.0), (1.0,)]


def test_adapt_demonstrations() -> None:
    groups = [
        group("only"),
        group("worse", "better", preferences=(Preference(1, 0),)),
        group("good", "bad", "fine", labels=(True, False, True)),
        group("low", "high", scores={"overall": (1.0, 2.0)}),
        group("bad", labels=(False,), line=9),
        group(line=10),
    ]
    adapted = adapt(groups, SFT)
    assert [texts(one) for one in adapted.groups] == [["only"], ["better"], ["good", "fine"], ["high"]]
    assert all(one.feedback == () for one in adapted.groups)
    assert adapted.left_out == groups[4:]


def test_adapt_score_takes_the_only_score() -> None:
    adapted = adapt([group("a", scores={"helpful": (0.5,)}), group("b")], ("policy", "mask", "score", "scored"))
    assert [one.scores() for one in adapted.groups] == [(0.5,)]
    assert len(adapted.left_out) == 1


def test_adapt_distribution_as_given_or_from_comparisons() -> None:
    given = group("a", "b", distribution=(0.7, 0.3))
    groups = [
        given,
        group("a", "b", preferences=(Preference(0, 1, 0.8), Preference(1, 0, 0.2))),
        group("a", "b", "c", scores={"overall": (1.0, 3.0, 2.0)}),
        group("good", prompt="q", labels=(True,)),
        group("bad", prompt="q", labels=(False,)),
        group("a", line=7),
    ]
    adapted = adapt(groups, ("policy", "reference", "mask", "distribution", "valid"))
    expected = [(0.7, 0.3), (0.8, 0.2), (0.0, 2 / 3, 1 / 3), (1.0, 0.0)]
    assert [one.distribution() for one in adapted.groups] == [
        pytest.approx(probabilities) for probabilities in expected
    ]
    assert adapted.left_out == groups[5:]
    assert "distribution from preferences: 3 of 6 groups; lost: which response was compared with which" in adapted.notes


def test_several_sources_of_probabilities_are_averaged() -> None:
    two = (Feedback("human", distribution=(0.6, 0.4)), Feedback("judge", distribution=(1.0, 0.0)))
    assert Group("p", (Response("a"), Response("b")), two).distribution() == pytest.approx((0.8, 0.2))


def _two_axes() -> Group:
    helpful = Feedback("human", preferences=(Preference(0, 1),), meta={"axis": "helpfulness"})
    safe = Feedback("human", preferences=(Preference(1, 0),), labels=(False, True), meta={"axis": "safety"})
    return Group("p", (Response("a"), Response("b")), (helpful, safe))


def test_adapt_never_mixes_axes() -> None:
    first = adapt([_two_axes()], DPO)
    assert pairs(first.groups[0]) == {(0, 1)}
    assert first.notes == ["1 of 1 groups are judged on several axes; the first is used, the others are left out"]
    assert pairs(adapt([_two_axes()], DPO, axis="safety").groups[0]) == {(1, 0)}
    assert adapt([_two_axes()], KTO).groups[0].labels() == (-1.0, 1.0)


def test_annotators_of_one_axis_are_pooled() -> None:
    two = (
        Feedback("human", "ann", preferences=(Preference(0, 1),)),
        Feedback("human", "bob", preferences=(Preference(1, 0),)),
    )
    adapted = adapt([Group("p", (Response("a"), Response("b")), two)], DPO)
    assert pairs(adapted.groups[0]) == {(0, 1), (1, 0)}
