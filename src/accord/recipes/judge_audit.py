"""The audit of a judge: what its verdicts depend on besides the answers' quality, and how often they are right.

A judged number is worth what its judge is worth. The audit needs nothing but the judgements; with gold, which is what
anybody else said of the same pairs (people, an oracle, a second judge), it says how often the judge is right, and it
sets the judge beside three that are known to be bad.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from accord.evaluate.agreement import cohen_kappa, slopes
from accord.evaluate.statistics import mean_estimate, paired_difference
from accord.feedback.calibration import calibration
from accord.feedback.judge.groups import gold_of
from accord.feedback.judge.pair import Judgement, Pair, swap_mean
from accord.feedback.judge.reward_judge import CONTROLS
from accord.feedback.judge.templates import answer_text
from accord.record import Estimate

AUTHOR = "model"
"""Key of a Response's meta that says which model wrote it."""

_SURE = 1e-6
_SLIGHT = 0.02
"""A slope of length that moves no label."""


class ControlAudit(msgspec.Struct, frozen=True):
    """A judge that is known to be bad, on the same pairs.

    Attributes:
        accuracy: agreement with gold; a tie counts one half.
        lead: the audited judge's accuracy minus this one's, over the same pairs.
    """

    accuracy: Estimate
    lead: Estimate


