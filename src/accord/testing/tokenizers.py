"""A tokenizer of bytes: token id = byte value, special tokens after them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from accord.testing.styles import STYLES, ChatStyle

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def byte_tokenizer(
    chat_template: ChatStyle | None = "chatml",
    *,
    add_bos: bool | None = None,
    add_eos: bool = False,
    pad_is_eos: bool = False,
) -> PreTrainedTokenizerFast:
    """A tokenizer whose ids 0-255 are the bytes of the text; special tokens follow from 256.

    It reads and writes every text exactly, and no merge crosses a boundary, so segments tokenised separately equal
    the whole text tokenised at once.

    Args:
        chat_template: family whose special tokens and chat template to use; `None` for a base model without one.
        add_bos: whether plain text gets the beginning-of-sequence token; by default, if the family has one.
        add_eos: whether plain text also gets the end-of-sequence token, as some tokenizers do.
        pad_is_eos: use the end-of-sequence token for padding whatever the family does.

    Raises:
        ValueError: `add_bos` for a family without a beginning-of-sequence token.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    style = STYLES[chat_template]
    if add_bos and style.bos is None:
        raise ValueError(f"the {chat_template} style has no beginning-of-sequence token")
    backend = Tokenizer(models.BPE(vocab={symbol: byte for byte, symbol in enumerate(_byte_symbols())}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    names = dict.fromkeys(name for name in (style.bos, style.eos, style.pad, *style.further) if name is not None)
    backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    if chat_template == "qwen3":
        backend.add_tokens([AddedToken(name, special=False, normalized=False) for name in ("<think>", "</think>")])
    first = style.bos if add_bos or (add_bos is None and style.bos is not None) else None
    last = style.eos if add_eos else None
    if first or last:
        backend.post_processor = processors.TemplateProcessing(
            single=" ".join(part for part in (first, "$A", last) if part),
            special_tokens=[(name, backend.token_to_id(name)) for name in dict.fromkeys((first, last)) if name],
        )
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend,
        bos_token=style.bos,
        eos_token=style.eos,
        pad_token=style.eos if pad_is_eos else style.pad,
        additional_special_tokens=list(style.further),
        clean_up_tokenization_spaces=False,
        model_max_length=512,
    )
    tokenizer.chat_template = style.template
    return tokenizer


def _byte_symbols() -> list[str]:
    """The character that stands for each byte in byte-level vocabularies: printable Latin-1 itself, others shifted."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    hidden = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) if byte in printable else chr(256 + hidden.index(byte)) for byte in range(256)]
