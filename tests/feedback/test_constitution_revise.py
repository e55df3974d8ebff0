"""Rounds of critique and revision: who is asked, what is taken, when it ends, and what is learned from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from accord.chat import Chat, ChatError, Reply, Request
from accord.chat.cached import CachedChat
from accord.chat.types import Progress
from accord.errors import ConfigError, DataError
from accord.feedback.constitution import (
    Constitution,
    Critic,
    Revised,
    Rules,
    demonstrations,
    preferences,
    revise,
    satisfied,
)
from accord.feedback.constitution.critics import log_odds_label, verdict_of, vote
from accord.feedback.constitution.stopping import stalled
from accord.feedback.constitution.trace import Choose
from accord.feedback.function import FunctionReward
from accord.feedback.judge.pair import Judgement, Pair, joined
from accord.feedback.judge.principles import Principle
from accord.feedback.judge.reward_judge import CONTROLS, RewardJudge
from accord.record import Group, Response
from accord.record.adapt import adapt

GOLDEN = {case["method"]: case for case in json.loads((Path(__file__).parents[1] / "golden.json").read_text())}
KIND, TRUE = Principle("kind", "Insult nobody."), Principle("true", "Say what is so.")
HOUSE = Constitution("House", (KIND, TRUE))
EAGER = Rules(clean=None, keep="last", rounds=3)


class Talker:
    """Answers each request by a function, and remembers what it was asked."""

    def __init__(self, answer: Callable[[Request], Reply | str], *, identity: str = "talker") -> None:
        self.answer, self.identity = answer, identity
        self.asked: list[Request] = []

    def __call__(self, requests: Sequence[Request], *, progress: Progress | None = None) -> list[Reply]:
        self.asked += requests
        said = [self.answer(request) for request in requests]
        return [one if isinstance(one, Reply) else Reply(one) for one in said]


def question(request: Request) -> str:
    return request.messages[-1].content


def answer_in(request: Request) -> str:
    return question(request).partition("<answer>\n")[2].partition("\n</answer>")[0]


def scoring(scores: Callable[[str, str], float]) -> Talker:
    """A critic whose score of an answer depends on the answer and on the question about it."""

    def answer(request: Request) -> Reply | str:
        if not request.choices:
            return f"Too short: {answer_in(request)}"
        p = scores(answer_in(request), question(request))
        return Reply("", probabilities=(p, 1 - p))

    return Talker(answer)


def longer(request: Request) -> str:
    return f"Of course.\n<revision>{answer_in(request)}!</revision>"


CRITIC = Critic(scoring(lambda answer, asked: 0.1 + 0.1 * answer.count("!")))


def test_golden_votes() -> None:
    """`cai.multi_agent_vote`."""
    case = GOLDEN["cai.multi_agent_vote"]
    scores, weights = case["inputs"]["critic_scores"], case["inputs"]["weights"]
    assert vote(scores, weights, aggregate="mean") == pytest.approx(case["expected"]["mean"], rel=1e-12)
    assert vote(scores, weights, aggregate="weighted") == pytest.approx(case["expected"]["weighted"], rel=1e-12)
    assert vote(scores, weights, aggregate="veto") == case["expected"]["min"]


def test_golden_convergence() -> None:
    """`cai.iterative_convergence`: a rule over scores alone, and the loop that follows it."""
    case = GOLDEN["cai.iterative_convergence"]
    scores, tolerance, patience = (case["inputs"][name] for name in ("scores", "tol", "patience"))
    ends = [n for n in range(len(scores)) if stalled(scores[: n + 1], tolerance=tolerance, patience=patience)]
    assert ends == [case["expected"]["stopped_at_iteration"]]
    critic = Critic(scoring(lambda answer, asked: scores[min(answer.count("!"), 3)]))
    revised = revise(
        [Group("Why?", (Response("No"),))],
        constitution=HOUSE,
        critics=[critic],
        reviser=Talker(longer),
        rules=Rules(rounds=9, clean=None, tolerance=tolerance, patience=patience),
    )
    (trace,) = revised.traces
    assert (trace.end, len(trace.steps), trace.kept) == ("stalled", 3, 3)
    assert trace.kept_verdict is not None
    assert trace.kept_verdict.score == pytest.approx(case["expected"]["best"])


def test_missing_scores_neither_gain_nor_stall() -> None:
    assert not stalled([0.5, None, None], tolerance=0.1, patience=1)
    assert stalled([0.5, None, 0.55], tolerance=0.1, patience=1)
    assert not stalled([0.5, 0.5, 0.7, 0.7], tolerance=0.1, patience=2)


def test_by_the_papers_rules_every_revision_is_taken_and_nobody_scores() -> None:
    critic, reviser = Talker(lambda request: "Rude: very."), Talker(longer)
    revised = revise(
        [Group("Why?", (Response("No"),))],
        constitution=HOUSE,
        critics=[Critic(critic)],
        reviser=reviser,
        rules=EAGER,
    )
    (trace,) = revised.traces
    assert trace.answer == "No!!!"
    assert [step.outcome for step in trace.steps] == ["taken"] * 3
    assert not any(request.choices for request in critic.asked)
    assert len(critic.asked) == len(reviser.asked) == 3
    assert "Rude: very." in question(reviser.asked[0])
    assert {step.principle for step in trace.steps} <= {"kind", "true"}
    assert preferences(revised) == [], "nobody compared, so nobody says that the revision wins"
    assert [group.responses[0].text for group in demonstrations(revised)] == ["No!!!"]


def test_all_answers_go_through_a_round_together() -> None:
    sizes: list[int] = []

    class Counting(Talker):
        def __call__(self, requests: Sequence[Request], *, progress: Progress | None = None) -> list[Reply]:
            sizes.append(len(requests))
            return super().__call__(requests, progress=progress)

    groups = [Group(f"Why {n}?", (Response("No"),)) for n in range(5)]
    revise(groups, constitution=HOUSE, critics=[CRITIC], reviser=Counting(longer), rules=replace(EAGER, rounds=2))
    assert sizes == [5, 5]


def test_the_first_answers_are_asked_for_or_taken_as_they_are() -> None:
    answerer = Talker(lambda request: "Because")
    given = [Group("Why?", (Response("No"), Response("Never")))]
    asked = revise(given, constitution=HOUSE, critics=[CRITIC], reviser=Talker(longer), answerer=answerer, rules=EAGER)
    taken = revise(given, constitution=HOUSE, critics=[CRITIC], reviser=Talker(longer), rules=EAGER)
    assert [trace.first.text for trace in asked.traces] == ["Because"]
    assert [trace.first.text for trace in taken.traces] == ["No", "Never"]
    with pytest.raises(DataError, match="no answer to revise"):
        revise([Group("Why?")], constitution=HOUSE, critics=[CRITIC], reviser=Talker(longer))
    with pytest.raises(DataError, match="no prompt"):
        revise([], constitution=HOUSE, critics=[CRITIC], reviser=Talker(longer))


def test_a_clean_answer_is_left_alone_and_a_broken_principle_is_what_is_criticised() -> None:
    def score(answer: str, asked: str) -> float:
        return 0.9 if "Insult nobody." in asked or "!!" in answer else 0.2

    critic = scoring(score)
    groups = [Group("Why?", (Response("No"), Response("No!!")))]
    critics, rules = [Critic(critic)], Rules(rounds=2)  # the last round is what makes the first answer clean
    revised = revise(groups, constitution=HOUSE, critics=critics, reviser=Talker(longer), rules=rules)
    first, second = revised.traces
    assert [step.principle for step in first.steps] == ["true", "true"]
    assert (first.answer, first.end) == ("No!!", "clean")
    assert (second.steps, second.kept, second.end) == ((), 0, "clean")
    kept = satisfied(revised)
    assert [(row.before, row.after) for row in kept["true"]] == [(0.0, 1.0), (1.0, 1.0)]
    assert [(row.before, row.after) for row in kept["kind"]] == [(1.0, 1.0), (1.0, 1.0)]


def test_the_worst_principle_goes_first_and_the_whole_constitution_as_one() -> None:
    def score(answer: str, asked: str) -> float:
        return 0.3 if "Insult nobody." in asked else 0.1

    expected: tuple[tuple[Choose, str], ...] = (("worst", "true"), ("whole", "the whole constitution"))
    for choose, name in expected:
        critic = scoring(score)
        revised = revise(
            [Group("Why?", (Response("No"),))],
            constitution=HOUSE,
            critics=[Critic(critic)],
            reviser=Talker(longer),
            rules=Rules(rounds=1, choose=choose),
        )
        assert revised.traces[0].steps[0].principle == name
    assert "1. Insult nobody.\n2. Say what is so." in question(critic.asked[2])


def test_the_draw_of_principles_follows_seed_and_weights() -> None:
    heavy = Constitution("House", (replace(KIND, weight=1e9), TRUE))

    def drawn(constitution: Constitution, seed: int) -> list[str]:
        rules = replace(EAGER, seed=seed)
        groups = [Group(f"Why {n}?", (Response("No"),)) for n in range(8)]
        revised = revise(groups, constitution=constitution, critics=[CRITIC], reviser=Talker(longer), rules=rules)
        return [step.principle for trace in revised.traces for step in trace.steps]

    assert drawn(HOUSE, 1) == drawn(HOUSE, 1) != drawn(HOUSE, 2)
    assert set(drawn(HOUSE, 1)) == {"kind", "true"}
    assert set(drawn(heavy, 1)) == {"kind"}


def test_the_best_is_kept_and_of_equals_the_earliest() -> None:
    peak = Critic(scoring(lambda answer, asked: [0.1, 0.4, 0.2, 0.4][answer.count("!")]))
    revised = revise(
        [Group("Why?", (Response("No"),))],
        constitution=HOUSE,
        critics=[peak],
        reviser=Talker(longer),
        rules=Rules(rounds=3, clean=None),
    )
    assert revised.traces[0].answer == "No!"
    last = revise(
        [Group("Why?", (Response("No"),))],
        constitution=HOUSE,
        critics=[peak],
        reviser=Talker(longer),
        rules=Rules(rounds=3, clean=None, keep="last"),
    )
    assert last.traces[0].answer == "No!!!"


def test_what_changes_nothing_is_not_tried_again() -> None:
    same = Talker(lambda request: f"<revision>{answer_in(request)}</revision>")
    revised = revise(
        [Group("Why?", (Response("No"),))],
        constitution=HOUSE,
        critics=[CRITIC],
        reviser=same,
        rules=Rules(rounds=9),
    )
    (trace,) = revised.traces
    assert (trace.end, trace.kept, len(trace.steps)) == ("unchanged", 0, 2)
    assert {step.outcome for step in trace.steps} == {"unchanged"}
    assert preferences(revised) == []


def test_what_cannot_be_read_is_counted_and_never_taken() -> None:
    chatty = Talker(lambda request: "Sure! Here is a better answer: No.")
    revised = revise(
        [Group("Why?", (Response("No"),))], constitution=HOUSE, critics=[CRITIC], reviser=chatty, rules=EAGER
    )
    assert revised.outcomes()["unreadable"] == 2
    assert revised.traces[0].answer == "No"
    assert revised.traces[0].steps[0].said.startswith("Sure!"), "the trace has what was written"
    assert preferences(revised) == []


def test_a_revision_is_taken_only_where_the_judge_prefers_it_in_both_orders() -> None:
    likes_longer = RewardJudge(FunctionReward(lambda response: float(len(response)), name="long"))
    likes_shorter = RewardJudge(FunctionReward(lambda response: -float(len(response)), name="short"))
    outcomes = {}
    for judge in (likes_longer, likes_shorter, CONTROLS["first"]):
        revised = revise(
            [Group("Why?", (Response("No"),))],
            constitution=HOUSE,
            critics=[CRITIC],
            reviser=Talker(longer),
            judge=judge,
            rules=EAGER,
        )
        outcomes[judge.name] = [step.outcome for step in revised.traces[0].steps]
    assert outcomes == {"long": ["taken"] * 3, "short": ["refused"] * 2, "first": ["refused"] * 2}


def test_a_judgement_that_cannot_be_read_takes_nothing() -> None:
    class Silent:
        name = "silent"

        def compare(self, pairs: Sequence[Pair], *, progress: Progress | None = None) -> list[Judgement]:
            return [joined({"x": (0.9, None)}, weights={"x": 1.0}) for _ in pairs]

    revised = revise(
        [Group("Why?", (Response("No"),))],
        constitution=HOUSE,
        critics=[CRITIC],
        reviser=Talker(longer),
        judge=Silent(),
        rules=EAGER,
    )
    assert revised.outcomes()["unjudged"] == 2
    assert revised.traces[0].answer == "No"
    assert preferences(revised) == []


def test_a_bad_revision_loses_its_pair() -> None:
    """The direction of every pair is that of its judgement; a revision does not win by being one."""
    judge = RewardJudge(FunctionReward(lambda response: -float(len(response)), name="short"), temperature=1.0)
    revised = revise(
        [Group("Why?", (Response("No"),))],
        constitution=HOUSE,
        critics=[CRITIC],
        reviser=Talker(longer),
        judge=judge,
        rules=replace(EAGER, rounds=1),
    )
    (group,) = preferences(revised)
    weights = {(one.better, one.worse): one.weight for one in group.preferences()}
    assert [response.text for response in group.responses] == ["No", "No!"]
    assert weights[0, 1] == pytest.approx(0.731058578630005)
    assert weights[0, 1] + weights[1, 0] == pytest.approx(1.0)
    assert adapt([group], ("prefer",)).groups


def test_without_a_judge_the_critics_scores_are_the_label() -> None:
    assert log_odds_label(0.3, 0.3) == pytest.approx(0.5)
    assert log_odds_label(0.2, 0.8) == pytest.approx(1 - log_odds_label(0.8, 0.2))
    assert 0.5 < log_odds_label(0.0, 1.0) < 1.0
    worse = Critic(scoring(lambda answer, asked: 0.4 - 0.2 * answer.count("!")))
    revised = revise(
        [Group("Why?", (Response("No"),))],
        constitution=HOUSE,
        critics=[worse],
        reviser=Talker(longer),
        rules=Rules(rounds=1),
    )
    (group,) = preferences(revised)
    assert {(one.better, one.worse): one.weight for one in group.preferences()}[1, 0] == pytest.approx(
        log_odds_label(0.4, 0.2)
    )
    assert group.feedback[0].meta == {"by": "critics"}


def test_several_critics_vote_disagree_and_may_be_unreadable() -> None:
    rows: dict[str, dict[str, float | None]] = {"a": {"kind": 0.9, "true": 0.8}, "b": {"kind": 0.2, "true": None}}
    weights = {"a": 1.0, "b": 3.0}
    heavy = Constitution("House", (replace(KIND, weight=3.0), TRUE))
    mean = verdict_of(rows, weights, heavy, aggregate="mean")
    assert mean.by_principle == pytest.approx({"kind": 0.55, "true": 0.8})
    assert mean.score == pytest.approx((3 * 0.55 + 0.8) / 4)
    assert mean.disagreement == pytest.approx(0.7)
    assert mean.unread == 1
    assert verdict_of(rows, weights, heavy, aggregate="weighted").by_principle["kind"] == pytest.approx(0.375)
    assert verdict_of(rows, weights, heavy, aggregate="veto").by_principle["kind"] == 0.2
    silent: dict[str, dict[str, float | None]] = {"a": {"kind": None, "true": None}}
    assert verdict_of(silent, {"a": 1.0}, heavy, aggregate="mean").score is None


def test_critics_that_disagree_are_flagged_and_both_are_heard() -> None:
    strict, mild = scoring(lambda answer, asked: 0.1), scoring(lambda answer, asked: 0.9)
    reviser = Talker(longer)
    revised = revise(
        [Group("Why?", (Response("No"),))],
        constitution=HOUSE,
        critics=[Critic(strict, "strict"), Critic(mild, "mild")],
        reviser=reviser,
        rules=Rules(rounds=1, aggregate="veto"),
    )
    assert len(revised.review) == 1
    assert "strict: Too short: No\n\nmild: Too short: No" in question(reviser.asked[0])
    assert revised.traces[0].steps[0].critiques.keys() == {"strict", "mild"}


def test_answers_that_were_cut_or_do_not_keep_the_constitution_need_not_be_imitated() -> None:
    groups = [Group("Why?", (Response("No", finished=False), Response("Yes!!!!!"), Response("Hm")))]
    keep = Talker(lambda request: "nothing")
    revised = revise(groups, constitution=HOUSE, critics=[CRITIC], reviser=keep)
    assert [one.responses[0].text for one in demonstrations(revised)] == ["Yes!!!!!", "Hm"]
    assert [one.responses[0].text for one in demonstrations(revised, imitate="clean")] == ["Yes!!!!!"]


def test_a_job_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    groups = [Group(f"Why {n}?", (Response(f"No {n}"),)) for n in range(6)]

    def cast(reviser: Chat, name: str) -> Revised:
        critic = CachedChat(scoring(lambda answer, asked: 0.1 + 0.1 * answer.count("!")), tmp_path / name, part=2)
        return revise(
            groups,
            constitution=HOUSE,
            critics=[Critic(critic)],
            reviser=CachedChat(reviser, tmp_path / name, part=2),
        )

    class Dying(Talker):
        def __call__(self, requests: Sequence[Request], *, progress: Progress | None = None) -> list[Reply]:
            if len(self.asked) >= 8:
                raise ChatError("gone")
            return super().__call__(requests, progress=progress)

    with pytest.raises(ChatError, match="gone"):
        cast(Dying(longer, identity="reviser"), "killed.sqlite")
    again = Talker(longer, identity="reviser")
    resumed = cast(again, "killed.sqlite")
    fresh = Talker(longer, identity="reviser")
    assert resumed == cast(fresh, "fresh.sqlite")
    assert len(again.asked) == len(fresh.asked) - 8, "nothing is asked twice"


def test_rules_and_critics_that_make_no_sense_are_refused() -> None:
    for settings in ({"rounds": 0}, {"clean": 0.0}, {"tolerance": -1.0}, {"patience": 0}, {"disagreement": 2.0}):
        with pytest.raises(ConfigError, match="out of range"):
            Rules(**settings)
    groups = [Group("Why?", (Response("No"),))]
    with pytest.raises(ConfigError, match="told apart"):
        revise(groups, constitution=HOUSE, critics=[CRITIC, CRITIC], reviser=Talker(longer))
    with pytest.raises(ConfigError, match="no critic"):
        revise(groups, constitution=HOUSE, critics=[], reviser=Talker(longer))
    with pytest.raises(ConfigError, match="weight"):
        Critic(Talker(longer), weight=0.0)
