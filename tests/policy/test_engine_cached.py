"""The key-value cache as the second rung: exact where attention cannot be shared at once, refused where it is not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from accord.errors import ModelError
from accord.policy.engine.probe import find_engine
from accord.policy.logprobs import find_finish, token_logprobs
from accord.policy.rows import Rows, padded_rows, shared_row
from accord.record import Encoded, EncodedResponse

SIZES = {
    "vocab_size": 128,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
LINEAR = dict.fromkeys(("linear_num_value_heads", "linear_num_key_heads"), 2) | dict.fromkeys(
    ("linear_key_head_dim", "linear_value_head_dim"), 8
)
BY_CACHE: dict[str, tuple[str, dict[str, Any]]] = {
    "sinks and windows": ("gpt_oss", {**EXPERTS, "sliding_window": 12}),
    "soft-capping and windows": ("gemma2", {"sliding_window": 12}),
    "biases by position": ("bloom", {"n_layer": 4, "n_head": 4}),
    "attention outside of the interface": ("gptj", {"n_embd": 32, "n_layer": 4, "n_head": 4, "rotary_dim": 8}),
    "convolutions": ("lfm2", {"layer_types": ["conv", "full_attention"] * 2}),
    "linear attention": ("qwen3_5_text", {**LINEAR, "layer_types": ["linear_attention", "full_attention"] * 2}),
}
BATCH = [
    Encoded(
        tuple(range(3, 33)),
        tuple(EncodedResponse(tuple(range(first, first + 20)), (True,) * 20) for first in (40, 60, 80)),
    ),
    Encoded((5, 6, 7), (EncodedResponse((8, 9), (True, True)), EncodedResponse((8, 10, 11), (False, True, True)))),
    Encoded((90,), (EncodedResponse((91, 92), (True, True)),)),
]


def tiny(family: str, **settings: Any) -> Any:
    known = SIZES if "n_embd" not in settings else {"vocab_size": 128}
    make: Any = AutoModelForCausalLM.from_config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make(AutoConfig.for_model(family, **{**known, **settings}), dtype=torch.float32)
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


def outcome(model: Any, rows: Rows) -> tuple[Tensor, dict[str, Tensor]]:
    model.zero_grad()
    values = rows.unfold(token_logprobs(model, rows, find_finish(model)))
    torch.autograd.backward((values * torch.cos(torch.arange(len(values)))).sum())
    return values.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", BY_CACHE)
def test_a_shared_cache_is_exact(kind: str) -> None:
    family, settings = BY_CACHE[kind]
    model = tiny(family, **settings)
    engine = find_engine(model, find_finish(model))
    assert engine.reading == "cache", engine.note
    assert engine.limit is None
    values, gradients = outcome(model, shared_row(BATCH, by="cache"))
    expected, separate = outcome(model, padded_rows(BATCH))
    torch.testing.assert_close(values, expected, atol=2e-5, rtol=1e-5)
    largest = max(float(gradient.norm()) for gradient in separate.values())
    for name, gradient in separate.items():
        norm = max(float(gradient.norm()), 1e-3 * largest)
        assert float((gradients[name] - gradient).norm()) <= 1e-3 * norm, name


@pytest.mark.parametrize(("family", "settings"), [("mamba", {}), ("jamba", {**EXPERTS, "attn_layer_period": 2})])
def test_states_that_cannot_be_continued_are_not_shared(family: str, settings: dict[str, Any]) -> None:
    model = tiny(family, **settings, **({} if family == "mamba" else {"attn_layer_offset": 1, "num_experts": 2}))
    engine = find_engine(model, find_finish(model))
    assert engine.reading is None, engine.note
    assert "cache" in engine.note


def test_an_encoder_is_refused() -> None:
    with pytest.raises(ModelError, match="not causal"):
        find_engine(model := tiny("bert"), find_finish(model))
    model = tiny("bert", is_decoder=True)
    assert find_engine(model, find_finish(model)).reading == "attention"
