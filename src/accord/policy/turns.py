"""How a chat template writes an assistant turn: read from the template itself by rendering a probe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jinja2

from accord.errors import DataError, ModelError
from accord.policy.untrusted import TextEncoder, slot
from accord.record import Message, Origin

_PROBE = Message("user", "question")


@dataclass(frozen=True)
class TurnFormat:
    """What stands around the text of an assistant turn.

    Attributes:
        header: what opens the turn, when the template ignores `add_generation_prompt` and it must be added to prompts.
        anchor: the end of a prompt from its last marker on; the text is tokenised as its continuation.
        lead: what the template writes between prompt and text (a space, an empty block of reasoning): the model has to
            write it, so it is trained.
        end: what closes the turn, up to and including its first marker; `None` if the template writes no marker.
        strips: whether the template removes white space around the text.
    """

    header: str
    anchor: str
    lead: str
    end: str | None
    strips: bool

    def with_lead(self, lead: str, text: str) -> str:
        """The text as the template would write it, unless it brings its own opening (recorded reasoning)."""
        return self._lead(lead, text) + (text.strip() if self.strips else text)

    def places(self, lead: str, text: str, offsets: Sequence[int]) -> tuple[int, ...]:
        """Offsets in a text as offsets in what `with_lead` makes of it."""
        skipped = len(text) - len(text.lstrip()) if self.strips else 0
        start, end = len(self._lead(lead, text)), len(self.with_lead(lead, text))
        return tuple(min(start + max(0, offset - skipped), end) for offset in offsets)

    def _lead(self, lead: str, text: str) -> str:
        opening = lead.split()[:1]
        return "" if opening and text.lstrip().startswith(opening[0]) else lead


def render(
    tokenizer: Any, messages: Sequence[Message], *, generation: bool, origin: Origin | None = None, header: str = ""
) -> str:
    """The conversation as the tokenizer's chat template writes it.

    Args:
        tokenizer: a transformers tokenizer with a chat template.
        messages: the conversation.
        generation: end with the opening of an assistant turn.
        origin: where the conversation was read, for the message.
        header: text to add at the end, see `TurnFormat.header`.

    Raises:
        DataError: the template refuses the conversation (a system turn, roles that do not alternate).
    """
    turns = [{"role": message.role, "content": message.content} for message in messages]
    try:
        text: str = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=generation)
    except (jinja2.TemplateError, ValueError) as error:
        roles = ", ".join(message.role for message in messages) or "none"
        raise DataError(
            f"the model's chat template refuses this conversation (roles: {roles}): {error}",
            path=None if origin is None else origin.path,
            line=None if origin is None else origin.line,
            mend="Change the row's roles to what the template accepts, or train a model whose template accepts them.",
        ) from error
    return text + header


def read_template(tokenizer: Any) -> tuple[TextEncoder, TurnFormat]:
    """Render a probe and read off what the template writes around a question and its answer.

    Returns:
        The encoder that knows the markers of a turn, whether or not they are registered as special; and the format of
        an assistant turn.

    Raises:
        ModelError: the template cannot write a question with an answer.
    """
    answer = slot(0)
    try:
        silent = render(tokenizer, [_PROBE], generation=False)
        asked = render(tokenizer, [_PROBE], generation=True)
        tight = render(tokenizer, [_PROBE, Message("assistant", answer)], generation=False)
        loose = render(tokenizer, [_PROBE, Message("assistant", f" {answer} ")], generation=False)
    except DataError as error:
        raise _unusable(f"cannot write a question and its answer ({error.__cause__})") from error
    encoder = TextEncoder(tokenizer, [name for name in tokenizer.get_added_vocab() if name in asked])
    before, found, after = tight.partition(answer)
    if not found:
        raise _unusable("does not write the content of an assistant turn")
    lead = before.removeprefix(asked) if before.startswith(asked) else ""
    header = ""
    if silent == asked and lead.strip():  # the template ignores add_generation_prompt: its assistant header serves
        header = lead.rstrip(" ")
        lead = lead.removeprefix(header)
    return encoder, TurnFormat(
        header=header,
        anchor=encoder.from_last_marker(asked + header),
        lead=lead,
        end=encoder.through_marker(after),
        strips=len(loose) != len(tight) + 2,
    )


def _unusable(what: str) -> ModelError:
    return ModelError(
        f"the tokenizer's chat template {what}",
        mend="Set a working chat_template in tokenizer_config.json, or pass --chat off and plain-text prompts.",
    )
