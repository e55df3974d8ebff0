"""The renderer with tokenizers that mark word beginnings and merge characters."""

from __future__ import annotations

from typing import Any

import pytest

from accord.policy.chat import Renderer
from accord.record import Group, Response


@pytest.mark.parametrize("space", ["always", "first", "normalizer", "bytes", "none"])
@pytest.mark.parametrize("template", ["<|{{ m.role }}|>\n{{ m.content }}</s>\n", "[{{ m.role }}] {{ m.content }} </s>"])
def test_tokenizers_that_mark_word_beginnings_get_the_spaces_right(space: str, template: str) -> None:
    tokenizer = word_tokenizer(space)
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}" + template.replace("\n", "{{ '\n' }}") + "{% endfor %}"
    )
    renderer = Renderer(tokenizer)
    for answer in ("the lamp", "Lamp"):
        encoded = renderer.encode(Group("the old lamp", (Response(answer),)))
        row = encoded.responses[0].tokens
        turns = [{"role": "user", "content": "the old lamp"}, {"role": "assistant", "content": answer}]
        whole = tokenizer.apply_chat_template(turns, tokenize=False).removesuffix("\n")
        assert list(encoded.prompt + row) == tokenizer.encode(whole, add_special_tokens=False)
        assert renderer.text_of(row) == answer


def word_tokenizer(space: str) -> Any:
    """Merges and word-beginning marks, in the ways that tokenizers have of putting them."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    if space in ("always", "first"):
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=space)
        backend.decoder = decoders.Metaspace(prepend_scheme=space)
    elif space == "normalizer":
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        backend.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
        backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    else:
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=space == "bytes")
        backend.decoder = decoders.ByteLevel()
    letters = [chr(code) for code in range(32, 127)] + ["\n", *pre_tokenizers.ByteLevel.alphabet()]
    specials = ["<unk>", "<s>", "</s>", "<|user|>", "<|assistant|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=450, special_tokens=specials, initial_alphabet=letters, show_progress=False
    )
    backend.train_from_iterator(["the old lamp the lamp Lamp user assistant"] * 20, trainer)
    make: Any = PreTrainedTokenizerFast
    return make(
        tokenizer_object=backend,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=["<|user|>", "<|assistant|>"],
    )
