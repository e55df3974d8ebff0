"""Score a file of responses, and say in one table how each reward behaved: mean with interval, missing, extremes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from accord.data.show import printable
from accord.errors import DataError
from accord.evaluate.statistics import UNBOUNDED, mean_estimate
from accord.feedback.reward import Part, excerpt, place
from accord.feedback.score import Missing, RewardStatistics, score, statistics_of
from accord.record import Estimate, Group

CHUNK = 32
"""Groups scored at a time: between two of them the progress bar moves."""

SUMS = ("overall", "cost")


@dataclass(frozen=True)
class Scored:
    """Groups with their scores, and how each score behaved.

    Attributes:
        groups: with feedback.
        statistics: of each reward, then of the sums.
        estimates: the mean of each, clustered by Group; none for a score that is missing everywhere.
    """

    groups: list[Group]
    statistics: list[RewardStatistics]
    estimates: dict[str, Estimate]


def verify(groups: Sequence[Group], parts: Sequence[Part], *, missing: Missing, console: Console) -> Scored:
    """Score Groups in chunks under a progress bar.

    Raises:
        DataError: there is no response to score.
        ConfigError, NumericsError, RewardError: as `accord.feedback.score.score`.
    """
    if not any(group.responses for group in groups):
        mend = "Sample some first: accord sample --model M --data PROMPTS --out FILE."
        raise DataError("the data have prompts but no responses", mend=mend)
    observed: dict[str, list[RewardStatistics]] = {}
    scored: list[Group] = []
    chunks = [groups[start : start + CHUNK] for start in range(0, len(groups), CHUNK)]
    for chunk in track(chunks, "scoring", console=console, transient=True, disable=not console.is_terminal):
        scored += score(
            chunk, parts, missing=missing, observe=lambda one: observed.setdefault(one.name, []).append(one)
        )
    names = [*(part.name for part in parts), *(name for name in SUMS if scored[0].scores(name) is not None)]
    statistics = [_statistics(name, scored, observed.get(name, [])) for name in names]
    estimates = {one.name: _estimate(one.name, scored) for one in statistics if one.scored}
    return Scored(scored, statistics, estimates)


def render(scored: Scored, parts: Sequence[Part]) -> Table:
    """The table: a row for each reward and each sum."""
    table = Table("score", "missing", "mean", "95% interval", "lowest", "highest", "seconds")
    for column in table.columns[1:]:
        column.justify = "right"
    roles = {part.name: _role(part) for part in parts}
    for one in scored.statistics:
        estimate = scored.estimates.get(one.name)
        table.add_row(
            printable(one.name).append(roles.get(one.name, " (sum)"), style="dim"),
            Text(f"{one.missing:.0%}", style="yellow" if one.scored < one.responses else ""),
            _number(one.mean),
            "–" if estimate is None else _interval(estimate),
            _extreme(one.lowest, one.at_lowest),
            _extreme(one.highest, one.at_highest),
            f"{one.seconds:.1f}" if one.name in roles else "",
        )
    return table


def remarks(scored: Scored) -> list[str]:
    """What the table alone does not say: scores that say nothing, why some are missing, where."""
    said = []
    for one in scored.statistics:
        if one.scored and one.lowest == one.highest and one.scored > 1:
            said.append(f"{one.name} is {_number(one.mean)} for every response: it tells none from another")
        if one.scored < one.responses:
            first = next(group for group in scored.groups if None in (group.scores(one.name) or ()))
            said.append(f"{one.name} is missing for {one.responses - one.scored:,}, first at {place(first)}")
        said += one.problems
    return said


def examples(scored: Scored, *, count: int) -> list[Text]:
    """The lowest and the highest scored responses of each reward, with their prompts."""
    lines: list[Text] = []
    for one in scored.statistics:
        if one.name in SUMS or not one.scored:
            continue
        rows = [
            (value, place(group), response.text, group.answer)
            for group in scored.groups
            for value, response in zip(group.scores(one.name) or (), group.responses, strict=True)
            if value is not None
        ]
        ranked = sorted(rows, key=lambda row: row[0])
        chosen = ranked if len(ranked) <= 2 * count else [*ranked[:count], *ranked[len(ranked) - count :]]
        for value, where, text, answer in chosen:
            gold = "" if answer is None else f"; answer {excerpt(str(answer), 40)}"
            lines.append(printable(f"{one.name} {_number(value)}: {excerpt(text, 100)} to {where}{gold}"))
    return lines


def _statistics(name: str, groups: Sequence[Group], chunks: Sequence[RewardStatistics]) -> RewardStatistics:
    rows = [group.scores(name) or () for group in groups]
    problems = list(chain.from_iterable(chunk.problems for chunk in chunks))
    return statistics_of(name, rows, seconds=sum(chunk.seconds for chunk in chunks), problems=problems)


def _estimate(name: str, groups: Sequence[Group]) -> Estimate:
    given = [
        (value, index) for index, group in enumerate(groups) for value in group.scores(name) or () if value is not None
    ]
    return mean_estimate([value for value, _ in given], [index for _, index in given])


def _role(part: Part) -> str:
    """What the table says of a part that is not simply a reward of weight 1."""
    said: list[str] = [] if part.role == "reward" else [part.role]
    said += [] if part.weight == 1 else [f"× {part.weight:g}"]
    return f" ({' '.join(said)})" if said else ""


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}".replace("-", "−")


def _interval(estimate: Estimate) -> str:
    if estimate.high >= UNBOUNDED:
        return "unknown"
    return f"{_number(estimate.low)} to {_number(estimate.high)}"


def _extreme(value: float | None, share: float | None) -> str:
    return "–" if value is None or share is None else f"{_number(value)} ({share:.0%})"
