"""Scored samples with what their scores say about their tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from accord.objectives.policy_gradient import BoundCredit
from accord.train.collate import Example, feedback_tensors, given_tensors
from accord.train.step import Task


def credited(examples: Sequence[Example], credit: BoundCredit, task: Task) -> tuple[list[Example], dict[str, float]]:
    """The examples with advantages, and the critic's targets if there is one; and the credit's metrics.

    The batch is a round: what is standardised over a round is standardised over it.

    Args:
        examples: with the `behaviour` of each token.
        credit: of the method.
        task: its policy, reference and critic; numbers that are carried from round to round are found there and
            renewed.
    """
    batch = [example.encoded for example in examples]
    rows = task.policy.rows(batch)
    tensors = {"mask": rows.mask, "valid": rows.valid}
    width = rows.valid.shape[1]
    names = [*credit.needs, *task.needs]
    tensors |= feedback_tensors([example.group for example in examples], width, credit.needs)
    tensors |= given_tensors(examples, rows.mask.shape, ("behaviour",))
    tensors = {name: tensor.to(rows.mask.device) for name, tensor in tensors.items()}
    before = {}
    with torch.no_grad():
        if "reference" in names and task.reference is not None:
            before["reference"] = task.reference.logprobs(batch, rows)
        if task.critic is not None:
            before |= {f"old_{name}": value for name, value in task.critic.values(rows).items()}
        state = {name: torch.tensor(value) for name, value in task.state.items()}
        found = credit({**tensors, **before, "state": state})
    task.state.update({name: float(value) for name, value in found.state.items()})
    targets = before | {
        name: value
        for name in ("advantage", "returns", "cost_returns", "cost_advantage")
        if (value := getattr(found, name)) is not None
    }
    credited_examples = []
    for b, example in enumerate(examples):
        longest = max(len(response.tokens) for response in example.encoded.responses)
        own = {name: value[b, : example.rows, :longest] for name, value in targets.items()}
        credited_examples.append(dataclasses.replace(example, given={**example.given, **own}))
    return credited_examples, {
        name: float(total / count) for name, (total, count) in found.metrics.items() if float(count)
    }
