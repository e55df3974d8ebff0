"""The model card of an aligned model: what the run directory records, and nothing else."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from accord.errors import DataError
from accord.report.markdown import axis_table
from accord.report.reading import Run, read_run
from accord.report.text import markdown_block, markdown_inline, one_line
from accord.report.verdict import judged_by
from accord.report.view import RunView, view_run

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.\-]{0,95}/[A-Za-z0-9][\w.\-]{0,95}", re.ASCII)


def model_card(run: Run) -> str:
    """A model card in Markdown with YAML front matter.

    Every figure comes from the run directory. What a card usually says and the run does not know (licence, language,
    intended use) is named as not recorded, not guessed.
    """
    view = view_run(run, run.name)
    front = yaml.safe_dump(_front_matter(run), sort_keys=False, allow_unicode=True, width=1000)
    return "\n".join(("---", front.rstrip("\n"), "---", "", *_body(view))) + "\n"


def write_model_card(run: str | Path) -> Path:
    """Write `model/README.md` of a run directory from the run's own records.

    Raises:
        DataError: the path is no run directory, or it holds no exported `model/`.
    """
    read = read_run(run)
    directory = read.path / "model"
    if not directory.is_dir():
        raise DataError("has no exported model", path=read.path, mend="Finish the training first.")
    beside, target = directory / f"README.md.{os.getpid()}.partial", directory / "README.md"
    try:
        beside.write_text(model_card(read), encoding="utf-8", newline="\n")
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)
    return target


def _front_matter(run: Run) -> dict[str, Any]:
    front: dict[str, Any] = {"library_name": "transformers"}
    base = run.config.get("model")
    if isinstance(base, str) and _HUB_ID.fullmatch(base) and not Path(base).exists():
        front["base_model"] = base
    return front | {"tags": ["accord", run.objective]}


def _body(view: RunView) -> Iterator[str]:
    run = view.run
    base = one_line(str(run.config.get("model") or run.environment.get("model") or ""), 400)
    yield from (f"# {markdown_inline(view.name)}", "")
    subject = f"{markdown_inline(base)} trained" if base else "A model trained"
    yield from (f"{subject} with the objective `{_code(run.objective)}` by Accord.", "")
    if view.description:
        yield from (markdown_inline(view.description), "")
    if not run.finished:
        yield from (f"**The run has not finished;** its last recorded step is {run.last_step:,}.", "")
    yield from ("## Is it better?", "", markdown_inline(view.headline.sentence), "")
    if run.evaluation is not None:
        yield from (markdown_inline(judged_by(run.evaluation)), "", *axis_table(view))
        yield from ("Intervals are 95%; differences are paired over the same items.", "")
    yield from ("## Training", "")
    yield from _list((*view.facts, *view.hyperparameters, *view.settings))
    if view.repeat:
        yield from ("To repeat it:", "", markdown_block(view.repeat), "")
    if view.findings:
        yield from ("## What was found in the data", "")
        yield from _list([(f"{found.kind}, {found.count:,} rows", found.message) for found in view.findings])
    yield from ("## Limits", "", *_limits(view), "")


def _limits(view: RunView) -> Iterator[str]:
    for concern in view.concerns:
        yield f"- {markdown_inline(concern.title)}. {markdown_inline(concern.text)}"
    evaluation = view.run.evaluation
    if evaluation is None:
        yield "- The model was not evaluated before and after training."
    else:
        yield f"- It was measured on {markdown_inline(evaluation.suite)} only; nothing is known of other prompts."
        for note in evaluation.notes:
            yield f"- {markdown_inline(note)}"
    yield "- Licence, languages and intended use are not recorded by the run; those of base model and data apply."


def _list(items: Any) -> Iterator[str]:
    for label, value in items:
        yield f"- {markdown_inline(label)}: {markdown_inline(value)}"
    yield ""


def _code(text: str) -> str:
    """Text for a code span: no backticks, one line."""
    return one_line(text).replace("`", "'")
