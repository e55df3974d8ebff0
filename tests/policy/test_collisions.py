"""The sum of squared probabilities at each token, against the dense softmax, with the log-probabilities unchanged."""

from pathlib import Path

import pytest
import torch

from accord.policy.load import load_policy
from accord.testing import preference_groups, tiny_model


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_collisions_are_those_of_the_models_own_distribution(tmp_path: Path, temperature: float) -> None:
    policy = load_policy(tiny_model(tmp_path, "llama"))
    (encoded,) = (policy.renderer.encode(group) for group in preference_groups(1))
    values, collisions = policy.logprobs_and_collisions([encoded], temperature=temperature)
    assert not collisions.requires_grad
    torch.testing.assert_close(values, policy.logprobs([encoded], temperature=temperature))
    for place, response in enumerate(encoded.responses):
        ids = torch.tensor([[*encoded.prompt, *response.tokens]])
        logits = policy.model(input_ids=ids).logits[0].float() / temperature
        squares = torch.log_softmax(logits, -1).mul(2.0).logsumexp(-1)
        trained = squares[len(encoded.prompt) - 1 : -1]
        torch.testing.assert_close(collisions[0, place, : len(trained)], trained.detach(), rtol=1e-4, atol=1e-5)
