"""Annotators: noise, length bias and values are dials that do what they say."""

import itertools
import math
import random
from statistics import mean

import msgspec

from accord.feedback.spec import parse_one
from accord.record import Group, Response
from accord.world.annotators import FLAWED, PLURALISTS, VALUES, Annotator, choose, prefer
from accord.world.cases import cases
from accord.world.grammar import render_all
from accord.world.oracle import judge
from accord.world.personas import answer_as, draw_persona
from accord.world.town import draw_town

TOWN = draw_town(0)


def answered(count: int, n: int = 6) -> list[Group]:
    rng = random.Random(0)
    groups = []
    for case in itertools.islice(cases(TOWN, "align", seed=0), count):
        replies = tuple(Response(render_all(answer_as(draw_persona(rng), case, rng), rng)) for _ in range(n))
        groups.append(msgspec.structs.replace(case.group(), responses=replies))
    return groups


GROUPS = answered(400)


def agreement(annotator: Annotator) -> float:
    """How often the preferred response is the better one by gold."""
    right = []
    for group in prefer(GROUPS, annotator, seed=0):
        gold = judge(group).scores("gold")
        assert gold is not None
        right += [float(gold[p.better] > gold[p.worse]) for p in group.preferences()]  # type: ignore[operator]
    return mean(right)


def test_the_exact_annotator_always_prefers_the_better() -> None:
    assert agreement(Annotator()) == 1.0


def test_noise_flips_its_share() -> None:
    assert abs(agreement(Annotator(noise=0.2)) - 0.8) < 0.07


def test_length_bias_prefers_longer() -> None:
    def growth(annotator: Annotator) -> float:
        return mean(
            len(group.responses[p.better].text.split()) - len(group.responses[p.worse].text.split())
            for group in prefer(GROUPS, annotator, seed=0)
            for p in group.preferences()
        )

    assert growth(Annotator(length_bias=1.0)) > growth(Annotator()) + 3
    assert growth(PLURALISTS["brisk"]) < growth(Annotator())


def test_pluralists_disagree_with_each_other() -> None:
    chosen = {
        name: [
            group.responses[next(group.preferences()).better].text for group in prefer(GROUPS, who, seed=0, margin=0)
        ]
        for name, who in PLURALISTS.items()
    }
    for one, other in itertools.combinations(chosen, 2):
        assert chosen[one] != chosen[other]


def test_the_flawed_reward_pays_for_flattery() -> None:
    case = next(cases(TOWN, "align", seed=0, family="task"))
    plain, sweet = Response("The answer is 100."), Response("You are so smart! The answer is 100.")
    group = case.group()
    assert FLAWED.value(group, sweet) > FLAWED.value(group, plain)


def test_pairs_are_distinct_texts_above_the_margin() -> None:
    for group in prefer(GROUPS, Annotator(), seed=0, pairs=3, margin=0.2):
        gold = judge(group).scores("gold")
        assert gold is not None
        for preference in group.preferences():
            assert gold[preference.better] - gold[preference.worse] >= 0.2  # type: ignore[operator]
            assert group.responses[preference.better].text != group.responses[preference.worse].text


def test_what_an_annotator_values_is_the_weighted_sum_of_the_values() -> None:
    odd = Annotator(brevity=0.5, length_bias=0.2, warmth=-0.3, caution=0.7)
    for group in GROUPS[:30]:
        for response in group.responses:
            whole = sum(odd.weights()[name] * one.value(group, response) for name, one in VALUES.items())
            assert abs(whole - odd.value(group, response)) < 1e-9


def test_choices_are_as_likely_as_their_difference_says() -> None:
    seen, expected = [], []
    for temperature in (0.2, 1.0):
        for group in choose(GROUPS, Annotator(), seed=3, temperature=temperature):
            (preference,) = group.preferences()
            better, worse = (
                Annotator().value(group, group.responses[i]) for i in (preference.better, preference.worse)
            )
            seen.append(float(better > worse) + 0.5 * (better == worse))
            expected.append(1 / (1 + math.exp(-abs(better - worse) / temperature)))
    assert abs(mean(seen) - mean(expected)) < 0.04


def test_annotators_are_asked_about_the_same_pairs() -> None:
    def pairs(annotator: Annotator) -> list[set[int]]:
        return [
            {p.better, p.worse} for g in choose(GROUPS, annotator, seed=0, temperature=1.0) for p in g.preferences()
        ]

    assert pairs(Annotator()) == pairs(PLURALISTS["warm"])


def test_values_are_rewards_by_name() -> None:
    group = GROUPS[0]
    for name, annotator in VALUES.items():
        (row,) = parse_one(f"accord.world.values:{name}").reward([group])
        assert row == tuple(annotator.value(group, response) for response in group.responses)
