"""Shared prompts give what separate forward passes give, whatever the lengths, architectures and ways of running."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.cache_utils import DynamicLayer

from accord.policy.engine import flash, probe
from accord.policy.engine.attention import NAME, recompute_contexts, shared_prompts
from accord.policy.engine.last_layer import Asked
from accord.policy.engine.probe import PADDED, Engine, find_engine
from accord.policy.layout import Segment, lay_out
from accord.policy.load import load_policy
from accord.policy.logprobs import Finish, token_logprobs
from accord.policy.policy import Policy
from accord.policy.rows import Rows, padded_rows, shared_row
from accord.policy.sample import Sampling, sample
from accord.record import Encoded, EncodedResponse
from accord.testing import ARCHITECTURES, Architecture, tiny_model

SHARING = [name for name in ARCHITECTURES if name != "gemma2"]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Policy]:
    """A policy of an architecture, read once a module for each way of loading it."""
    loaded: dict[str, Policy] = {}

    def policy(architecture: Architecture = "llama", **settings: object) -> Policy:
        key = repr((architecture, settings))
        if key not in loaded:
            directory = tiny_model(tmp_path_factory.mktemp("model"), architecture)
            loaded[key] = load_policy(directory, **settings)  # type: ignore[arg-type]
        return loaded[key]

    return policy


def group(random: torch.Generator, prompt: int, responses: Sequence[Sequence[bool]]) -> Encoded:
    def ids(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, 250, (count,), generator=random).tolist())

    return Encoded(ids(prompt), tuple(EncodedResponse(ids(len(trained)), tuple(trained)) for trained in responses))


def groups(seed: int, shapes: Sequence[tuple[int, Sequence[Sequence[bool]]]]) -> list[Encoded]:
    random = torch.Generator().manual_seed(seed)
    return [group(random, prompt, responses) for prompt, responses in shapes]


RAGGED = groups(
    0,
    [
        (9, [[True] * 7, [True], [False, True, False, True, False]]),
        (1, [[True] * 4, [True] * 4]),
        (30, [[True] * 12] * 8),
        (5, [[False] * 3, [True] * 33]),
        (4, []),
    ],
)


def separate_logprobs(policy: Policy, batch: Sequence[Encoded]) -> list[Tensor]:
    """One forward pass of the model itself for each response, without padding; trained tokens in order."""
    values = []
    for encoded in batch:
        for response in encoded.responses:
            logits = policy.model(input_ids=torch.tensor([encoded.prompt + response.tokens]), use_cache=False).logits
            rows = torch.log_softmax(logits[0, len(encoded.prompt) - 1 : -1].float(), -1)
            chosen = rows.gather(-1, torch.tensor(response.tokens)[:, None]).squeeze(-1)
            values.append(chosen[torch.tensor(response.trained)])
    return values


def gradients(policy: Policy, values: Tensor) -> dict[str, Tensor]:
    """Of a mixture of log-probs, by parameter."""
    policy.model.zero_grad()
    torch.autograd.backward((values * torch.cos(torch.arange(len(values)))).sum())
    return {name: p.grad.clone() for name, p in policy.trainable().items() if p.grad is not None}


def assert_equal_outcome(policy: Policy, rows: Rows, batch: Sequence[Encoded]) -> None:
    together = rows.unfold(policy.logprobs(rows))
    apart = torch.cat(separate_logprobs(policy, batch))
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-6)
    got, expected = gradients(policy, together), gradients(policy, apart)
    assert got.keys() == expected.keys()
    for name in expected:
        # A gradient that is zero in exact arithmetic (a bias of keys) is rounding only: compare with the largest.
        norm = max(float(expected[name].norm()), 1e-3 * max(float(g.norm()) for g in expected.values()))
        assert float((got[name] - expected[name]).norm()) <= 1e-4 * norm, name


@pytest.mark.parametrize("architecture", SHARING)
def test_a_shared_row_equals_separate_forwards(architecture: Architecture, load: Callable[..., Policy]) -> None:
    policy = load(architecture)
    # GPT-2 gives what its last layer made the shape of its input.
    assert policy.engine == Engine("attention", policy.engine.note, asked_only=architecture != "gpt2")
    rows = policy.rows(RAGGED)
    assert rows.input_ids.shape[0] == 1
    assert_equal_outcome(policy, rows, RAGGED)


@pytest.mark.parametrize("piece", [1, 5])
def test_spans_cut_into_pieces_equal_separate_forwards(
    piece: int, load: Callable[..., Policy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flash, "PIECE", piece)
    policy = load("qwen3")
    assert_equal_outcome(policy, policy.rows(RAGGED), RAGGED)


@pytest.mark.parametrize("architecture", ["llama", "mistral", "gpt2"])
def test_the_public_kernel_equals_separate_forwards(
    architecture: Architecture, load: Callable[..., Policy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flash, "AVAILABLE", False)
    policy = load(architecture)
    assert_equal_outcome(policy, policy.rows(RAGGED), RAGGED)


CONVERSATION = [
    Encoded((5, 6, 7, 8), tuple(EncodedResponse(tokens, (True,) * 4) for tokens in ((9, 10, 11, 2), (9, 10, 12, 2)))),
    Encoded(
        (5, 6, 7, 8, 9, 10, 11, 2, 13, 14), tuple(EncodedResponse(tokens, (True,) * 3) for tokens in ((15, 16, 2),) * 2)
    ),
    Encoded((5, 6, 7, 8, 9, 10, 11, 2, 13, 14, 15, 16, 2, 17), (EncodedResponse((18, 19, 20), (False, True, True)),)),
    Encoded((5, 6, 21), (EncodedResponse((22, 2), (True, True)),)),
]
"""Turns of one conversation, each Group's prompt a beginning of the next one's, and another that starts alike."""


@pytest.mark.parametrize("architecture", ["qwen3", "mistral", "gpt2", "gemma2"])
def test_turns_of_a_conversation_are_read_once(architecture: Architecture, load: Callable[..., Policy]) -> None:
    policy = load(architecture)
    rows = policy.rows(CONVERSATION)
    sequences = {one.prompt + response.tokens[:-1] for one in CONVERSATION for response in one.responses}
    beginnings = {sequence[:end] for sequence in sequences for end in range(1, len(sequence) + 1)}
    assert rows.input_ids.shape == (1, len(beginnings))
    assert_equal_outcome(policy, rows, CONVERSATION)


def test_padded_rows_equal_separate_forwards(load: Callable[..., Policy]) -> None:
    policy = load("gemma2")
    assert_equal_outcome(policy, padded_rows(RAGGED), RAGGED)


def test_a_shared_cache_equals_separate_forwards(load: Callable[..., Policy]) -> None:
    policy = load("gemma2")  # soft-capped; every other layer sees 24 tokens back
    assert policy.engine.reading == "cache"
    assert policy.engine.limit is None
    assert "softcap" in policy.engine.note
    rows = policy.rows(RAGGED)
    assert rows.input_ids.shape[0] == 1
    assert_equal_outcome(policy, rows, RAGGED)


TRAINED = st.lists(st.booleans(), min_size=1, max_size=12)
SHAPES = st.lists(st.tuples(st.integers(1, 20), st.lists(TRAINED, min_size=1, max_size=8)), min_size=1, max_size=4)


@given(SHAPES, st.integers(0, 1000))
@settings(max_examples=25)
def test_any_lengths_and_masks(
    load: Callable[..., Policy], shapes: list[tuple[int, list[list[bool]]]], seed: int
) -> None:
    policy, batch = load("qwen3"), groups(seed, shapes)
    if not any(any(response.trained) for encoded in batch for response in encoded.responses):
        assert policy.logprobs(batch).abs().sum() == 0
        return
    assert_equal_outcome(policy, policy.rows(batch), batch)


def test_results_do_not_depend_on_what_shares_the_row(load: Callable[..., Policy]) -> None:
    policy = load("qwen3")
    with torch.inference_mode():
        together = policy.logprobs(RAGGED)
        for b, encoded in enumerate(RAGGED):
            alone = policy.logprobs([encoded])[0]
            torch.testing.assert_close(together[b, : alone.shape[0], : alone.shape[1]], alone, atol=1e-5, rtol=0)


def test_a_prompt_of_several_groups_stands_once() -> None:
    prompt = (5, 6, 7)
    answers = [EncodedResponse((8, 9), (True, True)), EncodedResponse((10,), (True,))]
    rows = shared_row([Encoded(prompt, (answers[0],)), Encoded(prompt, (answers[1],))])
    assert rows.input_ids.tolist() == [[5, 6, 7, 8]]
    assert rows.place.tolist() == [2, 3, 2]
    assert rows.mask.shape == (2, 1, 2)


def test_only_what_predicts_is_read() -> None:
    late = EncodedResponse((8, 9, 10, 11), (False, True, False, False))
    never = EncodedResponse((12, 13), (False, False))
    rows = shared_row([Encoded((5, 6), (late, never)), Encoded((7,), (never,))])
    assert rows.input_ids.tolist() == [[5, 6, 8]]
    assert padded_rows([Encoded((5, 6), (late, never))]).input_ids.tolist() == [[5, 6, 8]]
    whole = shared_row([Encoded((5, 6), (late, never))], whole=True)
    assert whole.input_ids.tolist() == [[5, 6, 8, 9, 10, 11, 12, 13]]
    assert whole.last.tolist() == [5, 7]


def test_rewards_are_those_of_padded_rows(tmp_path: Path) -> None:
    policy = load_policy(tiny_model(tmp_path), reward=True)
    assert policy.reward_head is not None
    nn.init.normal_(policy.reward_head.score.weight)
    batch = RAGGED[:4]
    shared = policy.rewards(policy.rows(batch))
    torch.testing.assert_close(shared, policy.rewards(padded_rows(batch, whole=True)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_tied_embeddings_get_one_dense_gradient(architecture: Architecture, load: Callable[..., Policy]) -> None:
    policy = load(architecture)
    embeddings = policy.model.get_input_embeddings()
    assert embeddings.weight is policy.model.get_output_embeddings().weight
    policy.model.zero_grad()
    for _ in range(2):
        torch.autograd.backward(policy.logprobs(RAGGED).sum())
        assert embeddings.weight.grad.layout == torch.strided
        assert not embeddings.sparse
    twice = embeddings.weight.grad.clone()
    policy.model.zero_grad()
    torch.autograd.backward(torch.cat(separate_logprobs(policy, RAGGED)).sum())
    torch.testing.assert_close(twice, 2 * embeddings.weight.grad, atol=2e-3, rtol=1e-4)


@pytest.mark.parametrize("lora_r", [0, 4])
def test_checkpointed_layers_are_recomputed_as_they_ran(lora_r: int, load: Callable[..., Policy]) -> None:
    found = []
    for checkpointing in (False, True):
        policy = load("qwen3", lora_r=lora_r, gradient_checkpointing=checkpointing, seed=1)
        rows = policy.rows(RAGGED)
        found.append(gradients(policy, rows.unfold(policy.logprobs(rows))))
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-6, rtol=1e-4)


def test_adapters_share_prompts_too(load: Callable[..., Policy]) -> None:
    policy = load("mistral", lora_r=4, seed=2)
    with torch.no_grad():
        for p in policy.trainable().values():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(3)))
    assert_equal_outcome(policy, policy.rows(RAGGED), RAGGED)
    untouched = load_policy(policy.source)
    with torch.inference_mode(), policy.start():
        started = policy.logprobs(RAGGED)
        base = untouched.logprobs(RAGGED)
    torch.testing.assert_close(started, base, atol=1e-6, rtol=0)


@pytest.mark.skipif(flash.MATRIX_UNITS or not flash.AVAILABLE, reason="this machine has units for bf16")
def test_attention_in_bf16_is_rounded_once_at_its_end() -> None:
    segments = (Segment(0, 5, 9), Segment(5, 7, 7), Segment(7, 9, 9))
    random = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, heads, 9, 4, generator=random).bfloat16() for heads in (4, 2, 2))
    got = flash.merged_flash(query, key, value, segments, 0.5)
    exact = flash.merged_flash(query.float(), key.float(), value.float(), segments, 0.5)
    assert torch.equal(got, exact.bfloat16())


def test_bf16_is_close(load: Callable[..., Policy]) -> None:
    exact, rounded = load("qwen3"), load("qwen3", dtype="bf16")
    rows = exact.rows(RAGGED)
    expected, got = exact.logprobs(rows), rounded.logprobs(rows)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected, atol=0.15, rtol=0)
    for name, gradient in gradients(rounded, rows.unfold(got)).items():
        reference = gradients(exact, rows.unfold(exact.logprobs(rows)))[name]
        assert float((gradient - reference).norm()) <= 0.1 * float(reference.norm()) + 1e-3, name


def test_the_model_is_left_as_it_was(load: Callable[..., Policy], tmp_path: Path) -> None:
    policy = load("llama")
    implementation = policy.model.config._attn_implementation
    prompts = [list(encoded.prompt) for encoded in RAGGED]

    def drawn() -> object:
        settings = Sampling(max_tokens=5, seed=1)
        return sample(policy.model, prompts, n=2, sampling=settings, stop_ids=(2,), pad_id=0)

    before = drawn()
    torch.autograd.backward(policy.logprobs(RAGGED).sum())
    assert policy.model.config._attn_implementation == implementation
    assert drawn() == before
    twin = copy.deepcopy(policy)
    torch.testing.assert_close(twin.logprobs(RAGGED), policy.logprobs(RAGGED), atol=0, rtol=0)
    rows = policy.rows(RAGGED)
    assert rows.layout is not None
    with shared_prompts(policy.model, rows.layout):
        assert policy.model.config._attn_implementation == NAME
        policy.save(tmp_path / "saved")
    assert NAME not in (tmp_path / "saved" / "config.json").read_text()
    assert "attn_implementation" not in json.loads((tmp_path / "saved" / "config.json").read_text())


def test_an_error_inside_leaves_the_model_as_it_was(load: Callable[..., Policy]) -> None:
    policy = load("llama")
    rows = policy.rows(RAGGED)
    assert rows.layout is not None
    implementation = policy.model.config._attn_implementation
    asked = Asked.of(rows.layout.segments, rows.place)
    with pytest.raises(KeyError), shared_prompts(policy.model, rows.layout, asked):
        raise KeyError
    assert policy.model.config._attn_implementation == implementation
    assert "forward" not in vars(policy.model.model.layers[-1])
    forward, recompute = recompute_contexts()
    with forward, recompute:
        assert policy.model.config._attn_implementation == implementation


def test_without_a_layout_the_function_is_ordinary_attention(load: Callable[..., Policy]) -> None:
    """What another thread sees that uses the model while this one shares prompts."""
    policy = load("mistral")
    ids = torch.arange(3, 43)[None]
    expected = policy.model(input_ids=ids).logits
    policy.model.config._attn_implementation, before = NAME, policy.model.config._attn_implementation
    try:
        torch.testing.assert_close(policy.model(input_ids=ids).logits, expected, atol=1e-6, rtol=0)
    finally:
        policy.model.config._attn_implementation = before


def test_the_last_layer_computes_only_what_is_asked_for(load: Callable[..., Policy]) -> None:
    """All but the tokens from which a trained one is predicted ends in the last layer's attention."""
    policy = load("llama")
    seen: list[int] = []
    hooks = [
        layer.mlp.register_forward_hook(lambda module, given, output: seen.append(output.shape[1]))
        for layer in policy.model.model.layers
    ]
    rows = policy.rows(RAGGED)
    try:
        policy.logprobs(rows)
    finally:
        for hook in hooks:
            hook.remove()
    # The second response of the fourth group is all that it trains; the first of the first is read to its sixth token.
    trained = (7 - 1 + 4 - 1) + (3 + 3) + 8 * 11 + 32
    assert rows.input_ids.shape[1] == 9 + 1 + 30 + 5 + trained
    assert seen == [rows.input_ids.shape[1], 4 + trained]


