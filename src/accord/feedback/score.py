"""Score the responses of Groups with several rewards, and say how each of them behaved."""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from accord.errors import AccordError, ConfigError, NumericsError
from accord.feedback.reward import Part, Reward, RewardError, Row, place
from accord.record import Feedback, Group

Missing = Literal["stop", "record"]
"""What becomes of an exception or a number that is not finite: it stops the scoring, or is recorded as missing."""


class RewardStatistics(msgspec.Struct, frozen=True):
    """How one reward behaved on a batch of responses.

    Attributes:
        name: of its score.
        responses: how many it was asked to score.
        scored: how many have a score.
        mean, std: of the scores given (std of the population); `None` without any.
        lowest, highest: the extremes of the scores given.
        at_lowest, at_highest: share of the scores given that stand at them. Where both are 1 the reward says nothing.
        seconds: wall time.
        problems: what went wrong and was recorded as missing, with the prompt; the first few.
    """

    name: str
    responses: int
    scored: int
    mean: float | None
    std: float | None
    lowest: float | None
    highest: float | None
    at_lowest: float | None
    at_highest: float | None
    seconds: float
    problems: tuple[str, ...] = ()

    @property
    def missing(self) -> float:
        """Share of the responses without a score."""
        return 1 - self.scored / self.responses if self.responses else 0.0


Observer = Callable[[RewardStatistics], None]


def score(
    groups: Sequence[Group],
    rewards: Sequence[Reward | Part],
    *,
    missing: Missing = "stop",
    observe: Observer | None = None,
) -> list[Group]:
    """The same Groups with a Feedback for each reward, and one for their weighted sums.

    The sum of what has the role "reward", less what has the role "penalty", is the score "overall"; that of what has
    the role "cost" is the score "cost". A response that misses one of the parts misses the sum: no score is ever taken
    for 0. Earlier scores of the same names are replaced, since a Group takes the mean of what several sources say under
    one name.

    Args:
        groups: with responses.
        rewards: what scores; a bare reward has weight 1.
        missing: what becomes of an exception or a number that is not finite.
        observe: told the statistics of each reward.

    Raises:
        ConfigError: no reward, or two of the same name.
        NumericsError: a score is not a finite number; names reward and prompt.
        RewardError: a reward raised, or returned what is no score; names reward and prompt.
    """
    parts = parts_of(rewards)
    columns: dict[str, list[Row]] = {}
    for part in parts:
        begun = time.monotonic()
        columns[part.name], problems = _rows(part, groups, missing)
        if observe is not None:
            seconds = time.monotonic() - begun
            observe(statistics_of(part.name, columns[part.name], seconds=seconds, problems=problems))
    renewed = {*columns, *_sums(parts)}
    return [
        replace(group, feedback=(*_without(group, renewed), *_feedback(parts, [columns[p.name][i] for p in parts])))
        for i, group in enumerate(groups)
    ]


def valued(rewards: Sequence[Reward | Part]) -> Callable[[Sequence[Group]], list[Row]]:
    """What several rewards make of responses together: rows of their weighted sum, "overall".

    Raises:
        ConfigError: no reward, two of the same name, or none that is summed.
    """
    parts = parts_of(rewards)
    if "overall" not in _sums(parts):
        raise ConfigError("no reward is summed", where="--reward", mend="Name one of role reward or penalty.")

    def value(groups: Sequence[Group]) -> list[Row]:
        return [group.scores() or (None,) * len(group.responses) for group in score(groups, parts)]

    return value


def parts_of(rewards: Sequence[Reward | Part]) -> list[Part]:
    """Each reward with its part in the whole.

    Raises:
        ConfigError: no reward, or two of the same name.
    """
    parts = [reward if isinstance(reward, Part) else Part(reward) for reward in rewards]
    if not parts:
        raise ConfigError("there is no reward", where="--reward", mend="Name one; accord verify --list shows them.")
    for name, count in Counter(part.name for part in parts).items():
        if count > 1:
            mend = f"Tell them apart: add name=OTHER to one of them, as in {name},name=OTHER."
            raise ConfigError(f"{count} rewards are named {name!r}", where="--reward", mend=mend)
    return parts


def statistics_of(
    name: str, rows: Sequence[Row], *, seconds: float = 0.0, problems: Sequence[str] = ()
) -> RewardStatistics:
    """The statistics of one reward's rows."""
    given = [value for row in rows for value in row if value is not None]
    lowest, highest = min(given, default=None), max(given, default=None)
    return RewardStatistics(
        name=name,
        responses=sum(map(len, rows)),
        scored=len(given),
        mean=statistics.fmean(given) if given else None,
        std=statistics.pstdev(given) if given else None,
        lowest=lowest,
        highest=highest,
        at_lowest=given.count(lowest) / len(given) if lowest is not None else None,
        at_highest=given.count(highest) / len(given) if highest is not None else None,
        seconds=seconds,
        problems=tuple(problems[:3]),
    )


