"""Decoding with prompts held once, and linear layers with reordered weights: the same numbers as without."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from accord.policy import packed, sample
from accord.policy.cascade import NAME, CascadeDecoder, reach
from accord.policy.decoding import CachedDecoder, Decoder, Network, evaluating
from accord.policy.packed import packed_linears
from accord.policy.sample import Sampling
from accord.testing import ARCHITECTURES, Architecture, tiny_model

PROMPTS = [list(b"A lamp on the old bridge by the river"), list(b"No"), list(b"The market")]
OWNERS = [0, 0, 0, 1, 2, 2, 2, 2]
CASCADING = set(ARCHITECTURES) - {"gemma2"}


def load(directory: Path, architecture: Architecture, **settings: Any) -> Any:
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_model(directory, architecture, **settings))
    return model


def steps(decoder: Decoder, count: int) -> list[torch.Tensor]:
    """Greedy decoding in which rows leave, one prompt's only row among them."""
    logits = [decoder.start(PROMPTS, OWNERS, count)]
    for step in range(count - 1):
        tokens = logits[-1].argmax(1)
        if step in (2, 5):
            kept = torch.tensor([0, 2, 4, 5, 6] if step == 2 else [1, 2, 4])
            decoder.keep(kept)
            tokens = tokens[kept]
        logits.append(decoder.advance(tokens))
    return logits


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_cascaded_logits_are_those_of_ordinary_decoding(architecture: Architecture, tmp_path: Path) -> None:
    """30 steps reach beyond every sliding window, and beyond the whole prompt."""
    model = load(tmp_path, architecture)
    with evaluating(model):
        network = Network(model)
        assert (reach(network) == float("inf")) == (architecture in CASCADING)
        if architecture not in CASCADING:
            return
        found, expected = (steps(decoder, 30) for decoder in (CascadeDecoder(network), CachedDecoder(network, 0)))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=0)
    assert model.config._attn_implementation != NAME


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "mistral"])
def test_autocast_cascades_too(architecture: Architecture, tmp_path: Path) -> None:
    """Rotary positions leave keys in float32 there, and values are in bf16."""
    model = load(tmp_path, architecture)
    with evaluating(model), torch.autocast("cpu", dtype=torch.bfloat16):
        assert reach(Network(model)) == float("inf")


def test_the_cascade_is_used_where_rows_share_a_prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(tmp_path, "qwen3")
    used: list[int] = []
    start = CascadeDecoder.start

    def noted(self: CascadeDecoder, prompts: Any, owners: Any, room: int) -> torch.Tensor:
        used.append(len(owners))
        return start(self, prompts, owners, room)

    monkeypatch.setattr(CascadeDecoder, "start", noted)

    def draw(n: int, **settings: Any) -> Any:
        sampling = Sampling(max_tokens=12, **settings)
        return sample.sample(model, PROMPTS, n=n, sampling=sampling, stop_ids=(65, 97, 101), pad_id=256)

    assert draw(2, seed=1)
    assert 6 not in used
    shared = draw(4, seed=1)
    assert used[-1] == 12
    monkeypatch.setattr(sample, "SHARERS", 100)
    for one, other in zip(shared, draw(4, seed=1), strict=True):
        assert [answer.tokens for answer in one] == [answer.tokens for answer in other]


def test_a_window_that_only_the_mask_knows_limits_the_cascade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AttentionInterface

    from accord.policy.engine.attention import NAME as SHARED

    functions = AttentionInterface._global_mapping
    for name in (NAME, SHARED):
        attend = functions[name]

        def silent(*arguments: Any, of: Any = attend, **named: Any) -> Any:
            return of(*arguments, **(named | {"sliding_window": None}))

        monkeypatch.setitem(functions, name, silent)
    model = load(tmp_path, "mistral")
    with evaluating(model):
        assert reach(Network(model)) == 24


def test_another_thread_sees_ordinary_attention(tmp_path: Path) -> None:
    model = load(tmp_path, "llama")
    ids = torch.arange(3, 23)[None]
    expected = model(input_ids=ids).logits
    with evaluating(model):
        decoder = CascadeDecoder(Network(model))
        decoder.start([[5, 6]], [0], 3)
        seen: list[torch.Tensor] = []
        with decoder._decoding():
            thread = threading.Thread(target=lambda: seen.append(model(input_ids=ids).logits))
            thread.start()
            thread.join()
    torch.testing.assert_close(seen[0], expected, atol=1e-5, rtol=0)


def network_of_linears() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(512, 300), nn.Linear(300, 256, bias=False), nn.Linear(256, 4))


@pytest.mark.skipif(not packed.AVAILABLE, reason="this PyTorch lacks the operators")
@pytest.mark.parametrize("rows", [1, 3, 40])
def test_packed_layers_give_the_same_products(rows: int) -> None:
    model, states = network_of_linears(), torch.randn(rows, 2, 512)
    with torch.no_grad():
        expected = model(states)
        with packed_linears(model):
            assert ["forward" in vars(layer) for layer in model] == [True, True, False]
            torch.testing.assert_close(model(states), expected, atol=1e-5, rtol=1e-5)
    assert not any("forward" in vars(layer) for layer in model)


def test_a_packed_layer_still_trains_in_another_thread() -> None:
    model = network_of_linears()
    with packed_linears(model):
        torch.autograd.backward(model(torch.randn(3, 512)).sum())
    assert all(p.grad is not None for p in model.parameters())


def test_what_may_not_be_packed_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network_of_linears()
    replaced = model[0].forward
    model[0].forward = replaced
    model[1].to(torch.bfloat16)
    with packed_linears(model):
        assert vars(model[0])["forward"] is replaced
        assert "forward" not in vars(model[1])
    with torch.autocast("cpu", dtype=torch.bfloat16), packed_linears(network_of_linears()) as nothing:
        assert nothing is None
    fresh = network_of_linears()
    monkeypatch.setattr(packed, "PACKED_BYTES", 1000)
    with packed_linears(fresh):
        assert not any("forward" in vars(layer) for layer in fresh)