@given(st.lists(st.lists(st.integers(3, 5), min_size=1, max_size=6), min_size=1, max_size=6), st.data())
@settings(max_examples=50)
def test_what_is_asked_for_is_computed(sequences: list[list[int]], data: st.DataObject) -> None:
    row = lay_out([tuple(sequence) for sequence in sequences])
    at = data.draw(st.lists(st.integers(0, len(row.ids) - 1), min_size=1))
    asked = Asked.of(row.segments, torch.tensor(at))
    if asked is None:
        return
    computed = asked.computed.tolist()
    assert [computed[index] for index in asked.place.tolist()] == at
    assert sorted(computed + asked.others.tolist()) == list(range(len(row.ids)))
    for segment, start in zip(row.segments, asked.starts, strict=True):
        wanted = [index for index in at if segment.begin <= index < segment.end]
        assert start == min(wanted, default=segment.end)
        assert [index for index in computed if segment.begin <= index < segment.end] == [*range(start, segment.end)]


def test_a_model_that_reads_every_state_to_the_end_computes_all(tmp_path: Path) -> None:
    """Such as one that adds embeddings to what its layers give."""
    policy = load_policy(tiny_model(tmp_path))
    embedded: list[Tensor] = []
    network = policy.model.model
    network.embed_tokens.register_forward_hook(lambda module, given, output: embedded.append(output))
    network.norm.register_forward_pre_hook(lambda module, given: (given[0] + embedded.pop(),))
    engine = find_engine(policy.model, policy.finish)
    assert engine.reading == "attention"
    assert not engine.asked_only
    changed = dataclasses.replace(policy, engine=engine)
    assert_equal_outcome(changed, changed.rows(RAGGED), RAGGED)


