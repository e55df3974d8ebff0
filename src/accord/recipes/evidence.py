"""What feedback data holds, counted: the facts that advice rests on. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from accord.data import DataReport, Dataset, check
from accord.data.report import LengthBias
from accord.data.select import ranked
from accord.record import Group


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """Groups by the feedback they hold; one Group may count several times.

    Attributes:
        groups: all of them.
        preferences: with comparisons between responses.
        lists: of these, with more than two compared responses.
        desirable: responses labelled desirable.
        undesirable: responses labelled undesirable.
        labels: Groups with labels and no preferences.
        scores: with scores on two different responses or more, and no preferences.
        single_scores: with a score on one response only, and no preferences.
        distributions: with a probability for each response.
        costs: with a cost beside a reward.
        steps: with scores of the steps of a response.
        demonstrations: with responses and no feedback.
        answers: with a ground truth and no feedback.
        numeric_answers: of these, with a number.
        prompts: without responses, feedback or ground truth.
        annotators: who gave preferences: how many Groups by each.
        contradictory: pairs that are preferred the other way elsewhere.
        duplicates: rows that repeat another.
        length_bias: how often the longer response wins.
    """

    groups: int
    preferences: int
    lists: int
    desirable: int
    undesirable: int
    labels: int
    scores: int
    single_scores: int
    distributions: int
    costs: int
    steps: int
    demonstrations: int
    answers: int
    numeric_answers: int
    prompts: int
    annotators: dict[str, int]
    contradictory: int
    duplicates: int
    length_bias: LengthBias | None


def gather(dataset: Dataset) -> Evidence:
    """Count what a data set holds."""
    groups = dataset.groups
    report = check(dataset)
    compared = [group for group in groups if any(True for _ in group.preferences())]
    others = [group for group in groups if not any(True for _ in group.preferences())]
    labels = [label for group in groups for label in group.labels()]
    plain = [group for group in others if not group.feedback]
    answers = [group.answer for group in plain if group.answer is not None]
    return Evidence(
        groups=len(groups),
        preferences=len(compared),
        lists=sum(_compared(group) > 2 for group in compared),
        desirable=sum(label > 0 for label in labels),
        undesirable=sum(label < 0 for label in labels),
        labels=sum(any(group.labels()) for group in others),
        scores=sum(len(ranked(group)) > 1 for group in others),
        single_scores=sum(len(ranked(group)) == 1 for group in others),
        distributions=sum(group.distribution() is not None for group in groups),
        costs=sum(group.scores("cost") is not None and bool(ranked(group)) for group in groups),
        steps=sum(any(one.step_scores is not None for one in group.feedback) for group in groups),
        demonstrations=sum(bool(group.responses) and group.answer is None for group in plain),
        answers=len(answers),
        numeric_answers=sum(map(_is_number, answers)),
        prompts=sum(not group.responses and group.answer is None for group in plain),
        annotators=_annotators(compared),
        contradictory=_found(report, "contradictory pair"),
        duplicates=_found(report, "duplicate"),
        length_bias=report.length_bias,
    )


def _compared(group: Group) -> int:
    return len({index for one in group.preferences() for index in (one.better, one.worse)})


def _annotators(groups: Sequence[Group]) -> dict[str, int]:
    """Groups by who compared, where the data names anybody."""
    named: Counter[str] = Counter()
    for group in groups:
        for feedback in group.feedback:
            who = feedback.meta.get("group", group.meta.get("group"))
            if feedback.preferences and (who is not None or feedback.name is not None):
                named[str(who if who is not None else feedback.name)] += 1
    return dict(named.most_common())


def _is_number(answer: object) -> bool:
    try:
        float(str(answer).replace(",", ""))
    except ValueError:
        return False
    return True


def _found(report: DataReport, kind: str) -> int:
    return next((finding.count for finding in report.findings if finding.kind == kind), 0)
