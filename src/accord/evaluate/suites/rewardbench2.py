r"""RewardBench 2: the best of four answers, and answers of which several are equally right.

Of four answers one is right; of k tied for the highest reward, the share that is right counts. The subset `Ties` has
prompts with several right answers, each with a reference prompt that has one (`id` is `tied:N` and `ref:N`). With
:math:`g` the gap between the worst right and the best wrong answer, and :math:`s` the spread of the right ones,

.. math:: 0.3\, \overline{g_t > 0} + 0.3\, \overline{g_r > 0} + 0.2\, \overline{g_t > s_t}
    + 0.2\, \overline{\min(g_r, g_t) > s_t} + 0.01\, \overline{\tanh(\min(g_r, g_t)/s_t - 1)}

The score is the mean of the six subsets.

Format: `prompt`, `chosen` and `rejected` (lists), `subset`, `id`, as in the published file.

Source: Malik et al. 2025 (arXiv:2506.01937).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from accord.data.rows import Row
from accord.evaluate.ask import REWARD, reward_or_likelihood
from accord.evaluate.reward_scores import BEST_OF, OF_PAIRED, OF_REFERENCE, OF_TIED
from accord.evaluate.suites.ranking import BY_LIKELIHOOD, credit, ranking_controls, ranking_item
from accord.evaluate.suites.rewardbench import prompt_of
from accord.evaluate.suites.sources import rows_of
from accord.evaluate.task import Task, Values, axis
from accord.record import Group, Response

TIES = "Ties"
TIED, REFERENCE = "tied", "ref"

COLUMNS = ("right", "stratum", "kind", "preferred", "hard", "margin")
"""What `reward_scores.rewardbench2` is made from."""


def rewardbench2(data: str) -> Task:
    """The score of RewardBench 2, and each subset's as slices.

    Args:
        data: a file, a directory, or the id of a public data set.

    Raises:
        DataError: a row cannot be read; names file and line.
    """
    rows = list(rows_of(data))
    subsets = list(dict.fromkeys(row.text("subset") for row in rows))
    items = [_item(row, subsets) for row in rows]
    return Task(
        "rewardbench2",
        items,
        ask=reward_or_likelihood(),
        score=scored,
        axes=[
            axis("score", statistic="rewardbench2", columns=COLUMNS, description="Mean of the subsets' scores."),
            axis("accuracy", description="Of the best-of-four subsets: of answers tied for the best, the right share."),
            axis("ties right", description="Of Ties: every right answer is above every wrong one."),
        ],
        cluster="cluster",
        slices=("subset",),
        controls=ranking_controls(),
        notes=(BY_LIKELIHOOD,),
    )


def scored(items: Sequence[Group]) -> list[Values]:
    """The columns of each item; those of a tied one look at its reference as well."""
    gaps = {item.meta["pair"]: _gap(row, item) for item in items if _kind(item) == REFERENCE and (row := _row(item))}
    return [_scored(item, gaps) for item in items]


def _item(row: Row, subsets: Sequence[str]) -> Group:
    right, wrong = ([Response(str(text)) for text in row.sequence(side)] for side in ("chosen", "rejected"))
    if not right or not wrong:
        raise row.error("`chosen` or `rejected` is empty")
    subset, name = row.text("subset"), str(row.value("id"))
    meta = {"subset": subset, "stratum": subsets.index(subset), "cluster": f"{subset} {name}"}
    if subset == TIES:
        kind, colon, pair = name.partition(":")
        if kind not in (TIED, REFERENCE) or not colon:
            raise row.error(f"`id` is {name!r}, tied:N or ref:N is expected in the subset {TIES}")
        meta |= {"kind": kind, "pair": pair, "cluster": f"{subset} {pair}"}
    return ranking_item(prompt_of(row), right, wrong, name=f"{subset}:{name}", origin=row.origin, meta=meta)


def _scored(item: Group, gaps: dict[str, float]) -> Values:
    row = _row(item)
    if row is None:
        return dict.fromkeys(("accuracy", "ties right", *COLUMNS))
    values: dict[str, float] = {"stratum": float(item.meta["stratum"]), "preferred": 0.0, "hard": 0.0, "margin": 0.0}
    if _kind(item) is None:
        share = credit(row, item.answer)
        return {**values, "accuracy": share, "right": share, "kind": BEST_OF}
    gap = _gap(row, item)
    values |= {"right": float(gap > 0), "ties right": float(gap > 0)}
    if _kind(item) == REFERENCE:
        return {**values, "kind": OF_REFERENCE}
    if item.meta["pair"] not in gaps:
        return {**values, "kind": OF_TIED}
    least = min(gap, gaps[item.meta["pair"]])
    right = [row[place] for place in item.answer]
    spread = max(right) - min(right)
    return {
        **values,
        "kind": OF_PAIRED,
        "preferred": float(gap > spread),
        "hard": float(least > spread),
        "margin": _margin(least, spread),
    }


def _row(item: Group) -> list[float] | None:
    """The rewards of an item's answers, if all have one."""
    row = item.scores(REWARD) or ()
    known = [value for value in row if value is not None]
    return known if known and len(known) == len(row) else None


def _kind(item: Group) -> str | None:
    kind: str | None = item.meta.get("kind")
    return kind


def _gap(row: Sequence[float], item: Group) -> float:
    """Worst right answer less best wrong one."""
    right = [row[place] for place in item.answer]
    wrong = [value for place, value in enumerate(row) if place not in item.answer]
    gap: float = min(right) - max(wrong)
    return gap


def _margin(gap: float, spread: float) -> float:
    """How far the gap exceeds the spread, between -1 and 1; by the gap's sign where all right answers are alike."""
    if spread == 0:
        return float(gap > 0) - float(gap < 0)
    return math.tanh(gap / spread - 1)
