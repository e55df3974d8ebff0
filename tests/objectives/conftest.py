"""Worked numbers and random batches, folded the way the loop folds them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

Golden = dict[str, dict[str, Any]]
Tensors = dict[str, Tensor]
Rows = Sequence[Sequence[float]]


@pytest.fixture(scope="session")
def golden() -> Golden:
    """Worked numbers by case name, each with `inputs` and `expected`."""
    cases = json.loads((Path(__file__).parents[1] / "golden.json").read_text())
    return {case["method"]: case for case in cases}


def fold_pairs(chosen: Rows, rejected: Rows) -> tuple[Tensor, Tensor]:
    """Ragged token values of pairs as `[B,2,T]`, and their mask."""
    longest = max(len(row) for row in (*chosen, *rejected))
    values = torch.zeros(len(chosen), 2, longest, dtype=torch.float64)
    mask = torch.zeros_like(values)
    for group, rows in enumerate(zip(chosen, rejected, strict=True)):
        for index, row in enumerate(rows):
            values[group, index, : len(row)] = torch.tensor(row, dtype=torch.float64)
            mask[group, index, : len(row)] = 1.0
    return values, mask


def first_beats_second(groups: int) -> Tensor:
    """`prefer` of plain pairs."""
    prefer = torch.zeros(groups, 2, 2, dtype=torch.float64)
    prefer[:, 0, 1] = 1.0
    return prefer


@pytest.fixture
def toy(golden: Golden) -> Tensors:
    """The two shared toy pairs, token by token: margins 1.0 and -0.5."""
    rows = golden["toy.pairs"]["inputs"]["token_logps"]
    policy, mask = fold_pairs(rows["policy_chosen"], rows["policy_rejected"])
    reference, _ = fold_pairs(rows["ref_chosen"], rows["ref_rejected"])
    return {
        "policy": policy.requires_grad_(),
        "reference": reference,
        "mask": mask,
        "prefer": first_beats_second(2),
    }


@pytest.fixture
def reward_pairs(golden: Golden) -> Tensors:
    """The two reward-model pairs."""
    inputs = golden["rm.bradley_terry"]["inputs"]
    reward = torch.tensor([inputs["r_chosen"], inputs["r_rejected"]], dtype=torch.float64).T
    return {"reward": reward.clone().requires_grad_(), "prefer": first_beats_second(2)}


def step_pairs(tensors: Tensors) -> Tensor:
    """Weight and margins of every preferred pair of the batch, as the loop collects them over a step."""
    prefer = tensors["prefer"]
    sums = [(tensors[name].detach() * tensors["mask"]).sum(-1) for name in ("policy", "reference")]
    margins = [total.unsqueeze(-1) - total.unsqueeze(-2) for total in sums]
    return torch.stack([prefer, *margins], -1)[prefer > 0]


def step_ratios(tensors: Tensors) -> Tensor:
    """Label and log-ratio of every labelled response of the batch, as the loop collects them over a step."""
    ratio = ((tensors["policy"].detach() - tensors["reference"]) * tensors["mask"]).sum(-1)
    label = tensors["label"]
    return torch.stack([label, ratio], -1)[label != 0]


def random_tensors(needs: Sequence[str], *, groups: int = 4, responses: int = 3, tokens: int = 5) -> Tensors:
    """A ragged float64 batch of the named tensors, without `state`; `policy` and `reward` carry gradients."""
    generator = torch.Generator().manual_seed(groups * 100 + responses * 10 + tokens)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    lengths = torch.randint(1, tokens + 1, (groups, responses, 1), generator=generator)
    mask = (torch.arange(tokens) < lengths).double()
    prefer = uniform(groups, responses, responses) * (uniform(groups, responses, responses) < 0.6)
    label = torch.randint(-2, 3, (groups, responses), generator=generator).double()
    label[0, 0] = 1.0
    scored = (uniform(groups, responses) < 0.8).double()
    share = uniform(groups, responses) + 0.1
    every = {
        "policy": (-3.0 * uniform(groups, responses, tokens) * mask).requires_grad_(),
        "reference": -3.0 * uniform(groups, responses, tokens) * mask,
        "mask": mask,
        "prefer": prefer * (1.0 - torch.eye(responses, dtype=torch.float64)),
        "label": label,
        "score": (4.0 * uniform(groups, responses) - 2.0) * scored,
        "scored": scored,
        "valid": torch.ones(groups, responses, dtype=torch.float64),
        "distribution": share / share.sum(-1, keepdim=True),
        "reward": (4.0 * uniform(groups, responses) - 2.0).requires_grad_(),
        "named_rewards": (4.0 * uniform(groups, responses, 2) - 2.0).requires_grad_(),
        "ratings": 4.0 * uniform(groups, responses, 2),
        "rated": (uniform(groups, responses, 2) < 0.8).double(),
        "named_prefer": uniform(groups, 2, responses, responses) * (1.0 - torch.eye(responses, dtype=torch.float64)),
        "step_reward": (4.0 * uniform(groups, responses, tokens) - 2.0).requires_grad_(),
        "step_score": uniform(groups, responses, tokens).round() * mask,
        "step_end": (uniform(groups, responses, tokens) < 0.6) * mask,
        "mismatched_kl": torch.tensor(0.3, dtype=torch.float64),
    }
    every["step_pairs"], every["step_ratios"] = step_pairs(every), step_ratios(every)
    shares = uniform(groups, 3, responses, responses) + 0.1
    every["annotator"] = shares / shares.sum(1, keepdim=True)
    every["cost"] = (2.0 * uniform(groups, responses) - 1.0) * scored
    every["own_sample"] = (uniform(groups, responses) < 0.5).double()
    every |= {name: 2.0 * uniform(groups, responses, tokens) - 1.0 for name in ("value", "target_q")}
    every |= {name: 2.0 * uniform(groups, responses, tokens) - 1.0 for name in ("first_q", "second_q")}
    every |= {f"{name}_q_logprob": -3.0 * uniform(groups, responses, tokens) for name in ("first", "second")}
    every["next_value"] = uniform(groups, responses).round()
    every["collision"] = -2.0 * uniform(groups, responses, tokens) * mask
    return {name: every[name] for name in needs if name != "state"}


@pytest.fixture(scope="session")
def pairs_of_the_step() -> Callable[[Tensors], Tensor]:
    """`step_pairs`, for tests that change a batch."""
    return step_pairs


@pytest.fixture(scope="session")
def ratios_of_the_step() -> Callable[[Tensors], Tensor]:
    """`step_ratios`, for tests that change a batch."""
    return step_ratios


@pytest.fixture(scope="session")
def random_batch() -> Callable[..., Tensors]:
    """`random_tensors`, for tests that choose the tensors and sizes."""
    return random_tensors
