"""`accord world compare`: every objective from the same start on the same preferences, judged by the oracle.

For each seed a model is fine-tuned once and answers prompts; annotators compare its answers: one with the oracle's own
taste, one who slips, one who pays for length. From that model and those preferences every objective trains by the same
recipe, at its default hyperparameters; data that it needs in another form (labels, probabilities, demonstrations) is
derived by Accord's own conversions. What is trained is kept beside the page, so that the command goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from accord.errors import AccordError, ConfigError
from accord.recipes.comparison_cells import Job, in_process, measured_start, trained
from accord.recipes.comparison_entries import CONDITIONS, ConditionName, entries
from accord.recipes.comparison_page import render
from accord.recipes.comparison_start import Budget
from accord.recipes.comparison_store import Store
from accord.recipes.comparison_table import Table, assemble
from accord.train.progress import Display
from accord.world.base import BASE

WORK = "runs/world-compare"
"""Where the starts are kept, from one call to the next."""

Each = Callable[[Callable[[Job], Any], Sequence[Job]], Iterator[tuple[Job, Any]]]
"""Jobs with what they came to, as they are done."""


def compare_objectives(
    objectives: Sequence[str] = (),
    *,
    conditions: Sequence[ConditionName] = tuple(CONDITIONS),
    seeds: int = 3,
    processes: int = 1,
    budget: Budget | None = None,
    base: str | Path = BASE,
    out: str | Path = "docs/methods.md",
    work: str | Path = WORK,
    console: Console | None = None,
) -> Table:
    """Train what is missing, and write the page of all that is there, with its figures (JSON) beside it.

    Args:
        objectives: names as for `accord train`; all registered ones that the data can teach if none is given.
        conditions: the annotators to train under.
        seeds: 0, 1, ...: each has its own demonstrations, start, prompts, preferences and order of training. The
            held-out prompts are always the same.
        processes: how many train at a time; each has one thread, and a process of its own for every training.
        budget: how much of everything.
        base: the model to start from.
        out: the Markdown file to write; the directory of its name keeps every training's figures.
        work: directory that keeps the starts.
        console: where progress is shown.

    Raises:
        ConfigError: an unknown objective, no seed or process, or a name for the page that does not end in `.md`.
    """
    out, budget = Path(out), budget or Budget()
    for flag, number in (("--seeds", seeds), ("--processes", processes)):
        if number < 1:
            raise ConfigError(f"{number} is out of range", where=flag, mend="Give at least 1.")
    if out.suffix != ".md":
        raise ConfigError("the page is Markdown", where=f"--out {out}", mend="Give a name that ends in .md.")
    chosen, store = entries(objectives), Store(out.with_suffix(""), budget)
    jobs = [
        Job(entry, condition, seed, budget, str(base), Path(work))
        for seed in range(seeds)
        for condition in conditions
        for entry in chosen
        if condition in entry.conditions and store.find(entry, condition, seed) is None
    ]
    failures: dict[str, str] = {}
    with Display(console).bar("models", len(jobs)) as bar, _pool(processes) as each:
        starts = [
            Job(None, "plain", seed, budget, str(base), Path(work)) for seed in sorted({job.seed for job in jobs})
        ]
        for _, start in each(measured_start, starts):
            if isinstance(start, AccordError):
                raise start
            store.add_start(start)
        for job, cell in each(trained, jobs):
            assert job.entry is not None
            if isinstance(cell, AccordError):
                failures.setdefault(job.entry.name, f"{job.condition}, seed {job.seed}: {cell}")
            else:
                store.add(cell)
            bar.advance(numbers=f"{job.entry.name}, {job.condition}, seed {job.seed}")
    table = assemble(store, failures)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(render(table), encoding="utf-8")
    out.with_suffix(".json").write_bytes(msgspec.json.format(msgspec.json.encode(table)) + b"\n")
    return table


@contextmanager
def _pool(processes: int) -> Iterator[Each]:
    """Runs jobs, each in a process of its own; what a job failed with is its result. None goes on if one breaks off."""
    with ThreadPoolExecutor(processes) as threads:

        def each(work: Callable[[Job], Any], jobs: Sequence[Job]) -> Iterator[tuple[Job, Any]]:
            futures = {threads.submit(_result, work, job): job for job in jobs}
            for future in as_completed(futures):
                yield futures[future], future.result()

        try:
            yield each
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def _result(work: Callable[[Job], Any], job: Job) -> Any:
    try:
        return in_process(work, job)
    except AccordError as error:
        return error
