"""Every concern fires on a run made for it and is silent on a run that went well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from accord.record import Comparison, Estimate, Evaluation
from accord.report import Run
from accord.report.concerns import concerns
from accord.report.reading import Alarm, Sample, Series


def series(key: str, values: Sequence[float], broken: int = 0) -> Series:
    return Series(key, tuple(10 * place for place in range(len(values))), tuple(values), broken)


def axis(name: str, low: float, high: float) -> Comparison:
    middle = Estimate(0.5, 0.4, 0.6, 100)
    return Comparison(name, middle, middle, Estimate((low + high) / 2, low, high, 100))


def answers(step: int, responses: Sequence[str], finished: bool | None = True) -> tuple[Sample, ...]:
    return tuple(
        Sample(step, index, f"prompt {index}", response, 3, finished) for index, response in enumerate(responses)
    )


GOOD_SERIES = {
    "loss": (0.69, 0.6, 0.5, 0.45, 0.4, 0.38, 0.36, 0.35, 0.34, 0.33),
    "accuracy": (0.5, 0.6, 0.7, 0.75, 0.8, 0.8, 0.85, 0.85, 0.86, 0.87),
    "eval/loss": (0.69, 0.5, 0.4),
    "eval/accuracy": (0.5, 0.7, 0.8),
    "eval/kl": (0.0, 1.0, 2.0),
    "eval/response_length": (20.0, 21.0, 22.0),
    "eval/distinct_2": (0.8, 0.8, 0.78),
    "eval/chosen_logp": (-40.0, -39.0, -38.0),
    "eval/rejected_logp": (-45.0, -50.0, -55.0),
}


def good_run() -> Run:
    return Run(
        path=Path("run"),
        config={"objective": "dpo"},
        environment={"finished": "now", "steps": 90},
        doctor={"rows": 100, "dropped": {}, "findings": []},
        series={key: series(key, values) for key, values in GOOD_SERIES.items()},
        samples=answers(0, "abcdef") + answers(90, "ghijkl"),
        evaluation=Evaluation("suite", (axis("gold", 0.1, 0.3), axis("helpful", 0.0, 0.2)), "gold"),
        unreadable=(),
    )


def with_series(**values: Sequence[float]) -> Run:
    """The good run with other series; `eval_loss` stands for `eval/loss`."""
    run = good_run()
    changed = {key.replace("eval_", "eval/"): numbers for key, numbers in values.items()}
    return replace(run, series={**run.series, **{key: series(key, numbers) for key, numbers in changed.items()}})


def changed(**parts: Any) -> Run:
    return replace(good_run(), **parts)


def test_a_good_run_raises_no_concern() -> None:
    assert concerns(good_run()) == ()


def test_an_empty_run_raises_only_that_it_did_not_finish() -> None:
    empty = changed(environment={}, doctor={}, series={}, samples=(), evaluation=None)
    assert [concern.title for concern in concerns(empty)] == ["The run did not finish"]


@pytest.mark.parametrize(
    ("run", "severity", "title", "text"),
    [
        (changed(environment={"steps": 200}), "serious", "The run did not finish",
         "The last recorded step is 90 of 200, and environment.json has no end."),
        (changed(environment={}), "serious", "The run did not finish", "environment.json is missing or damaged."),
        (changed(unreadable=("metrics.jsonl: 1 line could not be read",)), "serious",
         "Parts of the run's files could not be read", "metrics.jsonl: 1 line could not be read. What they hold"),
        (changed(series={"loss": series("loss", (0.7, 0.6), broken=3)}), "serious", "Metrics were not finite",
         "loss 3 times"),
        (changed(evaluation=Evaluation("suite", (axis("gold", 0.1, 0.3), axis("honest", -0.3, -0.1)), "gold")),
         "serious", "The price: honest got worse", "changed by −0.20 (95% interval −0.30 to −0.10)"),
        (with_series(eval_distinct_2=(0.8, 0.5)), "caution", "Responses lost variety", "fell from 0.800 to 0.500"),
        (changed(samples=answers(0, "abcdef") + answers(90, "xxxxxx")), "serious",
         "Different prompts get the same answer", "6 prompts got 1 different answers after training (6 for 6 before)"),
        (with_series(eval_response_length=(20.0, 30.0)), "caution", "Responses became longer",
         "from 20.0 to 30.0 tokens (1.50 times)"),
        (with_series(eval_response_length=(30.0, 15.0)), "caution", "Responses became shorter",
         "from 30.0 to 15.0 tokens (0.50 times)"),
        (with_series(eval_kl=(0.0, 25.0)), "caution", "Far from the start", "is 25.0 nats a response, above 10."),
        (with_series(eval_loss=(0.69, 0.4, 0.4, 0.6)), "caution", "Over-fitted to the training data",
         "Held-out loss was lowest at step 10 (0.400) and ended at 0.600"),
        (with_series(eval_chosen_logp=(-40.0, -50.0)), "caution",
         "Likelihood displacement: chosen responses became less likely too",
         "On held-out data, the log-probability of chosen responses went from −40.0 to −50.0 nats, and of rejected "
         "ones from −45.0 to −55.0."),
        (with_series(loss=(0.7,) * 12), "caution", "The training loss did not fall", "averaged 0.700 over the first"),
        (with_series(accuracy=(0.5,) * 5 + (1.0,) * 5), "caution", "Training accuracy is saturated",
         "ranked 1.000 of the training pairs right, held-out accuracy 0.800."),
        (changed(samples=answers(0, "abcd") + answers(90, "efgh", finished=False)), "caution", "Answers do not end",
         "4 of 4 sampled answers were cut at the token limit (0 at the first measurement)"),
        (changed(doctor={"rows": 100, "dropped": {"empty": 3, "too long": 4}}), "caution",
         "Rows were left out of the training", "7 of 100 rows were dropped"),
        (changed(doctor={"rows": 9, "findings": [{"kind": "empty", "severity": "error", "count": 2}]}), "caution",
         "The data has errors", "2 errors were found"),
    ],
)  # fmt: skip
def test_concern_fires_alone_and_states_its_numbers(run: Run, severity: str, title: str, text: str) -> None:
    (found,) = concerns(run)
    assert (found.severity, found.title) == (severity, title)
    assert text in found.text


@pytest.mark.parametrize(
    "run",
    [
        with_series(eval_response_length=(20.0, 25.0)),
        with_series(eval_kl=(0.0, 9.9)),
        with_series(eval_distinct_2=(0.8, 0.61)),
        with_series(eval_loss=(0.69, 0.4, 0.405)),
        with_series(eval_chosen_logp=(-40.0, -40.5)),
        with_series(eval_chosen_logp=(-40.0, -50.0), eval_rejected_logp=(-45.0, -44.0)),
        with_series(accuracy=(0.5,) * 5 + (0.95,) * 5),
        changed(samples=answers(0, "aaaaaa") + answers(90, "xxxxxx")),
        changed(samples=answers(0, "abcd") + answers(90, "efgh", finished=None)),
        changed(evaluation=Evaluation("suite", (axis("gold", -0.3, -0.1), axis("honest", -0.3, -0.1)), "gold")),
        changed(doctor={"rows": 9, "findings": [{"kind": "empty", "severity": "warning", "count": 2}]}),
    ],
)
def test_what_lies_within_the_limits_is_no_concern(run: Run) -> None:
    assert concerns(run) == ()


def test_displacement_is_read_from_the_training_data_where_nothing_was_held_out() -> None:
    run = changed(series={key: series(key, values) for key, values in
                          {"chosen_logp": (-40.0, -50.0), "rejected_logp": (-45.0, -70.0)}.items()})  # fmt: skip
    (found,) = concerns(run)
    assert found.text.startswith("On training data,")


def test_serious_concerns_come_first() -> None:
    run = replace(with_series(eval_kl=(0.0, 25.0)), unreadable=("x",))
    assert [concern.severity for concern in concerns(run)] == ["serious", "caution"]


def test_an_alarm_of_the_run_stands_first() -> None:
    run = replace(good_run(), alarms=(Alarm(40, "reward hacking", "the trained reward rose while gold fell"),))
    first = concerns(run)[0]
    assert first.severity == "serious"
    assert first.title == "Alarm after step 40: reward hacking"
    assert "gold fell" in first.text


def test_in_rounds_a_loss_that_does_not_fall_is_no_concern() -> None:
    flat = replace(good_run(), series={**good_run().series, "loss": series("loss", (0.1,) * 12)})
    assert any("did not fall" in concern.title for concern in concerns(flat))
    rounds = replace(flat, series={**flat.series, "round": series("round", range(12))})
    assert not any("did not fall" in concern.title for concern in concerns(rounds))
