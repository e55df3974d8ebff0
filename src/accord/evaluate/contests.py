"""Contests between the answers of two models, and which models they connect."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from accord.errors import DataError

Floats = NDArray[np.float64]
Places = NDArray[np.intp]


@dataclass(frozen=True)
class Contest:
    """Two models on one prompt.

    Attributes:
        first, second: the models.
        outcome: how far the first won, from 0 to 1; a tie is one half, a judge's probability is itself.
        cluster: the prompt; contests of one prompt are not independent.
        weight: how much it counts.
        style: how far the first has more of each feature of style than the second, see `accord.evaluate.style`.
    """

    first: str
    second: str
    outcome: float
    cluster: Hashable
    weight: float = 1.0
    style: tuple[float, ...] = ()


@dataclass(frozen=True)
class Table:
    """Contests as arrays; models and clusters by number.

    Attributes:
        models: their names in order of appearance.
        first, second, outcome, weight: one entry a contest.
        cluster: the contest's cluster, numbered from 0.
        style: one row a contest, one column a feature.
    """

    models: tuple[str, ...]
    first: Places
    second: Places
    outcome: Floats
    weight: Floats
    cluster: Places
    style: Floats

    @property
    def clusters(self) -> int:
        """How many clusters there are."""
        return int(self.cluster.max()) + 1


def tabulate(contests: Sequence[Contest]) -> Table:
    """Contests as arrays.

    Raises:
        DataError: there are none, one is no contest, or two groups of models were never compared with each other.
    """
    if not contests:
        raise DataError("no contest to rate models by", mend="Have at least two models' answers compared.")
    for place, contest in enumerate(contests):
        sound = 0 <= contest.outcome <= 1 and 0 < contest.weight < np.inf and contest.first != contest.second
        if not sound or len(contest.style) != len(contests[0].style):
            raise DataError(
                f"contest {place} of {contest.first} and {contest.second} (outcome {contest.outcome:g}, weight "
                f"{contest.weight:g}) is none",
                mend="Two models, an outcome from 0 to 1, a positive weight, and the same features of style for all.",
            )
    models = tuple(dict.fromkeys(name for contest in contests for name in (contest.first, contest.second)))
    numbers = {name: number for number, name in enumerate(models)}
    clusters: dict[Hashable, int] = {}
    table = Table(
        models,
        np.asarray([numbers[contest.first] for contest in contests], dtype=np.intp),
        np.asarray([numbers[contest.second] for contest in contests], dtype=np.intp),
        np.asarray([contest.outcome for contest in contests], dtype=np.float64),
        np.asarray([contest.weight for contest in contests], dtype=np.float64),
        np.asarray([clusters.setdefault(contest.cluster, len(clusters)) for contest in contests], dtype=np.intp),
        np.asarray([contest.style for contest in contests], dtype=np.float64).reshape(len(contests), -1),
    )
    _require_connected(table)
    return table


def require_beatable(table: Table) -> None:
    """Refuse models without a finite maximum of the likelihood.

    It exists when, however the models are split in two, each side has beaten the other at least once (Ford 1957).

    Raises:
        DataError: some models never lost to the others, or never won; names them.
    """
    won = table.outcome > 0
    lost = table.outcome < 1
    winners = np.concatenate([table.first[won], table.second[lost]])
    losers = np.concatenate([table.second[won], table.first[lost]])
    count, group = _components(winners, losers, len(table.models), connection="strong")
    if count == 1:
        return
    for number in range(count):
        if np.all(group[winners[group[losers] == number]] == number):
            names = ", ".join(name for name, of in zip(table.models, group, strict=True) if of == number)
            raise DataError(
                f"{names} never lost to another model, so that no finite rating is most likely",
                mend="Give a prior above 0, which imagines a tie between models that met.",
            )


def _require_connected(table: Table) -> None:
    count, group = _components(table.first, table.second, len(table.models), connection="weak")
    if count > 1:
        parts = [[name for name, of in zip(table.models, group, strict=True) if of == part] for part in range(count)]
        named = " | ".join(", ".join(part) for part in parts)
        raise DataError(
            f"these groups of models were never compared with each other: {named}",
            mend="Compare a model of each group with one of the next, or rate each group for itself.",
        )


def _components(
    winners: Places, losers: Places, models: int, *, connection: Literal["weak", "strong"]
) -> tuple[int, Places]:
    graph = coo_matrix((np.ones(len(winners)), (winners, losers)), shape=(models, models))
    count, group = connected_components(graph, directed=True, connection=connection)
    return int(count), np.asarray(group, dtype=np.intp)
