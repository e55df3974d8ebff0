"""What the data doctor found, read leniently from `data.json`: findings by kind with their places, and plain facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from accord.report.text import brief_number, one_line

Severity = Literal["error", "warning", "info"]

PLACES_SHOWN = 5
_FINDING_KEYS = ("problems", "findings")
_SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")


@dataclass(frozen=True)
class Finding:
    """All findings of one kind.

    Attributes:
        kind: the doctor's short name.
        severity: the worst of them.
        count: how many rows.
        message: one of them in a sentence.
        places: the first places as `file:line`.
    """

    kind: str
    severity: Severity
    count: int
    message: str
    places: tuple[str, ...]

    @property
    def where(self) -> str:
        """The first places, and how many more there are."""
        shown = ", ".join(self.places[:PLACES_SHOWN])
        more = self.count - min(len(self.places), PLACES_SHOWN)
        return f"{shown} and {more:,} more" if shown and more > 0 else shown


def findings(doctor: Mapping[str, Any]) -> tuple[Finding, ...]:
    """The doctor's findings by kind, errors first, then by count."""
    grouped: dict[str, Finding] = {}
    for key in _FINDING_KEYS:
        entries = doctor.get(key)
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict):
                finding = _finding(entry)
                grouped[finding.kind] = _merge(grouped.get(finding.kind), finding)
    return tuple(
        sorted(
            grouped.values(), key=lambda finding: (_SEVERITIES.index(finding.severity), -finding.count, finding.kind)
        )
    )


def rows_lost(doctor: Mapping[str, Any]) -> tuple[int, int]:
    """Rows that were dropped, and rows there were; 0 where the doctor does not say."""
    return _total(doctor.get("dropped")), _total(doctor.get("rows"))


def facts(doctor: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Everything else in the report that is a plain value, as label and value; objects are flattened."""
    shown: list[tuple[str, str]] = []
    for key, value in doctor.items():
        if key not in _FINDING_KEYS:
            _flatten(key, value, shown, depth=0)
    return tuple(shown)


def _flatten(label: str, value: object, shown: list[tuple[str, str]], depth: int) -> None:
    if isinstance(value, Mapping):
        if value and all(_is_plain(item) for item in value.values()):
            parts = ", ".join(f"{one_line(str(key), 60)} {_plain(item)}" for key, item in value.items())
            shown.append((_label(label), one_line(parts, 600)))
        elif depth < 2:
            for key, item in value.items():
                _flatten(f"{label}, {key}", item, shown, depth + 1)
    elif isinstance(value, list):
        if value and all(_is_plain(item) for item in value):
            shown.append((_label(label), one_line(", ".join(_plain(item) for item in value), 600)))
    elif _is_plain(value) and value not in (None, ""):
        shown.append((_label(label), _plain(value)))


def _finding(entry: Mapping[str, Any]) -> Finding:
    kind = one_line(str(entry.get("kind") or "finding"), 80)
    severity: Severity = "error" if entry.get("severity") == "error" else "info"
    if entry.get("severity") == "warning":
        severity = "warning"
    listed = entry.get("places") or entry.get("examples") or entry.get("where") or ()
    places = [listed] if isinstance(listed, str) else listed if isinstance(listed, list) else []
    if entry.get("path") is not None:
        line = entry.get("line")
        places = [str(entry["path"]) if line is None else f"{entry['path']}:{line}"]
    times = entry.get("count")
    return Finding(
        kind=kind,
        severity=severity,
        count=times if isinstance(times, int) and times > 0 else max(1, len(places)),
        message=one_line(str(entry.get("message") or ""), 300),
        places=tuple(one_line(str(place), 160) for place in places[:PLACES_SHOWN]),
    )


def _merge(first: Finding | None, second: Finding) -> Finding:
    if first is None:
        return second
    return Finding(
        kind=first.kind,
        severity=min(first.severity, second.severity, key=_SEVERITIES.index),
        count=first.count + second.count,
        message=first.message or second.message,
        places=(first.places + second.places)[:PLACES_SHOWN],
    )


def _total(value: object) -> int:
    if isinstance(value, bool):
        return 0
    if isinstance(value, int):
        return value
    if isinstance(value, Mapping):
        return sum(_total(item) for item in value.values())
    return len(value) if isinstance(value, list) else 0


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return brief_number(value) if isinstance(value, float) else one_line(str(value), 300)


def _label(text: str) -> str:
    return one_line(text.replace("_", " "), 80)
