"""Divergences of whole distributions against the models' own logits: values, gradients, chunks and layouts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from accord.errors import ModelError
from accord.policy.divergences import Measure
from accord.policy.engine.probe import PADDED
from accord.policy.load import load_policy
from accord.policy.policy import Policy
from accord.record import Encoded, EncodedResponse
from accord.testing import Architecture, tiny_model

BATCH = [
    Encoded(
        (5, 9, 17, 33), (EncodedResponse((40, 41, 42), (True,) * 3), EncodedResponse((50, 51, 52), (True, False, True)))
    ),
    Encoded((8, 6), (EncodedResponse((60, 61, 62, 63, 64), (True, False, False, True, True)),)),
]


def reverse_kl(policy: Tensor, other: Tensor) -> Tensor:
    return (policy.exp() * (policy - other)).sum(-1)


def forward_kl(policy: Tensor, other: Tensor) -> Tensor:
    return (other.exp() * (other - policy)).sum(-1)


def two(tmp_path: Path, student: Architecture, teacher: Architecture) -> tuple[Policy, Policy]:
    return (
        load_policy(tiny_model(tmp_path / "student", student)),
        load_policy(tiny_model(tmp_path / "teacher", teacher, seed=1)),
    )


def plain(policy: Policy, encoded: Encoded, response: EncodedResponse, temperature: float) -> Tensor:
    logits = policy.model(input_ids=torch.tensor([encoded.prompt + response.tokens]), use_cache=False).logits
    return torch.log_softmax(logits[0, len(encoded.prompt) - 1 : -1].float() / temperature, -1)


@pytest.mark.parametrize("architectures", [("llama", "qwen3"), ("qwen3", "gemma2"), ("gemma2", "llama")])
@pytest.mark.parametrize("measure", [reverse_kl, forward_kl])
def test_divergences_are_those_of_the_models_own_logits(
    tmp_path: Path, architectures: tuple[Architecture, Architecture], measure: Measure
) -> None:
    student, teacher = two(tmp_path, *architectures)
    got = student.divergences(BATCH, teacher, measure, temperature=0.7)
    assert got.shape == (2, 2, 5)
    torch.autograd.backward(got.sum())
    gradients = {name: p.grad.clone() for name, p in student.trainable().items() if p.grad is not None}
    assert all(p.grad is None for p in teacher.trainable().values())
    student.model.zero_grad()
    for b, encoded in enumerate(BATCH):
        for j, response in enumerate(encoded.responses):
            with torch.no_grad():
                other = plain(teacher, encoded, response, 0.7)
            expected = measure(plain(student, encoded, response, 0.7), other) * torch.tensor(response.trained)
            torch.testing.assert_close(got[b, j, : len(expected)], expected, atol=2e-5, rtol=1e-5)
            torch.autograd.backward(expected.sum())
    for name, p in student.trainable().items():
        if p.grad is not None:
            torch.testing.assert_close(gradients[name], p.grad, atol=2e-4, rtol=1e-3)


def test_chunks_and_layouts_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    student, teacher = two(tmp_path, "qwen3", "llama")
    found = []
    for chunk, engine in ((2**26, student.engine), (1, student.engine), (5000, PADDED)):
        monkeypatch.setattr("accord.policy.logprobs.CHUNK_BYTES", chunk)
        monkeypatch.setattr("accord.policy.logprobs.KEEP_BYTES", 0)
        student.engine = engine
        student.model.zero_grad()
        values = student.divergences(student.rows(BATCH), teacher, reverse_kl)
        torch.autograd.backward((values * torch.arange(5)).sum())
        found.append((values.detach(), student.model.model.embed_tokens.weight.grad.clone()))
    for values, gradient in found[1:]:
        torch.testing.assert_close(values, found[0][0], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(gradient, found[0][1], atol=1e-5, rtol=1e-4)


def test_only_chunks_of_distributions_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    student, teacher = two(tmp_path, "llama", "qwen3")
    vocabulary = student.model.config.vocab_size
    monkeypatch.setattr("accord.policy.logprobs.CHUNK_BYTES", 3 * 8 * vocabulary)
    seen = []

    def watched(policy: Tensor, other: Tensor) -> Tensor:
        seen.append(tuple(policy.shape))
        assert policy.dtype == other.dtype == torch.float32
        assert not other.requires_grad
        return reverse_kl(policy, other)

    student.divergences(BATCH, teacher, watched)
    assert seen == [(3, vocabulary), (3, vocabulary), (2, vocabulary)]


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_the_start_serves_under_adapters(tmp_path: Path, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tiny_model(tmp_path / "model")
    policy = load_policy(directory, lora_r=4, dtype=dtype)  # type: ignore[arg-type]
    base = load_policy(directory)
    monkeypatch.setattr("accord.policy.logprobs.KEEP_BYTES", 0)
    assert float(policy.divergences(BATCH, policy.start, reverse_kl).detach().abs().max()) < 1e-6
    with torch.no_grad():
        for p in policy.trainable().values():
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(3)))
    values = policy.divergences(BATCH, policy.start, reverse_kl)
    expected = policy.divergences(BATCH, base, reverse_kl)
    torch.testing.assert_close(values, expected, atol=1e-5 if dtype == "fp32" else 0.05, rtol=1e-4)
    torch.autograd.backward(values.sum())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in policy.trainable().values())


def test_another_vocabulary_is_refused(tmp_path: Path) -> None:
    student, teacher = two(tmp_path, "llama", "qwen3")
    teacher.model.resize_token_embeddings(student.model.config.vocab_size + 1)
    with pytest.raises(ModelError, match="share a tokenizer"):
        student.divergences(BATCH, teacher, reverse_kl)


def test_nothing_trained_gives_zeros(tmp_path: Path) -> None:
    student, teacher = two(tmp_path, "llama", "qwen3")
    batch = [Encoded((5, 6), (EncodedResponse((7,), (False,)),))]
    assert student.divergences(batch, teacher, reverse_kl).tolist() == [[[0.0]]]
