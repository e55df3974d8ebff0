"""Samples of a policy as tensors, with the masks that tell prompt, answer and padding apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from accord.agents.settings import Settings
from accord.errors import DataError
from accord.policy.sample import Sampling, sample


@dataclass(frozen=True)
class Samples:
    """Prompts with their answers, `[N,L]` each, padded on the right.

    Attributes:
        input_ids: token ids.
        attention_mask: 1 on prompt and answer.
        response_mask: 1 on the answer, its end-of-sequence token included.
        log_probs: log-probability of each token of the answer under the policy that drew it; 0 elsewhere.
    """

    input_ids: Tensor
    attention_mask: Tensor
    response_mask: Tensor
    log_probs: Tensor


def draw_samples(
    model: Any, prompts: Tensor, attention_mask: Tensor | None, settings: Settings, *, seed: int
) -> Samples:
    """Draw `group_size` answers to each prompt, those of one prompt after one another.

    Raises:
        DataError: prompts and mask have different shapes, or a prompt is empty.
    """
    attended = torch.ones_like(prompts) if attention_mask is None else attention_mask
    if prompts.ndim != 2 or attended.shape != prompts.shape:
        shapes = f"{tuple(prompts.shape)} and {tuple(attended.shape)}"
        raise DataError(f"prompts and attention_mask have the shapes {shapes}, [B,P] is expected of both")
    rows = [ids[mask != 0].tolist() for ids, mask in zip(prompts, attended, strict=True)]
    if not all(rows):
        raise DataError(f"prompt {[bool(row) for row in rows].index(False)} has no attended token")
    drawn = sample(
        model,
        rows,
        n=settings.group_size,
        sampling=Sampling(temperature=settings.temperature, max_tokens=settings.max_new_tokens, seed=seed),
        stop_ids=settings.stop_ids,
        pad_id=settings.pad_id,
    )
    each = [(prompt, answer) for prompt, answers in zip(rows, drawn, strict=True) for answer in answers]
    longest = max(len(prompt) + len(answer.tokens) for prompt, answer in each)
    ids = prompts.new_full((len(each), longest), settings.pad_id)
    samples = Samples(ids, torch.zeros_like(ids), torch.zeros_like(ids), torch.zeros(ids.shape, device=ids.device))
    for row, (prompt, answer) in enumerate(each):
        start, end = len(prompt), len(prompt) + len(answer.tokens)
        ids[row, :end] = ids.new_tensor([*prompt, *answer.tokens])
        samples.attention_mask[row, :end] = 1
        samples.response_mask[row, start:end] = 1
        samples.log_probs[row, start:end] = torch.tensor(answer.logprobs, device=ids.device)
    return samples
