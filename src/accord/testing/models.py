"""Tiny models with random weights, one for every family of architectures that behaves differently."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from accord.testing.styles import ChatStyle
from accord.testing.tokenizers import byte_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Architecture = Literal[
    "llama", "qwen3", "mistral", "gemma2", "gemma3", "phi3", "olmo2", "gpt2", "gpt_neox", "mixtral", "qwen3_moe"
]
ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)
"""Every architecture that `tiny_model` makes."""


def tiny_model(
    directory: str | Path,
    architecture: Architecture = "llama",
    *,
    vocab: int | None = None,
    seed: int = 0,
    chat_template: ChatStyle | None = "chatml",
    tokenizer: PreTrainedTokenizerFast | None = None,
    **config: Any,
) -> Path:
    """Save a two-layer model of random weights with its tokenizer, as transformers loads it, and return the directory.

    The configurations keep what makes a family different: grouped-query attention, tied embeddings, soft-capped
    logits (gemma2), sliding windows (mistral, phi3, gemma2, gemma3), learned positions and dropout (gpt2), parallel
    residuals (gpt_neox), experts (mixtral, qwen3_moe).

    Args:
        directory: where to save; created if need be.
        architecture: the family.
        vocab: rows of the embedding, by default the size of the tokenizer; may be larger, never smaller.
        seed: of the random weights. The global random state is left as it was.
        chat_template: style of the byte tokenizer, or `None` for a base model without a template.
        tokenizer: use this tokenizer instead of a byte tokenizer.
        config: further settings of the model's configuration.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    if tokenizer is None:
        tokenizer = byte_tokenizer(chat_template)
    settings = _settings(architecture) | {
        "vocab_size": len(tokenizer) if vocab is None else vocab,
        "initializer_range": 0.1,  # wide enough that next-token distributions differ from uniform and from each other
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        **config,
    }
    model_type = "gemma3_text" if architecture == "gemma3" else architecture
    directory = Path(directory)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        make: Any = AutoModelForCausalLM.from_config
        model = make(AutoConfig.for_model(model_type, **settings), dtype=torch.float32)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def _settings(architecture: Architecture) -> dict[str, Any]:
    """What makes a tiny configuration of each family; widths are 32, layers two."""
    if architecture == "gpt2":
        return {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512}
    shared: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 512,
    }
    if architecture == "gpt_neox":
        return shared
    shared["num_key_value_heads"] = 2
    alternating = ["sliding_attention", "full_attention"]
    own: dict[Architecture, dict[str, Any]] = {
        "llama": {"tie_word_embeddings": True},
        "qwen3": {"head_dim": 16, "tie_word_embeddings": True},
        "mistral": {"sliding_window": 24},
        "gemma2": {"head_dim": 8, "sliding_window": 24, "layer_types": alternating, "query_pre_attn_scalar": 8},
        "gemma3": {"head_dim": 8, "sliding_window": 24, "layer_types": alternating, "query_pre_attn_scalar": 8},
        "phi3": {"sliding_window": 24},
        "olmo2": {},
        "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
        "qwen3_moe": {"head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
    }
    return shared | own[architecture]
