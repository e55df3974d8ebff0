"""What the page, the Markdown and the JSON show of a run: computed once, in the order in which it is shown."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from accord.record import Comparison, Estimate
from accord.report import doctor
from accord.report.concerns import Concern, concerns
from accord.report.reading import Run, Sample, numbers_of
from accord.report.text import count, decimals_of, duration, figure, interval, moment, one_line, shorten
from accord.report.verdict import Headline, headline, judge_facts, unit_of

MAX_SAMPLES = 24
MAX_EXAMPLES = 24
_SHOWN_SETTINGS = (
    "lr", "schedule", "warmup", "epochs", "steps", "tokens_per_step", "batch_size", "max_length", "overlong",
    "max_grad_norm", "weight_decay", "dtype", "lora_r", "lora_alpha", "seed",
)  # fmt: skip


@dataclass(frozen=True)
class AxisRow:
    """One axis of the table, as printed."""

    axis: str
    description: str
    unit: str
    direction: str
    models: tuple[tuple[str, str, str], ...]
    difference: str
    difference_interval: str
    verdict: str
    primary: bool
    mark: Mark | None


@dataclass(frozen=True)
class Mark:
    """An interval drawn beside the number, in percent of the width; zero is in the middle."""

    low: float
    mean: float
    high: float
    label: str


@dataclass(frozen=True)
class SamplePair:
    """One fixed prompt with its first and last answer, and those in between."""

    prompt: str
    before: Sample | None
    after: Sample
    between: tuple[Sample, ...]


@dataclass(frozen=True)
class RunView:
    """A run, ready to be shown."""

    name: str
    run: Run
    headline: Headline
    description: str
    concerns: tuple[Concern, ...]
    columns: tuple[str, ...]
    axes: tuple[AxisRow, ...]
    facts: tuple[tuple[str, str], ...]
    hyperparameters: tuple[tuple[str, str], ...]
    settings: tuple[tuple[str, str], ...]
    findings: tuple[doctor.Finding, ...]
    doctor_facts: tuple[tuple[str, str], ...]
    judge: tuple[tuple[str, str], ...]
    environment: tuple[tuple[str, str], ...]
    samples: tuple[SamplePair, ...]
    samples_left_out: int
    examples: tuple[Mapping[str, Any], ...]
    examples_left_out: int
    repeat: str
    original: str


def view_run(run: Run, name: str) -> RunView:
    """Everything that a report shows of one run, except the drawings."""
    pairs = sample_pairs(run)
    evaluation = run.evaluation
    comparisons = evaluation.comparisons if evaluation else ()
    examples = evaluation.examples if evaluation else ()
    return RunView(
        name=name,
        run=run,
        headline=headline(run),
        description=one_line(str(run.environment.get("objective_description") or ""), 400),
        concerns=concerns(run),
        columns=tuple(one_line(column, 40) for column in model_columns(comparisons)),
        axes=axis_rows(comparisons, evaluation.primary if evaluation else ""),
        facts=_facts(run),
        hyperparameters=_plain_items(run.config.get("hyper")),
        settings=tuple((key, _plain(run.config[key])) for key in _SHOWN_SETTINGS if run.config.get(key) is not None),
        findings=doctor.findings(run.doctor),
        doctor_facts=doctor.facts(run.doctor),
        judge=judge_facts(evaluation.judge) if evaluation else (),
        environment=doctor.facts(run.environment),
        samples=pairs[:MAX_SAMPLES],
        samples_left_out=max(0, len(pairs) - MAX_SAMPLES),
        examples=examples[:MAX_EXAMPLES],
        examples_left_out=max(0, len(examples) - MAX_EXAMPLES),
        repeat=repeat_command(run),
        original=original_command(run),
    )


def model_columns(comparisons: Sequence[Comparison]) -> tuple[str, ...]:
    """The models of the table from left to right: before, the stages, after."""
    stages = dict.fromkeys(stage for comparison in comparisons for stage in comparison.stages)
    return ("before", *stages, "after")


def axis_rows(comparisons: Sequence[Comparison], primary: str) -> tuple[AxisRow, ...]:
    """The table by axis, the primary axis first. Axes of one unit share the scale of their drawn intervals."""
    ordered = sorted(comparisons, key=lambda comparison: comparison.axis != primary)
    columns = model_columns(comparisons)
    widest = reaches(ordered)
    return tuple(
        axis_row(comparison, columns, comparison.axis == primary, widest.get(comparison.unit, 0.0))
        for comparison in ordered
    )


def reaches(comparisons: Sequence[Comparison]) -> dict[str, float]:
    """The farthest limit of a difference, for each unit: the scale on which intervals are drawn."""
    widest: dict[str, float] = {}
    for comparison in comparisons:
        reach = max(abs(comparison.difference.low), abs(comparison.difference.high))
        if reach < 1e300:
            widest[comparison.unit] = max(widest.get(comparison.unit, 0.0), reach)
    return widest


def sample_pairs(run: Run) -> tuple[SamplePair, ...]:
    """First and last answer to each fixed prompt; a prompt that was answered once has no answer before."""
    by_prompt: dict[int, list[Sample]] = {}
    for sample in run.samples:
        by_prompt.setdefault(sample.index, []).append(sample)
    return tuple(
        SamplePair(answers[-1].prompt, answers[0] if len(answers) > 1 else None, answers[-1], tuple(answers[1:-1]))
        for _, answers in sorted(by_prompt.items())
    )


def repeat_command(run: Run) -> str:
    """The command that repeats the run from its own settings, into a directory beside it."""
    if not run.config:
        return ""
    again = run.path.with_name(f"{run.name}-again")
    parts = ["accord", "train", run.objective, "--config", str(run.path / "config.toml"), "--out", str(again)]
    return " ".join(shlex.quote(one_line(part, 4000)) for part in parts)


def original_command(run: Run) -> str:
    """The command line that was given, as recorded."""
    command = run.environment.get("command")
    if isinstance(command, list):
        command = " ".join(shlex.quote(str(part)) for part in command)
    return shorten(str(command), 4000) if command else ""


def axis_row(comparison: Comparison, columns: Sequence[str], primary: bool, reach: float) -> AxisRow:
    """One axis as printed; its interval is drawn on a scale that ends at `reach` either way."""
    estimates: dict[str, Estimate] = {"before": comparison.before, **comparison.stages, "after": comparison.after}
    unit = comparison.unit
    directions = {True: "higher is better", False: "lower is better", None: "neither better nor worse"}
    difference = comparison.difference
    mean = figure(difference.mean, decimals_of(difference, unit), signed=True)
    spread = interval(difference, unit, signed=True)
    mark = None
    if reach > 0 and abs(difference.high) < 1e300:
        low, centre, high = (50 + 46 * value / reach for value in (difference.low, difference.mean, difference.high))
        mark = Mark(low, centre, high, f"{mean}, 95% interval {spread}")
    return AxisRow(
        axis=one_line(comparison.axis, 80),
        description=one_line(comparison.description, 400),
        unit=unit_of(comparison).strip(),
        direction=directions[comparison.higher_is_better],
        models=tuple((one_line(column, 40), *_estimate(estimates.get(column), unit)) for column in columns),
        difference=mean,
        difference_interval=spread,
        verdict=comparison.verdict or "neutral",
        primary=primary,
        mark=mark,
    )


def _estimate(estimate: Estimate | None, unit: str) -> tuple[str, str]:
    if estimate is None:
        return "–", ""
    return figure(estimate.mean, decimals_of(estimate, unit)), interval(estimate, unit)


def _facts(run: Run) -> tuple[tuple[str, str], ...]:
    config, environment = run.config, run.environment
    numbers = numbers_of(environment)
    total, trained = numbers.get("parameters"), numbers.get("trainable_parameters")
    facts = [("Model", str(config.get("model") or environment.get("model") or ""))]
    if total is not None and trained is not None and total > 0:
        rank = config.get("lora_r")
        how = f", LoRA adapters of rank {rank}" if rank else ", full fine-tuning" if trained == total else ""
        facts.append(("Parameters trained", f"{count(trained)} of {count(total)} ({trained / total:.2%}){how}"))
    data = config.get("data")
    facts.append(("Data", ", ".join(map(str, data)) if isinstance(data, list) else str(data or "")))
    held_out = config.get("eval_data")
    if isinstance(held_out, list) and held_out:
        facts.append(("Held-out data", ", ".join(map(str, held_out))))
    elif isinstance(config.get("holdout"), float):
        facts.append(("Held-out data", f"{config['holdout']:.0%} of the prompts, set aside"))
    if run.last_step:
        seen = max(run.metric("tokens").values, default=0)
        facts.append(("Steps", f"{run.last_step:,}" + (f", {count(seen)} tokens" if seen else "")))
    if "seconds" in numbers:
        facts.append(("Time", duration(numbers["seconds"])))
    facts.append(("Started", moment(environment.get("started"))))
    return tuple((label, one_line(value, 400)) for label, value in facts if value)


def _plain_items(values: object) -> tuple[tuple[str, str], ...]:
    items = values.items() if isinstance(values, Mapping) else ()
    return tuple((one_line(str(key), 80), _plain(value)) for key, value in items)


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else one_line(str(value), 400)
