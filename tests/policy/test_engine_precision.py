"""The gain of bf16 is measured, and training says where it is a loss."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from accord.policy.engine import precision


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    precision.bf16_gain.cache_clear()
    yield
    precision.bf16_gain.cache_clear()


@pytest.mark.parametrize("slow", [torch.bfloat16, torch.float32])
def test_the_slower_precision_is_found(slow: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    def product(states: Tensor, weight: Tensor) -> None:
        time.sleep(0.02 if states.dtype == slow else 0.001)

    monkeypatch.setattr(precision, "linear", product)
    gain = precision.bf16_gain(torch.device("cpu"))
    assert (gain < 0.5) if slow == torch.bfloat16 else (gain > 2)


def test_it_is_measured_once() -> None:
    first = precision.bf16_gain(torch.device("cpu"))
    assert first > 0
    assert precision.bf16_gain(torch.device("cpu")) == first
