"""The sampler against `generate`, against teacher forcing, and against itself under other batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from accord.errors import ConfigError, ModelError, NumericsError
from accord.policy.decoding import Network
from accord.policy.sample import Sampled, Sampling, sample
from accord.testing import ARCHITECTURES, Architecture, tiny_model

PROMPTS = [list(b"The harbour"), list(b"No"), list(b"A lamp on the old bridge by the river"), list(b"The market")]
STOPS = (65, 97, 101, 32, 256)  # common enough that rows end at different lengths
PAD = 256


@pytest.fixture(scope="module", params=ARCHITECTURES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load(tmp_path_factory.mktemp("llama"), "llama")


def load(directory: Path, architecture: Architecture, **settings: Any) -> Any:
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_model(directory, architecture), **settings)
    return model


def run(model: Any, *, n: int = 1, stops: Sequence[int] = STOPS, **settings: Any) -> list[list[Sampled]]:
    budget = {name: settings.pop(name) for name in ("batch_tokens", "progress") if name in settings}
    return sample(model, PROMPTS, n=n, sampling=Sampling(**settings), stop_ids=stops, pad_id=PAD, **budget)


def forced(model: Any, prompt: Sequence[int], answer: Sampled, temperature: float) -> torch.Tensor:
    ids = torch.tensor([[*prompt, *answer.tokens]])
    with torch.no_grad():
        logits = model(ids).logits[0, len(prompt) - 1 : -1].float() / temperature
    logprobs: torch.Tensor = logits.log_softmax(-1)
    return logprobs.gather(1, torch.tensor(answer.tokens)[:, None])[:, 0]


def test_greedy_equals_generate(model: Any) -> None:
    """40 tokens reach beyond every sliding window."""
    answers = run(model, temperature=0, max_tokens=40, stops=())
    for prompt, (answer,) in zip(PROMPTS, answers, strict=True):
        ids = torch.tensor([prompt])
        expected = model.eval().generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=40,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=PAD,
        )
        assert list(answer.tokens) == expected[0, len(prompt) :].tolist()
        assert not answer.finished


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_logprobs_equal_teacher_forcing(model: Any, temperature: float) -> None:
    answers = run(model, n=3, temperature=temperature, max_tokens=40)
    model.eval()
    lengths = set()
    for prompt, samples in zip(PROMPTS, answers, strict=True):
        for answer in samples:
            lengths.add(len(answer.tokens))
            expected = forced(model, prompt, answer, temperature)
            torch.testing.assert_close(torch.tensor(answer.logprobs), expected, atol=1e-4, rtol=0)
            assert answer.finished == (answer.tokens[-1] in STOPS)
            assert not set(answer.tokens[:-1]) & set(STOPS)
    assert len(lengths) > 2, "rows must leave the batch at different times for this test to say anything"


def test_answers_do_not_depend_on_the_batch(model: Any) -> None:
    together = run(model, n=3, max_tokens=8, seed=3)
    one_by_one = run(model, n=2, max_tokens=8, seed=3, batch_tokens=1)
    split = run(model, n=3, max_tokens=8, seed=3, batch_tokens=90)
    for all_of_them, single, same in zip(together, one_by_one, split, strict=True):
        assert [answer.tokens for answer in all_of_them[:2]] == [answer.tokens for answer in single]
        assert [answer.tokens for answer in all_of_them] == [answer.tokens for answer in same]
    assert len({answer.tokens for answer in together[0]}) > 1
    assert run(model, n=3, max_tokens=8, seed=4) != together


def test_a_longer_limit_continues_the_same_answer(llama: Any) -> None:
    short, long = (run(llama, max_tokens=length, stops=()) for length in (5, 9))
    assert [a.tokens for (a,) in short] == [a.tokens[:5] for (a,) in long]


@pytest.mark.parametrize("architecture", ["mamba", "mamba2", "lfm2", "bloom", "falcon_h1"])
def test_models_with_other_states_are_sampled_right(architecture: str) -> None:
    """Recurrent and convolutional states, and positions that the model derives from the mask."""
    model = other(architecture)
    answers = run(model, n=2, max_tokens=10)
    for prompt, samples in zip(PROMPTS, answers, strict=True):
        for answer in samples:
            torch.testing.assert_close(
                torch.tensor(answer.logprobs), forced(model, prompt, answer, 1.0), atol=1e-4, rtol=0
            )


def other(architecture: str) -> Any:
    from transformers import AutoConfig

    settings: dict[str, dict[str, Any]] = {
        "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
        "mamba2": {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "state_size": 4,
            "num_heads": 4,
            "head_dim": 16,
            "n_groups": 1,
        },
        "lfm2": {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "layer_types": ["conv", "full_attention"],
        },
        "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
        "falcon_h1": {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "mamba_d_ssm": 32,
            "mamba_n_heads": 4,
            "mamba_d_head": 8,
            "mamba_d_state": 4,
        },
    }
    torch.manual_seed(0)
    make: Any = AutoModelForCausalLM.from_config
    config = AutoConfig.for_model(architecture, vocab_size=260, initializer_range=0.1, **settings[architecture])
    return make(config).eval()


class Bigrams(torch.nn.Module):
    """A language model without a cache: the next token depends on the last one."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.table = torch.nn.Parameter(torch.randn(260, 260, generator=generator))
        self.config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(max_position_embeddings=None))

    def forward(self, input_ids: torch.Tensor, use_cache: bool = True) -> SimpleNamespace:
        return SimpleNamespace(logits=self.table[input_ids])


