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
        kind: pairs of responses, one demonstration a row, or prompts that are answered by a group of samples.
        prompt: tokens of the prompt.
        response: tokens of a response, end of sequence included; of a sample, the most it may have.
        batch: rows (pairs, demonstrations, prompts) an optimiser step.
        spread: 0 for equal lengths.
        samples: answers to a prompt, 0 where the data has them.
        ending: probability that a sample ends after any of its tokens; 0 for samples of equal length.
    """

    kind: Literal["pairs", "demonstrations", "groups"]
    prompt: int
    response: int
    batch: int
    spread: float = 0.0
    samples: int = 0
    ending: float = 0.0

    def __str__(self) -> str:
        lengths = f"{self.prompt}:{'up to ' if self.ending else ''}{self.response}"
        rows = f"x{self.batch} of {self.samples}" if self.samples else f"x{self.batch}"
        return f"{lengths} ragged {rows}" if self.spread or self.ending else f"{lengths} {rows}"


def build_model(spec: ModelSpec, directory: Path, *, seed: int = 0, ending: float = 0.0) -> Path:
    """Write the model and its tokenizer as a Hugging Face directory, and return it.

    Args:
        spec: its sizes.
        directory: where its own directory is made.
        seed: of the weights.
        ending: about the probability with which it ends an answer after any token; 0 leaves the end a word among many.
    """
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
    if ending:
        _make_endings_likely(model, ending)
    path = directory / (f"{spec.name}-ending" if ending else spec.name)
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

    names = {"pairs": ("chosen", "rejected"), "demonstrations": ("completion",), "groups": ()}[shape.kind]
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


def early_words(text: str) -> float:
    """A reward that costs nothing: the share of words in the first half of the alphabet."""
    words = text.split()
    return sum(word < "n" for word in words) / max(1, len(words))


def _make_endings_likely(model: Any, probability: float) -> None:
    """Give the end of sequence a constant logit: one channel of the tied embeddings is the same in every token."""
    import torch

    channel, end, constant = 0, 1, 0.2
    embeddings = model.get_input_embeddings().weight
    with torch.no_grad():
        embeddings[:, channel] = constant
        hidden = model.model(torch.randint(3, embeddings.shape[0], (1, 256))).last_hidden_state[0]
        others = torch.logsumexp(hidden @ embeddings.T, -1) - hidden @ embeddings[end]
        raised = others + torch.logit(torch.tensor(probability))
        embeddings[end, channel] += raised.mean() / hidden[:, channel].mean()


def _words(count: int) -> list[str]:
    """Different pronounceable words."""
    consonants, vowels = "bcdfghjklmnpqrstvwxz", "aeiou"
    syllables = [consonant + vowel for consonant in consonants for vowel in vowels]
    return [
        syllables[index % 100] + syllables[index // 100 % 100] + syllables[index // 10_000] for index in range(count)
    ]
