"""Shared rows under block masks, as on a GPU: who sees whom, values and gradients, with the kernel's own mathematics.

PyTorch has no CPU kernel for the backward pass, but the definition that its kernels are generated from runs anywhere:
the fixture `kernel` compiles FlexAttention down to that.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn.attention import flex_attention as flex
from transformers import AttentionInterface, GptOssConfig, GptOssForCausalLM

from accord.policy.engine import block_mask, flash, probe
from accord.policy.engine.attention import NAME, sequence_attention, shared_prompts
from accord.policy.engine.block_mask import BLOCK, BlockMasks, block_attention, bucket
from accord.policy.engine.flash import merged_flash
from accord.policy.engine.probe import PADDED, find_engine
from accord.policy.layout import Layout, lay_out
from accord.policy.load import load_policy
from accord.policy.logprobs import Finish
from accord.policy.policy import Policy
from accord.record import Encoded, EncodedResponse
from accord.testing import Architecture, tiny_model

# The compiler looks at every tensor's gradient, and hides the warning that this gives where warnings are no errors.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")


def laid_out(sequences: Sequence[tuple[int, ...]]) -> tuple[Layout, list[list[int]]]:
    """A shared row's layout, and the places of each sequence in it."""
    row = lay_out(sequences)
    return Layout(row.segments, torch.tensor([row.depths]), 1 + max(row.depths), "attention", "blocks"), row.paths


def grown(seed: int, count: int, longest: int) -> list[tuple[int, ...]]:
    """Sequences of which many continue a beginning of another."""
    draw = random.Random(seed)
    sequences: list[tuple[int, ...]] = []
    for _ in range(count):
        start = draw.choice(sequences) if sequences and draw.random() < 0.7 else ()
        start = start[: draw.randint(0, len(start))]
        sequences.append(start + tuple(draw.randrange(100) for _ in range(draw.randint(1, longest))))
    return sequences


def definition(layout: Layout, paths: Sequence[Sequence[int]], window: int | None) -> Tensor:
    """`[L,L]` whether a token sees another: what stands before it in a sequence that has both."""
    length = layout.position_ids.shape[1]
    seen = torch.zeros(length, length, dtype=torch.bool)
    for path in paths:
        places = torch.tensor(path)
        apart = torch.arange(len(path))[:, None] - torch.arange(len(path))
        seen[places[:, None], places] = (apart >= 0) & (apart < (window or len(path)))
    return seen


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> CompileCounterWithBackend:
    """FlexAttention compiled down to its definition, with a backward pass; counts compilations."""
    torch._dynamo.reset()
    backend = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(flex.flex_attention, dynamic=False, fullgraph=True, backend=backend)
    monkeypatch.setattr(flex, "_validate_device", lambda query, key, value: None)
    monkeypatch.setattr(block_mask, "_kernel", lambda: compiled)
    return backend


