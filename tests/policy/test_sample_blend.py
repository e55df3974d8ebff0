"""Sampling from a mixture of models: its log-probabilities, each model's own cache, and shares of nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from accord.errors import ModelError
from accord.objectives.policy_gradient.mixture import Mixing, mixture
from accord.policy.blend import Blend, acting_as_one, require_same_vocabulary
from accord.policy.load import load_policy
from accord.policy.sample import Sampled, Sampling, sample
from accord.record import Group
from accord.rollout import rollout
from accord.testing import tiny_model
from accord.testing.tokenizers import byte_tokenizer

PROMPTS = [list(b"The harbour"), list(b"No"), list(b"A lamp on the old bridge by the river")]
STOPS = (65, 97, 101, 32, 256)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Two architectures, one of which is decoded with sliding windows."""
    folder = tmp_path_factory.mktemp("models")
    paths = [tiny_model(folder / "llama", "llama"), tiny_model(folder / "mistral", "mistral", seed=1)]
    return [AutoModelForCausalLM.from_pretrained(path) for path in paths]


def run(model: Any, *, n: int = 4, **settings: Any) -> list[list[Sampled]]:
    return sample(model, PROMPTS, n=n, sampling=Sampling(max_tokens=12, **settings), stop_ids=STOPS, pad_id=256)


def forced(
    models: list[Any], shares: tuple[float, ...], mixing: Mixing, prompt: list[int], answer: Sampled, t: float
) -> Any:
    """The log-probabilities of an answer, from whole forward passes."""
    ids = torch.tensor([[*prompt, *answer.tokens]])
    with torch.no_grad():
        each = [(model(ids).logits[0, len(prompt) - 1 : -1].float() / t).log_softmax(-1) for model in models]
    mixed = mixture(torch.stack(each), torch.tensor(shares), mixing=mixing)
    return mixed.gather(1, torch.tensor(answer.tokens)[:, None])[:, 0]


@pytest.mark.parametrize("mixing", ["arithmetic", "geometric"])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_the_log_probability_is_that_of_the_mixture(models: list[Any], mixing: Mixing, temperature: float) -> None:
    shares = (0.7, 0.3)
    answers = run(Blend(models, shares, mixing), temperature=temperature)
    lengths = set()
    for prompt, drawn in zip(PROMPTS, answers, strict=True):
        for answer in drawn:
            lengths.add(len(answer.tokens))
            expected = forced(models, shares, mixing, prompt, answer, temperature)
            torch.testing.assert_close(torch.tensor(answer.logprobs), expected, atol=1e-4, rtol=0)
    assert len(lengths) > 2, "rows must leave the batch at different times for this test to say anything"


def test_the_most_likely_token_is_the_mixtures(models: list[Any]) -> None:
    (answer,) = run(Blend(models, (0.5, 0.5)), n=1, temperature=0)[0]
    ids = torch.tensor([PROMPTS[0]])
    with torch.no_grad():
        each = torch.stack([model(ids).logits[0, -1].log_softmax(-1) for model in models])
    assert answer.tokens[0] == int(mixture(each, torch.tensor([0.5, 0.5])).argmax())


def test_a_model_without_a_share_changes_nothing(models: list[Any]) -> None:
    assert run(Blend(models, (1.0, 0.0))) == run(models[0])
    assert run(Blend(models, (0.0, 1.0))) == run(models[1])


def test_a_mixture_with_itself_is_itself(models: list[Any]) -> None:
    for both, alone in zip(run(Blend([models[0]] * 2, (0.4, 0.6))), run(models[0]), strict=True):
        assert [answer.tokens for answer in both] == [answer.tokens for answer in alone]


def test_what_cannot_be_mixed(models: list[Any], tmp_path: Path) -> None:
    larger = AutoModelForCausalLM.from_pretrained(tiny_model(tmp_path / "larger", vocab=300))
    with pytest.raises(ModelError, match=r"predict 2.. and 300 tokens"):
        Blend([models[0], larger], (0.5, 0.5))
    with pytest.raises(ValueError, match="no shares"):
        Blend(models, (0.5, 0.6))


def test_policies_act_as_one(tmp_path: Path) -> None:
    first, second = (load_policy(tiny_model(tmp_path / str(seed), seed=seed)) for seed in (0, 1))
    both = acting_as_one((first, second), (0.5, 0.5), like=first)
    (group,) = rollout(both, [Group("Say alpha.")], n=2, sampling=Sampling(max_tokens=4))
    assert all(response.version == "start" and response.logprobs for response in group.responses)
    other = load_policy(tiny_model(tmp_path / "other", tokenizer=byte_tokenizer("llama3")))
    with pytest.raises(ModelError, match="another id or none"):
        require_same_vocabulary(first, other)
