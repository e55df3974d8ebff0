"""Which way through each causal language model of transformers is exact, tried on tiny random models.

`python -m benchmarks.architectures` writes docs/architectures.md. Every model is probed as at loading; what the probe
chose is then compared with one forward pass for each response, in log-probs and in every parameter's gradient, on
sequences that reach beyond the models' windows.
"""

from __future__ import annotations

import gc
import inspect
import logging
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from rich.progress import track
from torch import Tensor
from transformers import CONFIG_MAPPING, AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from accord.policy.engine.probe import Engine, find_engine
from accord.policy.logprobs import find_finish, token_logprobs
from accord.policy.rows import padded_rows, shared_row
from accord.record import Encoded, EncodedResponse

PAGE = Path(__file__).parents[1] / "docs" / "architectures.md"
VOCABULARY, WINDOW, LARGEST, SECONDS = 256, 16, 30_000_000, 60
AT_ONCE, WHOLE, CACHE, PADDED = "at once", "at once, whole", "by its cache", "padded rows"

SIZES: Mapping[str, Any] = MappingProxyType(
    {
        **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), VOCABULARY),
        **dict.fromkeys(("hidden_size", "d_model", "n_embd", "word_embed_proj_dim", "embedding_size"), 64),
        **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers"), 4),
        **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads"), 4),
        **dict.fromkeys(("intermediate_size", "n_inner", "ffn_dim", "decoder_ffn_dim", "intermediate_size_mlp"), 96),
        **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
        **dict.fromkeys(("attention_dropout", "hidden_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0),
        **dict.fromkeys(("dropout", "activation_dropout", "layerdrop"), 0.0),
        **dict.fromkeys(("n_positions", "n_ctx", "max_position_embeddings"), 512),
        **dict.fromkeys(("sliding_window", "attention_window_size", "attention_chunk_size"), WINDOW),
        **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "expert_ffn_hidden_size"), 32),
        **dict.fromkeys(("linear_num_value_heads", "linear_num_key_heads"), 4),
        **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim", "mamba_d_head", "mamba_d_state"), 16),
        **dict.fromkeys(("n_group", "topk_group", "n_shared_experts", "first_k_dense_replace", "mamba_n_groups"), 1),
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "num_experts_per_tok": 2,
        "moe_topk": 2,
        "kv_lora_rank": 16,
        "q_lora_rank": 32,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "v_head_dim": 16,
        "decoder_sparse_step": 1,
        "mamba_n_heads": 8,
        "mamba_chunk_size": 16,
        "mamba_expand": 2,
        "use_mamba_kernels": False,
        "hidden_size_per_layer_input": 8,
        "altup_num_inputs": 2,
        "laurel_rank": 8,
        "num_kv_shared_layers": 0,
        "is_decoder": True,
    }
)

OWN: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "deepseek_v2": {"num_key_value_heads": 4},
        "deepseek_v3": {"num_key_value_heads": 4},
        "gptj": {"rotary_dim": 16},
        "codegen": {"rotary_dim": 16},
        "falcon_h1": {"mamba_d_ssm": 128},
        "ernie4_5_moe": {"moe_k": 2},
        "falcon": {"alibi": False, "new_decoder_architecture": False},
        "gpt_neo": {"attention_types": [[["global", "local"], 2]], "window_size": WINDOW},
        "lfm2": {"layer_types": ["conv", "full_attention", "conv", "full_attention"]},
        "mistral": {"sliding_window": None},
        "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
        "bamba": {"attn_layer_indices": [1, 3]},
        "granitemoehybrid": {
            "layer_types": ["mamba", "attention"] * 2,
            "layers_block_type": ["mamba", "attention"] * 2,
        },
    }
)
"""What a family needs beside the sizes."""