@given(st.integers(0, 10_000), st.integers(1, 8), st.integers(1, 200), st.none() | st.integers(1, 300))
def test_the_mask_is_its_definition(seed: int, count: int, longest: int, window: int | None) -> None:
    layout, paths = laid_out(grown(seed, count, longest))
    length = layout.position_ids.shape[1]
    mask = BlockMasks(layout).under(window)
    filled = bucket(length)
    assert mask.shape == (1, 1, filled, filled)
    expected = torch.eye(filled, dtype=torch.bool)
    expected[:length, :length] = definition(layout, paths, window)
    assert torch.equal(flex.create_mask(mask.mask_mod, 1, 1, filled, filled, device="cpu")[0, 0], expected)
    tiles = expected.view(filled // BLOCK, BLOCK, filled // BLOCK, BLOCK).transpose(1, 2).flatten(2)
    partial, full = visited(mask.kv_num_blocks, mask.kv_indices), visited(mask.full_kv_num_blocks, mask.full_kv_indices)
    assert tiles[full].all(), "what is not looked at must be seen whole"
    assert not tiles[~(partial | full)].any(), "what is skipped must not be seen"
    assert not (partial & full).any()
    if window is None:
        assert torch.equal(full, tiles.all(-1))
        assert torch.equal(partial, tiles.any(-1) & ~tiles.all(-1))
    assert torch.equal(visited(mask.q_num_blocks, mask.q_indices), partial.T)
    assert torch.equal(visited(mask.full_q_num_blocks, mask.full_q_indices), full.T)


def visited(counts: Tensor | None, orders: Tensor | None) -> Tensor:
    """`[blocks,blocks]` whether a block's row of the lists names another."""
    assert counts is not None
    assert orders is not None
    named = torch.zeros(orders.shape[-2:], dtype=torch.bool)
    for block, (count, order) in enumerate(zip(counts[0, 0].tolist(), orders[0, 0], strict=True)):
        named[block, order[:count].long()] = True
    return named


@given(st.integers(1, 200_000))
def test_a_bucket_holds_the_row_and_little_more(length: int) -> None:
    filled = bucket(length)
    assert filled % BLOCK == 0
    assert length <= filled < max(length + BLOCK, 1.25 * length)
    assert bucket(filled) == filled


def test_buckets_are_few() -> None:
    assert len({bucket(length) for length in range(1, 2**16 + 1)}) == 32


States = tuple[Tensor, Tensor, Tensor]


def drawn(length: int, *, heads: int = 4, groups: int = 2, size: int = 24, value_size: int = 24) -> States:
    """Queries, keys and values."""
    generator = torch.Generator().manual_seed(length)

    def states(count: int, of: int) -> Tensor:
        return torch.randn(1, count, length, of, generator=generator).requires_grad_()

    return states(heads, size), states(groups, size), states(groups, value_size)


def with_gradients(out: Tensor, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Outputs, and the gradients of a mixture of them."""
    mixture = (out * torch.cos(torch.arange(out.numel())).view(out.shape)).sum()
    return (out.detach(), *torch.autograd.grad(mixture, inputs))


def assert_alike(found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize(
    ("window", "sizes"),
    [(None, {}), (40, {}), (None, {"groups": 4, "size": 20, "value_size": 12}), (7, {"groups": 1, "size": 32})],
)
def test_values_and_gradients_are_those_of_sequences(
    window: int | None, sizes: dict[str, int], kernel: CompileCounterWithBackend
) -> None:
    layout, _ = laid_out(grown(3, 6, 90))
    states = drawn(layout.position_ids.shape[1], **sizes)
    found = block_attention(*states, BlockMasks(layout).under(window), scale=0.3)
    expected = sequence_attention(*states, layout, scale=0.3, window=window)
    outcome_found = with_gradients(found, states)
    assert_alike(outcome_found, with_gradients(expected, states))
    if window is None and not sizes:
        assert_alike(outcome_found, with_gradients(merged_flash(*states, layout.segments, 0.3), states))


def by_definition(states: States, seen: Tensor, *, cap: float | None, sinks: Tensor | None) -> Tensor:
    query, key, value = states
    times = query.shape[1] // key.shape[1]
    scores = 0.4 * query @ key.repeat_interleave(times, 1).transpose(-1, -2)
    if cap is not None:
        scores = cap * torch.tanh(scores / cap)
    scores = scores.masked_fill(~seen, -torch.inf)
    if sinks is not None:
        scores = torch.cat([scores, sinks.view(1, -1, 1, 1).expand(1, -1, scores.shape[2], 1)], -1)
    return scores.softmax(-1)[..., : seen.shape[1]] @ value.repeat_interleave(times, 1)


@pytest.mark.parametrize("sunk", [False, True])
def test_soft_caps_and_sinks_are_those_of_the_definition(sunk: bool, kernel: CompileCounterWithBackend) -> None:
    layout, paths = laid_out(grown(5, 5, 80))
    states = drawn(layout.position_ids.shape[1])
    sinks = torch.tensor([-1.0, 0.5, 2.0, 30.0], requires_grad=True) if sunk else None
    inputs = states if sinks is None else (*states, sinks)
    masks = BlockMasks(layout)
    for cap, window in ((1.5, 50), (None, 50), (3.0, 50), (3.0, None), (1.5, 20)):  # layers that differ in one model
        found = block_attention(*states, masks.under(window), scale=0.4, cap=cap, sinks=sinks)
        expected = by_definition(states, definition(layout, paths, window), cap=cap, sinks=sinks)
        assert_alike(with_gradients(found, inputs), with_gradients(expected, inputs))


def test_bf16_stays_bf16_and_is_close(kernel: CompileCounterWithBackend) -> None:
    layout, _ = laid_out(grown(4, 5, 60))
    states = drawn(layout.position_ids.shape[1])
    query, key, value = (one.detach().bfloat16() for one in states)
    exact = sequence_attention(*states, layout, scale=0.2, window=None)
    for sinks in (None, torch.full((4,), -40.0)):  # a sink of almost no share changes nothing
        found = block_attention(query, key, value, BlockMasks(layout).under(None), scale=0.2, sinks=sinks)
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found.float(), exact, atol=5e-2, rtol=0)


def test_rows_of_one_bucket_share_a_kernel(kernel: CompileCounterWithBackend) -> None:
    for length in (45, 80, 128, 14, 77, 141):  # the last two fill their blocks
        layout, _ = laid_out([(*range(100), one, *range(length)) for one in (1, 2)])
        query, key, value = (by_token(one) for one in drawn(layout.position_ids.shape[1]))
        block_attention(query, key, value, BlockMasks(layout).under(None), scale=1.0)
        assert 128 < layout.position_ids.shape[1] <= 384
    assert kernel.frame_count == 2


def by_token(states: Tensor) -> Tensor:
    """States as they lie in memory in a model: all heads of a token together."""
    return states.transpose(1, 2).contiguous().transpose(1, 2)


def test_more_buckets_than_the_compilers_own_limit_are_all_compiled(kernel: CompileCounterWithBackend) -> None:
    with torch._dynamo.config.patch(recompile_limit=2), torch.no_grad():
        for blocks in range(1, 5):
            layout, _ = laid_out([tuple(range(BLOCK * blocks))])
            states = drawn(BLOCK * blocks, heads=1, groups=1, size=16, value_size=16)
            block_attention(*states, BlockMasks(layout).under(None), scale=1.0)
    assert kernel.frame_count == 4


def ids(count: int, seed: int) -> tuple[int, ...]:
    return tuple(torch.randint(3, 250, (count,), generator=torch.Generator().manual_seed(seed)).tolist())


BATCH = [
    Encoded(ids(150, 0), tuple(EncodedResponse(ids(count, count), (True,) * count) for count in (40, 1, 90))),
    Encoded(ids(1, 1), (EncodedResponse(ids(20, 2), (False, True) * 10),)),
]


@pytest.fixture
def tried_by_blocks(kernel: CompileCounterWithBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe tries block masks, as it does on a GPU."""
    monkeypatch.setattr(probe, "_attentions", lambda device: ("blocks", "parts"))


def outcome(policy: Policy) -> tuple[Tensor, dict[str, Tensor]]:
    """Log-probs, and the gradients of a mixture of them."""
    policy.model.zero_grad()
    values = policy.logprobs(BATCH)
    torch.autograd.backward((values * torch.cos(torch.arange(values.numel())).view(values.shape)).sum())
    return values.detach(), {name: p.grad.clone() for name, p in policy.trainable().items() if p.grad is not None}


@pytest.mark.usefixtures("tried_by_blocks")
@pytest.mark.parametrize(
    ("architecture", "settings"),
    [("qwen3", {}), ("gemma2", {"gradient_checkpointing": True}), ("mistral", {"lora_r": 4}), ("gpt2", {})],
)
def test_models_read_shared_rows_under_a_block_mask(
    architecture: Architecture, settings: dict[str, Any], tmp_path: Path, kernel: CompileCounterWithBackend
) -> None:
    policy = load_policy(tiny_model(tmp_path, architecture), **settings)
    assert policy.engine.reading == "attention"
    assert policy.engine.attention == "blocks"
    assert policy.engine.note == "each prompt once, shared by its responses"
    assert kernel.frame_count > 0, "compiled, though attention is left out of compiled layers"
    layout = policy.rows(BATCH).layout
    assert layout is not None
    assert layout.attention == "blocks"
    values, gradients = outcome(policy)
    expected_values, expected = outcome(dataclasses.replace(policy, engine=PADDED))
    torch.testing.assert_close(values, expected_values, atol=1e-5, rtol=1e-6)
    assert gradients.keys() == expected.keys()
    largest = max(float(gradient.norm()) for gradient in expected.values())
    for name, gradient in expected.items():
        assert float((gradients[name] - gradient).norm()) <= 1e-4 * max(float(gradient.norm()), 1e-3 * largest), name


@pytest.mark.usefixtures("tried_by_blocks")
def test_bf16_models_read_under_a_block_mask(tmp_path: Path) -> None:
    policy = load_policy(tiny_model(tmp_path, "gemma3"), dtype="bf16")
    assert policy.engine.attention == "blocks"
    with torch.inference_mode():
        expected = dataclasses.replace(policy, engine=PADDED).logprobs(BATCH)
        torch.testing.assert_close(policy.logprobs(BATCH), expected, atol=0.15, rtol=0)


@pytest.mark.usefixtures("tried_by_blocks")
def test_attention_sinks_are_shared_under_a_block_mask() -> None:
    torch.manual_seed(0)
    config = GptOssConfig(
        vocab_size=256,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        num_local_experts=2,
        num_experts_per_tok=1,
        sliding_window=24,
        max_position_embeddings=512,
    )
    model = GptOssForCausalLM(config).train(mode=False)
    for name, parameter in model.named_parameters():
        if name.endswith("sinks"):
            torch.nn.init.normal_(parameter)
    assert find_engine(model, Finish()).attention == "blocks"


@pytest.mark.parametrize("by", ["blocks", "parts", "flash"])
def test_a_tokens_heads_lie_together(
    by: str, kernel: CompileCounterWithBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models may view what attention gives as `[1,L,H*D]`."""
    layout, _ = laid_out([ids(7, 1), ids(5, 2)])
    monkeypatch.setattr(flash, "AVAILABLE", by == "flash")
    layout = layout if by == "blocks" else dataclasses.replace(layout, attention="parts")
    attend = AttentionInterface._global_mapping[NAME]
    with shared_prompts(torch.nn.Identity(), layout):
        out, _ = attend(torch.nn.Identity(), *drawn(12), None)
    assert out.shape == (1, 12, 4, 24)
    assert out.is_contiguous()


@pytest.fixture
def broken(tried_by_blocks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler that fails."""

    def fail(*arguments: object, **named: object) -> Tensor:
        raise RuntimeError("no kernel for this head size")

    monkeypatch.setattr(block_mask, "_kernel", lambda: fail)


@pytest.mark.usefixtures("broken")
def test_without_a_kernel_rows_are_read_in_parts(tmp_path: Path) -> None:
    policy = load_policy(tiny_model(tmp_path))
    assert policy.engine.reading == "attention"
    assert policy.engine.attention == "parts"
    reason = "without a block mask: it cannot read a shared row (no kernel for this head size)"
    assert policy.engine.note == f"each prompt once, shared by its responses, {reason}"
    assert policy.logprobs(BATCH).isfinite().all()


@pytest.mark.usefixtures("broken")
def test_what_neither_way_can_read_goes_to_the_cache(tmp_path: Path) -> None:
    policy = load_policy(tiny_model(tmp_path, "gemma2"))
    assert policy.engine.reading == "cache"
    assert "no kernel" in policy.engine.note
    assert "softcap" in policy.engine.note


def test_a_kernel_that_skips_a_block_too_many_is_found_out(
    tmp_path: Path, tried_by_blocks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = BlockMasks._blocks

    def forgetful(self: BlockMasks, window: int | None) -> tuple[Tensor, Tensor]:
        some, full = blocks(self, window)
        return some & ~full, torch.zeros_like(full)

    def with_blocks(make: Callable[..., Any]) -> Callable[..., Any]:
        """The definition looks at single tokens only; as a kernel, it would go by the blocks."""

        def made(self: BlockMasks, window: int | None) -> Any:
            mask = make(self, window)
            dense = mask.to_dense()[0, 0].bool()
            sees = mask.mask_mod
            mask.mask_mod = lambda b, h, q, k: sees(b, h, q, k) & dense[q // BLOCK, k // BLOCK]
            return mask

        return made

    monkeypatch.setattr(BlockMasks, "_make", with_blocks(BlockMasks._make))
    path = tiny_model(tmp_path)
    assert load_policy(path).engine.attention == "blocks"
    monkeypatch.setattr(BlockMasks, "_blocks", forgetful)
    engine = load_policy(path).engine
    assert engine.attention == "parts"
    assert "without a block mask: reading all at once would change" in engine.note


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")  # used by the compiler
def test_a_compiled_kernel_gives_the_values_of_sequences() -> None:
    """The forward pass of the real compiler, which a CPU has: it goes by the blocks."""
    torch._dynamo.reset()
    layout, _ = laid_out([ids(300, 5) + ids(count, count) for count in (90, 150)])
    query, key, value = (one.detach() for one in drawn(layout.position_ids.shape[1], size=32, value_size=32))
    masks = BlockMasks(layout)
    with torch.inference_mode():
        for window in (None, 50):
            found = block_attention(query, key, value, masks.under(window), scale=0.3)
            expected = sequence_attention(query, key, value, layout, scale=0.3, window=window)
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
