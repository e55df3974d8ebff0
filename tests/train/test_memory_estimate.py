"""What the memory estimate says is what a backward pass keeps, and what shares divide."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from accord.policy.load import load_policy
from accord.policy.policy import Dtype
from accord.recipes.footprint import footprint, unloaded
from accord.record import Encoded, EncodedResponse
from accord.testing import tiny_model
from accord.train.memory import MICRO_BATCH_TOKENS, chosen_micro_batch, estimate_memory

WIDE: dict[str, Any] = {"hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 4, "num_attention_heads": 4}
TOKENS = 256


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("wide"), "llama", num_key_value_heads=4, **WIDE)


def kept(model: Path, *, dtype: Dtype, rank: int, checkpointing: bool) -> int:
    """Bytes that autograd keeps of one micro-batch, copies of the weights left out."""
    policy = load_policy(model, dtype=dtype, lora_r=rank, gradient_checkpointing=checkpointing)
    # Prompts of one token, from which one is predicted: the last layer computes all.
    ids = [tuple(range(first, first + 128)) for first in range(3, 3 + TOKENS, 128)]
    batch = [Encoded(one[:1], (EncodedResponse(one[1:], (True,) * 127),)) for one in ids]
    weights = {tuple(parameter.shape) for parameter in policy.model.parameters()}
    own = {parameter.untyped_storage().data_ptr() for parameter in policy.model.parameters()}
    seen: dict[int, tuple[int, Tensor]] = {}

    def keep(tensor: Tensor) -> Tensor:
        copied = tuple(tensor.shape) in weights or tuple(tensor.t().shape if tensor.ndim == 2 else ()) in weights
        if tensor.untyped_storage().data_ptr() not in own and not copied:
            seen[tensor.untyped_storage().data_ptr()] = (tensor.untyped_storage().nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        policy.logprobs(batch)
    return sum(size for size, _ in seen.values())


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("rank", [0, 8])
def test_activations_are_what_autograd_keeps(dtype: Dtype, rank: int, wide: Path) -> None:
    model = unloaded(str(wide), dtype=dtype, rank=rank)
    # On the meta device nothing is added for the heap of a CPU.
    estimate = estimate_memory(model, dtype=dtype, tokens=TOKENS, checkpointing=False).activations
    running = TOKENS * (4 if dtype == "fp32" else 2) * 4 * (WIDE["hidden_size"] + WIDE["intermediate_size"])
    measured = kept(wide, dtype=dtype, rank=rank, checkpointing=False)
    assert 0.9 < (estimate - running) / measured < 1.3


def test_recomputation_keeps_one_state_a_layer(wide: Path) -> None:
    measured = kept(wide, dtype="fp32", rank=0, checkpointing=True)
    states = 4 * TOKENS * WIDE["hidden_size"] * WIDE["num_hidden_layers"]
    assert states <= measured < 2 * states


def test_shares_divide_what_lasts_and_gather_what_computes(wide: Path) -> None:
    model = unloaded(str(wide), dtype="fp32", rank=0)
    one, four = (
        estimate_memory(model, dtype="fp32", tokens=TOKENS, checkpointing=False, processes=count) for count in (1, 4)
    )
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert (one.weights, one.optimizer, one.gathered) == (4 * parameters, 8 * parameters, 0)
    assert four.weights == one.weights // 4
    assert four.optimizer == one.optimizer // 4
    assert four.activations == one.activations
    layer = sum(parameter.numel() for parameter in model.model.layers[0].parameters())
    beside = parameters - WIDE["num_hidden_layers"] * layer
    assert four.gathered == 2 * 4 * (2 * layer + beside)


def test_sampling_takes_the_cache_and_the_weights_that_are_in_shares(wide: Path) -> None:
    policy = load_policy(wide)
    one, four = (
        estimate_memory(policy.model, dtype="fp32", tokens=1, checkpointing=False, processes=count, sampled=TOKENS)
        for count in (1, 4)
    )
    with torch.no_grad():
        cache = policy.model(torch.ones(1, TOKENS, dtype=torch.long), use_cache=True).past_key_values
    assert one.sampling == sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert four.sampling - one.sampling == sum(parameter.nbytes for parameter in policy.model.parameters())
    micro_batch = four.gathered + four.activations + four.logits
    assert four.to_come == four.gradients + four.optimizer + max(micro_batch, four.sampling)


def test_adapters_need_gradients_and_moments_of_themselves_only(wide: Path) -> None:
    found = footprint(
        str(wide), dtype="bf16", rank=8, checkpointing=False, tokens=TOKENS, processes=1, trust_remote_code=False
    )
    assert found.memory.optimizer == 8 * found.trained
    assert found.trained < found.parameters / 4
    assert found.memory.weights < 2.5 * found.parameters


def test_operations_follow_what_is_trained_and_recomputed(wide: Path) -> None:
    model = unloaded(str(wide), dtype="fp32", rank=0)
    multiply = sum(parameter.numel() for parameter in model.parameters())
    if model.get_input_embeddings().weight is not model.get_output_embeddings().weight:
        multiply -= model.get_input_embeddings().weight.numel()
    found = [
        footprint(
            str(wide), dtype="fp32", rank=0, checkpointing=again, tokens=1, processes=1, trust_remote_code=False
        ).operations
        for again in (False, True)
    ]
    assert found == [6 * multiply, 8 * multiply]


def test_a_cpu_takes_fewer_tokens_of_a_larger_model_at_once(wide: Path) -> None:
    policy = load_policy(wide)
    sized = partial(chosen_micro_batch, policy.model, dtype="fp32", checkpointing=False)
    assert sized() == MICRO_BATCH_TOKENS
    policy.model.config.num_hidden_layers = 15
    assert 1024 < sized() < MICRO_BATCH_TOKENS
    policy.model.config.num_hidden_layers = 30
    assert sized() == 1024
    assert chosen_micro_batch(unloaded(str(wide), dtype="fp32", rank=0), dtype="fp32", checkpointing=False) == 4096
