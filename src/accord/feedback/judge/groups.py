"""Groups into pairs, and judgements of pairs into feedback that every objective can learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, Literal

import numpy as np
from msgspec.structs import replace

from accord.feedback.judge.pair import Judgement, Pair
from accord.record import Feedback, Group, Preference
from accord.record.convert import main_scores

Labels = Literal["soft", "hard"]
"""The judge's probabilities as weights that sum to 1, or the likelier side alone; a tie then has no label."""
Inconsistent = Literal["keep", "drop"]
"""What becomes of pairs whose winner depends on the order."""


def pairs_in(groups: Sequence[Group], *, most: int | None = None, seed: int = 0) -> list[Pair]:
    """Every pair of responses to one prompt, or as many of each prompt as `most`, drawn at random."""
    pairs: list[Pair] = []
    for place, group in enumerate(groups):
        found = list(combinations(range(len(group.responses)), 2))
        if most is not None and len(found) > most:
            drawn = np.random.default_rng([seed, place]).permutation(len(found))[:most]
            found = [found[index] for index in sorted(drawn.tolist())]
        pairs += [Pair(group, first, second) for first, second in found]
    return pairs


def by_group(groups: Sequence[Group], pairs: Sequence[Pair]) -> list[list[int]]:
    """The places of each Group's pairs."""
    places: dict[int, list[int]] = {id(group): [] for group in groups}
    for place, pair in enumerate(pairs):
        places[id(pair.group)].append(place)
    return [places[id(group)] for group in groups]


def judged_groups(
    groups: Sequence[Group],
    pairs: Sequence[Pair],
    judgements: Sequence[Judgement],
    *,
    name: str,
    labels: Labels = "soft",
    inconsistent: Inconsistent = "keep",
    keep: bool = False,
    meta: Mapping[str, Any] | None = None,
) -> list[Group]:
    """The Groups with a judge's Feedback on their responses.

    A pair becomes two preferences whose weights sum to 1 (soft), or one (hard). The score "overall" of a response is
    the mean probability with which it wins its pairs; it has none where it has no judged pair.

    Args:
        groups: whose responses were compared.
        pairs: the pairs.
        judgements: of the pairs.
        name: of the judge; its own earlier Feedback is replaced.
        labels: soft or hard.
        inconsistent: whether pairs count whose winner depends on the order.
        keep: keep the Feedback of others, which would be learned from as well.
        meta: written into every Feedback, such as the judge's audit.
    """
    judged = []
    for group, places in zip(groups, by_group(groups, pairs), strict=True):
        own = [(pairs[place], judgements[place]) for place in places]
        counted = [
            (pair, one)
            for pair, one in own
            if one.p is not None and (inconsistent == "keep" or one.consistent is not False)
        ]
        feedback = Feedback(
            "judge",
            name,
            preferences=tuple(
                preference
                for pair, one in counted
                if one.p is not None
                for preference in _preferences(pair, one.p, labels)
            ),
            scores={"overall": _win_rates(len(group.responses), counted)} if counted else {},
            meta={"pairs": [_told(pair, one) for pair, one in own], **(meta or {})},
        )
        others = tuple(one for one in group.feedback if keep and (one.source, one.name) != ("judge", name))
        judged.append(replace(group, feedback=(*others, feedback)))
    return judged


def gold_of(pair: Pair, *, judge: str) -> float | None:
    """What others than the judge say of a pair: the share of their preferences that the first has, else by score.

    1 and 0 for one that is better, one half for equals, `None` where nobody says anything.
    """
    others = replace(
        pair.group, feedback=tuple(one for one in pair.group.feedback if (one.source, one.name) != ("judge", judge))
    )
    won = [0.0, 0.0]
    for preference in others.preferences():
        if {preference.better, preference.worse} == {pair.first, pair.second}:
            won[preference.better == pair.second] += preference.weight
    if sum(won) > 0:
        return won[0] / sum(won)
    scores = main_scores(others)
    first, second = scores[pair.first], scores[pair.second]
    if first is None or second is None:
        return None
    return 0.5 if first == second else float(first > second)


def _preferences(pair: Pair, p: float, labels: Labels) -> list[Preference]:
    if labels == "hard":
        if p == 0.5:
            return []
        p = float(p > 0.5)
    both = (Preference(pair.first, pair.second, p), Preference(pair.second, pair.first, 1 - p))
    return [preference for preference in both if preference.weight > 0]


def _win_rates(count: int, judged: Sequence[tuple[Pair, Judgement]]) -> tuple[float | None, ...]:
    won: list[list[float]] = [[] for _ in range(count)]
    for pair, one in judged:
        if one.p is not None:
            won[pair.first].append(one.p)
            won[pair.second].append(1 - one.p)
    return tuple(sum(rates) / len(rates) if rates else None for rates in won)


def _told(pair: Pair, one: Judgement) -> dict[str, Any]:
    """A judgement as it is kept beside the preferences."""
    told: dict[str, Any] = {"pair": [pair.first, pair.second], "p": _rounded(one.p), "gap": _rounded(one.gap)}
    if len(one.by_principle) > 1:
        told["by_principle"] = {name: [_rounded(p) for p in both] for name, both in one.by_principle.items()}
    if one.mass is not None:
        told["mass"] = _rounded(one.mass)
    return told


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
