"""`accord constitution compare`: what changes in a judge's labels when the constitution is edited.

The same pairs are judged under both constitutions. Then each principle is left out in turn, which shows what it does;
and the principles are set against each other, which shows where they conflict. A model is asked about each principle
and pair once, whatever is made of its answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from accord.chat.types import Progress
from accord.errors import ConfigError, DataError
from accord.evaluate.statistics import mean_estimate, paired_difference
from accord.feedback.constitution.constitution import Constitution
from accord.feedback.judge.groups import gold_of, pairs_in
from accord.feedback.judge.pair import Judgement, Pair, PairJudge, swap_mean
from accord.feedback.judge.templates import answer_text
from accord.record import Estimate, Group

JudgeOf = Callable[[Constitution], PairJudge]
"""The judge that goes by a constitution."""


class Effect(msgspec.Struct, frozen=True):
    """What a principle does: the labels with it against those without it.

    Attributes:
        flips: share of the pairs whose winner is another without it.
        shift: mean distance between the probabilities with and without it.
    """

    flips: Estimate
    shift: Estimate


class Conflict(msgspec.Struct, frozen=True):
    """Two principles by which a judge clearly prefers different answers of a pair.

    Attributes:
        first, second: their names.
        share: of the pairs on which they do.
        example: one of them: prompt, both answers, and the probability of the first by either principle.
    """

    first: str
    second: str
    share: Estimate
    example: dict[str, Any]


class ConstitutionComparison(msgspec.Struct, frozen=True):
    """Two constitutions over the same pairs.

    Attributes:
        names: of the two, with their fingerprints.
        pairs: that were compared, and of which both judgements could be read.
        flips: share of the pairs with another winner under the second.
        shift: mean distance between the two probabilities.
        effects: of each principle of the first, and of the second, on its own constitution's labels.
        conflicts: between principles of either, the most frequent first.
        gold: agreement with gold under the first, under the second, and the difference; nothing without gold.
        flipped: the pairs with another winner, the largest change first.
    """

    names: tuple[tuple[str, str], tuple[str, str]]
    pairs: tuple[int, int]
    flips: Estimate
    shift: Estimate
    effects: tuple[dict[str, Effect], dict[str, Effect]]
    conflicts: list[Conflict]
    gold: tuple[Estimate, Estimate, Estimate] | None
    flipped: list[dict[str, Any]]


def compare_constitutions(
    groups: Sequence[Group],
    first: Constitution,
    second: Constitution,
    judge_of: JudgeOf,
    *,
    margin: float = 0.2,
    most_pairs: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> ConstitutionComparison:
    """Judge the same pairs under two constitutions, and say which labels flip and why.

    Args:
        groups: prompts with two responses or more.
        first, second: the constitutions.
        judge_of: who judges by a constitution. Its model should remember its answers, as a `CachedChat` does: it is
            asked the same again for every principle that is left out.
        margin: distance from one half at which a principle clearly prefers one side.
        most_pairs: pairs of one prompt at most, drawn at random; all if not given.
        seed: of that draw.
        progress: told of the first judgements, under the union of both.

    Raises:
        ConfigError: the margin is out of range.
        DataError: there is no pair, or none could be judged under both.
        ChatError: the judge cannot answer.
    """
    if not 0 < margin < 0.5:
        raise ConfigError(f"{margin} is out of range", where="--margin", mend="Give more than 0 and less than 0.5.")
    pairs = pairs_in(groups, most=most_pairs, seed=seed)
    if not pairs:
        mend = "Sample some: accord sample --model M --data PROMPTS --n 2 --out FILE."
        raise DataError("no prompt has two responses to compare", mend=mend)
    union = _union(first, second)
    by_all = judge_of(union).compare(pairs, progress=progress)
    labels = [judge_of(one).compare(pairs) for one in (first, second)]
    read = [place for place in range(len(pairs)) if labels[0][place].p is not None and labels[1][place].p is not None]
    if not read:
        raise DataError("no pair could be judged under both", mend="Look at what the judge answers; accord judge.")
    kept = [pairs[place] for place in read]
    ps = [[_p(said[place]) for place in read] for said in labels]
    clusters = [pair.group.prompt_text() for pair in kept]
    return ConstitutionComparison(
        ((first.name, first.fingerprint), (second.name, second.fingerprint)),
        (len(pairs), len(read)),
        mean_estimate(_flips(*ps), clusters),
        mean_estimate(_shifts(*ps), clusters),
        (_effects(first, judge_of, pairs, labels[0]), _effects(second, judge_of, pairs, labels[1])),
        _conflicts(union, pairs, by_all, margin),
        _against_gold(kept, ps, clusters),
        _flipped(kept, ps, [by_all[place] for place in read]),
    )


def write_comparison(out: str | Path, found: ConstitutionComparison) -> Path:
    """Write the comparison as JSON."""
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    return path


def _union(first: Constitution, second: Constitution) -> Constitution:
    """The principles of both; one of the same name and another wording keeps its name with a mark."""
    names = {principle.name for principle in first.principles}
    further = [
        replace(principle, name=f"{principle.name} ({second.name})") if principle.name in names else principle
        for principle in second.principles
        if principle not in first.principles
    ]
    return replace(first, principles=(*first.principles, *further))


def _effects(
    constitution: Constitution, judge_of: JudgeOf, pairs: Sequence[Pair], whole: Sequence[Judgement]
) -> dict[str, Effect]:
    """Of each principle on the labels; nothing of a single one, without which there is no constitution."""
    effects = {}
    for left_out in constitution.principles if len(constitution.principles) > 1 else ():
        others = tuple(one for one in constitution.principles if one != left_out)
        without = judge_of(replace(constitution, principles=others)).compare(pairs)
        read = [place for place in range(len(pairs)) if whole[place].p is not None and without[place].p is not None]
        if read:
            ps = [[_p(said[place]) for place in read] for said in (whole, without)]
            clusters = [pairs[place].group.prompt_text() for place in read]
            effects[left_out.name] = Effect(mean_estimate(_flips(*ps), clusters), mean_estimate(_shifts(*ps), clusters))
    return effects


def _conflicts(
    union: Constitution, pairs: Sequence[Pair], by_all: Sequence[Judgement], margin: float
) -> list[Conflict]:
    said = {principle.name: [_by(one, principle.name) for one in by_all] for principle in union.principles}
    conflicts = []
    for first, second in combinations(said, 2):
        both = [
            (place, p, q)
            for place, (p, q) in enumerate(zip(said[first], said[second], strict=True))
            if p is not None and q is not None
        ]
        opposed = [float(max(p, q) >= 0.5 + margin and min(p, q) <= 0.5 - margin) for _, p, q in both]
        if any(opposed):
            place, p, q = max(
                (one for one, is_opposed in zip(both, opposed, strict=True) if is_opposed),
                key=lambda one: abs(one[1] - one[2]),
            )
            clusters = [pairs[place].group.prompt_text() for place, _, _ in both]
            example = _told(pairs[place]) | {first: round(p, 4), second: round(q, 4)}
            conflicts.append(Conflict(first, second, mean_estimate(opposed, clusters), example))
    return sorted(conflicts, key=lambda one: -one.share.mean)


def _against_gold(
    pairs: Sequence[Pair], ps: Sequence[Sequence[float]], clusters: Sequence[str]
) -> tuple[Estimate, Estimate, Estimate] | None:
    gold = [gold_of(pair, judge="") for pair in pairs]
    known = [place for place, one in enumerate(gold) if one is not None and one != 0.5]
    if not known:
        return None
    right = [
        [0.5 if p[place] == 0.5 else float((p[place] > 0.5) == ((gold[place] or 0.0) > 0.5)) for place in known]
        for p in ps
    ]
    kept, (first, second) = [clusters[place] for place in known], right
    return mean_estimate(first, kept), mean_estimate(second, kept), paired_difference(first, second, kept)


def _flipped(pairs: Sequence[Pair], ps: Sequence[Sequence[float]], by_all: Sequence[Judgement]) -> list[dict[str, Any]]:
    places = [place for place, flip in enumerate(_flips(*ps)) if flip]
    places.sort(key=lambda place: -abs(ps[0][place] - ps[1][place]))
    return [
        _told(pairs[place])
        | {"p": [round(p[place], 4) for p in ps]}
        | {"by_principle": {name: _rounded(_by(by_all[place], name)) for name in by_all[place].by_principle}}
        for place in places
    ]


def _told(pair: Pair) -> dict[str, Any]:
    return {"prompt": pair.group.prompt_text(), "answers": [answer_text(one) for one in pair.responses]}


def _by(judgement: Judgement, name: str) -> float | None:
    """Probability of the first by one principle; of the same text twice, one half."""
    if name not in judgement.by_principle:
        return judgement.p
    first, second = judgement.by_principle[name]
    return None if first is None or second is None else swap_mean(first, second)


def _p(judgement: Judgement) -> float:
    assert judgement.p is not None
    return judgement.p


def _flips(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """1 where the winner is another; a tie is no winner."""
    return [float(((p > 0.5) - (p < 0.5)) != ((q > 0.5) - (q < 0.5))) for p, q in zip(first, second, strict=True)]


def _shifts(first: Sequence[float], second: Sequence[float]) -> list[float]:
    return [abs(p - q) for p, q in zip(first, second, strict=True)]


def _rounded(p: float | None) -> float | None:
    return None if p is None else round(p, 4)
