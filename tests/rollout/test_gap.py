"""Sampler and trainer agree on the log-probabilities of what was sampled."""

from __future__ import annotations

import math

import pytest
import torch
from msgspec.structs import replace

from accord.errors import DataError
from accord.policy.load import load_policy
from accord.policy.policy import Policy
from accord.policy.sample import Sampling
from accord.record import Group
from accord.rollout import rollout, sampler_gap
from accord.testing import preference_groups, tiny_model


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return load_policy(tiny_model(tmp_path_factory.mktemp("policy"), "qwen3"))


@pytest.mark.parametrize("temperature", [1.0, 0.6, 0.0])
def test_they_agree_to_rounding(policy: Policy, temperature: float) -> None:
    groups = rollout(policy, preference_groups(4), n=4, sampling=Sampling(temperature=temperature, max_tokens=12))
    gap = sampler_gap(policy, groups, temperature=temperature, micro_batch_tokens=100)
    assert gap.tokens == sum(len(one.tokens or ()) for group in groups for one in group.responses)
    assert gap.mean <= gap.largest <= 1e-5
    assert abs(gap.k1) <= 1e-5
    assert 0 <= gap.k3 <= 1e-9


def test_a_difference_is_measured(policy: Policy) -> None:
    """Every log-prob of the sampler is 0.1 higher than the trainer's."""
    groups = rollout(policy, preference_groups(2), n=2, sampling=Sampling(max_tokens=8))
    shifted = [
        replace(
            group,
            responses=tuple(
                replace(one, logprobs=tuple(x + 0.1 for x in one.logprobs or ())) for one in group.responses
            ),
        )
        for group in groups
    ]
    gap = sampler_gap(policy, shifted)
    assert gap.mean == pytest.approx(0.1, abs=1e-5)
    assert gap.largest == pytest.approx(0.1, abs=1e-5)
    assert gap.k1 == pytest.approx(0.1, abs=1e-5)
    assert gap.k3 == pytest.approx(math.expm1(-0.1) + 0.1, abs=1e-5)


def test_only_trained_tokens_are_compared(policy: Policy) -> None:
    (group,) = rollout(policy, preference_groups(1), n=1, sampling=Sampling(max_tokens=8, seed=2))
    (response,) = group.responses
    assert response.tokens is not None
    assert response.logprobs is not None
    tokens = (*response.tokens, 65, 66)
    masked = replace(
        response,
        tokens=tokens,
        logprobs=(*response.logprobs, 0.0, 0.0),
        trained=(True,) * len(response.tokens) + (False, False),
    )
    gap = sampler_gap(policy, [replace(group, responses=(masked,))])
    assert gap.tokens == len(response.tokens)
    assert gap.largest <= 1e-5


def test_recorded_responses_have_no_gap(policy: Policy) -> None:
    with pytest.raises(DataError, match="no response carries"):
        sampler_gap(policy, preference_groups(2))
    with pytest.raises(DataError), torch.enable_grad():
        sampler_gap(policy, [Group("x")])