VARIANTS: Mapping[str, tuple[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "mistral, window": ("mistral", {"sliding_window": WINDOW}),
        "qwen2, windows in some layers": ("qwen2", {"use_sliding_window": True, "max_window_layers": 2}),
        "deepseek_v3, values smaller than keys": ("deepseek_v3", {"v_head_dim": 8}),
        "falcon, biased by position": ("falcon", {"alibi": True}),
        "llama, biases": ("llama", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
        "gemma2, long window": ("gemma2", {"sliding_window": 400}),
    }
)
"""Further configurations, by a name for the page."""


@dataclass(frozen=True)
class Found:
    """What was found of one configuration.

    Attributes:
        name: of the configuration.
        engine: what the probe chose.
        layers: kinds of its layers, where the configuration names them.
        values: largest difference of a log-prob.
        gradients: largest difference of a parameter's gradient, as a share of its norm.
    """

    name: str
    engine: Engine
    layers: str
    values: float
    gradients: float


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    asked = set(sys.argv[1:])
    plain: dict[str, tuple[str, Mapping[str, Any]]] = {
        name: (name, {}) for name in sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    }
    found, failed = [], {}
    chosen = {name: made for name, made in (plain | dict(VARIANTS)).items() if not asked or name in asked}
    for name, (family, extra) in track(chosen.items(), "architectures"):
        try:
            with within(SECONDS):
                found.append(examine(name, tiny(family, extra)))
        except Exception as error:  # whatever a family raises, the page says that it was not tried, and why
            failed[name] = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        gc.collect()
    text = page(found, failed)
    if asked:
        print(text)
    else:
        PAGE.write_text(text, encoding="utf-8")


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Raise `TimeoutError` in a block that takes longer."""

    def expired(*_: object) -> None:
        raise TimeoutError(f"took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, expired)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def tiny(family: str, extra: Mapping[str, Any]) -> Any:
    """A small random model of a family, in evaluation mode.

    Raises:
        ValueError: no configuration of it is small.
    """
    kind = CONFIG_MAPPING[family]
    known = {*inspect.signature(kind.__init__).parameters, *getattr(kind, "__dataclass_fields__", {})}
    known |= set(getattr(kind, "attribute_map", {})) | {"vocab_size", "hidden_size", "num_hidden_layers"}
    settings = {**SIZES, **OWN.get(family, {}), **extra}
    make: Callable[..., Any] = AutoModelForCausalLM.from_config
    reasons = []
    for without in (
        (),
        ("head_dim",),
        ("num_key_value_heads",),
        ("head_dim", "num_key_value_heads"),
        ("sliding_window",),
    ):
        try:
            config = kind(**{key: value for key, value in settings.items() if key in known and key not in without})
            with torch.device("meta"):
                size = sum(p.numel() for p in make(config).parameters())
            if size > LARGEST:
                raise ValueError(f"has {size / 1e6:.0f} million parameters at its smallest")
            torch.manual_seed(0)
            model = make(config, dtype=torch.float32)
            break
        except (TimeoutError, ImportError):
            raise
        except Exception as error:  # configurations check themselves in many ways; another may pass
            reasons.append(error)
    else:
        raise reasons[0]
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.dim() >= 2:
            torch.nn.init.normal_(parameter, std=0.08, generator=generator)
    return model.eval()


def examine(name: str, model: Any) -> Found:
    """Probe a model, and compare what was chosen with a forward pass for each response."""
    finish = find_finish(model)
    engine = find_engine(model, finish)
    batch = _batch()
    reading = engine.reading_up_to(max(len(one.prompt) + len(of.tokens) for one in batch for of in one.responses))
    if reading is None:
        rows = padded_rows(batch)
    else:
        rows = shared_row(batch, by=reading, attention=engine.attention, asked_only=engine.asked_only)
    values = rows.unfold(token_logprobs(model, rows, finish))
    got = _gradients(model, values)
    apart = _separate(model, batch)
    expected = _gradients(model, apart)
    kinds = getattr(model.config.get_text_config(), "layer_types", None) or ()
    norm = float(torch.stack([gradient.norm() for gradient in expected.values()]).max())
    differences = [
        float((got.get(key, torch.zeros(())) - gradient).norm() / gradient.norm().clamp_min(1e-4 * norm))
        for key, gradient in expected.items()
    ]
    return Found(
        name=name,
        engine=engine,
        layers=", ".join(sorted({kind.replace("_attention", "") for kind in kinds})),
        values=float((values - apart).detach().abs().max()),
        gradients=max(differences),
    )


def _batch() -> list[Encoded]:
    generator = torch.Generator().manual_seed(2)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, VOCABULARY, (count,), generator=generator).tolist())

    shapes = ((2 * WINDOW + 5, (2 * WINDOW + 1, 13, 9)), (7, (11, 3)))
    return [
        Encoded(ids(prompt), tuple(EncodedResponse(ids(length), (True,) * length) for length in lengths))
        for prompt, lengths in shapes
    ]


def _separate(model: Any, batch: Sequence[Encoded]) -> Tensor:
    values = []
    for one in batch:
        for response in one.responses:
            logits = model(input_ids=torch.tensor([one.prompt + response.tokens]), use_cache=False).logits
            logprobs = torch.log_softmax(logits[0, len(one.prompt) - 1 : -1].float(), -1)
            values.append(logprobs.gather(-1, torch.tensor(response.tokens)[:, None]).squeeze(-1))
    return torch.cat(values)


def _gradients(model: Any, values: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    torch.autograd.backward((values * torch.cos(torch.arange(len(values)))).sum())
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def _way(engine: Engine) -> str:
    if engine.reading == "attention":
        return AT_ONCE if engine.asked_only else WHOLE
    return CACHE if engine.reading == "cache" else PADDED


def page(found: Sequence[Found], failed: Mapping[str, str]) -> str:
    """The results in Markdown."""
    ways = [_way(one.engine) for one in found]
    lines = [
        "# Architectures",
        "",
        "How Accord computes log-probs in each causal language model of transformers "
        f"{version('transformers')}. Nobody keeps this list: the way is found at load by trying, and "
        "`python -m benchmarks.architectures` found the following on tiny random models.",
        "",
        "- **at once**: a row in which every prompt stands once, read by an attention made for it. The last layer then "
        "makes of a prompt only what its responses see, its keys and values; **at once, whole**: it computes all.",
        "- **by its cache**: every prompt once, and the model's own key-value cache of it shared by its responses.",
        "- **padded rows**: a row for each response.",
        "",
        f"Of {len(found)} configurations {ways.count(AT_ONCE) + ways.count(WHOLE)} are read at once "
        f"({ways.count(WHOLE)} whole), {ways.count(CACHE)} by their cache and {ways.count(PADDED)} in padded rows. "
        "The last columns compare with a forward pass for each response: the largest difference of a log-prob, "
        "and of a parameter's gradient as a share of its norm.",
        "",
        "| configuration | layers | way | above (tokens) padded | why not at once | log-probs | gradients |",
        "|---|---|---|---|---|---|---|",
    ]
    for one, way in zip(found, ways, strict=True):
        why = one.engine.note.partition(": ")[2].replace("|", "/")
        cells = (one.name, one.layers, way, str(one.engine.limit or ""), why)
        lines.append(f"| {' | '.join(cells)} | {one.values:.0e} | {one.gradients:.0e} |")
    if failed:
        lines += ["", "Refused, or not tried because no tiny model of them could be made here:", ""]
        lines += [f"- {name}: {reason}" for name, reason in failed.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
