"""Measurements on held-out Groups: what the policy thinks of their responses, and what it says itself."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch

from accord.objectives.primitives import seq_mean
from accord.policy.budget import within_budget
from accord.policy.policy import Policy
from accord.policy.sample import Sampled, Sampling, sample
from accord.record import Encoded, EncodedResponse, Group
from accord.train.collate import Example, feedback_tensors
from accord.train.metrics import numbers
from accord.train.plan import micro_batches
from accord.train.step import Task, run_step

PREFERENCE_ACCURACY = "preference accuracy"
LABEL_MARGIN = "labelled log-prob"
RESPONSE_LOGPROB = "log-prob per token"
SAMPLED_LENGTH = "response length"
REWARD = "reward"


@dataclass(frozen=True)
class Axis:
    """One number a held-out Group, the same Groups in the same order at every measurement.

    Attributes:
        name: what the number is.
        values: one a Group.
        clusters: the prompt each Group belongs to; Groups of one prompt are not independent.
    """

    name: str
    values: list[float]
    clusters: list[str]


@dataclass(frozen=True)
class Measurement:
    """One look at a policy.

    Attributes:
        line: numbers for `metrics.jsonl`.
        axes: one number a held-out Group, by axis.
        answers: the fixed prompts' sampled answers, as lines of `samples.jsonl`.
    """

    line: dict[str, float] = field(default_factory=dict)
    axes: list[Axis] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)


def measure_held_out(task: Task, examples: Sequence[Example], *, micro_batch_tokens: int) -> Measurement:
    """The objective and its monitors on held-out examples, and one number a Group for paired comparison.

    - With preferences: the share of preferred pairs that the policy ranks right, by mean log-prob per token. A tie
      counts one half.
    - With labels: the mean log-prob per token, counted negative for undesirable responses, weighted by the labels.
    - Otherwise: the mean log-prob per token of the responses.

    Without examples there is nothing to measure.
    """
    if not examples:
        return Measurement()
    result = run_step(task, examples, micro_batch_tokens=micro_batch_tokens, backward=False)
    axis = _held_out_axis(task, examples, micro_batch_tokens)
    return Measurement(numbers(result, "eval/"), [axis] if axis.values else [])


def _held_out_axis(task: Task, examples: Sequence[Example], micro_batch_tokens: int) -> Axis:
    name = _axis_name(task)
    found: dict[int, float] = {}
    for part in micro_batches(examples, micro_batch_tokens, task.policy.cost):
        rows = task.policy.rows([example.encoded for example in part])
        groups = [example.group for example in part]
        given = feedback_tensors(groups, rows.valid.shape[1], ("prefer", "label"))
        prefer, label = given["prefer"].to(rows.mask.device), given["label"].to(rows.mask.device)
        with torch.no_grad():
            strength = seq_mean(task.policy.logprobs(rows), rows.mask)
        if name == PREFERENCE_ACCURACY:
            difference = strength.unsqueeze(-1) - strength.unsqueeze(-2)
            right = (difference > 0).float() + 0.5 * (difference == 0).float()
            value, weight = (right * prefer).sum((1, 2)), prefer.sum((1, 2))
        elif name == LABEL_MARGIN:
            value, weight = (strength * label).sum(1), label.abs().sum(1)
        else:
            value, weight = (strength * rows.valid).sum(1), rows.valid.sum(1)
        for example, total, count in zip(part, value.tolist(), weight.tolist(), strict=True):
            if count > 0:
                found[id(example)] = total / count
    measured = [example for example in examples if id(example) in found]
    return Axis(name, [found[id(example)] for example in measured], [cluster_of(example) for example in measured])


def _axis_name(task: Task) -> str:
    if "prefer" in task.needs:
        return PREFERENCE_ACCURACY
    return LABEL_MARGIN if "label" in task.needs else RESPONSE_LOGPROB


def cluster_of(example: Example) -> str:
    """What stands for the prompt of an example: Groups of one prompt are not independent."""
    return _digest(repr(example.encoded.prompt))


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def sample_answers(
    policy: Policy,
    groups: Sequence[Group],
    *,
    start: AbstractContextManager[Policy] | None,
    step: int,
    tokens: int,
    seed: int,
    micro_batch_tokens: int,
) -> Measurement:
    """Answer fixed prompts at temperature 1, with the same random numbers every time.

    Args:
        policy: what answers.
        groups: the prompts.
        start: opens the policy's starting weights, to estimate the KL divergence from them; `None` when the policy
            still has them, and the divergence is zero.
        step: the step that the lines of `samples.jsonl` name.
        tokens: longest answer.
        seed: of the sampling.
        micro_batch_tokens: tokens that go through the model at once when answers are scored.
    """
    prompts = [policy.renderer.encode_prompt(group.prompt, origin=group.origin) for group in groups]
    with policy.precision():
        drawn = sample(
            policy.model,
            prompts,
            n=1,
            sampling=Sampling(temperature=1.0, max_tokens=tokens, seed=seed),
            stop_ids=policy.renderer.stop_ids,
            pad_id=policy.renderer.pad_id,
        )
    answers = [answer[0] for answer in drawn]
    texts = [
        policy.renderer.text_of(answer.tokens, prompt=group.prompt)
        for group, answer in zip(groups, answers, strict=True)
    ]
    lines = [
        {
            "step": step,
            "index": index,
            "prompt": group.prompt_text(),
            "response": text,
            "tokens": len(answer.tokens),
            "finished": answer.finished,
        }
        for index, (group, text, answer) in enumerate(zip(groups, texts, answers, strict=True))
    ]
    lengths = [float(len(answer.tokens)) for answer in answers]
    line = {"eval/response_length": sum(lengths) / len(lengths), "eval/distinct_2": distinct_bigrams(texts)}
    line["eval/kl"] = kl_from_start(policy, start, answered(prompts, answers), micro_batch_tokens) if start else 0.0
    return Measurement(line, [Axis(SAMPLED_LENGTH, lengths, [str(index) for index in range(len(lengths))])], lines)


def answered(prompts: Sequence[Sequence[int]], answers: Sequence[Sampled]) -> list[Encoded]:
    """Sampled answers as Encoded Groups of one response."""
    return [
        Encoded(tuple(prompt), (EncodedResponse(tuple(answer.tokens), (True,) * len(answer.tokens)),))
        for prompt, answer in zip(prompts, answers, strict=True)
        if answer.tokens
    ]


def measure_rewards(examined: Sequence[Group]) -> Measurement:
    """The mean of every score of answers to held-out prompts, and each prompt's for paired comparison.

    What all rewards make together is the axis `reward`; each score is one of its own, `reward/<name>`.
    """
    found: dict[str, list[tuple[str, float]]] = {}
    for group in examined:
        for name in sorted({name for feedback in group.feedback for name in feedback.scores}):
            given = [score for score in group.scores(name) or () if score is not None]
            if given:
                label = REWARD if name == "overall" else f"{REWARD}/{name}"
                found.setdefault(label, []).append((_digest(group.prompt_text()), sum(given) / len(given)))
    axes = [Axis(name, [value for _, value in rows], [prompt for prompt, _ in rows]) for name, rows in found.items()]
    return Measurement({f"eval/{axis.name}": sum(axis.values) / len(axis.values) for axis in axes}, axes)


def distinct_bigrams(texts: Sequence[str]) -> float:
    """Different word pairs as a share of all word pairs: 1 is varied, near 0 says the same thing every time."""
    pairs = [pair for text in texts for pair in zip(text.split(), text.split()[1:], strict=False)]
    return len(set(pairs)) / len(pairs) if pairs else 0.0


def kl_from_start(
    policy: Policy, start: AbstractContextManager[Policy], batch: Sequence[Encoded], micro_batch_tokens: int
) -> float:
    r"""Estimate of :math:`KL(\pi \| \pi_{start})` in nats a response, from responses that `policy` sampled."""
    parts = within_budget(batch, micro_batch_tokens, policy.cost, encoded=lambda encoded: encoded)
    laid_out = [policy.rows(part) for part in parts]
    with torch.no_grad():
        total = sum(float(policy.logprobs(rows).sum()) for rows in laid_out)
        with start as starting:
            total -= sum(float(starting.logprobs(rows).sum()) for rows in laid_out)
    return total / max(1, len(batch))