def _rows(part: Part, groups: Sequence[Group], missing: Missing) -> tuple[list[Row], list[str]]:
    """The reward's rows, and what was recorded as missing."""
    try:
        rows = part.reward(groups)
    except AccordError as error:
        # It says itself what is wrong (a server that is gone); asking it again for each Group would wait for each.
        if missing == "stop":
            raise
        return [(None,) * len(group.responses) for group in groups], [str(error)]
    except Exception as error:  # a reward is the user's code and may raise anything
        if len(groups) != 1:
            return _one_by_one(part, groups, missing)
        what = f"raised {type(error).__name__}: {error}"
        if missing == "stop":
            mend = "Mend it, or record such responses as missing with --missing record."
            raise RewardError(what, where=f"reward {part.name}, {place(groups[0])}", mend=mend) from error
        return [(None,) * len(groups[0].responses)], [f"{part.name} {what} ({place(groups[0])})"]
    if len(rows) != len(groups):
        raise RewardError(f"returned {len(rows)} rows for {len(groups)} groups", where=f"reward {part.name}")
    problems: list[str] = []
    return [_checked(part, row, group, missing, problems) for row, group in zip(rows, groups, strict=True)], problems


def _one_by_one(part: Part, groups: Sequence[Group], missing: Missing) -> tuple[list[Row], list[str]]:
    """The rows of a reward that raised on all Groups together, so that the one it cannot score is named."""
    rows: list[Row] = []
    problems: list[str] = []
    for group in groups:
        row, problem = _rows(part, [group], missing)
        rows += row
        problems += problem
    return rows, problems


def _checked(part: Part, row: Sequence[Any], group: Group, missing: Missing, problems: list[str]) -> Row:
    where = f"reward {part.name}, {place(group)}"
    if len(row) != len(group.responses):
        raise RewardError(f"returned {len(row)} scores for {len(group.responses)} responses", where=where)
    values: list[float | None] = []
    for index, value in enumerate(row):
        number = _number(value, index, where)
        if number is not None and not math.isfinite(number):
            what = f"the score of response {index} is {number:g}"
            if missing == "stop":
                mend = "Mend the reward, or record such responses as missing with --missing record."
                raise NumericsError(what, where=where, mend=mend)
            problems.append(f"{what} ({where})")
            number = None
        values.append(number)
    return tuple(values)


def _number(value: Any, index: int, where: str) -> float | None:
    if value is None:
        return None
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        what = f"the score of response {index} is no number but {type(value).__name__}"
        raise RewardError(what, where=where, mend="Return a number, or None for missing.") from error


def _sums(parts: Sequence[Part]) -> dict[str, list[Part]]:
    """The parts of each sum that is asked for: "overall" of rewards and penalties, "cost" of costs."""
    by_name = {
        "overall": [part for part in parts if part.role in ("reward", "penalty")],
        "cost": [part for part in parts if part.role == "cost"],
    }
    return {name: summed for name, summed in by_name.items() if summed}


def _feedback(parts: Sequence[Part], rows: Sequence[Row]) -> list[Feedback]:
    each = [Feedback(part.source, part.name, scores={part.name: row}) for part, row in zip(parts, rows, strict=True)]
    by_name = {part.name: row for part, row in zip(parts, rows, strict=True)}
    for name, summed in _sums(parts).items():
        total = _weighted_sum([by_name[part.name] for part in summed], [part.factor for part in summed])
        weights = {part.name: part.factor for part in summed}
        each.append(Feedback(summed[0].source, "weighted sum", scores={name: total}, meta={"weights": weights}))
    return each


def _weighted_sum(rows: Sequence[Row], weights: Sequence[float]) -> Row:
    totals: list[float | None] = []
    for values in zip(*rows, strict=True):
        given = [weight * value for weight, value in zip(weights, values, strict=True) if value is not None]
        totals.append(math.fsum(given) if len(given) == len(rows) else None)
    return tuple(totals)


def _without(group: Group, names: set[str]) -> list[Feedback]:
    """The Group's feedback without the scores of these names, and without a source that says nothing else."""
    kept = []
    for feedback in group.feedback:
        scores = {name: row for name, row in feedback.scores.items() if name not in names}
        others = (feedback.labels, feedback.distribution, feedback.step_scores)
        says_more = feedback.preferences or any(one is not None for one in others)
        if scores or says_more or not feedback.scores:
            kept.append(replace(feedback, scores=scores))
    return kept
