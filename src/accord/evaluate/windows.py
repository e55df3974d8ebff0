"""A text of any length as the parts in which a model reads it, each token predicted once."""

from __future__ import annotations

from accord.policy.chat import Renderer
from accord.policy.policy import Policy
from accord.record import Encoded, EncodedResponse, Group, Response


def windows_of(policy: Policy, text: str) -> list[Encoded]:
    """A text behind the beginning-of-sequence token, as it stands, without a chat template.

    A text that is longer than the model reads is cut so that every token has at least half a window before it. A model
    with neither a beginning- nor an end-of-sequence token begins with the first token, which is then not predicted.

    Args:
        policy: who reads it.
        text: what it reads; of an empty one there are no parts.
    """
    raw = Renderer(policy.tokenizer, chat="off")
    tokens = raw.encode(Group("\n", (Response(text, finished=False),))).responses[0].tokens
    begin = policy.tokenizer.bos_token_id
    first = policy.tokenizer.eos_token_id if begin is None else begin
    row = tokens if first is None else (first, *tokens)
    limit = policy.max_positions or len(row)
    windows: list[Encoded] = []
    done = 1
    while done < len(row):
        start = 0 if done == 1 else max(0, done - limit // 2)
        end = min(len(row), start + limit)
        ids = row[done:end]
        windows.append(Encoded(row[start:done], (EncodedResponse(ids, (True,) * len(ids)),)))
        done = end
    return windows
