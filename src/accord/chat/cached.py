"""Answers kept on disk: nothing is asked twice, and a killed job goes on where it was."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from accord.chat.types import Chat, Progress, Reply, Request
from accord.policy.reference import cache_directory

PART = 64
"""Requests that are asked before their answers are written."""


class CachedChat:
    """A model that talks, with a memory.

    Args:
        chat: who is asked what is not known yet.
        path: the SQLite file, which several jobs may share; default in Accord's cache directory.
        part: requests whose answers are written together; at most so many are lost when the job is killed.

    Attributes:
        asked: requests that went to the model.
        known: requests that were answered from memory.
    """

    def __init__(self, chat: Chat, path: Path | None = None, *, part: int = PART) -> None:
        self.chat, self.part = chat, part
        self.path = path or cache_directory() / "chat.sqlite"
        self.asked = self.known = 0
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._connect() as database:
            database.execute("CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, reply BLOB NOT NULL)")

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
        done = len(keys) - sum(key in missing for key in keys)
        if progress is not None and done:
            progress(done, len(keys))
        pending = list(missing.items())
        for start in range(0, len(pending), self.part):
            part = pending[start : start + self.part]
            replies = self.chat([request for _, request in part])
            answered = dict(zip((key for key, _ in part), replies, strict=True))
            self._store(answered)
            found |= answered
            self.asked += len(part)
            if progress is not None:
                progress(sum(key in found for key in keys), len(keys))
        return [found[key] for key in keys]

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