class PrincipleAudit(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a judge says by one principle.

    Attributes:
        consistency: share of the pairs whose winner is the same in both orders.
        with_all: share of the pairs in which it has the winner that all principles together have.
        unread: share of the answers that were no verdict.
        accuracy: agreement with gold.
    """

    consistency: Estimate
    with_all: Estimate
    unread: float
    accuracy: Estimate | None = None


class JudgeAudit(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a judge can be believed. Intervals are clustered by prompt.

    Attributes:
        judge: its name.
        pairs: that it was given.
        judged: that have a verdict in both orders.
        asked: answers that it gave.
        unread: how many of them were no verdict.
        consistency: share of the pairs whose winner is the same in both orders.
        first_shown: mean probability of what is shown first; one half for a judge to whom the place is nothing.
        length_slope: change in probability for a standard deviation more of length than the other answer.
        length_slope_given_gold: the same between pairs of which gold says the same.
        accuracy: agreement with gold, where it has a winner; a tie of the judge counts one half.
        kappa: Cohen's, with winner first, winner second and tie as categories; each pair counts in both orders, so that
            the order of the file is nothing.
        confidence: the judge's mean probability for the side that it prefers.
        ece: expected calibration error against gold.
        temperature: what its log-odds must be divided by to be most likely on gold; above 1, it is too sure.
        own: whose answers may be its own.
        self_preference: probability of its own answer against another's, less what gold gives it; against one half
            where there is no gold.
        controls: bad judges on the same pairs, where there is gold.
        principles: what it says by each of several.
    """

    judge: str
    pairs: int
    judged: int
    asked: int = 0
    unread: int = 0
    consistency: Estimate | None = None
    first_shown: Estimate | None = None
    length_slope: Estimate | None = None
    length_slope_given_gold: Estimate | None = None
    accuracy: Estimate | None = None
    kappa: Estimate | None = None
    confidence: Estimate | None = None
    ece: float | None = None
    temperature: float | None = None
    own: str | None = None
    self_preference: Estimate | None = None
    controls: dict[str, ControlAudit] = {}
    principles: dict[str, PrincipleAudit] = {}

    def brief(self) -> dict[str, Any]:
        """The numbers that go with every judged Group: mean, and the limits of the interval."""
        named = ("consistency", "first_shown", "length_slope", "accuracy", "kappa", "self_preference")
        given = {name: getattr(self, name) for name in named}
        found: dict[str, Any] = {"pairs": self.pairs, "judged": self.judged, "unread": self.unread}
        return found | {
            name: [round(number, 4) for number in (one.mean, one.low, one.high)]
            for name, one in given.items()
            if one is not None
        }


def audit(pairs: Sequence[Pair], judgements: Sequence[Judgement], *, judge: str, own: str | None = None) -> JudgeAudit:
    """The audit of what a judge said.

    Args:
        pairs: what it was given; what others say of them in their Groups is gold.
        judgements: what it said.
        judge: its name, whose own Feedback is no gold.
        own: the author, in the meta of responses under "model", whose answers may be the judge's own.
    """
    read = [_Read(pair, one, gold_of(pair, judge=judge)) for pair, one in zip(pairs, judgements, strict=True)]
    judged = [one for one in read if one.judgement.orders is not None]
    found = JudgeAudit(
        judge,
        pairs=len(pairs),
        judged=len(judged),
        asked=sum(one.asked for one in judgements),
        unread=sum(one.unread for one in judgements),
        own=own,
    )
    if not judged:
        return found
    clusters = [one.prompt for one in judged]
    by_length, given_gold = _length_slopes(judged)
    found = msgspec.structs.replace(
        found,
        consistency=mean_estimate([float(one.judgement.consistent or False) for one in judged], clusters),
        first_shown=mean_estimate([one.first_shown for one in judged], clusters),
        confidence=mean_estimate([max(one.p, 1 - one.p) for one in judged], clusters),
        length_slope=by_length,
        length_slope_given_gold=given_gold,
        self_preference=None if own is None else _self_preference(judged, own),
        principles=_by_principle(judged),
    )
    return _with_gold(found, [one for one in judged if one.gold is not None and one.gold != 0.5])


def concerns(found: JudgeAudit) -> list[str]:
    """What speaks against believing the judge, a sentence each, in words for the person who would use its labels."""
    said = []
    if found.asked and found.unread / found.asked > 0.01:
        said.append(f"{found.unread} of {found.asked} answers were no verdict; their pairs are not judged")
    if found.consistency is not None and found.consistency.mean < 0.8:
        said.append(f"the winner changes with the order in {1 - found.consistency.mean:.0%} of the pairs")
    if found.first_shown is not None and not found.first_shown.low <= 0.5 <= found.first_shown.high:
        place = "first" if found.first_shown.mean > 0.5 else "second"
        said.append(f"it prefers what stands {place}: both orders are averaged, yet it says less than it seems to")
    length = found.length_slope_given_gold or found.length_slope
    if length is not None and abs(length.mean) >= _SLIGHT and not length.low <= 0 <= length.high:
        more = "longer" if length.mean > 0 else "shorter"
        known = "of the same worth by gold" if found.length_slope_given_gold else "and there is no gold to excuse it"
        said.append(f"it prefers {more} answers, {known}: {length.mean:+.2f} for a standard deviation of length")
    if found.accuracy is not None and found.accuracy.low <= 0.5:
        said.append("it cannot be told from a coin by its agreement with gold")
    for name, control in found.controls.items():
        if control.lead.low <= 0 and name != "random":
            said.append(f"it is not clearly better than the control {name!r} ({control.accuracy.mean:.0%} right)")
    if found.temperature is not None and found.temperature > 1.5:
        said.append(f"it is too sure of itself: divide its log-odds by {found.temperature:.1f} (--calibrate)")
    if found.temperature is not None and found.temperature < 1 / 1.5 and not _faultless(found):
        said.append(f"it is less sure than it is right: divide its log-odds by {found.temperature:.2f} (--calibrate)")
    if found.self_preference is not None and found.self_preference.low > 0:
        said.append(f"it prefers the answers of {found.own} by {found.self_preference.mean:.0%} more than they merit")
    return said


def _faultless(found: JudgeAudit) -> bool:
    """Whether the judge is always right, so that no confidence is too high and a temperature says nothing."""
    return found.accuracy is not None and found.accuracy.mean == 1.0


class _Read:
    """A judged pair with what is known of it."""

    def __init__(self, pair: Pair, judgement: Judgement, gold: float | None) -> None:
        self.pair, self.judgement, self.gold = pair, judgement, gold
        self.prompt = pair.group.prompt_text()

    @property
    def p(self) -> float:
        assert self.judgement.p is not None
        return self.judgement.p

    @property
    def first_shown(self) -> float:
        assert self.judgement.orders is not None
        return sum(self.judgement.orders) / 2

    @property
    def right(self) -> float:
        return _right(self.p, self.gold)

    @property
    def longer(self) -> int:
        first, second = (len(answer_text(one)) for one in self.pair.responses)
        return first - second


def _length_slopes(judged: Sequence[_Read]) -> tuple[Estimate | None, Estimate | None]:
    lengths = np.asarray([one.longer for one in judged], dtype=np.float64)
    scale = math.sqrt(float(np.mean(lengths**2)))
    if scale == 0:
        return None, None
    outcome, factor = [one.p - 0.5 for one in judged], lengths / scale
    clusters = [one.prompt for one in judged]
    (plain,) = slopes(outcome, [factor.tolist()], clusters)
    known = [place for place, one in enumerate(judged) if one.gold is not None]
    if not known:
        return plain, None
    merit = [(one.gold or 0.0) - 0.5 for one in judged]
    given, _ = slopes(
        [outcome[place] for place in known],
        [[float(factor[place]) for place in known], [merit[place] for place in known]],
        [clusters[place] for place in known],
    )
    return plain, given


def _with_gold(found: JudgeAudit, judged: Sequence[_Read]) -> JudgeAudit:
    """The audit with what gold says."""
    if not judged:
        return found
    right, clusters = [one.right for one in judged], [one.prompt for one in judged]
    said = [_winner(p) for one in judged for p in (one.p, 1 - one.p)]
    true = [_winner(gold) for one in judged for gold in (one.gold or 0.0, 1 - (one.gold or 0.0))]
    measured = calibration([log_odds(one.p if (one.gold or 0.0) > 0.5 else 1 - one.p) for one in judged])
    return msgspec.structs.replace(
        found,
        accuracy=mean_estimate(right, clusters),
        kappa=cohen_kappa(said, true, [prompt for prompt in clusters for _ in range(2)]),
        ece=measured.ece,
        temperature=measured.temperature,
        controls={name: _control(name, judged, right, clusters) for name in CONTROLS},
    )


def _control(name: str, judged: Sequence[_Read], right: Sequence[float], clusters: Sequence[str]) -> ControlAudit:
    verdicts = CONTROLS[name].compare([one.pair for one in judged])
    theirs = [_right(verdict.p or 0.0, one.gold) for verdict, one in zip(verdicts, judged, strict=True)]
    return ControlAudit(mean_estimate(theirs, clusters), paired_difference(theirs, list(right), clusters))


def _self_preference(judged: Sequence[_Read], own: str) -> Estimate | None:
    """Over pairs of which exactly one response is the judge's own."""
    excess, clusters = [], []
    for one in judged:
        first, second = (response.meta.get(AUTHOR) == own for response in one.pair.responses)
        if first != second:
            merit = 0.5 if one.gold is None else one.gold
            excess.append((one.p - merit) if first else (merit - one.p))
            clusters.append(one.prompt)
    return mean_estimate(excess, clusters) if excess else None


def _by_principle(judged: Sequence[_Read]) -> dict[str, PrincipleAudit]:
    names = list(dict.fromkeys(name for one in judged for name in one.judgement.by_principle))
    if len(names) < 2:
        return {}
    return {name: one for name in names if (one := _principle(judged, name)) is not None}


def _principle(judged: Sequence[_Read], name: str) -> PrincipleAudit | None:
    asked = [(one, one.judgement.by_principle[name]) for one in judged if name in one.judgement.by_principle]
    read = [(one, (ab, ba)) for one, (ab, ba) in asked if ab is not None and ba is not None]
    if not read:
        return None
    clusters = [one.prompt for one, _ in read]
    own = [swap_mean(*orders) for _, orders in read]
    gold = [(p, one) for p, (one, _) in zip(own, read, strict=True) if one.gold not in (None, 0.5)]
    return PrincipleAudit(
        consistency=mean_estimate([float(Judgement(None, orders).consistent or False) for _, orders in read], clusters),
        with_all=mean_estimate(
            [float(_winner(p) == _winner(one.p)) for p, (one, _) in zip(own, read, strict=True)], clusters
        ),
        unread=sum(order is None for _, orders in asked for order in orders) / (2 * len(asked)),
        accuracy=mean_estimate([_right(p, one.gold) for p, one in gold], [one.prompt for _, one in gold])
        if gold
        else None,
    )


def _right(p: float, gold: float | None) -> float:
    """1 for gold's winner, one half for a tie."""
    assert gold is not None
    return 0.5 if p == 0.5 else float((p > 0.5) == (gold > 0.5))


def _winner(p: float) -> str:
    return "tie" if p == 0.5 else "first" if p > 0.5 else "second"


def log_odds(p: float) -> float:
    """Log-odds of a probability; finite at 0 and 1."""
    p = min(max(p, _SURE), 1 - _SURE)
    return math.log(p / (1 - p))
