"""`accord judge`: have the responses of Groups compared, audit the judge, and leave feedback for every objective.

Answers of a model are kept on disk as they come: a job that was killed goes on where it was, and the same command run
again asks nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from msgspec.structs import replace
from rich.console import Console

from accord.chat.types import Progress as Told
from accord.errors import DataError
from accord.feedback.calibration import fitted_temperature
from accord.feedback.judge.groups import Inconsistent, Labels, gold_of, judged_groups, pairs_in
from accord.feedback.judge.pair import Judgement, Pair, PairJudge, tempered
from accord.feedback.judge.pointwise import PointwiseJudge, overall
from accord.feedback.judge.reward_judge import RewardJudge
from accord.feedback.judge.spec import Judge
from accord.feedback.reward import Row
from accord.recipes.asking import Cost, asking
from accord.recipes.judge_audit import JudgeAudit, audit, concerns, log_odds
from accord.record import Group, SourceKind, write_groups


@dataclass(frozen=True)
class Judged:
    """What judging a file came to.

    Attributes:
        groups: with the judge's feedback.
        audit: of the judge, on these Groups.
        temperature: that was fitted to labelled pairs, if any were given.
    """

    groups: list[Group]
    audit: JudgeAudit
    temperature: float | None = None


def judge_groups(
    groups: Sequence[Group],
    judge: Judge,
    *,
    labels: Labels = "soft",
    inconsistent: Inconsistent = "keep",
    keep: bool = False,
    most_pairs: int | None = None,
    seed: int = 0,
    own: str | None = None,
    labelled: Sequence[Group] = (),
    cost: Cost = lambda: None,
    console: Console | None = None,
) -> Judged:
    """Compare the responses of Groups, audit the judge, and write down both.

    Args:
        groups: whose responses to compare; of one response alone nothing is said.
        judge: who compares or scores.
        labels, inconsistent, keep: what becomes of the judgements, as for `judged_groups`.
        most_pairs: pairs of one prompt at most, drawn at random; all if not given.
        seed: of that draw.
        own: the author whose responses may be the judge's own.
        labelled: Groups with preferences, to which the judge's temperature is fitted.
        cost: what the model's answers have cost so far.
        console: where progress is shown.

    Raises:
        DataError: there is no pair of responses to compare, or none of the labelled ones has a label.
        ChatError: the judge cannot answer.
    """
    pairs = pairs_in(groups, most=most_pairs, seed=seed)
    if not pairs:
        mend = "Sample some: accord sample --model M --data PROMPTS --n 2 --out FILE."
        raise DataError("no prompt has two responses to compare", mend=mend)
    with asking(console, cost) as told:
        judgements, scores = compared(judge, groups, pairs, partial(told, "judging"))
    temperature = None
    if labelled:
        temperature = labelled_temperature(judge, labelled, console=console, cost=cost)
        judgements = [cooled(one, temperature) for one in judgements]
    found = audit(pairs, judgements, judge=judge.name, own=own)
    written = judged_groups(
        groups,
        pairs,
        judgements,
        name=judge.name,
        labels=labels,
        inconsistent=inconsistent,
        keep=keep,
        meta={"audit": found.brief()},
    )
    if scores:
        written = [_with_scores(group, place, judge.name, scores) for place, group in enumerate(written)]
    return Judged(written, found, temperature)


def write_judged(out: str | Path, judged: Judged) -> list[tuple[Path, str]]:
    """Write the Groups as JSONL and the audit beside them; returns each file with what it is."""
    path = Path(out)
    count = write_groups(path, judged.groups)
    beside = path.with_name(f"{path.stem}.audit.json")
    content = msgspec.to_builtins(judged.audit) | {"concerns": concerns(judged.audit)}
    beside.write_bytes(msgspec.json.format(msgspec.json.encode(content)) + b"\n")
    return [(path, f"{count} groups"), (beside, "audit")]


@dataclass(frozen=True)
class _Known:
    """Scores that are there already, as a reward."""

    name: str
    rows: list[Row]
    source: SourceKind = "judge"

    def __call__(self, groups: Sequence[Group]) -> list[Row]:
        return self.rows


def compared(
    judge: Judge, groups: Sequence[Group], pairs: Sequence[Pair], told: Told | None = None
) -> tuple[list[Judgement], dict[str, list[Row]]]:
    """Judgements of the pairs, and the scores by aspect of a judge that scores."""
    if not isinstance(judge, PointwiseJudge):
        return pairwise(judge).compare(pairs, progress=told), {}
    before = judge.unread
    scored = judge.by_aspect(groups, progress=told)
    whole = [overall([scored[name][place] for name in judge.aspects]) for place in range(len(groups))]
    with_pairs = {id(pair.group) for pair in pairs}
    rows = [row for group, row in zip(groups, whole, strict=True) if id(group) in with_pairs]
    judgements = RewardJudge(_Known(judge.name, rows)).compare(pairs)
    unread = judge.unread - before
    # What was asked is counted by answer, not by pair: the audit shows it on the first.
    asked = sum(len(group.responses) for group in groups) * len(judge.aspects)
    counted = [replace(one, asked=0, unread=0) for one in judgements]
    counted[0] = replace(counted[0], asked=asked, unread=unread)
    return counted, {"overall": whole, **scored}


def pairwise(judge: Judge) -> PairJudge:
    """A judge of pairs; one that scores prefers what it scores higher."""
    return RewardJudge(judge) if isinstance(judge, PointwiseJudge) else judge


def labelled_temperature(
    judge: Judge, labelled: Sequence[Group], *, console: Console | None = None, cost: Cost = lambda: None
) -> float:
    """What the judge's log-odds must be divided by so that the labels are most likely.

    Raises:
        DataError: no pair has a label and a judgement.
    """
    pairs = pairs_in(labelled)
    gold = [gold_of(pair, judge=judge.name) for pair in pairs]
    known = [pair for pair, one in zip(pairs, gold, strict=True) if one not in (None, 0.5)]
    with asking(console, cost) as told:
        said = pairwise(judge).compare(known, progress=partial(told, "calibrating"))
    margins = [
        log_odds(one.p) if (gold_of(pair, judge=judge.name) or 0.0) > 0.5 else -log_odds(one.p)
        for pair, one in zip(known, said, strict=True)
        if one.p is not None
    ]
    if not margins:
        mend = "Give Groups with preferences between their responses."
        raise DataError("no labelled pair to calibrate on", mend=mend)
    return fitted_temperature(np.asarray(margins, dtype=np.float64))


def cooled(one: Judgement, temperature: float) -> Judgement:
    """A judgement with its log-odds divided by a temperature."""
    return one if one.p is None else replace(one, p=tempered(one.p, temperature))


def _with_scores(group: Group, place: int, name: str, scores: dict[str, list[Row]]) -> Group:
    """The Group with the scores by aspect in the judge's Feedback."""
    return replace(
        group,
        feedback=tuple(
            replace(one, scores={aspect: rows[place] for aspect, rows in scores.items()})
            if (one.source, one.name) == ("judge", name)
            else one
            for one in group.feedback
        ),
    )
