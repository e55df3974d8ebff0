"""Compiled layers give what the layers give as they are, from a few compilations, and only where there is no cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters
from torch._inductor import config as inductor

from accord.errors import ConfigError
from accord.policy.engine import compiled
from accord.policy.engine.compiled import is_compiled
from accord.policy.engine.probe import PADDED, Engine
from accord.policy.load import load_policy
from accord.policy.policy import Policy
from accord.policy.sample import Sampling, sample
from accord.record import Encoded, EncodedResponse
from accord.testing import Architecture, tiny_model
from accord.train.config import TrainConfig
from accord.train.directory import RunDirectory, write_config

pytestmark = [  # what PyTorch does while it traces and while it imports its compiler
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning"),
    pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Nothing is compiled yet, and nothing stays."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers are traced as for the real compiler, and what was traced runs as it is."""
    monkeypatch.setattr(compiled, "BACKEND", "eager")


def batch(seed: int, *shapes: tuple[int, tuple[int, ...]]) -> list[Encoded]:
    random = torch.Generator().manual_seed(seed)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, 250, (count,), generator=random).tolist())

    def responses(lengths: tuple[int, ...]) -> tuple[EncodedResponse, ...]:
        return tuple(EncodedResponse(ids(length), (True,) * length) for length in lengths)

    return [Encoded(ids(prompt), responses(lengths)) for prompt, lengths in shapes]


BATCHES = [
    batch(0, (9, (7, 4)), (5, (3, 6))),
    batch(1, (12, (8, 5, 2, 9))),
    batch(2, (3, (2, 2)), (17, (5, 11)), (4, (6, 1, 3))),
    batch(3, (21, (13, 14)), (2, (19, 3))),
]


def loaded(directory: Path, architecture: Architecture = "llama", **settings: Any) -> tuple[Policy, Policy]:
    """A policy as it is and one that is compiled."""
    model = tiny_model(directory / architecture, architecture)
    plain, other = (load_policy(model, compile=given, **settings) for given in (False, True))
    counters.clear()
    return plain, other


def outcome(policy: Policy, encoded: list[Encoded]) -> tuple[Tensor, dict[str, Tensor]]:
    """Log-probs, and gradients of a mixture of them."""
    policy.model.zero_grad()
    values = policy.logprobs(encoded)
    torch.autograd.backward((values * torch.cos(torch.arange(values.numel())).view_as(values)).sum())
    gradients = {name: p.grad for name, p in policy.trainable().items() if p.grad is not None}
    return values.detach(), gradients


def assert_same(plain: Policy, other: Policy, encoded: list[Encoded], *, tolerance: float = 1e-5) -> None:
    values, gradients = outcome(other, encoded)
    expected, of_plain = outcome(plain, encoded)
    torch.testing.assert_close(values, expected, atol=tolerance, rtol=0)
    assert gradients.keys() == of_plain.keys()
    for name, gradient in of_plain.items():
        torch.testing.assert_close(gradients[name], gradient, atol=10 * tolerance, rtol=1e-3, msg=name)


def graphs() -> int:
    return int(counters["stats"]["unique_graphs"])


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("engine", [Engine("attention"), PADDED], ids=["shared", "padded"])
@pytest.mark.parametrize("recomputed", [False, True], ids=["kept", "recomputed"])
def test_one_compilation_serves_all_layers_and_lengths(engine: Engine, recomputed: bool, tmp_path: Path) -> None:
    plain, other = loaded(tmp_path, gradient_checkpointing=recomputed)
    plain.engine = other.engine = engine
    assert_same(plain, other, BATCHES[0])
    made = graphs()
    assert 1 <= made <= 4  # the parts of a layer before and after its attention
    for encoded in BATCHES[1:]:
        assert_same(plain, other, encoded)
    assert graphs() == made


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("architecture", ["mistral", "gpt2", "mixtral"])
def test_any_architecture_compiles(architecture: Architecture, tmp_path: Path) -> None:
    plain, other = loaded(tmp_path, architecture)
    assert_same(plain, other, BATCHES[0])


@pytest.mark.usefixtures("traced")
def test_adapters_and_their_start(tmp_path: Path) -> None:
    plain, other = loaded(tmp_path, lora_r=4, gradient_checkpointing=True, seed=1)
    for encoded in BATCHES[:2]:
        assert_same(plain, other, encoded)
        with torch.inference_mode(), other.start(), plain.start():
            torch.testing.assert_close(other.logprobs(encoded), plain.logprobs(encoded), atol=1e-5, rtol=0)
    made = graphs()
    with torch.inference_mode(), other.start():
        other.logprobs(BATCHES[2])
    assert_same(plain, other, BATCHES[3])
    assert graphs() == made


@pytest.mark.usefixtures("traced")
def test_sampling_compiles_nothing(tmp_path: Path) -> None:
    plain, other = loaded(tmp_path)
    prompts, sampling = [encoded.prompt for encoded in BATCHES[0]], Sampling(max_tokens=8, seed=5)
    drawn = [sample(policy.model, prompts, n=3, sampling=sampling, stop_ids=[2], pad_id=0) for policy in (plain, other)]
    tokens = [[answer.tokens for answers in of_policy for answer in answers] for of_policy in drawn]
    assert tokens[0] == tokens[1]
    assert graphs() == 0


@pytest.mark.usefixtures("traced")
def test_compiled_layers_are_saved_as_they_were(tmp_path: Path) -> None:
    plain, other = loaded(tmp_path)
    assert [is_compiled(policy.model) for policy in (plain, other)] == [False, True]
    assert other.fingerprint() == plain.fingerprint()
    assert list(other.model.state_dict()) == list(plain.model.state_dict())
    assert_same(plain, other, BATCHES[0])
    other.save(tmp_path / "saved")
    assert load_policy(tmp_path / "saved").fingerprint() == plain.fingerprint()


def test_a_missing_compiler_is_named(tmp_path: Path) -> None:
    with inductor.patch({"cpp.cxx": ("no-such-compiler",)}), pytest.raises(ConfigError) as found:
        loaded(tmp_path)
    assert found.value.where == "--compile"
    assert "No working C++ compiler" in found.value.what
    assert "g++" in str(found.value.mend)
    assert "\n" not in found.value.what


def test_a_model_that_is_read_through_its_cache_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no effect"):
        loaded(tmp_path, "gemma2")


def test_a_run_may_be_resumed_with_or_without(tmp_path: Path) -> None:
    config = TrainConfig(objective="dpo", model="m", data=("d",), out=str(tmp_path))
    directory = RunDirectory(tmp_path)
    write_config(directory.config, config)
    directory.require_same(TrainConfig(objective="dpo", model="m", data=("d",), out=str(tmp_path), compile=True))


@pytest.mark.slow
def test_generated_code_gives_the_same(tmp_path: Path) -> None:
    plain, other = loaded(tmp_path)
    assert is_compiled(other.model)
    assert other.engine.reading == plain.engine.reading
    assert other.engine.note.startswith(plain.engine.note)
    assert not other.engine.asked_only
    assert other.fingerprint() == plain.fingerprint()
    for encoded in BATCHES[:2]:
        assert_same(plain, other, encoded)