def test_a_model_without_a_cache_is_read_anew() -> None:
    model = Bigrams()
    assert not Network(model).caches
    for prompt, samples in zip(PROMPTS, run(model, n=3, max_tokens=12), strict=True):
        for answer in samples:
            torch.testing.assert_close(torch.tensor(answer.logprobs), forced(model, prompt, answer, 1.0))


def test_every_module_returns_to_its_mode(tmp_path: Path) -> None:
    model = load(tmp_path, "gpt2").train()
    model.transformer.h[0].eval()
    modes = [module.training for module in model.modules()]
    first, second = run(model, max_tokens=8), run(model, max_tokens=8)
    assert first == second, "dropout must be off"
    assert [module.training for module in model.modules()] == modes
    assert model(torch.tensor([[1, 2]])).logits.requires_grad


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # asked for by peft
def test_adapters_and_bf16(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    model = load(tmp_path, "llama", dtype=torch.bfloat16)
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    answers = run(adapted, n=2, max_tokens=8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert run(adapted, n=2, max_tokens=8)
    assert Network(adapted).pads
    for prompt, samples in zip(PROMPTS, answers, strict=True):
        for answer in samples:
            expected = forced(adapted, prompt, answer, 1.0)
            torch.testing.assert_close(torch.tensor(answer.logprobs), expected, atol=0.1, rtol=0)


def test_top_p_reports_the_distribution_it_drew_from(llama: Any) -> None:
    (answer,) = run(llama, top_p=0.3, max_tokens=30, stops=())[0]
    full = forced(llama, PROMPTS[0], answer, 1.0)
    gap = torch.tensor(answer.logprobs) - full
    assert (gap > 0).all()
    assert (gap <= -torch.log(torch.tensor(0.3)) + 1e-4).all()
    first = [prompt_answers[0].tokens for prompt_answers in run(llama, top_p=1e-9, max_tokens=10, stops=())]
    assert first == [answer.tokens for (answer,) in run(llama, temperature=0, max_tokens=10, stops=())]


def test_top_k_draws_among_the_most_likely(llama: Any) -> None:
    for prompt, (answer,) in zip(PROMPTS, run(llama, top_k=2, max_tokens=20, stops=()), strict=True):
        ids = torch.tensor([[*prompt, *answer.tokens]])
        with torch.no_grad():
            likely, tokens = llama(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1).topk(2)
        place = (tokens == torch.tensor(answer.tokens)[:, None]).long()
        assert (place.sum(1) == 1).all()
        expected = (likely - likely.logsumexp(1, keepdim=True)).gather(1, place.argmax(1, keepdim=True))[:, 0]
        torch.testing.assert_close(torch.tensor(answer.logprobs), expected, atol=1e-4, rtol=0)
    (one,), (same,) = (
        run(llama, max_tokens=6, stops=(), **settings)[0] for settings in ({"top_k": 1}, {"temperature": 0})
    )
    assert one.tokens == same.tokens


def test_an_answer_ends_with_a_stop_text(llama: Any) -> None:
    free = run(llama, n=3, max_tokens=40, stops=())
    texts = ("e", "ab", "\x01")

    def decode(tokens: list[int]) -> str:
        return bytes(token % 256 for token in tokens).decode("latin-1")

    stopped = sample(
        llama,
        PROMPTS,
        n=3,
        sampling=Sampling(max_tokens=40, stop=texts),
        stop_ids=(),
        pad_id=PAD,
        decode=decode,
    )
    early = 0
    for answers, whole in zip(stopped, free, strict=True):
        for answer, full in zip(answers, whole, strict=True):
            assert full.tokens[: len(answer.tokens)] == answer.tokens
            text = decode(list(answer.tokens))
            assert answer.finished == any(text.endswith(stop) for stop in texts)
            assert not any(stop in text[:-1] for stop in texts)
            early += answer.finished
    assert early > 0
    with pytest.raises(TypeError, match="decode"):
        run(llama, stop=("x",))


def test_an_answer_ends_at_the_longest_sequence(tmp_path: Path) -> None:
    directory = tiny_model(tmp_path, "gpt2", n_positions=40)
    model: Any = AutoModelForCausalLM.from_pretrained(directory)
    answers = run(model, max_tokens=30, stops=())
    assert [len(answer.tokens) for (answer,) in answers] == [29, 30, 3, 30]
    with pytest.raises(ModelError, match=r"^prompt 0: 40 tokens leave no room"):
        sample(model, [[1] * 40], n=1, sampling=Sampling(), stop_ids=(), pad_id=0)


def test_progress_counts_finished_answers(llama: Any) -> None:
    calls: list[tuple[int, int]] = []
    run(llama, n=3, max_tokens=6, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(done, 12) for done in range(1, 13)]


def test_mistakes_are_named(llama: Any, tmp_path: Path) -> None:
    assert sample(llama, [], n=2, sampling=Sampling(), stop_ids=(), pad_id=0) == []
    with pytest.raises(ModelError, match="prompt 1: an empty prompt"):
        sample(llama, [[1], []], n=1, sampling=Sampling(), stop_ids=(), pad_id=0)
    broken = load(tmp_path, "llama")
    with torch.no_grad():
        broken.model.norm.weight.fill_(float("nan"))
    with pytest.raises(NumericsError, match="prompt"):
        run(broken, max_tokens=3)


@pytest.mark.parametrize(
    ("settings", "flag"),
    [
        ({"temperature": -1}, "--temperature"),
        ({"temperature": float("nan")}, "--temperature"),
        ({"top_p": 0}, "--top-p"),
        ({"top_p": 1.1}, "--top-p"),
        ({"top_k": 0}, "--top-k"),
        ({"stop": ("a", "")}, "--stop"),
        ({"max_tokens": 0}, "--max-tokens"),
        ({"seed": -1}, "--seed"),
    ],
)
def test_settings_out_of_range_name_their_flag(settings: dict[str, Any], flag: str) -> None:
    with pytest.raises(ConfigError, match=f"^{flag}: "):
        Sampling(**settings)
