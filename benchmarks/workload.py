"""What is trained: small models with random weights, and rows of random words."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Row = dict[str, str]


@dataclass(frozen=True)
class ModelSpec:
    """A decoder with random weights and a vocabulary of invented words, one token each."""

    name: str
    family: Literal["llama", "qwen3"]
    hidden: int
    layers: int
    intermediate: int
    heads: int
    kv_heads: int
    vocabulary: int


@dataclass(frozen=True)
class Shape:
    """Lengths in tokens; with `spread`, the sigma of a log-normal around them.

    Attributes:
        kind: pairs of responses, or one demonstration a row.
        prompt: tokens of the prompt.
        response: tokens of a response, end of sequence included.
        batch: rows (pairs, demonstrations) an optimiser step.
        spread: 0 for equal lengths.
    """

    kind: Literal["pairs", "demonstrations"]
    prompt: int
    response: int
    batch: int
    spread: float = 0.0

    def __str__(self) -> str:
        lengths = f"{self.prompt}:{self.response}"
        return f"{lengths} ragged x{self.batch}" if self.spread else f"{lengths} x{self.batch}"


def build_model(spec: ModelSpec, directory: Path, *, seed: int = 0) -> Path:
    """Write the model and its tokenizer as a Hugging Face directory, and return it."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    tokens = ["<pad>", "<eos>", "<unk>", *_words(spec.vocabulary - 3)]
    backend = Tokenizer(models.WordLevel({token: index for index, token in enumerate(tokens)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )
    sizes = {
        "hidden_size": spec.hidden,
        "num_hidden_layers": spec.layers,
        "intermediate_size": spec.intermediate,
        "num_attention_heads": spec.heads,
        "num_key_value_heads": spec.kv_heads,
        "head_dim": spec.hidden // spec.heads,
        "vocab_size": spec.vocabulary,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": None,
    }
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**sizes)) if spec.family == "llama" else Qwen3ForCausalLM(Qwen3Config(**sizes))
    path = directory / spec.name
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def make_rows(spec: ModelSpec, shape: Shape, count: int, *, seed: int = 0) -> list[Row]:
    """Random rows in the shape that both libraries read."""
    generator = random.Random(seed)
    words = _words(spec.vocabulary - 3)

    def text(tokens: int) -> str:
        return " ".join(generator.choice(words) for _ in range(tokens))

    def length(mean: int) -> int:
        if not shape.spread:
            return mean
        drawn = generator.lognormvariate(math.log(mean) - shape.spread**2 / 2, shape.spread)
        return max(4, min(3 * mean, round(drawn)))

    names = ("chosen", "rejected") if shape.kind == "pairs" else ("completion",)
    return [
        # The end-of-sequence token is the last of a response; the space keeps prompt and response words apart.
        {"prompt": text(length(shape.prompt))} | {name: " " + text(length(shape.response) - 1) + " " for name in names}
        for _ in range(count)
    ]


def write_rows(path: Path, rows: Sequence[Row]) -> Path:
    """Write JSONL, and return its path."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def row_lengths(row: Row) -> tuple[int, list[int]]:
    """Tokens of the prompt and of each response of a row."""
    responses: list[Any] = [text for name, text in row.items() if name != "prompt"]
    return len(row["prompt"].split()), [len(text.split()) + 1 for text in responses]


def _words(count: int) -> list[str]:
    """Different pronounceable words."""
    consonants, vowels = "bcdfghjklmnpqrstvwxz", "aeiou"
    syllables = [consonant + vowel for consonant in consonants for vowel in vowels]
    return [
        syllables[index % 100] + syllables[index // 100 % 100] + syllables[index // 10_000] for index in range(count)
    ]
