"""`accord train`: train, compare before with after on held-out data, write card and report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from accord.evaluate.statistics import compare
from accord.recipes.reward_report import BRIER, brier_comparison, calibration_note
from accord.record import Comparison, Evaluation, Group
from accord.report import print_summary, write_model_card, write_report
from accord.train import distributed
from accord.train.actor import Actor
from accord.train.alarms import Guard
from accord.train.config import TrainConfig
from accord.train.directory import RunDirectory
from accord.train.measure import LABEL_MARGIN, PREFERENCE_ACCURACY, RESPONSE_LOGPROB, REWARD, SAMPLED_LENGTH
from accord.train.measure_reward_model import RATING_ERROR, STEP_ACCURACY
from accord.train.run import Probe, RunResult, run_training

_AXES: dict[str, dict[str, Any]] = {
    PREFERENCE_ACCURACY: {
        "unit": "share",
        "description": "Share of held-out pairs in which the preferred response ranks higher, a tie counting one half: "
        "by mean log-probability per token, or by its reward if a reward model is trained.",
    },
    STEP_ACCURACY: {
        "unit": "share",
        "description": "Share of a held-out solution's labelled steps on the right side of one half.",
    },
    RATING_ERROR: {
        "unit": "squared rating",
        "higher_is_better": False,
        "description": "Squared difference between the predicted and the given ratings of held-out responses.",
    },
    LABEL_MARGIN: {
        "unit": "nats per token",
        "description": "Mean log-probability per token of held-out responses, counted negative for undesirable ones.",
    },
    RESPONSE_LOGPROB: {
        "unit": "nats per token",
        "description": "Mean log-probability per token of held-out responses.",
    },
    REWARD: {
        "unit": "reward",
        "description": "Score of one sampled answer to each held-out prompt, by the rewards that training used. "
        "What a policy is trained to raise is no proof of what was meant: look at the answers.",
    },
    SAMPLED_LENGTH: {
        "unit": "tokens",
        "higher_is_better": None,
        "description": "Length of the answers to the fixed held-out prompts, sampled at temperature 1.",
    },
}
_LIKELIHOOD_NOTE = (
    "This measures likelihoods of given responses, not what the model does when it answers: "
    "evaluate its own answers before you ship it."
)


def align(
    config: TrainConfig,
    *,
    groups: Sequence[Group] | None = None,
    eval_groups: Sequence[Group] | None = None,
    actor: Actor | None = None,
    guard: Guard | None = None,
    probe: Probe | None = None,
    console: Console | None = None,
    fresh: bool = False,
) -> RunResult:
    """Train, judge the result on held-out data, and write `evaluation.json`, the model card and the report.

    Arguments and errors are those of `accord.train.run.run_training`.
    """
    result = run_training(
        config,
        groups=groups,
        eval_groups=eval_groups,
        actor=actor,
        guard=guard,
        probe=probe,
        console=console,
        fresh=fresh,
    )
    evaluation = None
    if distributed.rank() == 0 and result.policy is not None:
        evaluation = held_out_evaluation(result.path)
        conclude(result.path, evaluation)
    if console is not None and distributed.rank() == 0:
        print_summary(result.path, console)
        if evaluation is not None and any(one.axis == BRIER for one in evaluation.comparisons):
            console.print(*evaluation.notes, soft_wrap=True)
    return result


def conclude(path: Path, evaluation: Evaluation | None) -> None:
    """Write a run's evaluation, and the card and report that speak of it."""
    directory = RunDirectory(path)
    if evaluation is not None:
        directory.evaluation.write_bytes(msgspec.json.format(msgspec.json.encode(evaluation)))
    if directory.model.is_dir():
        write_model_card(path)
        directory.write_model_manifest()
    write_report([path])


def held_out_evaluation(path: Path) -> Evaluation | None:
    """The first and last measurement of a run on its held-out data, compared; `None` if it measured nothing twice."""
    lines = [msgspec.json.decode(line) for line in _lines(RunDirectory(path).heldout)]
    lines.sort(key=lambda line: int(line["step"]))
    comparisons = []
    for name, settings in _AXES.items():
        measured = [line for line in lines if line["name"] == name]
        if len(measured) > 1:
            comparisons.append(_comparison(name, measured[0], measured[-1], settings))
    whole = [line["values"] for line in lines if line["name"] == REWARD]
    for name in sorted({str(line["name"]) for line in lines if str(line["name"]).startswith(f"{REWARD}/")}):
        measured = [line for line in lines if line["name"] == name]
        # A single reward says what all of them together say.
        if len(measured) > 1 and [line["values"] for line in measured] != whole:
            comparisons.append(_comparison(name, measured[0], measured[-1], _of_score(name)))
    brier, calibrated = brier_comparison(lines), calibration_note(lines)
    if brier is not None:
        comparisons.append(brier)
    primary = next((comparison.axis for comparison in comparisons if comparison.higher_is_better is not None), None)
    if primary is None:
        return None
    return Evaluation(
        suite="held-out data",
        comparisons=tuple(comparisons),
        primary=primary,
        judge={"kind": "the rewards that it was trained on" if primary == REWARD else "the data's own feedback"},
        notes=_notes(primary, calibrated),
    )


def _of_score(name: str) -> dict[str, Any]:
    """One of several scores: of a cost, less is better."""
    score = name.removeprefix(f"{REWARD}/")
    return {
        "unit": "reward",
        "higher_is_better": score != "cost",
        "description": f"The score {score!r} of the same answers.",
    }


def _notes(primary: str, calibrated: str | None) -> tuple[str, ...]:
    if calibrated is not None:
        return (calibrated,)
    return () if primary in (REWARD, RATING_ERROR) else (_LIKELIHOOD_NOTE,)


def _comparison(name: str, before: dict[str, Any], after: dict[str, Any], settings: dict[str, Any]) -> Comparison:
    return compare(name, before["values"], after["values"], clusters=before["clusters"], **settings)


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines() if path.exists() else []
