"""The reference: the starting weights' log-probs, computed at most once and cached by content.

A cached value is keyed by the weights, the compute dtype, the token ids and the trained mask, so it stays valid
across beta, learning rate, seed and objective, and across runs.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.policy.budget import within_budget
from accord.policy.fingerprint import sequence_key
from accord.policy.policy import Policy
from accord.policy.rows import Rows
from accord.record import Encoded

Values = NDArray[np.float32]


def cache_directory() -> Path:
    """Where caches live: `$ACCORD_CACHE`, else the user's cache directory."""
    configured = os.environ.get("ACCORD_CACHE")
    if configured:
        return Path(configured)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "accord"


class ReferencePolicy:
    """Log-probs under another policy, computed when they are asked for, without gradient."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def logprobs(self, batch: Sequence[Encoded], rows: Rows) -> Tensor:
        """Log-probs of Groups laid out as `rows`, `[B,n,T]` float32."""
        with torch.no_grad():
            return self.policy.logprobs(self.policy.rows(batch))


class LogprobCache:
    """Token log-probs by content, in memory and in one SQLite file that several runs may share."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or cache_directory() / "logprobs.sqlite"
        self._memory: dict[bytes, Values] = {}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._connect() as database:
            database.execute("CREATE TABLE IF NOT EXISTS logprobs (key BLOB PRIMARY KEY, value BLOB NOT NULL)")

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

    def __contains__(self, key: bytes) -> bool:
        return key in self._memory

    def __getitem__(self, key: bytes) -> Values:
        return self._memory[key]

    def load(self, keys: Iterable[bytes]) -> None:
        """Bring what the file has of these keys into memory."""
        with self._connect() as database:
            for key in keys:
                if key not in self._memory:
                    found = database.execute("SELECT value FROM logprobs WHERE key = ?", (key,)).fetchone()
                    if found is not None:
                        self._memory[key] = np.frombuffer(found[0], dtype=np.float32)

    def store(self, values: dict[bytes, Values]) -> None:
        """Add values to memory and to the file."""
        self._memory |= values
        rows = [(key, value.tobytes()) for key, value in values.items()]
        with self._connect() as database:
            database.executemany("INSERT OR REPLACE INTO logprobs VALUES (?, ?)", rows)


class Reference:
    """Log-probs under the starting weights for Groups whose values are in the cache.

    Args:
        weights: fingerprint of the starting weights (and compute dtype), `Policy.fingerprint()`.
        cache: where values are kept.
    """

    def __init__(self, weights: str, cache: LogprobCache) -> None:
        self.weights, self.cache = weights, cache

    def keys(self, encoded: Encoded) -> list[bytes]:
        """The cache keys of a Group's responses."""
        return [sequence_key(self.weights, encoded, response) for response in encoded.responses]

    def missing(self, batch: Iterable[Encoded]) -> list[Encoded]:
        """The Groups of which at least one response has no cached value."""
        batch = list(batch)
        self.cache.load(key for encoded in batch for key in self.keys(encoded))
        return [encoded for encoded in batch if any(key not in self.cache for key in self.keys(encoded))]

    def compute(
        self,
        starting: Policy,
        batch: Sequence[Encoded],
        *,
        micro_batch_tokens: int,
        advance: Callable[[int], None] = lambda groups: None,
    ) -> None:
        """Compute and cache the log-probs of Groups under a policy that holds the starting weights.

        Args:
            starting: the policy before its first step (or with its adapters disabled).
            batch: Groups, usually what `missing` returned.
            micro_batch_tokens: tokens that go through the model at once.
            advance: told how many Groups are done, for progress bars.
        """
        for part in within_budget(batch, micro_batch_tokens, starting.cost, encoded=lambda encoded: encoded):
            with torch.no_grad():
                folded = starting.logprobs(part).cpu().numpy()
            values = {}
            for b, encoded in enumerate(part):
                for j, (key, response) in enumerate(zip(self.keys(encoded), encoded.responses, strict=True)):
                    trained = np.asarray(response.trained, dtype=bool)
                    values[key] = folded[b, j, : len(trained)][trained].astype(np.float32)
            self.cache.store(values)
            advance(len(part))

    def logprobs(self, batch: Sequence[Encoded], rows: Rows) -> Tensor:
        """The cached log-probs of Groups, folded like `rows`: `[B,n,T]` float32."""
        parts = [self.cache[key] for encoded in batch for key in self.keys(encoded)]
        values = np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)
        return rows.fold(torch.from_numpy(values.copy()).to(rows.mask.device))
