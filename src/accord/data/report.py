"""What the doctor found, as the record that becomes `data.json`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from accord.data.problems import Problem, Severity, references
from accord.data.read import FormatFound

Overlong = Literal["drop", "truncate"]

_PLACES = 100
_SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")


class Finding(msgspec.Struct, frozen=True):
    """All problems of one kind.

    Attributes:
        kind: their name.
        severity: how bad they are.
        count: how many there are.
        message: the first of them in a sentence.
        places: the first hundred as `file:line`.
    """

    kind: str
    severity: Severity
    count: int
    message: str
    places: tuple[str, ...]


class Spread(msgspec.Struct, frozen=True):
    """How a length is distributed."""

    mean: float
    median: float
    p90: float
    p99: float
    longest: int


class LengthBias(msgspec.Struct, frozen=True):
    """Whether the longer response wins.

    Attributes:
        pairs: preferences between responses of different length.
        longer_wins: the share of them in which the longer is preferred.
        low: lower end of its 95% Wilson interval.
        high: upper end.
        unit: what lengths are counted in.
    """

    pairs: int
    longer_wins: float
    low: float
    high: float
    unit: str


class Segment(msgspec.Struct, frozen=True):
    """A stretch of the example's tokens as text: read as `prompt`, read as `context`, or `trained`."""

    text: str
    part: Literal["prompt", "context", "trained"]


class DataReport(msgspec.Struct, frozen=True, kw_only=True):
    """The doctor's report.

    Attributes:
        formats: what each file was taken for.
        rows: Groups read, and rows that gave none.
        kept: Groups that training uses.
        dropped: Groups and rows that it does not use, by reason.
        responses_removed: responses taken out of Groups that stay, by reason.
        responses_cut: responses shortened to fit.
        kinds: rows by what they carry.
        lengths: of prompts, responses and both, before anything is dropped or cut.
        length_bias: whether longer wins, where there are preferences.
        findings: problems by kind, the worst first.
        encoder: the tokenizer's facts (chat template, end-of-sequence).
        example: one Group's prompt and first response as the model reads them.
        trained_tokens: tokens with a loss, in all that is kept.
        max_length: longest prompt plus response in tokens.
        overlong: what happens to longer ones.
        notes: conversions and what they lost, files left out.
    """

    formats: tuple[FormatFound, ...]
    rows: int
    kept: int
    dropped: dict[str, int]
    responses_removed: dict[str, int]
    responses_cut: int
    kinds: dict[str, int]
    lengths: dict[str, Spread]
    length_bias: LengthBias | None
    findings: tuple[Finding, ...]
    encoder: dict[str, str]
    example: tuple[Segment, ...]
    trained_tokens: int | None
    max_length: int | None
    overlong: Overlong
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """The report in a few sentences, for a log."""
        lines = [f"data: {found.path}: {found.name}, {found.groups:,} groups ({found.why})" for found in self.formats]
        lost = ", ".join(f"{count:,} {reason}" for reason, count in self.dropped.items())
        lines.append(f"data: {self.kept:,} of {self.rows:,} rows are used" + (f"; left out: {lost}" if lost else ""))
        if self.responses_cut:
            lines.append(f"data: {self.responses_cut:,} responses are cut to fit {self.max_length} tokens")
        lines.extend(
            f"data: {finding.severity}: {finding.kind}, {finding.count:,} times: "
            f"{references(finding.places, total=finding.count) or finding.message}"
            for finding in self.findings
            if finding.severity != "info"
        )
        lines.extend(f"data: {note}" for note in self.notes)
        return lines


def findings_of(problems: Iterable[Problem]) -> tuple[Finding, ...]:
    """Problems by kind, the worst and most frequent first."""
    by_kind: dict[str, list[Problem]] = {}
    for problem in problems:
        by_kind.setdefault(problem.kind, []).append(problem)
    found = [
        Finding(
            kind,
            min((problem.severity for problem in same), key=_SEVERITIES.index),
            len(same),
            same[0].message,
            tuple(problem.where for problem in same[:_PLACES] if problem.where),
        )
        for kind, same in by_kind.items()
    ]
    return tuple(sorted(found, key=lambda finding: (_SEVERITIES.index(finding.severity), -finding.count)))


def spread_of(values: Sequence[int]) -> Spread:
    """Mean, percentiles (nearest rank) and maximum of at least one length."""
    ordered = sorted(values)
    at = [ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.5, 0.9, 0.99)]
    return Spread(round(sum(ordered) / len(ordered), 2), at[0], at[1], at[2], ordered[-1])


def counted(reasons: Iterable[str]) -> dict[str, int]:
    """How often each reason occurs, the most frequent first."""
    return dict(Counter(reasons).most_common())
