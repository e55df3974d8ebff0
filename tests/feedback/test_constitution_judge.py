"""Critics as a judge of pairs, and what an edit of the constitution changes in labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from msgspec.structs import replace

from accord.chat import Reply, Request
from accord.chat.types import Progress
from accord.errors import ConfigError, DataError
from accord.feedback.constitution import Constitution, ConstitutionJudge, Critic, load_form
from accord.feedback.constitution.critics import log_odds_label
from accord.feedback.judge.chat_judge import ChatJudge
from accord.feedback.judge.groups import judged_groups, pairs_in
from accord.feedback.judge.pair import PairJudge
from accord.feedback.judge.principles import Principle
from accord.feedback.judge.reward_judge import RewardJudge
from accord.feedback.judge.templates import PairTemplate, load_template
from accord.recipes.constitution_cast import require_principles
from accord.recipes.constitution_compare import compare_constitutions
from accord.record import Feedback, Group, Preference, Response

KIND, LONG = Principle("kind", "Insult nobody."), Principle("long", "Say a lot.")
BOTH = Constitution("both", (KIND, LONG))
GROUPS = [
    Group("One?", (Response("rude and long, so long"), Response("fine"))),
    Group("Two?", (Response("fine"), Response("fine and long, so long"))),
]


class Scores:
    """Scores an answer by a principle, and compares two by the same scores."""

    identity = "scores"

    def __init__(self, *, unreadable: Callable[[str], bool] = lambda asked: False) -> None:
        self.asked: list[Request] = []
        self.unreadable = unreadable

    def __call__(self, requests: Sequence[Request], *, progress: Progress | None = None) -> list[Reply]:
        self.asked += requests
        return [self._reply(request.messages[-1].content) for request in requests]

    def _reply(self, asked: str) -> Reply:
        if self.unreadable(asked):
            return Reply("Who knows?")
        if "<answer A>" in asked:
            first, second = (asked.partition(f"<answer {x}>\n")[2].partition("\n</answer")[0] for x in "AB")
            p = log_odds_label(self._score(asked, second), self._score(asked, first))
        else:
            p = self._score(asked, asked.partition("<answer>\n")[2].partition("\n</answer>")[0])
        return Reply("", probabilities=(p, 1 - p))

    @staticmethod
    def _score(asked: str, answer: str) -> float:
        return (0.1 if "rude" in answer else 0.9) if KIND.text in asked else (0.9 if "long" in answer else 0.2)


def by_critics(constitution: Constitution) -> ConstitutionJudge:
    return ConstitutionJudge(constitution, [Critic(Scores())], load_form("plain"))


def by_judge(constitution: Constitution) -> ChatJudge:
    template = load_template("plain")
    assert isinstance(template, PairTemplate)
    return ChatJudge(Scores(), template, principles=constitution.principles)


def test_critics_prefer_what_keeps_the_constitution_and_say_so_by_principle() -> None:
    pairs = pairs_in(GROUPS)
    rude, longer = by_critics(BOTH).compare(pairs)
    assert rude.p == pytest.approx(log_odds_label((0.9 + 0.2) / 2, (0.1 + 0.9) / 2))
    assert rude.by_principle["kind"][0] == pytest.approx(log_odds_label(0.9, 0.1))
    assert rude.consistent
    assert rude.gap == pytest.approx(0)
    assert longer.p is not None
    assert longer.p < 0.5
    (label, _) = judged_groups(GROUPS, pairs, [rude, longer], name="critics")
    assert {(one.better, one.worse): one.weight for one in label.preferences()}[0, 1] == pytest.approx(rude.p)


def test_as_a_reward_the_critics_give_the_same_labels() -> None:
    pairs = pairs_in(GROUPS)
    judge = by_critics(BOTH)
    assert [one.p for one in RewardJudge(judge).compare(pairs)] == pytest.approx(
        [one.p for one in judge.compare(pairs)]
    )


def test_an_answer_is_scored_once_however_many_pairs_it_is_in() -> None:
    scores = Scores()
    group = Group("One?", (Response("a"), Response("b"), Response("c")))
    ConstitutionJudge(BOTH, [Critic(scores)], load_form("plain")).compare(pairs_in([group]))
    assert len(scores.asked) == 3 * len(BOTH.principles)


def test_what_no_critic_says_is_no_label() -> None:
    silent = Critic(Scores(unreadable=lambda asked: "One?" in asked))
    unread, read = ConstitutionJudge(BOTH, [silent], load_form("plain")).compare(pairs_in(GROUPS))
    assert (unread.p, unread.unread, unread.asked) == (None, 4, 4)
    assert unread.by_principle["kind"] == (None, None)
    assert read.p is not None
    assert ConstitutionJudge(BOTH, [silent], load_form("plain"))(GROUPS)[0] == (None, None)
    with pytest.raises(ConfigError, match="no critic"):
        ConstitutionJudge(BOTH, [], load_form("plain"))


@pytest.mark.parametrize("judge_of", [by_critics, by_judge], ids=["critics", "judge"])
def test_an_edit_flips_the_labels_that_hang_on_it(judge_of: Callable[[Constitution], PairJudge]) -> None:
    gold = replace(GROUPS[0], feedback=(Feedback("human", preferences=(Preference(1, 0),)),))
    edited = Constitution("edited", (replace(KIND, weight=9.0), LONG))
    wordy = Constitution("wordy", (KIND, replace(LONG, weight=9.0)))
    found = compare_constitutions([gold, GROUPS[1]], edited, wordy, judge_of)
    assert found.flips.mean == 0.5
    assert [one["prompt"] for one in found.flipped] == ["One?"]
    before, after = found.flipped[0]["p"]
    assert before < 0.5 < after
    assert found.flipped[0]["by_principle"]["kind"] < 0.5 < found.flipped[0]["by_principle"]["long"]
    assert found.gold is not None
    assert [one.mean for one in found.gold] == [1.0, 0.0, -1.0]
    effects = found.effects[0]
    assert effects["kind"].flips.mean == 0.5, "without kindness the rude answer wins"
    assert effects["long"].flips.mean == 0.5, "without it the second pair is a tie"
    (conflict,) = [one for one in found.conflicts if {one.first, one.second} == {"kind", "long"}]
    assert conflict.share.mean == 0.5
    assert conflict.example["prompt"] == "One?"


def test_the_same_constitution_flips_nothing_and_conflicts_with_itself_no_further() -> None:
    found = compare_constitutions(GROUPS, BOTH, replace(BOTH, name="again"), by_critics)
    assert (found.flips.mean, found.shift.mean, found.flipped) == (0.0, 0.0, [])
    assert [(one.first, one.second) for one in found.conflicts] == [("kind", "long")]


def test_a_principle_with_another_wording_stands_against_the_old_one() -> None:
    reworded = Constitution("new", (Principle("kind", "Say a lot."),))
    found = compare_constitutions(GROUPS, replace(BOTH, principles=(KIND,)), reworded, by_critics)
    assert [(one.first, one.second) for one in found.conflicts] == [("kind", "kind (new)")]
    assert found.effects == ({}, {}), "of a single principle nothing is left without it"


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ConfigError, match="margin"):
        compare_constitutions(GROUPS, BOTH, BOTH, by_critics, margin=0.5)
    with pytest.raises(DataError, match="no prompt has two"):
        compare_constitutions([Group("One?", (Response("a"),))], BOTH, BOTH, by_critics)

    def silent(constitution: Constitution) -> ConstitutionJudge:
        return ConstitutionJudge(constitution, [Critic(Scores(unreadable=lambda asked: True))], load_form("plain"))

    with pytest.raises(DataError, match="no pair could be judged"):
        compare_constitutions(GROUPS, BOTH, BOTH, silent)


@pytest.mark.parametrize(
    ("judge", "template", "where"),
    [("control:first", "plain", "--judge"), ("M", "tidewater", "--template"), ("M", "score", "--template")],
)
def test_a_judge_without_a_place_for_principles_cannot_tell_constitutions_apart(
    judge: str, template: str, where: str
) -> None:
    with pytest.raises(ConfigError, match=f"{where}.*says the same under every constitution"):
        require_principles(judge, template)
    require_principles("M", "reasoned")
    require_principles("critics", "tidewater")
