"""Truncated importance weights: exact where they can be, and the same as weighting the loss in every method."""

import itertools

import pytest
import torch
from torch import Tensor

from accord.objectives.policy_gradient import METHODS
from accord.objectives.policy_gradient.off_policy import truncated_weights
from accord.objectives.policy_gradient.surrogates import reinforce

SURROGATES = {method.surrogate.__name__: method for method in METHODS.values()}
PAIRS = torch.tensor(list(itertools.product(range(3), repeat=2)))
REWARD = torch.rand(9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def logits(seed: int) -> Tensor:
    """Of the first token, and of the second after each first one."""
    return 1.5 * torch.randn(4, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def of_pairs(policy: Tensor) -> Tensor:
    """Log-probability of each token of every response of two tokens, `[1,9,2]`."""
    rows = policy.log_softmax(-1)
    return torch.stack([rows[0, PAIRS[:, 0]], rows[1 + PAIRS[:, 0], PAIRS[:, 1]]], -1).unsqueeze(0)


def gradients(of: str, length: int) -> tuple[Tensor, Tensor]:
    """Of the weighted estimator, averaged over what another policy samples, and of the expected reward itself."""
    policy, mask = logits(2).requires_grad_(), torch.ones(1, 9, length, dtype=torch.float64)
    current, behaviour = of_pairs(policy)[..., :length], of_pairs(logits(3))[..., :length]
    reward = REWARD if length == 2 else REWARD[PAIRS[:, 0]]
    # Of a response of one token there are three copies, one for each second token that is not there.
    share = behaviour.sum(-1).exp() / 3 ** (2 - length)
    weight = truncated_weights(current, behaviour, mask, cap=1e9, of=of).weight  # type: ignore[arg-type]
    loss = reinforce(current, weight * reward.unsqueeze(-1), mask).loss.sum(-1)
    expected = (current.sum(-1).exp() / 3 ** (2 - length) * reward).sum()
    estimated = -(share * loss).sum()
    (found,) = torch.autograd.grad(estimated, policy, retain_graph=True)
    return found, torch.autograd.grad(expected, policy)[0]


@pytest.mark.parametrize(("of", "length"), [("response", 2), ("response", 1), ("token", 1)])
def test_the_gradient_is_that_of_fresh_responses_in_expectation(of: str, length: int) -> None:
    estimated, expected = gradients(of, length)
    torch.testing.assert_close(estimated, expected, rtol=1e-9, atol=1e-12)


def test_tokens_weighed_by_themselves_are_biased_in_longer_responses() -> None:
    estimated, expected = gradients("token", 2)
    assert float((estimated - expected).abs().max()) > 1e-3


@pytest.mark.parametrize("name", SURROGATES)
def test_weighted_advantages_are_weighted_losses(name: str) -> None:
    """So a round can be corrected once, whatever the method."""
    random = torch.Generator().manual_seed(4)
    policy, behaviour, advantage = (torch.randn(2, 3, 4, generator=random, dtype=torch.float64) for _ in range(3))
    weight = torch.rand(2, 3, 1, generator=random, dtype=torch.float64).expand(2, 3, 4)
    mask = torch.ones(2, 3, 4, dtype=torch.float64)
    arguments = {"policy": policy - 3.0, "behaviour": behaviour - 3.0, "mask": mask}
    surrogate = SURROGATES[name].surrogate
    names = [one for one in ("policy", "behaviour", "advantage", "mask") if one in surrogate.__annotations__]

    def losses(of: Tensor) -> Tensor:
        given = {**arguments, "advantage": of}
        return surrogate(*(given[one] for one in names)).loss

    torch.testing.assert_close(losses(weight * advantage), weight * losses(advantage))


def test_the_same_policy_weighs_one_and_a_far_one_the_cap() -> None:
    behaviour, mask = of_pairs(logits(3)), torch.ones(1, 9, 2, dtype=torch.float64)
    mask[0, 0, 1] = 0.0
    same = truncated_weights(behaviour, behaviour, mask, cap=2.0, of="response")
    assert torch.equal(same.weight, torch.ones_like(mask))
    assert [float(total / count) for total, count in same.metrics.values()] == [1.0, 0.0, 0.0]
    far = truncated_weights(behaviour + 50.0, behaviour, mask, cap=2.0, of="token")
    assert torch.equal(far.weight, 1.0 + mask)
    assert float(far.metrics["off_policy/truncated"][0]) == 17.0
    assert bool(torch.isfinite(far.metrics["off_policy/kl"][0]))
