"""Measurements of reward models on held-out Groups: how often they are right, and by how much."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from accord.objectives.primitives import pairwise
from accord.train.collate import Example
from accord.train.measure import PREFERENCE_ACCURACY, Axis, Measurement, cluster_of
from accord.train.metrics import numbers
from accord.train.plan import micro_batches
from accord.train.step import Task, data_tensors, run_step

STEP_ACCURACY = "step accuracy"
LABEL_ACCURACY = "label accuracy"
RATING_ERROR = "squared error of ratings"
REWARD_MARGIN = "reward margin"
"""Log-odds that the model gives to what the feedback says: one a compared pair or labelled step, not one a Group."""


class _Judged(NamedTuple):
    """What is measured of each comparison (or step, or rating) and its weight, both `[B,...]`; and the log-odds."""

    value: Tensor
    weight: Tensor
    margin: Tensor | None


def measure_reward_model(task: Task, examples: Sequence[Example], *, micro_batch_tokens: int) -> Measurement:
    """The objective and its monitors on held-out examples, and numbers for paired comparison.

    - From comparisons: the share of preferred pairs that the model ranks right, of each Group; a tie counts one half.
    - From labelled steps: the share of steps on the right side of one half.
    - From labels: the share of labelled responses on the right side of zero; a zero counts one half.
    - From ratings: the mean squared error.

    And of every pair or step, but not of ratings, the log-odds that the model gives to what the feedback says, for
    calibration: of a preference of weight above one half, of a label that is not one half.
    """
    if not examples:
        return Measurement()
    result = run_step(task, examples, micro_batch_tokens=micro_batch_tokens, backward=False)
    name, judge = _measure_of(task)
    accuracy, margins = Axis(name, [], []), Axis(REWARD_MARGIN, [], [])
    for part in micro_batches(examples, micro_batch_tokens, task.policy.cost):
        rows = task.policy.rows([example.encoded for example in part])
        with torch.no_grad():
            judged = judge(data_tensors(task, (part, rows)) | task.policy.head_outputs(rows))
        for b, example in enumerate(part):
            weight = judged.weight[b]
            if float(weight.sum()) > 0:
                accuracy.values.append(float((judged.value[b] * weight).sum() / weight.sum()))
                accuracy.clusters.append(cluster_of(example))
            if judged.margin is not None:
                found = judged.margin[b][weight > 0.5].tolist()
                margins.values.extend(found)
                margins.clusters.extend([cluster_of(example)] * len(found))
    return Measurement(numbers(result, "eval/"), [axis for axis in (accuracy, margins) if axis.values])


def _measure_of(task: Task) -> tuple[str, Callable[[dict[str, Tensor]], _Judged]]:
    if "step_reward" in task.needs:
        return STEP_ACCURACY, _steps
    if "ratings" in task.needs:
        return RATING_ERROR, _ratings
    if "label" in task.needs and "prefer" not in task.needs:
        return LABEL_ACCURACY, _labels
    return PREFERENCE_ACCURACY, _named_pairs if "named_prefer" in task.needs else _pairs


def _pairs(tensors: dict[str, Tensor]) -> _Judged:
    return _ranked(pairwise(tensors["reward"].float()), tensors["prefer"])


def _labels(tensors: dict[str, Tensor]) -> _Judged:
    label = tensors["label"]
    margin = tensors["reward"].float() * torch.sign(label)
    return _Judged((margin > 0).float() + 0.5 * (margin == 0).float(), label.abs(), margin)


def _named_pairs(tensors: dict[str, Tensor]) -> _Judged:
    return _ranked(pairwise(tensors["named_rewards"].float().mT), tensors["named_prefer"])


def _ranked(lead: Tensor, prefer: Tensor) -> _Judged:
    return _Judged((lead > 0).float() + 0.5 * (lead == 0).float(), prefer, lead)


def _steps(tensors: dict[str, Tensor]) -> _Judged:
    score, end = tensors["step_score"], tensors["step_end"]
    margin = tensors["step_reward"].float() * torch.where(score > 0.5, 1.0, -1.0)
    return _Judged((margin > 0).float() + 0.5 * (margin == 0).float(), end * (score != 0.5), margin)


def _ratings(tensors: dict[str, Tensor]) -> _Judged:
    return _Judged((tensors["named_rewards"] - tensors["ratings"]).square(), tensors["rated"], None)
