"""What to worry about: each concern is computed from the run's own numbers and states them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from accord.report.doctor import findings, rows_lost
from accord.report.reading import Run, Series
from accord.report.text import brief_number, one_line
from accord.report.verdict import change, unit_of

Severity = Literal["serious", "caution"]

LENGTH_GROWTH = 1.3
LARGE_KL = 10.0
DIVERSITY_LOSS = 0.25
OVERFIT_RISE = 0.02
DISPLACED_NATS = 1.0
SATURATED = 0.99
UNFINISHED_SHARE = 0.25


@dataclass(frozen=True)
class Concern:
    """One thing to worry about, with its numbers and what to do."""

    severity: Severity
    title: str
    text: str


def concerns(run: Run) -> tuple[Concern, ...]:
    """Everything to worry about in a run, serious concerns first."""
    found = [concern for check in _CHECKS for concern in check(run)]
    return tuple(sorted(found, key=lambda concern: concern.severity != "serious"))


def _interrupted(run: Run) -> Iterator[Concern]:
    if run.finished:
        return
    planned = run.environment.get("steps") or run.config.get("steps")
    of_steps = f" of {planned:,}" if isinstance(planned, int) else ""
    yield Concern(
        "serious",
        "The run did not finish",
        f"The last recorded step is {run.last_step:,}{of_steps}, and environment.json "
        f"{'has no end' if run.environment else 'is missing or damaged'}. Everything below describes a run that was "
        "cut short; the same command resumes it.",
    )


def _unreadable(run: Run) -> Iterator[Concern]:
    if run.unreadable:
        text = "; ".join(one_line(note, 300) for note in run.unreadable)
        yield Concern(
            "serious", "Parts of the run's files could not be read", f"{text}. What they hold is missing below."
        )


def _not_finite(run: Run) -> Iterator[Concern]:
    broken = {key: series.broken for key, series in run.series.items() if series.broken}
    if broken:
        text = ", ".join(f"{one_line(key, 60)} {times:,} times" for key, times in broken.items())
        yield Concern("serious", "Metrics were not finite", f"Not a finite number: {text}. The curves leave these out.")


def _axes_worse(run: Run) -> Iterator[Concern]:
    if run.evaluation is None or run.evaluation.verdict != "better":
        return
    for other in run.evaluation.comparisons:
        if other.axis != run.evaluation.primary and other.verdict == "worse":
            yield Concern(
                "serious",
                f"The price: {one_line(other.axis)} got worse",
                f"While {one_line(run.evaluation.primary)} improved, {one_line(other.axis)} changed by "
                f"{change(other)}{unit_of(other)}. Decide whether the gain is worth it.",
            )


def _alarms(run: Run) -> Iterator[Concern]:
    for alarm in run.alarms:
        yield Concern(
            "serious",
            f"Alarm after step {alarm.step:,}: {one_line(alarm.name, 60)}",
            f"{one_line(alarm.message, 600)}.",
        )


def _length(run: Run) -> Iterator[Concern]:
    length = run.metric("eval/response_length")
    if len(length.steps) < 2 or length.start() <= 0:
        return
    ratio = length.end() / length.start()
    if 1 / LENGTH_GROWTH < ratio < LENGTH_GROWTH:
        return
    word = "longer" if ratio > 1 else "shorter"
    yield Concern(
        "caution",
        f"Responses became {word}",
        f"Sampled responses went from {brief_number(length.start())} to {brief_number(length.end())} tokens "
        f"({ratio:.2f} times). Judges tend to prefer length: compare scores at equal length, or use a "
        "length-normalised objective.",
    )


def _divergence(run: Run) -> Iterator[Concern]:
    divergence = run.metric("eval/kl")
    if divergence and divergence.end() > LARGE_KL:
        yield Concern(
            "caution",
            "Far from the start",
            f"KL to the starting model is {brief_number(divergence.end())} nats a response, above {LARGE_KL:g}. "
            "Scores of a judge mean less the further the policy is from what the judge has seen; a larger beta or "
            "fewer steps hold it closer.",
        )


def _diversity(run: Run) -> Iterator[Concern]:
    distinct = run.metric("eval/distinct_2")
    if len(distinct.steps) >= 2 and distinct.end() < (1 - DIVERSITY_LOSS) * distinct.start():
        yield Concern(
            "caution",
            "Responses lost variety",
            f"The share of distinct word pairs in sampled responses fell from {brief_number(distinct.start())} to "
            f"{brief_number(distinct.end())}.",
        )
    if len(run.sample_steps) < 2:
        return
    first, last = (run.samples_at(run.sample_steps[at]) for at in (0, -1))
    before, after = (len({sample.response for sample in samples.values()}) for samples in (first, last))
    if len(last) >= 4 and after <= len(last) / 2 and after / len(last) < before / max(1, len(first)):
        yield Concern(
            "serious",
            "Different prompts get the same answer",
            f"{len(last)} prompts got {after} different answers after training ({before} for {len(first)} before).",
        )


def _overfit(run: Run) -> Iterator[Concern]:
    held_out, train = run.metric("eval/loss"), run.metric("loss")
    if len(held_out.steps) < 2 or len(train.steps) < 2:
        return
    best = min(held_out.values)
    at_best = held_out.steps[held_out.values.index(best)]
    risen = held_out.end() - best
    before = [value for step, value in zip(train.steps, train.values, strict=True) if step <= at_best] or [
        train.values[0]
    ]
    train_at_best = sum(before[-train_window(train) :]) / len(before[-train_window(train) :])
    if risen > OVERFIT_RISE * max(abs(best), 1e-3) and train.end() < train_at_best:
        yield Concern(
            "caution",
            "Over-fitted to the training data",
            f"Held-out loss was lowest at step {at_best:,} ({brief_number(best)}) and ended at "
            f"{brief_number(held_out.end())}, while training loss went on falling from {brief_number(train_at_best)} "
            f"to {brief_number(train.end())}. Train for fewer steps, or use more data.",
        )


def train_window(series: Series) -> int:
    """Steps that are averaged to read a noisy series at one place: a tenth of it."""
    return max(1, len(series.values) // 10)


def _not_learning(run: Run) -> Iterator[Concern]:
    train = run.metric("loss")
    # In rounds the loss says little: every round has advantages of its own.
    if not run.metric("round") and len(train.steps) >= 10 and train.end() >= train.start():
        yield Concern(
            "caution",
            "The training loss did not fall",
            f"It averaged {brief_number(train.start())} over the first tenth of the steps and "
            f"{brief_number(train.end())} over the last. A higher learning rate or more steps may be needed, or the "
            "labels may carry no signal.",
        )


def _displacement(run: Run) -> Iterator[Concern]:
    for prefix, where in (("eval/", "held-out data"), ("", "training data")):
        chosen, rejected = run.metric(f"{prefix}chosen_logp"), run.metric(f"{prefix}rejected_logp")
        if len(chosen.steps) < 2 or len(rejected.steps) < 2:
            continue
        lost, also = chosen.end() - chosen.start(), rejected.end() - rejected.start()
        if lost < -DISPLACED_NATS and also < 0:
            yield Concern(
                "caution",
                "Likelihood displacement: chosen responses became less likely too",
                f"On {where}, the log-probability of chosen responses went from {brief_number(chosen.start())} to "
                f"{brief_number(chosen.end())} nats, and of rejected ones from {brief_number(rejected.start())} to "
                f"{brief_number(rejected.end())}. The margin grew by pushing both down, so probability went to "
                "responses that are in neither; an SFT term on the chosen response holds them up.",
            )
        return


def _saturation(run: Run) -> Iterator[Concern]:
    train, held_out = run.metric("accuracy"), run.metric("eval/accuracy")
    if len(train.steps) < 2 or train.end() < SATURATED:
        return
    beside = f", held-out accuracy {held_out.end():.3f}" if held_out else ""
    yield Concern(
        "caution",
        "Training accuracy is saturated",
        f"The last tenth of the steps ranked {train.end():.3f} of the training pairs right{beside}. Further steps "
        "mostly stretch margins; harder pairs would teach more.",
    )


def _unfinished(run: Run) -> Iterator[Concern]:
    if not run.sample_steps:
        return
    last = [sample for sample in run.samples_at(run.sample_steps[-1]).values() if sample.finished is not None]
    cut = sum(not sample.finished for sample in last)
    if last and cut / len(last) >= UNFINISHED_SHARE:
        first = [sample for sample in run.samples_at(run.sample_steps[0]).values() if sample.finished is False]
        yield Concern(
            "caution",
            "Answers do not end",
            f"{cut} of {len(last)} sampled answers were cut at the token limit ({len(first)} at the first measurement)."
            " Check that the data's responses end with the end-of-sequence token, or raise --sample-tokens.",
        )


def _data(run: Run) -> Iterator[Concern]:
    lost, total = rows_lost(run.doctor)
    if lost:
        of_total = f" of {total:,}" if total else ""
        yield Concern(
            "caution",
            "Rows were left out of the training",
            f"{lost:,}{of_total} rows were dropped; the findings below say which and why.",
        )
    errors = sum(finding.count for finding in findings(run.doctor) if finding.severity == "error")
    if errors and not lost:
        yield Concern("caution", "The data has errors", f"{errors:,} errors were found in the data; see below.")


_CHECKS: tuple[Callable[[Run], Iterator[Concern]], ...] = (
    _interrupted,
    _unreadable,
    _not_finite,
    _alarms,
    _axes_worse,
    _diversity,
    _length,
    _divergence,
    _overfit,
    _displacement,
    _not_learning,
    _saturation,
    _unfinished,
    _data,
)
