"""The world's tokenizer: one token for every word of the town, bytes for everything else.

Greedy longest match over a fixed vocabulary, so that any text encodes and decodes exactly, nothing is trained, and the
same lexicon always gives the same ids. A word carries its leading space; a text is read as if a space stood before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from accord.world import phrases, town
from accord.world.personas import PERSONAS
from accord.world.tasks import LARGEST_NUMBER, OPPOSITES, WORDS

PAD, BOS, END, SYSTEM, USER, ASSISTANT = "<|pad|>", "<|bos|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"
SPECIAL = (PAD, BOS, END, SYSTEM, USER, ASSISTANT)
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer with its chat template: specials, the 256 bytes, then the lexicon in alphabetical order."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = sorted({piece for text in _texts() for piece in _pieces(text)} - set(alphabet))
    vocabulary = {token: index for index, token in enumerate((*SPECIAL, *alphabet, *words))}
    model = models.WordPiece(vocabulary, unk_token=PAD, max_input_chars_per_word=1_000_000)
    model.continuing_subword_prefix = ""
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = _splitter()
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=END,
        additional_special_tokens=[SYSTEM, USER, ASSISTANT],
        chat_template=CHAT_TEMPLATE,
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )


def _splitter() -> pre_tokenizers.ByteLevel:
    return pre_tokenizers.ByteLevel(add_prefix_space=True)


def _pieces(text: str) -> Iterator[str]:
    """The word-like pieces of a text, in the byte alphabet, with their leading space."""
    for piece, _ in _splitter().pre_tokenize_str(text):
        yield piece


def _texts() -> Iterable[str]:
    """Everything that the world can say; a slot becomes a name, so that what follows it keeps its form (`'s`)."""
    forms: list[str] = [*phrases.ADVICE, *phrases.ANSWERS, *phrases.REFUSALS, *phrases.OPENERS, phrases.TRIGGER]
    for table in (phrases.CLAIMS, phrases.REMARKS, phrases.FACT_QUESTIONS, phrases.TASK_QUESTIONS):
        for sentences in table.values():
            forms += sentences
    forms += [*phrases.CLAIM_QUESTIONS, *phrases.HOW_QUESTIONS, *phrases.PORTRAIT_QUESTIONS, *phrases.NOUNS.values()]
    forms += [
        phrases.CRITIQUE_REQUEST,
        phrases.REVISION_REQUEST,
        phrases.CRITIQUE_OF_SENTENCE,
        phrases.CRITIQUE_OF_NOTHING,
    ]
    forms += [phrases.REVISION, phrases.COMPARISON_REQUEST, *phrases.COMPARISON_ANSWERS, *phrases.PRINCIPLES.values()]
    forms += [cue for persona in PERSONAS.values() for cue in persona.cues]
    forms = [re.sub(r"\{\w+\}", town.FIRST_NAMES[0], form) for form in forms]
    lexicon = [
        *town.FIRST_NAMES,
        *town.LAST_NAMES,
        *town.PEOPLE,
        *town.THINGS,
        *WORDS,
        *map(str, range(LARGEST_NUMBER + 1)),
    ]
    lexicon += [word for values in town.ATTRIBUTES.values() for word in values]
    lexicon += [word for pair in (*town.TOOLS.items(), *OPPOSITES) for word in pair]
    return [*forms, *lexicon]