def test_another_thread_sees_the_last_layer_as_it_was(load: Callable[..., Policy]) -> None:
    policy = load("qwen3")
    ids = torch.arange(3, 43)[None]
    rows = policy.rows(RAGGED)
    assert rows.layout is not None

    def logits() -> Tensor:
        with torch.no_grad():
            found: Tensor = policy.model(input_ids=ids).logits
        return found

    expected = logits()
    with (
        shared_prompts(policy.model, rows.layout, Asked.of(rows.layout.segments, rows.place)),
        ThreadPoolExecutor(1) as other,
    ):
        torch.testing.assert_close(other.submit(logits).result(), expected, atol=1e-6, rtol=0)


def test_another_thread_may_ask_for_something_else(load: Callable[..., Policy]) -> None:
    policy = load("qwen3")
    rows = policy.rows(RAGGED)
    assert rows.layout is not None

    def scored() -> Tensor:
        with torch.no_grad():
            return policy.logprobs(RAGGED)

    expected = scored()
    with (
        shared_prompts(policy.model, rows.layout, Asked.of(rows.layout.segments, rows.place[:3])),
        ThreadPoolExecutor(1) as other,
    ):
        torch.testing.assert_close(other.submit(scored).result(), expected, atol=1e-6, rtol=0)


class TwoPaths(nn.Module):
    """Changes what a layer's attention gives by something that depends on the place in the row."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, hidden_states: Tensor, **arguments: object) -> object:
        out, weights = self.inner(hidden_states=hidden_states, **arguments)
        return out + 0.1 * torch.nn.functional.pad(hidden_states, (0, 0, 1, 0))[:, :-1], weights


def test_a_layer_that_looks_at_its_neighbour_is_not_shared(tmp_path: Path) -> None:
    policy = load_policy(tiny_model(tmp_path))
    layer = policy.model.model.layers[1]
    layer.self_attn = TwoPaths(layer.self_attn)
    engine = find_engine(policy.model, policy.finish)
    assert engine.reading is None
    assert "change" in engine.note


def test_a_layer_without_attention_is_not_read_at_once(tmp_path: Path) -> None:
    policy = load_policy(tiny_model(tmp_path))
    policy.model.model.layers[1].self_attn.forward = lambda hidden_states, **arguments: (hidden_states, None)
    engine = find_engine(policy.model, policy.finish)
    assert engine.reading == "cache"
    assert "2 layers call ordinary attention 1 times" in engine.note


def test_a_window_that_only_the_mask_knows_limits_sharing(
    load: Callable[..., Policy], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = load("mistral")
    functions = AttentionInterface._global_mapping
    attend = functions[NAME]

    def silent(*arguments: object, **named: object) -> object:
        return attend(*arguments, **(named | {"sliding_window": None}))

    monkeypatch.setitem(functions, NAME, silent)
    engine = find_engine(policy.model, policy.finish)
    assert engine.limit == 24
    assert engine.reading_up_to(24) == "attention"
    assert engine.reading_up_to(25) is None


def test_a_cache_that_forgets_what_the_probe_cannot_reach_limits_sharing(
    load: Callable[..., Policy], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = load("gemma2")
    monkeypatch.setattr(probe, "_PROBED_WINDOW", 23)
    engine = find_engine(policy.model, policy.finish)
    assert engine.limit == 24
    assert engine.reading_up_to(24) == "cache"
    assert engine.reading_up_to(25) is None


def test_checkpointing_keeps_no_cache(load: Callable[..., Policy]) -> None:
    policy = load("gemma2", gradient_checkpointing=True)
    assert policy.engine.reading is None
    assert "softcap" in policy.engine.note
    assert "checkpointing" in policy.engine.note
    assert_equal_outcome(policy, policy.rows(RAGGED), RAGGED)


def test_a_cache_without_gradients_is_not_shared(load: Callable[..., Policy], monkeypatch: pytest.MonkeyPatch) -> None:
    def detached(self: DynamicLayer, beam_idx: Tensor) -> None:
        assert self.keys is not None
        assert self.values is not None
        self.keys = self.keys.detach().index_select(0, beam_idx)
        self.values = self.values.detach().index_select(0, beam_idx)

    policy = load("gemma2")
    monkeypatch.setattr(DynamicLayer, "reorder_cache", detached)
    engine = find_engine(policy.model, policy.finish)
    assert engine.reading is None
    assert "a shared cache would change its results" in engine.note


def test_the_cost_of_a_batch_is_what_is_read(load: Callable[..., Policy]) -> None:
    assert load("llama").cost(2, 10, 14) == 14
    padded = dataclasses.replace(load("llama"), engine=PADDED)
    assert padded.cost(2, 10, 14) == 20


@pytest.mark.parametrize("architecture", ["qwen3", "gemma2"])
def test_entropies_are_those_of_the_models_own_logits(architecture: Architecture, load: Callable[..., Policy]) -> None:
    policy = load(architecture)
    encoded = RAGGED[0]
    with torch.inference_mode():
        values, entropies = policy.logprobs_and_entropies([encoded], temperature=0.7)
        torch.testing.assert_close(values, policy.logprobs([encoded], temperature=0.7), atol=1e-5, rtol=0)
        ids = torch.tensor([encoded.prompt + encoded.responses[0].tokens])
        logits = policy.model(input_ids=ids).logits[0, len(encoded.prompt) - 1 : -1].float() / 0.7
    logprobs = torch.log_softmax(logits, -1)
    expected = -(logprobs.exp() * logprobs).sum(-1)
    torch.testing.assert_close(entropies[0, 0], expected, atol=1e-5, rtol=0)
    assert entropies[0, 2].tolist()[0] == 0, "untrained"


def test_nothing_trained_gives_zeros(load: Callable[..., Policy]) -> None:
    policy = load("llama")
    batch = [Encoded((5, 6), (EncodedResponse((7,), (False,)),)), Encoded((8,), ())]
    assert policy.logprobs(batch).tolist() == [[[0.0]], [[0.0]]]
    assert token_logprobs(policy.model, padded_rows(batch), Finish()).sum() == 0
