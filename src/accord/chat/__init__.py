"""Every model that talks: an in-process policy, an OpenAI-compatible server, a script. One kind of thing: a `Chat`."""

from accord.chat.spec import Opening, open_chat
from accord.chat.types import Chat, ChatError, Reply, Request

__all__ = ["Chat", "ChatError", "Opening", "Reply", "Request", "open_chat"]
