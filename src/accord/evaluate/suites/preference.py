"""Preference accuracy: is the response that was preferred the likelier, or the better rewarded one?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from accord.data import read
from accord.errors import DataError
from accord.evaluate.ask import reward_or_likelihood
from accord.evaluate.suites.ranking import BY_LIKELIHOOD, ranked, ranking_axes, ranking_controls, ranking_item
from accord.evaluate.task import Task, each
from accord.record import Group


def preference(data: str, *, columns: str | None = None, split: str = "test", by: str = "") -> Task:
    """The preferred response has the higher reward; pairs of one prompt are one cluster.

    Args:
        data: any file of preferences that Accord reads.
        columns: where to find fields in a format that is not recognised, as `prompt=question`.
        split: which split of a data set to read.
        by: entry of the rows' meta to report by.

    Raises:
        DataError: the data cannot be read, or no response is preferred to another.
    """
    return preference_task(read([data], columns=columns, split=split).groups, by=by, source=data)


def preference_task(groups: Sequence[Group], *, by: str = "", source: str | None = None) -> Task:
    """The task of Groups with preferences.

    Args:
        groups: what was preferred to what.
        by: entry of their meta to report by.
        source: where they are from, for messages.

    Raises:
        DataError: no response is preferred to another.
    """
    items = list(pairs_of(groups))
    if not items:
        mend = "Give pairs of a chosen and a rejected answer, or Groups with preferences."
        raise DataError("no response is preferred to another", path=source, mend=mend)
    return Task(
        "preference",
        items,
        ask=reward_or_likelihood(),
        score=each(ranked),
        axes=ranking_axes(),
        cluster="prompt",
        slices=(by,) if by else (),
        controls=ranking_controls(),
        notes=(BY_LIKELIHOOD,),
    )


def pairs_of(groups: Sequence[Group]) -> Iterator[Group]:
    """An item for each preference that is more than a tie."""
    counts = Counter(group.id for group in groups)
    for place, group in enumerate(groups):
        name = group.id if group.id and counts[group.id] == 1 else str(place)
        for better, worse in dict.fromkeys((one.better, one.worse) for one in group.preferences() if one.weight > 0.5):
            yield ranking_item(
                group.prompt,
                [group.responses[better]],
                [group.responses[worse]],
                name=f"{name}:{better}-{worse}",
                origin=group.origin,
                meta={**group.meta, "prompt": group.prompt_text()},
            )
