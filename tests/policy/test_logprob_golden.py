"""The worked log-probabilities of a sequence: each row of logits scores the next token, response tokens only."""

import json
from pathlib import Path

import pytest
import torch

from accord.policy.engine.head import linear_logprobs


def test_the_worked_sequence() -> None:
    cases = json.loads((Path(__file__).parents[1] / "golden.json").read_text())
    (case,) = [one for one in cases if one["method"] == "logprob.sequence"]
    inputs, expected = case["inputs"], case["expected"]
    logits, ids = torch.tensor(inputs["logits"]), torch.tensor(inputs["input_ids"])
    values = linear_logprobs(logits[:-1], torch.eye(logits.shape[1]), ids[1:])
    assert values.tolist() == pytest.approx(expected["per_token_logps_shifted"], rel=1e-6)
    trained = values[torch.tensor(inputs["response_mask"][1:], dtype=torch.bool)]
    assert trained.sum().item() == pytest.approx(expected["sum"], rel=1e-6)
    assert trained.mean().item() == pytest.approx(expected["mean"], rel=1e-6)
