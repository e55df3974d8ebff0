"""Run directories in, three files out: HTML to read, Markdown to paste, JSON for programs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from accord.errors import DataError
from accord.report.markdown import comparison_markdown, run_markdown
from accord.report.page import comparison_page, run_page
from accord.report.reading import Run, read_run
from accord.report.text import clean, one_line
from accord.report.view import RunView, view_run


@dataclass(frozen=True)
class ReportFiles:
    """Where the report was written."""

    html: Path
    markdown: Path
    json: Path


def write_report(runs: Sequence[str | Path], out: str | Path | None = None) -> ReportFiles:
    """Write the report of one run, or of several side by side. The same input gives the same bytes.

    Args:
        runs: run directories; their files may be missing or cut short.
        out: the HTML file, or a directory that gets `report.html`. Default: `report.html` in the run directory; for
            several runs `comparison.html` beside the first. Markdown and JSON stand beside it under the same name.

    Raises:
        DataError: no runs, a path that is no run directory, or a place that cannot be written.
    """
    if not runs:
        raise DataError("no run to report on", mend="Name one or more run directories.")
    read = [read_run(path) for path in runs]
    views = [view_run(run, name) for run, name in zip(read, _names(read), strict=True)]
    html, markdown = (
        (run_page(views[0]), run_markdown(views[0]))
        if len(views) == 1
        else (comparison_page(views), comparison_markdown(views))
    )
    summary = {"runs": [run_summary(view) for view in views]}
    return write_files(_target(read, out), html, markdown, summary)


def write_files(page: Path, html: str, markdown: str, summary: Mapping[str, Any]) -> ReportFiles:
    """Write a page, and Markdown and JSON beside it.

    Raises:
        DataError: the place cannot be written.
    """
    files = ReportFiles(page, page.with_suffix(".md"), page.with_suffix(".json"))
    texts = {
        files.html: html,
        files.markdown: markdown,
        files.json: json.dumps(summary, ensure_ascii=True, indent=2, allow_nan=False) + "\n",
    }
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            _write(path, text)
    except OSError as error:
        raise DataError(
            f"the report cannot be written ({error.strerror})", path=page, mend="Name another place with --out."
        ) from error
    return files


def run_summary(view: RunView) -> dict[str, Any]:
    """A run's report for programs: verdict, axes, concerns, metrics from start to end, findings, how to repeat it."""
    evaluation = view.run.evaluation
    comparisons = evaluation.comparisons if evaluation else ()
    return {
        "name": view.name,
        "objective": view.run.objective,
        "finished": view.run.finished,
        "last_step": view.run.last_step,
        "verdict": view.headline.kind,
        "sentence": clean(view.headline.sentence),
        "details": [clean(detail) for detail in view.headline.details],
        "suite": evaluation.suite if evaluation else None,
        "primary": evaluation.primary if evaluation else None,
        "axes": [{**msgspec.to_builtins(item), "verdict": item.verdict} for item in comparisons],
        "concerns": [
            {"severity": concern.severity, "title": concern.title, "text": concern.text} for concern in view.concerns
        ],
        "metrics": {
            key: {"start": series.start(), "end": series.end(), "low": min(series.values), "high": max(series.values)}
            for key, series in view.run.series.items()
            if series
        },
        "findings": [
            {"kind": found.kind, "severity": found.severity, "rows": found.count, "places": list(found.places)}
            for found in view.findings
        ],
        "repeat": view.repeat,
        "command": view.original,
        "unreadable": list(view.run.unreadable),
    }


def _names(runs: Sequence[Run]) -> list[str]:
    """The runs' directory names; runs of one name are told apart by their parents, then by number."""
    names = [one_line(run.name, 80) for run in runs]
    if len(set(names)) < len(names):
        names = [one_line(f"{run.path.resolve().parent.name}/{run.name}", 80) for run in runs]
    if len(set(names)) < len(names):
        names = [f"{name} ({number})" for number, name in enumerate(names, start=1)]
    return names


def _target(runs: Sequence[Run], out: str | Path | None) -> Path:
    if out is None:
        return runs[0].path / "report.html" if len(runs) == 1 else runs[0].path.parent / "comparison.html"
    path = Path(out)
    return path if path.suffix in (".html", ".htm") else path / "report.html"


def _write(path: Path, text: str) -> None:
    """Write beside and rename: a reader sees the old report or the new one, never half of one."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        beside.write_text(text, encoding="utf-8", newline="\n")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
