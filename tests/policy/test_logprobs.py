"""The log-prob call against a plain forward pass, on every family of architectures."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from accord.policy.load import load_policy
from accord.policy.logprobs import Finish, find_finish, token_logprobs, token_logprobs_and_entropies
from accord.policy.policy import Policy
from accord.policy.rows import padded_rows, shared_row
from accord.record import Encoded, EncodedResponse
from accord.testing import ARCHITECTURES, Architecture, tiny_model

PROMPTS = ((5, 9, 17, 33), (8, 6))
BATCH = [
    Encoded(PROMPTS[0], (EncodedResponse((40, 41, 42), (True,) * 3), EncodedResponse((50, 51), (True, True)))),
    Encoded(PROMPTS[1], (EncodedResponse((60, 61, 62, 63, 64), (True, False, False, True, True)),)),
]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def policy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return load_policy(tiny_model(tmp_path_factory.mktemp("model"), request.param))


def plain_logprobs(policy: Policy, prompt: tuple[int, ...], tokens: tuple[int, ...]) -> torch.Tensor:
    """One row, no padding, the model's own logits."""
    ids = torch.tensor([prompt + tokens])
    logits = policy.model(input_ids=ids).logits[0, len(prompt) - 1 : -1].float()
    return torch.log_softmax(logits, -1).gather(-1, torch.tensor(tokens)[:, None]).squeeze(-1)


def test_padded_rows_equal_separate_forwards(policy: Policy) -> None:
    folded = policy.logprobs(BATCH)
    assert folded.shape == (2, 2, 5)
    for b, group in enumerate(BATCH):
        for j, response in enumerate(group.responses):
            trained = torch.tensor(response.trained)
            expected = plain_logprobs(policy, group.prompt, response.tokens) * trained
            torch.testing.assert_close(folded[b, j, : len(trained)], expected, atol=2e-5, rtol=0)
    assert folded[1, 1].abs().sum() == 0, "a group without a second response contributes nothing"


def test_gradients_equal_separate_forwards(policy: Policy) -> None:
    policy.model.zero_grad()
    torch.autograd.backward(policy.logprobs(BATCH).sum())
    together = {name: p.grad.clone() for name, p in policy.trainable().items() if p.grad is not None}
    policy.model.zero_grad()
    for group in BATCH:
        for response in group.responses:
            plain = plain_logprobs(policy, group.prompt, response.tokens)
            torch.autograd.backward((plain * torch.tensor(response.trained)).sum())
    for name, p in policy.trainable().items():
        if p.grad is not None:
            torch.testing.assert_close(together[name], p.grad, atol=2e-4, rtol=1e-4)


