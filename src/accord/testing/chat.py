"""A chat partner that answers from a script: a stand-in for a remote model, a judge, a critic."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from accord.record import Message

Reply = Callable[[Sequence[Message]], str]


class ScriptedChat:
    """Answers a conversation from a script and remembers what it was asked.

    Args:
        script: the replies in order, or a function from the messages to the reply.

    Attributes:
        calls: the conversations it was given, in order.
    """

    def __init__(self, script: Sequence[str] | Reply) -> None:
        self._script = script
        self.calls: list[tuple[Message, ...]] = []

    def __call__(self, messages: Sequence[Message]) -> str:
        """The reply to a conversation.

        Raises:
            AssertionError: the script has run out; the message shows the conversation that nobody expected.
        """
        self.calls.append(tuple(messages))
        if callable(self._script):
            return self._script(messages)
        if len(self.calls) > len(self._script):
            raise AssertionError(f"the script has {len(self._script)} replies, but was asked once more: {messages!r}")
        return self._script[len(self.calls) - 1]
