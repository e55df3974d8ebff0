"""Chat styles as they occur in the wild: the special tokens of a family of models and its chat template."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import msgspec

ChatStyle = Literal["chatml", "llama3", "gemma", "mistral", "qwen3"]


class Style(msgspec.Struct, frozen=True, kw_only=True):
    """The special tokens of a family of models, and its chat template (Jinja).

    Attributes:
        bos: beginning-of-sequence token; a family that has one also adds it to plain text.
        eos: the token that ends a turn.
        pad: the padding token; may be the same as `eos`.
        further: other special tokens.
        template: the chat template, or `None`.
    """

    bos: str | None
    eos: str
    pad: str
    further: tuple[str, ...] = ()
    template: str | None


_CHATML = (
    "{% for message in messages %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

_LLAMA3 = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "<|start_header_id|>{{ message.role }}<|end_header_id|>\n\n{{ message.content | trim }}<|eot_id|>"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)

_GEMMA = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "<start_of_turn>{{ 'model' if message.role == 'assistant' else message.role }}\n"
    "{{ message.content | trim }}<end_of_turn>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)

_MISTRAL = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('After the optional system message, roles must alternate user/assistant') }}{% endif %}"
    "{% if message.role == 'user' %}[INST] {{ message.content }}[/INST]"
    "{% else %} {{ message.content }}{{ eos_token }}{% endif %}"
    "{% endfor %}"
)

# Writes the reasoning of the last answer only, and an empty block when the last answer has none.
_QWEN3 = (
    "{% set asked = namespace(last=-1) %}"
    "{% for message in messages %}"
    "{% if message.role == 'user' %}{% set asked.last = loop.index0 %}{% endif %}"
    "{% endfor %}"
    "{% for message in messages %}"
    "{% if message.role == 'assistant' %}"
    "{% set parts = message.content.split('</think>') %}"
    "{% set answer = parts[-1].lstrip('\n') %}"
    "{% set reasoning = parts[0].split('<think>')[-1].strip('\n') if parts | length > 1 else '' %}"
    "<|im_start|>assistant\n"
    "{% if loop.index0 > asked.last %}<think>\n{{ reasoning }}\n</think>\n\n{% endif %}{{ answer }}<|im_end|>\n"
    "{% else %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)

STYLES: Mapping[ChatStyle | None, Style] = MappingProxyType(
    {
        None: Style(bos="<s>", eos="</s>", pad="<pad>", template=None),
        "chatml": Style(bos=None, eos="<|im_end|>", pad="<|endoftext|>", further=("<|im_start|>",), template=_CHATML),
        "llama3": Style(
            bos="<|begin_of_text|>",
            eos="<|eot_id|>",
            pad="<|eot_id|>",
            further=("<|start_header_id|>", "<|end_header_id|>", "<|end_of_text|>"),
            template=_LLAMA3,
        ),
        "gemma": Style(
            bos="<bos>", eos="<eos>", pad="<pad>", further=("<start_of_turn>", "<end_of_turn>"), template=_GEMMA
        ),
        "mistral": Style(bos="<s>", eos="</s>", pad="</s>", further=("[INST]", "[/INST]"), template=_MISTRAL),
        "qwen3": Style(bos=None, eos="<|im_end|>", pad="<|endoftext|>", further=("<|im_start|>",), template=_QWEN3),
    }
)
"""Every chat style; `None` is a base model without a template."""
