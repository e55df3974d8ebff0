"""Metrics are sums and counts of what the tensors say."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from accord.objectives import Metric, monitors

Tensors = dict[str, Tensor]
RandomBatch = Callable[..., Tensors]


def value(metric: Metric) -> float:
    return (metric[0] / metric[1]).item()


def test_pairs_with_a_reference(toy: Tensors, golden: dict[str, dict[str, Any]]) -> None:
    expected = golden["dpo.sigmoid"]["expected"]
    found = monitors(toy)
    assert value(found["margin"]) == pytest.approx(sum(expected["margins"]) / 0.1 / 2)
    assert value(found["accuracy"]) == expected["accuracy"]
    assert value(found["chosen_reward"]) == pytest.approx(sum(expected["chosen_rewards"]) / 0.1 / 2)
    assert value(found["rejected_reward"]) == pytest.approx(sum(expected["rejected_rewards"]) / 0.1 / 2)
    assert value(found["chosen_logp"]) == pytest.approx((-1.8 - 2.3) / 2)
    assert value(found["rejected_logp"]) == pytest.approx((-1.9 - 0.6) / 2)
    assert value(found["log_ratio"]) == pytest.approx((0.6 + 0.3 - 0.4 + 0.8) / 4)
    assert value(found["response_length"]) == 3.0
    assert not any(part.requires_grad for metric in found.values() for part in metric)


def test_a_tie_counts_as_wrong(toy: Tensors) -> None:
    found = monitors(toy | {"reference": toy["policy"].detach()})
    assert value(found["accuracy"]) == 0.0
    assert value(found["margin"]) == 0.0


def test_without_a_reference_mean_log_probabilities_are_compared(toy: Tensors) -> None:
    found = monitors({name: toy[name] for name in ("policy", "mask", "prefer")})
    assert value(found["margin"]) == pytest.approx(((-0.6 + 0.95) + (-0.575 + 0.2)) / 2)
    assert value(found["accuracy"]) == 0.5
    assert "chosen_reward" not in found
    assert "log_ratio" not in found


def test_a_reward_head(reward_pairs: Tensors) -> None:
    found = monitors(reward_pairs)
    assert value(found["accuracy"]) == 0.5
    assert value(found["margin"]) == pytest.approx((0.8 - 0.6) / 2)
    assert value(found["chosen_reward"]) == pytest.approx(0.75)
    assert set(found) == {"margin", "accuracy", "chosen_reward", "rejected_reward"}


def test_labels() -> None:
    policy = torch.tensor([[[-1.0], [-2.0], [-4.0]]])
    found = monitors(
        {
            "policy": policy,
            "reference": torch.zeros_like(policy),
            "mask": torch.ones_like(policy),
            "label": torch.tensor([[1.0, 3.0, -1.0]]),
        }
    )
    assert value(found["chosen_logp"]) == -1.75
    assert value(found["rejected_reward"]) == -4.0
    assert "margin" not in found


def test_demonstrations_have_only_a_length(toy: Tensors) -> None:
    assert set(monitors({"policy": toy["policy"], "mask": toy["mask"]})) == {"response_length"}


def test_micro_batches_add_up_and_padding_counts_for_nothing(random_batch: RandomBatch) -> None:
    tensors = random_batch(("policy", "reference", "mask", "prefer"))
    tensors["policy"] = tensors["policy"].detach().masked_fill(tensors["mask"] == 0, float("nan"))
    tensors["mask"][1, 2] = 0.0
    whole = monitors(tensors)
    parts = [monitors({key: item[rows] for key, item in tensors.items()}) for rows in (slice(0, 1), slice(1, None))]
    for name, (total, count) in whole.items():
        torch.testing.assert_close(total, parts[0][name][0] + parts[1][name][0])
        torch.testing.assert_close(count, parts[0][name][1] + parts[1][name][1])
        assert total.isfinite()
    assert whole["response_length"][1] == 11.0


def test_padded_rewards_count_for_nothing(reward_pairs: Tensors) -> None:
    reward = torch.nn.functional.pad(reward_pairs["reward"].detach(), (0, 1), value=float("nan"))
    prefer = torch.nn.functional.pad(reward_pairs["prefer"], (0, 1, 0, 1))
    for name, metric in monitors({"reward": reward, "prefer": prefer}).items():
        assert value(metric) == pytest.approx(value(monitors(reward_pairs)[name]))
