"""Answers kept on disk: nothing is asked twice, and a killed job goes on where it was."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from accord.chat.types import Chat, Progress, Reply, Request, Streaming
from accord.chat.usage import Usage
from accord.policy.reference import cache_directory

PART = 64
"""Requests that are asked before their answers are written."""


class CachedChat:
    """A model that talks, with a memory.

    Args:
        chat: who is asked what is not known yet.
        path: the SQLite file, which several jobs may share; default in Accord's cache directory.
        part: requests that are asked together, and whose answers are written together; at most so many are lost when
            the job is killed. Replies that arrive one by one are written one by one.

    Attributes:
        asked: requests that the model answered.
        known: requests that were answered from memory.
        tokens: that the model read and wrote to answer, for the cost; 0 where unknown.
    """

    def __init__(self, chat: Chat, path: Path | None = None, *, part: int = PART) -> None:
        self.chat, self.part = chat, part
        self.path = path or cache_directory() / "chat.sqlite"
        self.asked = self.known = 0
        self.tokens = (0, 0)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._connect() as database:
            database.execute("CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, reply BLOB NOT NULL)")

    @property
    def usage(self) -> Usage:
        """All of it."""
        return Usage(self.asked, self.known, *self.tokens)

    @property
    def identity(self) -> str:
        """That of the model behind it."""
        return self.chat.identity

    def __call__(self, requests: Sequence[Request], *, progress: Progress | None = None) -> list[Reply]:
        """The replies, in the order of the requests; equal requests are asked once."""
        keys = [request.key(self.identity) for request in requests]
        found = self._load(keys)
        self.known += sum(key in found for key in keys)
        missing = {key: request for key, request in zip(keys, requests, strict=True) if key not in found}
        times = Counter(keys)
        done = len(keys) - sum(times[key] for key in missing)
        if progress is not None and done:
            progress(done, len(keys))
        for answered in self._asked(list(missing), list(missing.values())):
            self._store(answered)
            found |= answered
            self.asked += len(answered)
            read, written = self.tokens
            self.tokens = (
                read + sum(reply.tokens[0] for reply in answered.values()),
                written + sum(reply.tokens[1] for reply in answered.values()),
            )
            done += sum(times[key] for key in answered)
            if progress is not None:
                progress(done, len(keys))
        return [found[key] for key in keys]

    def _asked(self, keys: Sequence[str], requests: Sequence[Request]) -> Iterator[dict[str, Reply]]:
        """The model's answers by key, as many at a time as come together."""
        if isinstance(self.chat, Streaming):
            for place, reply in self.chat.arriving(requests) if requests else ():
                yield {keys[place]: reply}
            return
        for start in range(0, len(requests), self.part):
            part = slice(start, start + self.part)
            yield dict(zip(keys[part], self.chat(requests[part]), strict=True))

    def _load(self, keys: Sequence[str]) -> dict[str, Reply]:
        found = {}
        with self._connect() as database:
            for key in set(keys):
                row = database.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
                if row is not None:
                    found[key] = msgspec.json.decode(row[0], type=Reply)
        return found

    def _store(self, replies: dict[str, Reply]) -> None:
        rows = [(key, msgspec.json.encode(reply)) for key, reply in replies.items()]
        with self._connect() as database:
            database.executemany("INSERT OR REPLACE INTO replies VALUES (?, ?)", rows)

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        """A connection that commits at the end of the block and is closed."""
        database = sqlite3.connect(self.path, timeout=60)
        try:
            database.execute("PRAGMA journal_mode=WAL")
            with database:
                yield database
        finally:
            database.close()