def test_recomputed_chunks_change_nothing(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    policy.model.zero_grad()
    whole = policy.logprobs(BATCH)
    torch.autograd.backward(whole.sum())
    expected = {name: p.grad.clone() for name, p in policy.trainable().items() if p.grad is not None}
    policy.model.zero_grad()
    monkeypatch.setattr("accord.policy.logprobs.CHUNK_BYTES", 1)
    monkeypatch.setattr("accord.policy.logprobs.KEEP_BYTES", 0)
    monkeypatch.setattr("accord.policy.engine.head.kept_bytes", lambda weight: 0)
    chunked = policy.logprobs(BATCH)
    torch.autograd.backward(chunked.sum())
    torch.testing.assert_close(chunked, whole, atol=1e-6, rtol=0)
    for name, p in policy.trainable().items():
        if p.grad is not None:
            torch.testing.assert_close(p.grad, expected[name], atol=1e-5, rtol=1e-4)


def test_soft_capping_is_found(tmp_path: Path) -> None:
    policy = load_policy(tiny_model(tmp_path, "gemma2"))
    cap = policy.model.config.final_logit_softcapping
    raw = torch.tensor([1000.0])
    assert cap
    assert float(find_finish(policy.model)(raw)) == pytest.approx(cap)


def test_masks_come_from_lengths_not_ids(policy: Policy) -> None:
    pad = policy.renderer.pad_id
    group = Encoded((5, pad, 9), (EncodedResponse((pad, 11, pad), (True,) * 3),))
    for lay_out in (padded_rows, shared_row):
        assert lay_out([group]).mask.sum() == 3
    torch.testing.assert_close(
        policy.logprobs([group])[0, 0], plain_logprobs(policy, group.prompt, (pad, 11, pad)), atol=2e-5, rtol=0
    )


def test_temperature_divides_the_logits(policy: Policy) -> None:
    group = BATCH[:1]
    ids = torch.tensor([group[0].prompt + group[0].responses[0].tokens])
    logits = policy.model(input_ids=ids).logits[0, 3:-1].float() / 2.0
    expected = torch.log_softmax(logits, -1).gather(-1, torch.tensor([[40], [41], [42]])).squeeze(-1)
    torch.testing.assert_close(policy.logprobs(group, temperature=2.0)[0, 0], expected, atol=2e-5, rtol=0)


SCALED = {
    "cohere": {"logit_scale": 0.5},
    "granite": {"logits_scaling": 4.0},
    "gemma2": {"final_logit_softcapping": 2.0},
}


@pytest.mark.parametrize("family", SCALED)
@pytest.mark.parametrize("tied", [True, False])
def test_logits_are_finished_as_the_model_does(family: str, tied: bool) -> None:
    sizes = dict.fromkeys(("vocab_size",), 300) | dict.fromkeys(("hidden_size", "intermediate_size"), 32)
    heads = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    settings = {**sizes, **heads, **SCALED[family], "tie_word_embeddings": tied, "pad_token_id": 0}
    make: Any = AutoModelForCausalLM.from_config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make(AutoConfig.for_model(family, **settings), dtype=torch.float32).eval()
    finish = find_finish(model)
    assert finish != Finish()
    ids = torch.tensor([PROMPTS[0] + BATCH[0].responses[0].tokens])
    logprobs = torch.log_softmax(model(input_ids=ids).logits[0, 3:-1].float() / 0.7, -1)
    rows = padded_rows([Encoded(PROMPTS[0], BATCH[0].responses[:1])])
    values, entropies = token_logprobs_and_entropies(model, rows, finish, temperature=0.7)
    torch.testing.assert_close(values[0, 0], logprobs.gather(-1, ids[0, 4:, None]).squeeze(-1), atol=2e-5, rtol=0)
    torch.testing.assert_close(entropies[0, 0], -(logprobs.exp() * logprobs).sum(-1), atol=2e-5, rtol=0)
    torch.testing.assert_close(token_logprobs(model, rows, finish, temperature=0.7), values, atol=2e-5, rtol=0)


@pytest.mark.parametrize("architecture", ["llama", "mistral"])
def test_adapters_on_the_head_are_heard(architecture: Architecture, tmp_path: Path) -> None:
    policy = load_policy(tiny_model(tmp_path, architecture))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft warns that merged adapters will untie the embeddings
        policy.model = get_peft_model(policy.model, LoraConfig(r=4, target_modules=["lm_head"], task_type="CAUSAL_LM"))
    policy.model.eval()
    with torch.no_grad():
        for p in policy.trainable().values():
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(3)))
    base = load_policy(policy.source).logprobs(BATCH)
    values = policy.logprobs(BATCH)
    assert float((values - base).detach().abs().max()) > 1e-3
    expected = plain_logprobs(policy, PROMPTS[0], BATCH[0].responses[0].tokens)
    torch.testing.assert_close(values[0, 0, :3], expected, atol=2e-5, rtol=0)
    found = []
    for total in (values[0, 0, :3].sum(), expected.sum()):
        policy.model.zero_grad()
        torch.autograd.backward(total, retain_graph=True)
        found.append({name: p.grad.clone() for name, p in policy.trainable().items() if p.grad is not None})
    assert found[0].keys() == policy.trainable().keys()
    for name, gradient in found[1].items():
        torch.testing.assert_close(found[0][name], gradient, atol=1e-4, rtol=1e-4)
