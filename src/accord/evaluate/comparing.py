"""Two or more measured models compared: by axis and slice, over the same items, with one verdict.

Every difference is paired and clustered (`accord.evaluate.summary.difference`). The verdict rests on the primary axes,
by default the first of each task that has a direction. Their p-values are adjusted by Holm, together over all models
that are compared with the first; the other axes are adjusted among themselves, and so are the slices of an axis. An
axis is better or worse where its adjusted p-value is below 0.05. To be better on a primary axis and worse on another
axis is a trade-off, not an average.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from msgspec.structs import replace

from accord.errors import ConfigError
from accord.evaluate.examples import examples_of
from accord.evaluate.findings import finding_of, verdict_of
from accord.evaluate.pairing import ITEMS, Paired, by_task, pair
from accord.evaluate.power import detectable
from accord.evaluate.standings import standings_of
from accord.evaluate.statistics import holm
from accord.record.compared import Finding, ModelsComparison, Outcome, PairComparison
from accord.record.measurement import Measurement


def compare_measurements(
    before: Measurement | Sequence[Measurement],
    after: Measurement | Sequence[Measurement],
    *,
    primary: Sequence[str] = (),
    despite: Collection[str] = (),
) -> PairComparison:
    """Whether one model is better than another.

    Args:
        before, after: what either was measured on, a measurement a task. Tasks that only one has are noted.
        primary: the axes that the verdict rests on, as `AXIS` or `TASK/AXIS`; by default the first of each task.
        despite: settings that may differ, by name.

    Raises:
        ConfigError: no task in common, tasks of one name that were not measured alike, or an unknown primary axis.
        DataError: items that cannot be paired.
    """
    first, second = _listed(before), _listed(after)
    compared = compare_models(
        {"before": first, "after": second}, names=(_name(first), _name(second)), primary=primary, despite=despite
    )
    return compared.pairs[0]


def compare_models(
    measured: Mapping[str, Sequence[Measurement]],
    *,
    names: Sequence[str] | None = None,
    primary: Sequence[str] = (),
    despite: Collection[str] = (),
) -> ModelsComparison:
    """Each model against the first, and, of more than two, the place of each on every axis.

    Args:
        measured: the measurements of each model.
        names: what the models are called; by default the keys.
        primary, despite: as for `compare_measurements`.

    Raises:
        ConfigError, DataError: as `compare_measurements`.
    """
    called = list(names or measured)
    if len(measured) < 2:
        raise ConfigError("two models at least are compared", where="compare", mend="Name another evaluation.")
    tasks = {name: by_task(given, name) for name, given in zip(called, measured.values(), strict=True)}
    shared = [task for task in tasks[called[0]] if all(task in of for of in tasks.values())]
    if not shared:
        told = "; ".join(f"{name}: {', '.join(of)}" for name, of in tasks.items())
        raise ConfigError(f"no task was measured for all of them ({told})", where="compare")
    chosen = _primary([tasks[called[0]][task] for task in shared], primary)
    pairs = [
        _pair(
            called[0],
            other,
            [pair(tasks[called[0]][task], tasks[other][task], despite=despite) for task in shared],
            chosen,
        )
        for other in called[1:]
    ]
    left = [
        f"{name} alone was measured on {task!r}." for name, of in tasks.items() for task in of if task not in shared
    ]
    return ModelsComparison(
        models=tuple(called),
        identities=tuple(next(iter(tasks[name].values())).identity for name in called),
        tasks=tuple(shared),
        pairs=judged_together(pairs),
        standings=standings_of(tasks, shared, chosen) if len(called) > 2 else (),
        settings={task: tasks[called[0]][task].settings for task in shared if tasks[called[0]][task].settings},
        notes=tuple(dict.fromkeys((*left, *(note for task in shared for note in tasks[called[0]][task].notes)))),
    )


def judged_together(pairs: Sequence[PairComparison]) -> tuple[PairComparison, ...]:
    """Comparisons with their verdicts, by p-values that are adjusted over all of them."""
    adjusted: dict[tuple[int, int], float] = {}
    tests = 1
    for kind in (True, False):
        p_values = {
            (place, row): finding.p_value
            for place, one in enumerate(pairs)
            for row, finding in enumerate(one.findings)
            if finding.primary is kind and finding.comparison.higher_is_better is not None
        }
        tests = max(1, len(p_values)) if kind else tests
        adjusted |= holm(p_values)
    return tuple(
        _with_verdict(
            replace(
                one,
                findings=tuple(
                    _decided(finding, adjusted.get((place, row)), tests) for row, finding in enumerate(one.findings)
                ),
            )
        )
        for place, one in enumerate(pairs)
    )


def outcome(primary: Sequence[Finding], others: Sequence[Finding] = ()) -> Outcome:
    """One verdict: a trade-off where a primary axis is better and any axis worse, or the other way round."""
    decisive = {finding.verdict for finding in primary} & {"better", "worse"}
    against = {finding.verdict for finding in (*primary, *others)} & {"better", "worse"}
    if not decisive:
        return "not distinguishable"
    if len(against) == 2:
        return "trade-off"
    return "better" if decisive == {"better"} else "worse"


def _pair(before: str, after: str, paired: Sequence[Paired], primary: Collection[tuple[str, str]]) -> PairComparison:
    findings = [
        finding
        for one in paired
        for axis in one.before.axes
        if (finding := finding_of(one, axis, primary=(one.before.task, axis.name) in primary)) is not None
    ]
    ordered = tuple(sorted(findings, key=lambda finding: not finding.primary))
    return PairComparison(
        before,
        after,
        ordered,
        "not distinguishable",
        examples=tuple(
            example
            for one in paired
            for axis in one.before.axes
            if (one.before.task, axis.name) in primary
            for example in examples_of(axis, one)
        ),
        unpaired=tuple(one.unpaired for one in paired if one.unpaired is not None),
        notes=tuple(dict.fromkeys(note for one in paired for note in _notes(one))),
    )


def _notes(paired: Paired) -> list[str]:
    task = paired.before.task
    notes = [
        f"{task}: {name} differs ({one!r} and {other!r}), which was allowed."
        for name, one, other in paired.differing
        if name != ITEMS
    ]
    if len(notes) < len(paired.differing):
        notes.append(f"{task}: the files of items differ; items are joined by id and question.")
    if paired.before.identity == paired.after.identity:
        notes.append(f"{task}: both are the same model, read alike.")
    return notes


def _decided(finding: Finding, adjusted: float | None, tests: int) -> Finding:
    if adjusted is None:
        return finding
    return replace(
        finding,
        adjusted=adjusted,
        verdict=verdict_of(finding.comparison, adjusted),
        detectable=detectable(finding.comparison.difference, tests=tests if finding.primary else 1),
    )


def _with_verdict(one: PairComparison) -> PairComparison:
    others = [finding for finding in one.findings if not finding.primary]
    return replace(one, verdict=outcome(one.primary, others))


def _primary(measurements: Sequence[Measurement], wanted: Sequence[str]) -> set[tuple[str, str]]:
    known = [(one.task, axis) for one in measurements for axis in one.axes]
    if wanted:
        chosen = {(task, axis.name) for task, axis in known if {axis.name, f"{task}/{axis.name}"} & set(wanted)}
        named = {name for task, axis in chosen for name in (axis, f"{task}/{axis}")}
        neutral = [axis.name for task, axis in known if (task, axis.name) in chosen and axis.higher_is_better is None]
        wrong = [name for name in wanted if name not in named] or neutral
        if wrong:
            has = ", ".join(f"{task}/{axis.name}" for task, axis in known if axis.higher_is_better is not None)
            raise ConfigError(
                f"no axis with a direction is named {wrong[0]!r}", where="--primary", mend=f"There are: {has}."
            )
        return chosen
    firsts: dict[str, str] = {}
    for task, axis in known:
        if axis.higher_is_better is not None:
            firsts.setdefault(task, axis.name)
    return set(firsts.items())


def _listed(given: Measurement | Sequence[Measurement]) -> list[Measurement]:
    return [given] if isinstance(given, Measurement) else list(given)


def _name(measurements: Sequence[Measurement]) -> str:
    return measurements[0].model if measurements else "no model"
