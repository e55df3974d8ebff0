"""From what processes measured to the numbers of a table: ratios, multiples of the floor, aims.

What disturbs a machine only adds time: of several turns each contender's fastest counts.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmarks.cells import ACCORD, AHEAD, BEST, EVERY_STEP, FLOOR_AIM, ONE_BY_ONE, WHOLE, Cell
from benchmarks.measurement import Seen
from benchmarks.speed import Record, Round


@dataclass(frozen=True)
class Spread:
    """A figure from the fastest turns, with the smallest and the largest within a turn."""

    found: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.found:.2f}" if self.low == self.high else f"{self.found:.2f} ({self.low:.2f}-{self.high:.2f})"


@dataclass(frozen=True)
class Aim:
    """What was aimed at, and what was measured."""

    text: str
    met: bool

    def __str__(self) -> str:
        return f"{self.text}: {'met' if self.met else '**not met**'}"


@dataclass(frozen=True)
class Line:
    """A contender on a cell.

    Attributes:
        name: of the contender.
        step: processor seconds.
        sampling: of them, before the answers were scored.
        ratio: to Accord's step; with sampled answers for each of their tokens, as the draws differ.
        update: the same of what follows sampling.
        floors: the fastest update as a multiple of its floor at the highest rate of all turns.
        whole: the whole run, to Accord's.
        memory: net MiB.
        share: Accord's memory, of it.
        best: whether this is TRL at its best.
        aims: that concern it.
    """

    name: str
    step: float
    sampling: float
    ratio: Spread
    update: Spread
    floors: float
    whole: float
    memory: float
    share: float
    best: bool
    aims: tuple[Aim, ...]


def lines_of(cell: Cell, record: Record) -> list[Line]:
    """The table's lines of a cell."""
    names = [contender.name for contender in cell.contenders]
    steps = {name: _fastest(record.rounds, name, _step) for name in names}
    best = min((name for name in names if name in BEST), key=steps.__getitem__, default=None)
    return [_line(cell, record.rounds, name, steps[name], best=name == best) for name in names]


def _line(cell: Cell, rounds: Sequence[Round], name: str, step: float, *, best: bool) -> Line:
    def against(of: Callable[[Seen], float]) -> Spread:
        turns = [of(round_.seen[name]) / of(round_.seen[ACCORD.name]) for round_ in rounds]
        return Spread(_fastest(rounds, name, of) / _fastest(rounds, ACCORD.name, of), min(turns), max(turns))

    ratio = against(lambda seen: _step(seen) / _sampled(seen))
    update = against(lambda seen: _update(seen) / _sampled(seen))
    floors = [_update(round_.seen[name]) / round_.flops[name] for round_ in rounds]
    multiple = min(floors) * max(round_.peak for round_ in rounds)
    memory = _median(rounds, name, _peak)
    share = _median(rounds, ACCORD.name, _peak) / memory
    return Line(
        name=name,
        step=step,
        sampling=step - _fastest(rounds, name, _update),
        ratio=ratio,
        update=update,
        floors=multiple,
        whole=against(lambda seen: seen.total_cpu).found,
        memory=memory,
        share=share,
        best=best,
        aims=tuple(_aims(cell, name, best=best, ratio=ratio, update=update, floors=multiple, share=share)),
    )


def _aims(
    cell: Cell, name: str, *, best: bool, ratio: Spread, update: Spread, floors: float, share: float
) -> Iterable[Aim]:
    aims = cell.aims
    if name == ACCORD.name and cell.objective in ("dpo", "grpo"):
        yield Aim(f"floor ≤ {FLOOR_AIM}", floors <= FLOOR_AIM)
    if best and "best" in aims:
        yield Aim(f"{'step ' if cell.shape.samples else ''}≥ {aims['best']}", ratio.found >= aims["best"])
    if best and "update" in aims:
        yield Aim(f"update ≥ {aims['update']}", update.found >= aims["update"])
    if name == EVERY_STEP.name and "every step" in aims:
        yield Aim(f"≥ {aims['every step']}", ratio.found >= aims["every step"])
    for key, whose in (("memory one", (ONE_BY_ONE.name,)), ("memory whole", (AHEAD.name, WHOLE.name))):
        if name in whose and key in aims:
            yield Aim(f"memory ≤ {aims[key]}", share <= aims[key])


def _fastest(rounds: Sequence[Round], name: str, of: Callable[[Seen], float]) -> float:
    return min(of(round_.seen[name]) for round_ in rounds)


def _median(rounds: Sequence[Round], name: str, of: Callable[[Seen], float]) -> float:
    return statistics.median(of(round_.seen[name]) for round_ in rounds)


def _peak(seen: Seen) -> float:
    return seen.peak


def _step(seen: Seen) -> float:
    return statistics.median(seen.cpu)


def _update(seen: Seen) -> float:
    """Seconds of a step after sampling."""
    return statistics.median(
        cpu - sampling for cpu, sampling in zip(seen.cpu, seen.sampling or [0.0] * len(seen.cpu), strict=True)
    )


def _sampled(seen: Seen) -> float:
    """Tokens of a sampled answer, 1 where nothing is sampled."""
    return statistics.median(seen.sampled or [1.0])
