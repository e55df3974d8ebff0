"""The HTML report: one self-contained page, everything escaped, no script, no request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from accord import __version__
from accord.report import charts
from accord.report.reading import Sample, numbers_of
from accord.report.text import FOLD_AFTER, LONGEST_TEXT, brief_number, clean, moment, one_line, shorten
from accord.report.view import AxisRow, RunView, sample_pairs


def run_page(view: RunView) -> str:
    """The page of one run."""
    started = moment(view.run.environment.get("started"))
    model = view.run.config.get("model") or view.run.environment.get("model")
    parts = [view.run.objective, f"on {model}" if model else "", f"started {started}" if started else ""]
    return (
        templates()
        .get_template("run.html")
        .render(
            title=view.name,
            subtitle=one_line(" ".join(part for part in parts if part), 300),
            version=__version__,
            view=view,
            curves=charts.run_charts(view.run, (*charts.MAIN, *charts.other_specs(view.run))),
            small_curves=charts.run_charts(view.run, charts.SMALL),
        )
    )


def comparison_page(views: Sequence[RunView]) -> str:
    """The page of several runs: their verdicts, axes, curves and samples side by side."""
    names = [view.name for view in views]
    return (
        templates()
        .get_template("comparison.html")
        .render(
            title=f"{len(views)} runs compared",
            subtitle=one_line(", ".join(names), 300),
            version=__version__,
            views=views,
            compared_axes=compared_axes(views),
            curves=charts.compared_charts([view.run for view in views], names),
            shared_samples=_shared_samples(views),
        )
    )


@dataclass(frozen=True)
class ComparedAxis:
    """One axis across runs; `None` where a run did not measure it."""

    name: str
    unit: str
    direction: str
    rows: tuple[AxisRow | None, ...]


def compared_axes(views: Sequence[RunView]) -> tuple[ComparedAxis, ...]:
    """The axes of all runs, in order of appearance; another unit or direction makes another axis."""
    keys = dict.fromkeys((row.axis, row.unit, row.direction) for view in views for row in view.axes)
    return tuple(
        ComparedAxis(
            *key,
            rows=tuple(
                next((row for row in view.axes if (row.axis, row.unit, row.direction) == key), None) for view in views
            ),
        )
        for key in keys
    )


@dataclass(frozen=True)
class _SharedPrompt:
    prompt: str
    answers: tuple[tuple[str, Sample], ...]


def _shared_samples(views: Sequence[RunView]) -> tuple[_SharedPrompt, ...]:
    """Prompts that at least two runs answered, with the first run's answer before training and each run's after."""
    by_run = [{pair.prompt: pair for pair in sample_pairs(view.run)} for view in views]
    shared = []
    for prompt in dict.fromkeys(prompt for pairs in by_run for prompt in pairs):
        answered = [(view, pairs[prompt]) for view, pairs in zip(views, by_run, strict=True) if prompt in pairs]
        if len(answered) < 2:
            continue
        first = answered[0][1].before
        start = ((f"before ({answered[0][0].name})", first),) if first else ()
        shared.append(_SharedPrompt(prompt, (*start, *((view.name, pair.after) for view, pair in answered))))
    return tuple(shared[:12])


@dataclass(frozen=True)
class _Shown:
    """A text for the page: what is shown at once, what is folded, and how many characters those are."""

    head: str
    rest: str
    length: int


def _shown(text: str) -> _Shown:
    body = clean(shorten(text, LONGEST_TEXT))
    if len(body) <= FOLD_AFTER:
        return _Shown(body, "", 0)
    return _Shown(body[:FOLD_AFTER], body[FOLD_AFTER:], len(body) - FOLD_AFTER)


def _scores_of(item: Mapping[str, Any], side: str) -> dict[str, float]:
    """The numbers of an example that belong to one side (`before`, `after`), or to neither."""
    scores = item.get("scores")
    if not isinstance(scores, Mapping):
        return {}
    inner = scores.get(side)
    if side:
        return numbers_of(inner) if isinstance(inner, Mapping) else numbers_of({"score": inner})
    return numbers_of({key: value for key, value in scores.items() if key not in ("before", "after")})


def _visible(value: object) -> object:
    """Applied to everything the templates print: text is made visible before Jinja escapes it."""
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def templates() -> Environment:
    """The report's templates: everything that they print is made visible and escaped."""
    environment = Environment(
        loader=PackageLoader("accord.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "one_line": one_line,
        "shown": _shown,
        "brief": brief_number,
        "slug": lambda text: str(text).replace(" ", "-"),
        "sentence": lambda text: text[:1].upper() + text[1:],
        "scores_of": _scores_of,
    }
    return environment
