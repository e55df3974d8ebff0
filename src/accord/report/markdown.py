"""The report as Markdown: the same content as the page, without the drawings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from accord.report.page import compared_axes
from accord.report.reading import Run, Sample
from accord.report.text import brief_number, markdown_block, markdown_inline, one_line
from accord.report.view import RunView, SamplePair


def run_markdown(view: RunView) -> str:
    """One run."""
    return "\n".join((f"# {markdown_inline(view.name)}", "", *_run(view, "##"))) + "\n"


def comparison_markdown(views: Sequence[RunView]) -> str:
    """Several runs: a table of runs, a table of axes, then each run."""
    lines = [f"# {len(views)} runs compared", ""]
    rows = [
        (
            view.name,
            view.run.objective,
            view.headline.title,
            view.axes[0].axis if view.axes else "–",
            f"{view.axes[0].difference} ({view.axes[0].difference_interval})" if view.axes else "–",
            str(len(view.concerns)),
        )
        for view in views
    ]
    lines += table(("run", "objective", "verdict", "primary axis", "change (95% interval)", "warnings"), rows)
    axes = compared_axes(views)
    if axes:
        lines += ["## The same axes side by side", ""]
        lines += table(
            ("axis", *(view.name for view in views)),
            [
                (
                    f"{axis.name} {axis.unit} ({axis.direction})",
                    *(
                        f"{row.models[-1][1]} ({row.models[-1][2]}), {row.difference} ({row.difference_interval}), "
                        f"{row.verdict}"
                        if row
                        else "not measured"
                        for row in axis.rows
                    ),
                )
                for axis in axes
            ],
        )
    for view in views:
        lines += [f"## {markdown_inline(view.name)}", "", *_run(view, "###")]
    return "\n".join(lines) + "\n"


def axis_table(view: RunView) -> list[str]:
    """The table by axis as Markdown lines, with a blank line at its end."""
    rows = [
        (
            f"{row.axis} {row.unit}".strip() + (" (primary)" if row.primary else ""),
            *(f"{mean} ({spread})" if spread else mean for _, mean, spread in row.models),
            f"{row.difference} ({row.difference_interval})",
            row.verdict,
        )
        for row in view.axes
    ]
    return table(("axis", *view.columns, "difference", "verdict"), rows)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table whose cells are plain text, with a blank line at its end."""
    lines = ["| " + " | ".join(map(markdown_inline, header)) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(map(markdown_inline, row)) + " |" for row in rows]
    return [*lines, ""]


def _run(view: RunView, level: str) -> Iterator[str]:
    yield from (f"**{markdown_inline(view.headline.sentence)}**", "")
    for detail in view.headline.details:
        yield f"- {markdown_inline(detail)}"
    if view.axes:
        yield from ("", f"{level} By axis", "", *axis_table(view))
        for note in view.run.evaluation.notes if view.run.evaluation else ():
            yield from (markdown_inline(note), "")
        yield from _facts(view.judge)
    yield from ("", f"{level} What to worry about", "")
    if not view.concerns:
        yield "None of the checks found anything."
    for concern in view.concerns:
        yield f"- **{concern.severity}: {markdown_inline(concern.title)}.** {markdown_inline(concern.text)}"
    yield from ("", f"{level} Metrics", "", *_metrics(view.run))
    yield from (f"{level} What was trained on what", "", f"Objective: {markdown_inline(view.run.objective)}", "")
    yield from _facts((*view.facts, *view.hyperparameters, *view.settings))
    yield from (f"{level} Data", "")
    if view.findings:
        yield from table(
            ("finding", "severity", "rows", "where"),
            [
                (f"{found.kind}: {found.message}", found.severity, str(found.count), found.where)
                for found in view.findings
            ],
        )
    yield from _facts(view.doctor_facts)
    if view.samples:
        yield from (f"{level} Samples", "")
        for number, pair in enumerate(view.samples, start=1):
            yield from _sample(pair, number)
    yield from (f"{level} Repeat it", "")
    for command in (view.repeat, view.original):
        if command:
            yield from (markdown_block(command), "")
    yield from _facts(view.environment)


def _metrics(run: Run) -> list[str]:
    rows = [
        (
            one_line(key, 80),
            brief_number(series.start()),
            brief_number(series.end()),
            f"{series.steps[0]} to {series.steps[-1]}",
        )
        for key, series in run.series.items()
        if series and key not in ("seconds", "epoch")
    ]
    return table(("metric", "start", "end", "steps"), rows) if rows else ["No metrics were recorded.", ""]


def _facts(items: Sequence[tuple[str, str]]) -> Iterator[str]:
    for label, value in items:
        yield f"- {markdown_inline(label)}: {markdown_inline(value)}"
    if items:
        yield ""


def _sample(pair: SamplePair, number: int) -> Iterator[str]:
    yield from (f"Prompt {number}:", "", markdown_block(pair.prompt), "")
    if pair.before:
        yield from (_answer("Before", pair.before), "", markdown_block(pair.before.response), "")
    yield from (_answer("After" if pair.before else "Answer", pair.after), "", markdown_block(pair.after.response), "")


def _answer(name: str, sample: Sample) -> str:
    cut = ", cut at the token limit" if sample.finished is False else ""
    scores = "".join(
        f", {markdown_inline(one_line(key, 40))} {brief_number(value)}" for key, value in sample.scores.items()
    )
    return f"{name} (step {sample.step}{cut}{scores}):"
