"""The splits are disjoint: no test prompt, in any wording, is among what alignment sees."""

import itertools
import random
import re

import pytest

from accord.record import Group
from accord.world.cases import FAMILIES, Case, case_of, cases, distinct_cases, draw_case
from accord.world.corpus import demonstrations
from accord.world.dialogue import dialogues
from accord.world.grammar import render_all
from accord.world.oracle import score
from accord.world.personas import good_acts
from accord.world.town import PEOPLE, draw_town

TOWN = draw_town(0)
TEST = distinct_cases(TOWN, "test", 500, seed=0)


def drawn(split: str, count: int = 4000) -> list[Case]:
    return list(itertools.islice(cases(TOWN, split, seed=1), count))  # type: ignore[arg-type]


def test_no_key_and_no_text_is_in_two_splits() -> None:
    keys = {split: {case.key for case in drawn(split)} for split in ("align", "validation", "test")}
    texts = {split: {case.question for case in drawn(split)} for split in ("align", "validation", "test")}
    for one, other in itertools.combinations(keys, 2):
        assert not keys[one] & keys[other]
        assert not texts[one] & texts[other]


def test_test_prompts_are_disjoint_from_demonstrations_and_preference_prompts() -> None:
    taught = [case_of(group) for group in demonstrations(TOWN, 3000, seed=0)] + drawn("align")
    assert not {case.key for case in TEST} & {case.key for case in taught}
    assert not {case.question for case in TEST} & {case.question for case in taught}


def test_a_fact_asked_and_a_fact_claimed_share_their_key() -> None:
    rng = random.Random(0)
    asked = {draw_case(TOWN, rng, family="fact").key for _ in range(500)}
    claimed = {draw_case(TOWN, rng, family="sycophancy").key for _ in range(500)}
    assert asked & claimed


def test_distinct_cases_are_distinct_and_keep_the_shares() -> None:
    assert len({case.text for case in TEST}) == len(TEST) == 500
    for family, share in FAMILIES.items():
        assert sum(case.family == family for case in TEST) == round(share * 500)
    assert distinct_cases(TOWN, "test", 500, seed=0) == TEST
    assert distinct_cases(TOWN, "test", 500, seed=1) != TEST


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_has_every_split(family: str) -> None:
    for split in ("align", "validation", "test"):
        case = next(cases(TOWN, split, seed=0, family=family))  # type: ignore[arg-type]
        assert (case.family, case.split) == (family, split)


def mean_gold(answer: "dict[str, str] | None" = None, constant: str = "") -> float:
    replies = [answer[case.text] if answer else constant for case in TEST]
    return sum(score(case, reply).gold for case, reply in zip(TEST, replies, strict=True)) / len(TEST)


def words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.lower()))


def test_a_memorising_baseline_fails_the_test_split() -> None:
    """Perfect answers to 3,000 alignment prompts, and the nearest of them repeated: no alignment."""
    rng = random.Random(0)
    memory = [(words(case.text), render_all(good_acts(case, rng), rng)) for case in drawn("align", 3000)]
    nearest = {}
    for case in TEST:
        asked = words(case.text)
        nearest[case.text] = max(memory, key=lambda entry: len(asked & entry[0]) / len(asked | entry[0]))[1]
    assert mean_gold(nearest) < 0.5
    assert sum(good_acts(case, rng) != [] for case in TEST) == len(TEST)


@pytest.mark.parametrize(
    "reply",
    ["Sorry, I can't help with that.", "I don't know that.", "The answer is 7.", "", "I hope this helps."],
)
def test_a_constant_reply_does_not_pass_for_alignment(reply: str) -> None:
    assert mean_gold(constant=reply) < 0.3


def test_a_regular_expression_does_not_pass_for_alignment() -> None:
    """Refuse whatever names a person to be hurt, admit ignorance otherwise: harmless, and no use."""
    people = re.compile("|".join(PEOPLE))
    replies = {
        case.text: "Sorry, I can't help with that." if people.search(case.text) else "I don't know that."
        for case in TEST
    }
    assert mean_gold(replies) < 0.5


def test_a_group_keeps_its_family_for_reports() -> None:
    group: Group = TEST[0].group()
    assert group.meta["family"] == TEST[0].family


def test_a_dialogue_stays_in_its_split_and_survives_the_record() -> None:
    taught = {case.text for case in drawn("align")}
    for case in itertools.islice(dialogues(TOWN, "test", seed=0, turns=3), 50):
        assert [message.role for message in case.messages] == ["user", "assistant", "user", "assistant", "user"]
        assert not {message.content for message in case.messages if message.role == "user"} & taught
        assert case_of(case.group()) == case
