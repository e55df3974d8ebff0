"""`accord world compare`: every objective from the same start on the same preferences, judged by the oracle.

For each seed a model is fine-tuned once, answers prompts, and an annotator compares its answers. From that model and
those preferences every objective trains by the same recipe, at its default hyperparameters; data that it needs in
another form (labels, probabilities, demonstrations) is derived by Accord's own conversions.
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import msgspec
from rich.console import Console

from accord.errors import AccordError, ConfigError
from accord.evaluate.statistics import compare
from accord.objectives import OBJECTIVES, resolve
from accord.objectives.registry import validate
from accord.recipes.comparison_page import Row, Table, render
from accord.recipes.comparison_start import ORACLE, Budget, Outcome, Setting, Start, learning_rate
from accord.recipes.threads import one_thread
from accord.recipes.world_evaluation import evaluate
from accord.record import Comparison
from accord.train.progress import Display
from accord.world.annotators import Annotator
from accord.world.base import BASE
from accord.world.cases import Case, distinct_cases
from accord.world.town import draw_town

_AXES = ("gold", "over-refusal", "words")


def compare_objectives(
    objectives: Sequence[str] = (),
    *,
    seeds: int = 3,
    annotator: Annotator = ORACLE,
    budget: Budget | None = None,
    base: str | Path = BASE,
    out: str | Path = "docs/methods.md",
    console: Console | None = None,
) -> Table:
    """Train the objectives, measure them, and write the page and its figures (JSON beside it) after each seed.

    Args:
        objectives: names as for `accord train`; all registered ones if none is given.
        seeds: 0, 1, ...: each has its own demonstrations, start, prompts, preferences and order of training. The
            held-out prompts are always the same.
        annotator: who compares the answers; the oracle's own taste without slips by default.
        budget: how much of everything.
        base: the model to start from.
        out: the Markdown file to write.
        console: where progress is shown.

    Raises:
        ConfigError: an unknown objective, no seed, or a name for the page that does not end in `.md`.
    """
    out = Path(out)
    if seeds < 1:
        raise ConfigError(f"{seeds} is out of range", where="--seeds", mend="Give at least 1.")
    if not 0 <= annotator.noise < 1:
        raise ConfigError(f"{annotator.noise} is out of range", where="--noise", mend="Give at least 0, below 1.")
    if out.suffix != ".md":
        raise ConfigError("the page is Markdown", where=f"--out {out}", mend="Give a name that ends in .md.")
    names = list(dict.fromkeys(objectives)) or list(OBJECTIVES)
    for name in names:
        resolve(name)
    budget = budget or Budget()
    town = draw_town(budget.town)
    held_out = distinct_cases(town, "test", budget.held_out, seed=0)
    setting = Setting(str(base), annotator, budget, town, held_out)
    starts: list[Start] = []
    outcomes: dict[str, list[Outcome]] = {name: [] for name in names}
    failures: dict[str, str] = {}
    with (
        one_thread(),
        tempfile.TemporaryDirectory() as scratch,
        Display(console).bar("models", seeds * len(names)) as bar,
    ):
        for seed in range(seeds):
            starts.append(Start(Path(scratch) / f"seed-{seed}", setting, seed))
            for name in names:
                try:
                    outcomes[name].append(starts[-1].train(name))
                except AccordError as error:
                    failures.setdefault(name, f"seed {seed}: {error}")
                bar.advance(numbers=f"{name}, seed {seed}")
            table = _table(_command(objectives, seeds, annotator, out), seeds, setting, starts, outcomes, failures)
            _write(table, out)
    return table


def _table(
    command: str,
    asked: int,
    setting: Setting,
    starts: Sequence[Start],
    outcomes: dict[str, list[Outcome]],
    failures: dict[str, str],
) -> Table:
    before = [group for start in starts for group in start.answers]
    at_start = evaluate(setting.held_out * len(starts), before, before)
    return Table(
        command=command,
        seeds=len(starts),
        asked=asked,
        pairs=round(fmean(len(start.pairs) for start in starts)),
        budget=msgspec.to_builtins(setting.budget),
        annotator=msgspec.to_builtins(setting.annotator),
        start={axis: at_start.comparison(axis).before for axis in _AXES},
        rows=tuple(
            _failed(name, failures[name]) if name in failures else _row(name, setting.held_out, starts, done)
            for name, done in outcomes.items()
        ),
    )


def _row(name: str, held_out: list[Case], starts: Sequence[Start], outcomes: Sequence[Outcome]) -> Row:
    """All seeds together; the same prompt under several seeds is one cluster."""
    accuracies = [outcome.accuracy for outcome in outcomes if outcome.accuracy is not None]
    if accuracies:
        before = [value for one in accuracies for value in one[0]]
        after = [value for one in accuracies for value in one[1]]
        prompts = [prompt for one in accuracies for prompt in one[2]]
        comparison = compare("accuracy", before, after, clusters=prompts)
        by_seed = tuple(fmean(one[1]) - fmean(one[0]) for one in accuracies)
        return _filled(name, {"accuracy": comparison}, by_seed, outcomes)
    before_answers = [group for start in starts for group in start.answers]
    after_answers = [group for outcome in outcomes for group in outcome.answers]
    evaluation = evaluate(held_out * len(starts), before_answers, after_answers)
    by_seed = tuple(
        evaluate(held_out, start.answers, outcome.answers).comparison("gold").difference.mean
        for start, outcome in zip(starts, outcomes, strict=True)
    )
    return _filled(name, {axis: evaluation.comparison(axis) for axis in _AXES}, by_seed, outcomes)


def _filled(
    name: str, comparisons: dict[str, Comparison], by_seed: tuple[float, ...], outcomes: Sequence[Outcome]
) -> Row:
    return Row(
        objective=name,
        learning_rate=learning_rate(name),
        hyperparameters=validate(name, {}),
        comparisons=comparisons,
        by_seed=by_seed,
        kl=None if "accuracy" in comparisons else fmean(outcome.kl for outcome in outcomes),
        seconds=fmean(outcome.seconds for outcome in outcomes),
    )


def _failed(name: str, failure: str) -> Row:
    rate, hyperparameters = learning_rate(name), validate(name, {})
    return Row(objective=name, learning_rate=rate, hyperparameters=hyperparameters, failure=failure)


def _command(objectives: Sequence[str], seeds: int, annotator: Annotator, out: Path) -> str:
    flags = [("--seeds", seeds, None), ("--noise", annotator.noise, 0.0), ("--length-bias", annotator.length_bias, 0.0)]
    given = [str(word) for flag, value, default in flags if value != default for word in (flag, value)]
    return shlex.join(["accord", "world", "compare", *objectives, *given, "--out", str(out)])


def _write(table: Table, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(render(table), encoding="utf-8")
    out.with_suffix(".json").write_bytes(msgspec.json.format(msgspec.json.encode(table)) + b"\n")
