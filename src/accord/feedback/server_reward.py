"""A reward behind HTTP: JSON there, JSON back.

    POST URL   {"prompts": [...], "messages": [...], "responses": [...], "answers": [...], "finished": [...]}
    answer     {"scores": [0.5, null, ...]}

All lists have one entry for each response; `null` is a missing score. What fails is tried again, later and later: no
answer, a late one, an error of the server (5xx, 429), an answer that is no such JSON. A refusal (another 4xx) is not.
"""

from __future__ import annotations

import http.client
import json
import math
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Annotated, Any

import msgspec

from accord.errors import ConfigError
from accord.feedback.reward import RewardError, Row, excerpt
from accord.record import Group, Response, SourceKind

LARGEST = 64 << 20
"""Bytes of an answer that are read."""

_LONGEST_WAIT = 30.0

Seconds = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Item = tuple[Group, Response]


class _Failed(Exception):  # noqa: N818 - an outcome to be handled, not a mistake
    """An attempt that is worth another one."""


class ServerReward:
    """A reward server.

    Args:
        url: where to post, http or https.
        timeout: seconds for one answer, from the first byte sent to the last received.
        retries: attempts after the first one that failed.
        backoff: seconds before the first of them; each waits twice as long as the one before, 30 at most.
        batch: responses sent at a time.
        parallel: requests under way at a time.
        name: of its score.

    Raises:
        ConfigError: the URL is none of http or https.
    """

    source: SourceKind = "reward_model"

    def __init__(
        self,
        url: str,
        *,
        timeout: Seconds = 30.0,
        retries: Annotated[int, msgspec.Meta(ge=0)] = 6,
        backoff: Seconds = 1.0,
        batch: Count = 64,
        parallel: Count = 4,
        name: str = "server",
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"{url!r} is no URL of http or https", where="reward server")
        self.name, self.url = name, url
        self.timeout, self.retries, self.backoff = timeout, retries, backoff
        self.batch, self.parallel = batch, parallel

    def __call__(self, groups: Sequence[Group]) -> list[Row]:
        """A row of numbers for each Group.

        Raises:
            RewardError: the server refused, or failed at every attempt.
        """
        items = [(group, response) for group in groups for response in group.responses]
        batches = [items[start : start + self.batch] for start in range(0, len(items), self.batch)]
        with ThreadPoolExecutor(self.parallel) as threads:
            scores = iter([score for scored in threads.map(self._ask, batches) for score in scored])
        return [tuple(islice(scores, len(group.responses))) for group in groups]

    def _ask(self, items: Sequence[Item]) -> list[float | None]:
        body = json.dumps(_question(items)).encode()
        for attempt in range(self.retries + 1):
            try:
                return _scores(self._post(body), len(items))
            except _Failed as failure:
                reason = str(failure)
            if attempt < self.retries:
                wait = min(self.backoff * 2**attempt, _LONGEST_WAIT)
                said = f"reward server {self.url} {reason}; attempt {attempt + 2} of {self.retries + 1} in {wait:g} s"
                warnings.warn(said, stacklevel=2)
                time.sleep(wait)
        mend = "See that the server runs and answers as docs/rewards.md says, then start the same command again."
        what = f"{reason}, at the last of {self.retries + 1} attempts"
        raise RewardError(what, where=f"reward server {self.url}", mend=mend)

    def _post(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        request = urllib.request.Request(self.url, data=body, headers=headers, method="POST")  # noqa: S310 - http only
        deadline = time.monotonic() + self.timeout
        received = bytearray()
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as answer:  # noqa: S310 - as above
                while part := answer.read1(1 << 16):
                    received += part
                    if time.monotonic() > deadline:
                        raise _Failed(f"took longer than {self.timeout:g} s")
                    if len(received) > LARGEST:
                        raise _Failed(f"answered with more than {LARGEST >> 20} MiB")
        except urllib.error.HTTPError as error:
            with error:
                said = f"answered {error.code} {error.reason}: {excerpt(error.read(2000).decode(errors='replace'))}"
            if error.code < 500 and error.code not in (408, 429):
                mend = "It refuses the request; see docs/rewards.md for what is sent."
                raise RewardError(said, where=f"reward server {self.url}", mend=mend) from error
            raise _Failed(said) from error
        except TimeoutError as error:
            raise _Failed(f"took longer than {self.timeout:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            raise _Failed(f"cannot be reached ({getattr(error, 'reason', None) or error})") from error
        return bytes(received)


def _question(items: Sequence[Item]) -> dict[str, list[Any]]:
    return {
        "prompts": [group.prompt_text() for group, _ in items],
        "messages": [msgspec.to_builtins(group.messages()) for group, _ in items],
        "responses": [response.text for _, response in items],
        "answers": [group.answer for group, _ in items],
        "finished": [response.finished for _, response in items],
    }


def _scores(received: bytes, count: int) -> list[float | None]:
    try:
        answer = json.loads(received)
    except (ValueError, RecursionError) as error:
        raise _Failed(f"answered what is no JSON: {excerpt(received[:400].decode(errors='replace'))}") from error
    scores = answer.get("scores") if isinstance(answer, dict) else None
    if not isinstance(scores, list) or len(scores) != count:
        found = f"{len(scores)} scores" if isinstance(scores, list) else "no list of scores"
        raise _Failed(f"answered with {found} for {count} responses")
    for score in scores:
        if score is not None and (
            isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score)
        ):
            raise _Failed(f"answered with {excerpt(repr(score))} among the scores, which is no finite number")
    return scores
