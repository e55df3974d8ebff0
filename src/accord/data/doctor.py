"""The data doctor: examines Groups before training, reports what it finds, and removes exactly what it reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from accord.data.checks import Fault, check_groups, fault
from accord.data.lengths import fit, length_bias, spreads
from accord.data.problems import Problem, problem_at
from accord.data.read import Dataset
from accord.data.report import DataReport, Overlong, Segment, counted, findings_of
from accord.errors import ConfigError, DataError
from accord.record import Encoded, Encoder, Group
from accord.record.adapt import Adapted, adapt
from accord.record.convert import main_scores, select


@dataclass(frozen=True)
class Prepared:
    """Groups ready to train on, their token ids in parallel, and the doctor's report."""

    groups: list[Group]
    encoded: list[Encoded]
    report: DataReport


@dataclass(frozen=True)
class Cleaned:
    """What stays of Groups when the faults are removed, and what went, by reason."""

    groups: list[Group]
    encoded: list[Encoded | None]
    dropped: list[str]
    removed: list[str]


def check(
    dataset: Dataset,
    *,
    needs: Sequence[str] | None = None,
    encoder: Encoder | None = None,
    max_length: int | None = None,
    overlong: Overlong = "drop",
    axis: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> DataReport:
    """Report on data without preparing it; never raises for what it finds.

    Args:
        dataset: what was read.
        needs: the tensors an objective takes, to see what it could use; without them the feedback stays as it is.
        encoder: tokenizes; without it there are no token lengths and nothing is overlong.
        max_length: longest prompt plus response in tokens.
        overlong: whether longer responses are removed or cut.
        axis: the axis to use where one source judges several (`helpfulness`, `safety`); default the first.
        progress: called with the number of Groups encoded since the last call.
    """
    adapted = _adapted(dataset, needs, axis)
    return _examine(dataset, adapted, needs or (), encoder, max_length, overlong, progress)[1]


def prepare(
    dataset: Dataset,
    *,
    needs: Sequence[str],
    encoder: Encoder,
    max_length: int | None,
    overlong: Overlong = "drop",
    axis: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> Prepared:
    """Groups that an objective can train on, encoded once, without what the report lists as dropped.

    Takes what `check` takes.

    Raises:
        DataError: a score is NaN or infinite, or nothing is left to train on.
    """
    adapted = _adapted(dataset, needs, axis)
    cleaned, report = _examine(dataset, adapted, needs, encoder, max_length, overlong, progress)
    for finding in report.findings:
        if finding.kind == "score not finite":
            raise DataError(f"{finding.message} ({finding.count} rows)", path=next(iter(finding.places), None))
    encoded = [ids for ids in cleaned.encoded if ids is not None]
    if not cleaned.groups:
        raise _nothing_left(report)
    return Prepared(cleaned.groups, encoded, report)


def clean(
    groups: Sequence[Group], encoded: Sequence[Encoded | None], faults: Sequence[Fault], needs: Sequence[str]
) -> Cleaned:
    """Apply what the faults say, and drop Groups of which nothing usable is left."""
    by_group: dict[int, list[Fault]] = {}
    for one in faults:
        if one.effect != "keep":
            by_group.setdefault(one.group, []).append(one)
    cleaned = Cleaned([], [], [], [])
    for index, (group, ids) in enumerate(zip(groups, encoded, strict=True)):
        effects = by_group.get(index)
        treated = (group, ids) if effects is None else _treated(group, ids, effects, needs)
        if treated is None:
            cleaned.dropped.append(by_group[index][0].problem.kind)
            continue
        cleaned.groups.append(treated[0])
        cleaned.encoded.append(treated[1])
        cleaned.removed.extend(
            one.problem.kind for one in effects or () for _ in one.responses if one.effect == "remove response"
        )
    return cleaned


def _treated(
    group: Group, ids: Encoded | None, effects: Sequence[Fault], needs: Sequence[str]
) -> tuple[Group, Encoded | None] | None:
    """The Group without its faults, or `None` when it has to go."""
    if any(one.effect == "drop" for one in effects):
        return None
    compared = any(True for _ in group.preferences())
    unprefer = {one.responses for one in effects if one.effect == "remove preference"}
    if unprefer:
        group = _without_preferences(group, unprefer)
    gone = {place for one in effects if one.effect == "remove response" for place in one.responses}
    if gone:
        kept = [place for place in range(len(group.responses)) if place not in gone]
        group = select(group, kept)
        ids = ids and Encoded(ids.prompt, tuple(ids.responses[place] for place in kept))
    if compared and not any(True for _ in group.preferences()):
        return None
    return (group, ids) if _is_usable(group, needs) else None


def _without_preferences(group: Group, pairs: set[tuple[int, ...]]) -> Group:
    feedback = tuple(
        replace(
            one,
            preferences=tuple(p for p in one.preferences if tuple(sorted((p.better, p.worse))) not in pairs),
        )
        for one in group.feedback
    )
    return replace(group, feedback=feedback)


def _is_usable(group: Group, needs: Sequence[str]) -> bool:
    carried = {
        "prefer": any(True for _ in group.preferences()),
        "label": any(group.labels()),
        "score": any(score is not None for score in main_scores(group)),
        "step_score": any(score is not None for row in group.step_scores() or () for score in row),
    }
    return bool(group.responses) and all(carried.get(need, True) for need in needs)


def _adapted(dataset: Dataset, needs: Sequence[str] | None, axis: str | None) -> Adapted:
    _require_axis(dataset, axis)
    return Adapted(dataset.groups, [], []) if needs is None else adapt(dataset.groups, needs, axis=axis)


def _require_axis(dataset: Dataset, axis: str | None) -> None:
    """Refuse an axis that no feedback in the data is about."""
    if axis is None:
        return
    axes = {one.meta["axis"] for group in dataset.groups for one in group.feedback if "axis" in one.meta}
    if axis not in axes:
        mend = f"The data has {', '.join(sorted(axes))}." if axes else "The data names no axes: leave the flag out."
        raise ConfigError(f"no feedback is about {axis!r}", where="--axis", mend=mend)


def _examine(
    dataset: Dataset,
    adapted: Adapted,
    needs: Sequence[str],
    encoder: Encoder | None,
    max_length: int | None,
    overlong: Overlong,
    progress: Callable[[int], None] | None,
) -> tuple[Cleaned, DataReport]:
    encoded, faults = _encode(adapted.groups, encoder, progress)
    lengths = spreads(adapted.groups, encoded)
    groups: list[Group] = []
    for index, (group, ids) in enumerate(zip(adapted.groups, encoded, strict=True)):
        if ids is not None:
            group, encoded[index], misfits = fit(index, group, ids, max_length=max_length, overlong=overlong)
            faults.extend(misfits)
        groups.append(group)
    faults.extend(check_groups(groups, encoded))
    cleaned = clean(groups, encoded, faults, needs)
    useless = [_nothing_usable(group, needs) for group in adapted.left_out]
    problems = [*dataset.problems, *useless, *(one.problem for one in faults)]
    lost = [problem.kind for problem in (*dataset.problems, *useless) if problem.lost]
    report = DataReport(
        formats=tuple(dataset.formats),
        rows=len(dataset.groups) + sum(problem.lost for problem in dataset.problems),
        kept=len(cleaned.groups),
        dropped=counted([*lost, *cleaned.dropped]),
        responses_removed=counted(cleaned.removed),
        responses_cut=sum(len(one.responses) for one in faults if one.problem.kind == "cut response"),
        kinds=counted(_kind(group) for group in dataset.groups),
        lengths=lengths,
        length_bias=length_bias(cleaned.groups, cleaned.encoded),
        findings=findings_of(problems),
        encoder={} if encoder is None else encoder.describe(),
        example=() if encoder is None else tuple(_example(cleaned.encoded, encoder)),
        trained_tokens=None if encoder is None else _trained_tokens(cleaned.encoded),
        max_length=max_length,
        overlong=overlong,
        notes=(*dataset.notes, *adapted.notes),
    )
    return cleaned, report


def _encode(
    groups: Sequence[Group], encoder: Encoder | None, progress: Callable[[int], None] | None
) -> tuple[list[Encoded | None], list[Fault]]:
    """Token ids of every Group; one that the encoder refuses is dropped with its reason."""
    encoded: list[Encoded | None] = []
    faults: list[Fault] = []
    for index, group in enumerate(groups):
        try:
            encoded.append(None if encoder is None else encoder.encode(group))
        except DataError as error:
            encoded.append(None)
            faults.append(fault(index, group, "cannot be encoded", "error", error.what, effect="drop"))
        if progress is not None:
            progress(1)
    return encoded, faults


_KINDS = {
    "prefer": "preferences",
    "label": "labels",
    "score": "scores",
    "cost": "costs",
    "distribution": "probabilities",
}
_KINDS |= {"step_score": "steps labelled from 0 to 1", "ratings": "scores", "named_prefer": "preferences"}
"""What the feedback tensors of the vocabulary are made from, in words."""


def _nothing_usable(group: Group, needs: Sequence[str]) -> Problem:
    """What the row has, and what the objective would need."""
    given = {
        "preferences": any(group.preferences()),
        "labels": any(one.labels is not None for one in group.feedback),
        "scores": any(one.scores for one in group.feedback),
        "probabilities": any(one.distribution is not None for one in group.feedback),
        "step scores": any(one.step_scores is not None for one in group.feedback),
    }
    found = [kind for kind, there in given.items() if there]
    if not found:
        found = ["responses without feedback" if group.responses else "a prompt without responses"]
    wanted = [_KINDS[need] for need in needs if need in _KINDS] or ["responses"]
    message = f"the row has {' and '.join(found)}, the objective learns from {' and '.join(wanted)}"
    return problem_at(group.origin, "nothing usable", "warning", message, lost=True)


def _kind(group: Group) -> str:
    if any(True for _ in group.preferences()):
        return "preferences"
    if any(group.labels()):
        return "labels"
    if any(feedback.scores for feedback in group.feedback):
        return "scores"
    if group.step_scores() is not None:
        return "step scores"
    return "demonstrations" if group.responses else "prompts"


def _trained_tokens(encoded: Sequence[Encoded | None]) -> int:
    return sum(sum(response.trained) for ids in encoded if ids is not None for response in ids.responses)


def _example(encoded: Sequence[Encoded | None], encoder: Encoder) -> Iterator[Segment]:
    """The shortest of the first hundred, in stretches of tokens that are read or trained alike."""
    candidates = [ids for ids in encoded[:100] if ids is not None and ids.responses]
    if not candidates:
        return
    ids = min(candidates, key=lambda one: len(one.prompt) + len(one.responses[0].tokens))
    yield Segment(encoder.decode(ids.prompt), "prompt")
    response, start = ids.responses[0], 0
    for end in range(1, len(response.tokens) + 1):
        if end == len(response.tokens) or response.trained[end] != response.trained[start]:
            part = "trained" if response.trained[start] else "context"
            yield Segment(encoder.decode(response.tokens[start:end]), "trained" if part == "trained" else "context")
            start = end


def _nothing_left(report: DataReport) -> DataError:
    """Why no Group is left, by the first row of the most frequent reason."""
    reasons = ", ".join(f"{count} {reason}" for reason, count in report.dropped.items()) or "there is none"
    main = next(iter(report.dropped), None)
    for finding in report.findings:
        if finding.kind == main:
            return DataError(
                f"nothing is left to train on: of {report.rows} rows all are left out ({reasons}); the first: "
                f"{finding.message}",
                path=next(iter(finding.places), None),
            )
    return DataError(f"nothing is left to train on: {reasons}")
