"""A Group as token ids: what the policy reads and which tokens are trained."""

from __future__ import annotations

from typing import Protocol

import msgspec

from accord.record.types import Group


class EncodedResponse(msgspec.Struct, frozen=True):
    """The tokens that follow the prompt.

    Attributes:
        tokens: their ids, end-of-sequence included.
        trained: for each whether it is trained.
        steps: index of the last token of each step, in order.
    """

    tokens: tuple[int, ...]
    trained: tuple[bool, ...]
    steps: tuple[int, ...] = ()

    def first(self, count: int) -> EncodedResponse:
        """The response cut after so many tokens, with the steps that end before the cut."""
        steps = tuple(end for end in self.steps if end < count)
        return EncodedResponse(self.tokens[:count], self.trained[:count], steps)


class Encoded(msgspec.Struct, frozen=True):
    """Prompt and responses tokenised separately; a row of the model is `prompt + response.tokens`."""

    prompt: tuple[int, ...]
    responses: tuple[EncodedResponse, ...]


class Encoder(Protocol):
    """Turns Groups into token ids; the policy's renderer is one, tests bring a byte tokenizer."""

    def encode(self, group: Group) -> Encoded:
        """Token ids of a Group."""
        ...

    def decode(self, tokens: tuple[int, ...] | list[int]) -> str:
        """Readable text of token ids, special tokens shown."""
        ...

    def describe(self) -> dict[str, str]:
        """Facts for the reader: `chat_template`, `bos`, `eos`, `end_of_turn`, each a short sentence."""
        ...
