"""Answers of several models joined by prompt, judged in pairs, and rated."""

from __future__ import annotations

import doctest
from collections.abc import Sequence

import pytest

import accord.evaluate.style
from accord.chat.types import Progress
from accord.errors import ConfigError, DataError
from accord.evaluate.style import FEATURES, features, more_style
from accord.feedback.judge.pair import Judgement, Pair
from accord.feedback.judge.reward_judge import CONTROLS
from accord.recipes.compare_answers import compare_answers, join_answers
from accord.record import Feedback, Group, Preference, Response


def said(text: str, *, prompts: Sequence[int] = range(20), model: str | None = None, ids: bool = False) -> list[Group]:
    meta = {} if model is None else {"model": model}
    return [
        Group(f"Prompt {one}?", (Response(f"{text} {one}", meta=meta),), id=f"p{one}" if ids else None)
        for one in prompts
    ]


class Prefers:
    """A judge who likes answers with a word in them, and says nothing of some prompts."""

    name = "prefers"

    def __init__(self, word: str, *, silent_on: str = "nothing") -> None:
        self.word, self.silent_on = word, silent_on
        self.asked = 0

    def compare(self, pairs: Sequence[Pair], *, progress: Progress | None = None) -> list[Judgement]:
        self.asked += len(pairs)
        return [self._of(pair) for pair in pairs]

    def _of(self, pair: Pair) -> Judgement:
        if self.silent_on in pair.group.prompt_text():
            return Judgement(None, asked=2, unread=2)
        first, second = (float(self.word in one.text) for one in pair.responses)
        p = 0.5 + (first - second) / 2
        return Judgement(p, (p, 1 - p), asked=2)


def test_files_are_joined_by_prompt_or_id() -> None:
    joined = join_answers([("a", said("yes")), ("b", said("no", prompts=range(15, 25)))])
    assert joined.models == ("a", "b")
    assert len(joined.groups) == 25
    assert [len(group.responses) for group in joined.groups[13:17]] == [1, 1, 2, 2]
    assert joined.groups[15].responses[1].meta == {"model": "b"}
    named = join_answers([("a", said("yes", ids=True)), ("file", said("no", model="c", ids=True))])
    assert named.models == ("a", "c")
    assert named.groups[0].id == "p0"


def test_what_cannot_be_joined_is_refused() -> None:
    other = [Group("Another?", (Response("no"),), id="p0")]
    with pytest.raises(DataError, match="the id 'p0' is of another prompt elsewhere"):
        join_answers([("a", said("yes", ids=True)), ("b", other)])
    with pytest.raises(DataError, match="only a answered"):
        join_answers([("a", said("yes"))])


def test_each_two_models_meet_once_a_prompt_and_are_rated() -> None:
    judge = Prefers("good")
    answers = join_answers([("a", said("bad")), ("b", said("good")), ("c", said("bad too"))])
    found = compare_answers(answers, judge, rounds=100)
    assert judge.asked == 3 * 20
    assert [(one.after, one.verdict) for one in found.pairs] == [("b", "better"), ("c", "not distinguishable")]
    assert found.ratings is not None
    assert [(one.model, one.rank) for one in found.ratings.models] == [("b", 1), ("a", 2), ("c", 2)]
    assert found.style_ratings is not None
    assert set(found.style_ratings.style) == set(FEATURES)
    assert found.judge["name"] == "prefers"
    assert found == compare_answers(answers, Prefers("good"), rounds=100)


def test_the_first_answer_meets_the_first_and_shares_its_prompt() -> None:
    """Two answers of each model to a prompt: two items, one cluster."""
    double = [Group(one.prompt, (*one.responses, Response("good again"))) for one in said("bad", prompts=range(10))]
    found = compare_answers(join_answers([("a", double), ("b", double)]), Prefers("good"), rounds=50)
    (wins, _) = found.pairs[0].findings
    assert wins.comparison.difference.n == 20
    assert found.ratings is not None
    assert found.ratings.clusters == 10


def test_comparisons_without_a_verdict_are_counted_and_bounded() -> None:
    """Two of 20 prompts hold a 7: worst, both are lost; best, both are won."""
    answers = join_answers([("a", said("bad")), ("b", said("good"))])
    (pair,) = compare_answers(answers, Prefers("good", silent_on="7"), rounds=50).pairs
    wins = pair.findings[0]
    assert (wins.comparison.difference.n, wins.missing) == (18, 2)
    assert wins.bounds is not None
    assert [one.mean for one in wins.bounds] == pytest.approx([(18 - 2) / 20, 1.0])
    assert any("2 of 20 comparisons have no verdict" in note for note in pair.notes)


def test_length_alone_is_told_and_a_judge_who_pays_for_it_is_exposed() -> None:
    answers = join_answers([("a", said("short")), ("b", said("a much longer answer to this"))])
    found = compare_answers(answers, CONTROLS["longest"], rounds=50)
    control = found.pairs[0].findings[0].controls["whoever writes longer wins"]
    assert control.mean == 1.0
    assert any("prefers longer answers" in note for note in found.notes)


def test_nobody_says_who_is_better() -> None:
    answers = join_answers([("a", said("yes")), ("b", said("no"))])
    with pytest.raises(ConfigError, match="nothing says which answer is better"):
        compare_answers(answers)
    with pytest.raises(ConfigError, match="accord judge --audit"):
        compare_answers(answers, Prefers("yes", silent_on="Prompt"))
    with pytest.raises(DataError, match="no prompt was answered by two models"):
        compare_answers(join_answers([("a", said("yes")), ("b", said("no", prompts=range(50, 60)))]), Prefers("yes"))


def test_models_that_never_met_are_named() -> None:
    """a and b answered some prompts, c and d others."""
    feedback = (Feedback("human", preferences=(Preference(0, 1),)),)
    groups = [
        Group(
            f"{first}{number}?",
            tuple(Response(f"{name} says", meta={"model": name}) for name in (first, second)),
            feedback,
            id=f"{first}{number}",
        )
        for first, second in (("a", "b"), ("c", "d"))
        for number in range(5)
    ]
    with pytest.raises(DataError, match=r"never compared with each other: a, b \| c, d"):
        compare_answers(join_answers([("arena", groups)]))
    bridge = Group("b meets c", tuple(Response(name, meta={"model": name}) for name in ("b", "c")), feedback, id="bc")
    found = compare_answers(join_answers([("arena", [*groups, bridge])]), rounds=50)
    assert [pair.after for pair in found.pairs] == ["b"]
    assert [note[:7] for note in found.notes] == ["a and c", "a and d"]
    assert found.ratings is not None
    assert [one.model for one in found.ratings.models] == ["a", "b", "c", "d"]


def test_style_counts_what_judges_see() -> None:
    assert doctest.testmod(accord.evaluate.style).failed == 0
    assert features("") == (0, 0, 0, 0)
    assert features("1. **one**\n2) __two__\n## Three") == (6, 1, 2, 2)
    assert more_style("one two three", "one") == pytest.approx((2 / 5, 0, 0, 0))
    assert more_style("a", "b c") == tuple(-one for one in more_style("b c", "a"))
