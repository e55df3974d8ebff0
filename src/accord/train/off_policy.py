"""Rounds whose answers were drawn by other weights, or by another program, than those that learn from them."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from accord.errors import NumericsError
from accord.objectives.policy_gradient.off_policy import OffPolicy, truncated_weights
from accord.train.collate import Example

OWN = "own_behaviour"
"""What the policy itself gives, before the updates of a round, tokens that others had a part in sampling."""

MOST_GAP = 0.1
"""Divergence in nats a token beyond which a sampler cannot have had the weights that it says it had."""

_WEIGHED = ("advantage", "cost_advantage")


def weighed(
    examples: Sequence[Example], *, version: str, cap: float, of: OffPolicy
) -> tuple[list[Example], dict[str, float]]:
    """The examples as if the policy had sampled them: advantages weighted, and ratios taken to the policy itself.

    Args:
        examples: with `behaviour`, `own_behaviour` and advantages.
        version: the policy's version now.
        cap: the largest weight.
        of: what is weighed by itself.

    Returns:
        The examples, and numbers to watch.

    Raises:
        NumericsError: answers that are said to be of the very same weights are far from them.
    """
    sums: dict[str, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
    found = []
    for example in examples:
        own, behaviour = example.given[OWN], example.given["behaviour"]
        weights = truncated_weights(own, behaviour, _mask(example), cap=cap, of=of)
        gap = tuple(map(float, weights.metrics["off_policy/kl"]))
        if example.group.responses[0].version == version:
            _require_near(gap[0] / max(gap[1], 1.0), example)
        for name, (total, count) in weights.metrics.items():
            sums[name] = (sums[name][0] + float(total), sums[name][1] + float(count))
        given = {name: example.given[name] * weights.weight for name in _WEIGHED if name in example.given}
        found.append(dataclasses.replace(example, given={**example.given, "behaviour": own, **given}))
    return found, {name: total / max(count, 1.0) for name, (total, count) in sums.items()}


def _mask(example: Example) -> Tensor:
    mask = torch.zeros(example.given[OWN].shape)
    for j, response in enumerate(example.encoded.responses):
        mask[j, : len(response.trained)] = torch.tensor(response.trained, dtype=torch.float32)
    return mask


def _require_near(gap: float, example: Example) -> None:
    if gap > MOST_GAP:
        group = example.group
        raise NumericsError(
            f"the log-probabilities of its answers are {gap:.3g} nats a token from those of the weights that are said "
            f"to have sampled them",
            where=str(group.origin or group.id or group.prompt_text()[:80]),
            mend="See that the server answers with these weights, and gives log-probabilities at the temperature of "
            "sampling (vLLM: --logprobs-mode processed_logprobs).",
        )
