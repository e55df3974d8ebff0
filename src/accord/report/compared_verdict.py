"""One model against another, in a sentence; and what qualifies it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from accord.record import Estimate
from accord.record.compared import Finding, PairComparison
from accord.report.text import brief_number, decimals_of, figure, interval, one_line
from accord.report.verdict import Headline, change, sentence, unit_of

_NAMED = 3


def pair_headline(pair: PairComparison) -> Headline:
    """The verdict on the second model."""
    return Headline(pair.verdict, _sentence(pair), tuple(one_line(detail, 600) for detail in _details(pair)))


def axis_name(finding: Finding, pair: PairComparison) -> str:
    """The axis; with its task where several were measured."""
    axis = one_line(finding.comparison.axis, 80)
    several = len({one.task for one in pair.findings}) > 1
    return f"{one_line(finding.task, 60)}/{axis}" if several else axis


def _sentence(pair: PairComparison) -> str:
    primary, than = pair.primary, one_line(pair.before, 60)
    decided = [finding for finding in primary if finding.verdict in ("better", "worse")]
    if not primary:
        return "No verdict: no axis with a direction was measured."
    if pair.verdict == "trade-off":
        return f"A trade-off with {than}: {_listed(pair, 'better', than)}, but {_listed(pair, 'worse', '')}."
    if pair.verdict == "not distinguishable":
        if len(primary) > 1:
            told = "; ".join(f"{axis_name(one, pair)} {change(one.comparison)}" for one in primary)
            return f"Not distinguishable from {than} on any of {len(primary)} primary axes: {told}."
        if primary[0].comparison.verdict != "not distinguishable":
            return (
                f"Not distinguishable from {than}: {axis_name(primary[0], pair)} changed by "
                f"{change(primary[0].comparison)}, which does not count by its p-value after Holm's correction, "
                f"{brief_number(primary[0].adjusted)}."
            )
        return sentence(primary[0].comparison, "not distinguishable", than=than)
    if len(primary) == 1:
        return sentence(primary[0].comparison, pair.verdict, than=than)
    on = f"on {len(decided)} of {len(primary)} primary axes"
    told = "; ".join(f"{axis_name(one, pair)} {change(one.comparison)}{unit_of(one.comparison)}" for one in decided)
    return f"{pair.verdict.capitalize()} than {than} {on}: {told}."


def _listed(pair: PairComparison, verdict: str, than: str) -> str:
    """`better on helpful, +0.10 (...)`."""
    found = [one for one in pair.findings if one.verdict == verdict]
    told = [f"{axis_name(one, pair)}, {change(one.comparison)}{unit_of(one.comparison)}" for one in found[:_NAMED]]
    more = f", and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return f"{verdict} on {'; '.join(told)}{more}"


def _details(pair: PairComparison) -> Iterator[str]:
    primary = pair.primary
    if len(primary) > 1:
        yield f"The p-values of {len(primary)} primary axes are adjusted by Holm; an axis counts below 0.05."
    others = [one for one in pair.findings if not one.primary]
    if pair.verdict != "trade-off":
        for one in others:
            if one.verdict == "worse":
                yield f"But {axis_name(one, pair)} got worse: {change(one.comparison)}{unit_of(one.comparison)}."
        also = [axis_name(one, pair) for one in others if one.verdict == "better"]
        if also:
            yield f"Also better: {', '.join(also)}."
        close = ", ".join(
            axis_name(one, pair)
            for one in others
            if one.verdict == "not distinguishable" and one.comparison.verdict in ("better", "worse")
        )
        if close:
            yield (
                f"On {close} the interval alone excludes zero: too little evidence where {len(others)} axes beside the "
                "primary ones are looked at (Holm)."
            )
    for one in primary:
        yield from _of_axis(one, pair, named=len(primary) > 1)
    for left in pair.unpaired:
        yield _left_out(pair, left.task, left.before, left.after)


def _of_axis(finding: Finding, pair: PairComparison, *, named: bool) -> Iterator[str]:
    on = f" on {axis_name(finding, pair)}" if named else ""
    if finding.moved and any(finding.moved[:2]):
        better, worse, same = finding.moved
        yield f"Item by item{on}: {better:,} got better, {worse:,} worse, {same:,} stayed."
    if finding.verdict == "not distinguishable":
        yield _detectable(finding, axis_name(finding, pair))
    if finding.bounds is not None:
        worst, best = (_range(one, finding.comparison.unit) for one in finding.bounds)
        yield (
            f"{finding.missing:,} items lack a number{on}: if all of these went against {one_line(pair.after, 60)}, "
            f"the difference would be {worst}; if all for it, {best}."
        )
    elif finding.missing:
        yield f"{finding.missing:,} items lack a number of one model{on}, and are left out."
    yield from _controls(finding, pair)


def _detectable(finding: Finding, axis: str) -> str:
    n = finding.comparison.difference.n
    if finding.detectable is None:
        return f"So few independent items cannot show a difference in {axis}; measure more."
    unit = finding.comparison.unit
    effect = (
        f"{figure(100 * finding.detectable, 1)} points"
        if unit == "share"
        else f"{brief_number(finding.detectable)}{unit_of(finding.comparison)}"
    )
    return (
        f"On {axis}, these {n:,} items would have shown a true difference of {effect} or more four times out of five; "
        "a smaller one needs more items."
    )


def _controls(finding: Finding, pair: PairComparison) -> Iterator[str]:
    """Degenerate models that do as well as the second model, as far as its interval says."""
    after, higher = finding.comparison.after, finding.comparison.higher_is_better
    for name, control in finding.controls.items():
        if control.mean >= after.low if higher else control.mean <= after.high:
            got = f"{figure(control.mean, decimals_of(control, finding.comparison.unit))} on {axis_name(finding, pair)}"
            yield (
                f"The control {one_line(name, 60)!r}, which understands nothing, gets {got}: "
                f"{one_line(pair.after, 60)} is not clearly better than that."
            )


def _left_out(pair: PairComparison, task: str, before: Sequence[str], after: Sequence[str]) -> str:
    told = [
        f"{len(ids):,} only {one_line(model, 60)} has ({_named(ids)})"
        for model, ids in ((pair.before, before), (pair.after, after))
        if ids
    ]
    return f"Items of {one_line(task, 60)} that count for neither: {'; '.join(told)}."


def _named(ids: Sequence[str]) -> str:
    shown = ", ".join(one_line(one, 40) for one in ids[:_NAMED])
    return f"{shown}, …" if len(ids) > _NAMED else shown


def _range(estimate: Estimate, unit: str) -> str:
    mean = figure(estimate.mean, decimals_of(estimate, unit), signed=True)
    return f"{mean} ({interval(estimate, unit, signed=True)})"
