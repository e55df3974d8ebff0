"""The in-process sampler: n answers to each prompt, with their log-probabilities.

Each prompt is read once and its cache shared by its samples; finished rows leave the batch. A row's random numbers
follow from (seed, prompt, sample, position) alone, so what is drawn does not depend on how rows are batched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor

from accord.errors import ConfigError, ModelError, NumericsError
from accord.policy.blend import MixtureDecoder, Networks, networks_of
from accord.policy.cascade import CascadeDecoder, reach
from accord.policy.decoding import CachedDecoder, Decoder, Network, PlainDecoder, evaluating
from accord.policy.draw import draw, greedy, most_likely, nucleus
from accord.policy.packed import packed_linears
from accord.policy.stops import Decode, Stops

BATCH_TOKENS = 32768
"""Prompt and response tokens that are held in the cache at once."""

CROWD = 0.8
"""Ended rows are dropped when at most this share of the batch is going on: dropping copies the cache."""

SHARERS = 3
"""Rows a prompt, on average, from which on the prompt's keys and values are held once rather than in every row."""

Progress = Callable[[int, int], None]
"""Called with the number of finished samples and their total."""

Row = tuple[int, int]
"""The index of a prompt and of one of its samples."""

Steer = Callable[[Tensor, Tensor, Sequence[Row]], Tensor]
"""Changes the logits `[N,V]` of rows whose answers so far are `[N,t]`, before the temperature; gives `[N,V]`."""


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How to draw.

    Attributes:
        temperature: divides the logits; 0 takes the most likely token.
        top_p: draw among the most likely tokens that together have this probability.
        top_k: draw among so many most likely tokens, before `top_p`; all if `None`.
        stop: an answer also ends with the token that completes one of these texts, which stays part of it.
        max_tokens: longest answer; an answer that reaches it counts as unfinished.
        seed: the same seed draws the same answers.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    max_tokens: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        for flag, value, fits, allowed in (
            ("--temperature", self.temperature, 0 <= self.temperature < float("inf"), "0 (greedy) or more"),
            ("--top-p", self.top_p, 0 < self.top_p <= 1, "more than 0 and at most 1"),
            ("--top-k", self.top_k, self.top_k is None or self.top_k >= 1, "at least 1"),
            ("--stop", "an empty text", all(self.stop), "texts of at least one character"),
            ("--max-tokens", self.max_tokens, self.max_tokens >= 1, "at least 1"),
            ("--seed", self.seed, self.seed >= 0, "0 or more"),
        ):
            if not fits:
                raise ConfigError(f"{value} is out of range", where=flag, mend=f"Give {allowed}.")


class Sampled(msgspec.Struct, frozen=True):
    """One answer.

    Attributes:
        tokens: the ids, the stop token included where one was drawn.
        logprobs: log-probability of each token under the distribution it was drawn from: the softmax of the logits
            over the temperature, renormalised over the kept tokens under `top_p` and `top_k`; at temperature 0 that of
            the logits.
        finished: whether it ends in a stop token or a stop text.
    """

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    finished: bool


def sample(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    n: int,
    sampling: Sampling,
    stop_ids: Sequence[int],
    pad_id: int,
    decode: Decode | None = None,
    streams: Sequence[tuple[int, ...]] | None = None,
    batch_tokens: int = BATCH_TOKENS,
    progress: Progress | None = None,
    name_of: Callable[[int], str] = "prompt {}".format,
    steer: Steer | None = None,
) -> list[list[Sampled]]:
    """Draw `n` answers to each prompt.

    Args:
        model: a transformers causal LM, perhaps wrapped by peft, or a `Blend` of several: tokens are then drawn from
            their mixture, and log-probabilities are those under the mixture. It samples in evaluation mode and is
            returned to the mode it was in. For bf16 compute, call inside `torch.autocast`.
        prompts: token ids; none is empty.
        n: answers a prompt.
        sampling: how to draw.
        stop_ids: an answer ends with the first of these.
        pad_id: fills rows of different lengths; never seen by the model's attention.
        decode: token ids to text; needed for stop texts.
        streams: numbers that stand for each prompt in its random stream; by default its index.
        batch_tokens: bound on prompt plus response tokens in a batch; memory, not results, depends on it.
        progress: told how many answers are finished.
        name_of: what errors call the prompt of an index.
        steer: changes the logits of every step; log-probabilities are then those of what it makes of them.

    Returns:
        For each prompt its answers, in order. An answer also ends, unfinished, at the model's longest sequence.

    Raises:
        ModelError: a prompt is empty or leaves no room for an answer; names it.
        NumericsError: the logits are not finite numbers; names the prompt.
    """
    if sampling.stop and decode is None:
        raise TypeError("stop texts need `decode`")
    stops = Stops(stop_ids, sampling.stop, decode)
    if streams is None:
        streams = [(index,) for index in range(len(prompts))]
    answers: dict[Row, Sampled] = {}
    with evaluating(model), packed_linears(model):
        network = networks_of(model)
        room = _room(prompts, sampling.max_tokens, network.limit, name_of)
        for rows in _batches(prompts, n, sampling.max_tokens, batch_tokens, mixed=network.pads):
            batch = _Batch(network, prompts, rows, room, sampling, stops, streams, pad_id, steer)
            for row, answer in batch.run(name_of):
                answers[row] = answer
                if progress is not None:
                    progress(len(answers), len(prompts) * n)
    return [[answers[prompt, index] for index in range(n)] for prompt in range(len(prompts))]


class _Batch:
    """Rows that are decoded together."""

    def __init__(
        self,
        network: Network | Networks,
        prompts: Sequence[Sequence[int]],
        rows: list[Row],
        room: list[int],
        sampling: Sampling,
        stops: Stops,
        streams: Sequence[tuple[int, ...]],
        pad_id: int,
        steer: Steer | None,
    ) -> None:
        self._prompts, self._rows, self._sampling, self._stops = prompts, rows, sampling, stops
        self._steer = steer
        # What a mixture gives has the temperature in it.
        tempered = isinstance(network, Networks) and sampling.temperature > 0
        self._temperature = 1.0 if tempered else sampling.temperature
        self._streams = [(*streams[prompt], index) for prompt, index in rows]
        self._limits = torch.tensor([room[prompt] for prompt, _ in rows], device=network.device)
        self._decoder = self._fastest(network, pad_id)

    def run(self, name_of: Callable[[int], str]) -> Iterator[tuple[Row, Sampled]]:
        """Decode to the end; rows come as they end."""
        indices = list(dict.fromkeys(prompt for prompt, _ in self._rows))
        local = {prompt: position for position, prompt in enumerate(indices)}
        owners = [local[prompt] for prompt, _ in self._rows]
        steps = int(self._limits.max())
        logits = self._decoder.start([self._prompts[prompt] for prompt in indices], owners, steps)
        device = logits.device
        uniforms = torch.from_numpy(_uniforms(self._streams, steps, self._sampling.seed)).to(device)
        tokens = torch.zeros(len(self._rows), steps, dtype=torch.long, device=device)
        logprobs = torch.zeros(len(self._rows), steps, device=device)
        rows = torch.arange(len(self._rows), device=device)
        going = torch.ones_like(rows, dtype=torch.bool)
        for step in range(steps):
            if self._steer is not None:
                logits = self._steer(logits, tokens[rows, :step], [self._rows[row] for row in rows.tolist()])
            drawn, drawn_logprobs = self._draw(logits, uniforms[rows, step])
            self._check(drawn_logprobs, rows, name_of)
            tokens[rows, step], logprobs[rows, step] = drawn, drawn_logprobs
            stopped, full = self._stops.at_end(tokens[rows, : step + 1]), self._limits[rows] == step + 1
            ended = going & (stopped | full)
            if bool(ended.any()):
                yield from self._collect(rows[ended], stopped[ended], tokens, logprobs, step + 1)
                going &= ~ended
                left = int(going.sum())
                if not left:
                    return
                if left <= CROWD * len(rows) or bool(full.any()):
                    kept = going.nonzero()[:, 0]
                    rows, drawn, going = rows[kept], drawn[kept], going[kept]
                    self._decoder.keep(kept)
            logits = self._decoder.advance(drawn)

    def _fastest(self, network: Network | Networks, pad_id: int) -> Decoder:
        """How these rows are decoded."""
        if isinstance(network, Networks):
            decoders = [self._fastest(one, pad_id) for one in network.each]
            return MixtureDecoder(decoders, network, temperature=self._sampling.temperature or 1.0)
        if not network.caches:
            return PlainDecoder(network)
        shared = {prompt for prompt, _ in self._rows}
        longest = max(len(self._prompts[prompt]) for prompt in shared) + int(self._limits.max())
        if len(self._rows) >= SHARERS * len(shared) and longest <= reach(network):
            return CascadeDecoder(network)
        return CachedDecoder(network, pad_id)

    def _draw(self, logits: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
        sampling = self._sampling
        if self._temperature == 0:
            return greedy(logits)
        if self._temperature != 1:
            logits = logits / self._temperature
        if sampling.top_k is not None:
            logits = most_likely(logits, sampling.top_k)
        return draw(nucleus(logits, sampling.top_p) if sampling.top_p < 1 else logits, uniforms)

    def _check(self, logprobs: Tensor, rows: Tensor, name_of: Callable[[int], str]) -> None:
        wrong = ~torch.isfinite(logprobs)
        if bool(wrong.any()):
            prompt, _ = self._rows[int(rows[wrong][0])]
            raise NumericsError(
                "the model's next-token distribution is not finite",
                where=name_of(prompt),
                mend="The weights may have diverged: lower the learning rate, or sample in fp32.",
            )

    def _collect(
        self, ended: Tensor, stopped: Tensor, tokens: Tensor, logprobs: Tensor, length: int
    ) -> Iterator[tuple[Row, Sampled]]:
        columns = (tokens[ended, :length].tolist(), logprobs[ended, :length].tolist())
        for row, finished, ids, values in zip(ended.tolist(), stopped.tolist(), *columns, strict=True):
            yield self._rows[row], Sampled(tuple(ids), tuple(values), finished)


def _room(
    prompts: Sequence[Sequence[int]], max_tokens: int, limit: int | None, name_of: Callable[[int], str]
) -> list[int]:
    """How many tokens each prompt's answer may have."""
    room = []
    for index, prompt in enumerate(prompts):
        left = max_tokens if limit is None else min(max_tokens, limit - len(prompt))
        if not len(prompt):
            raise ModelError("an empty prompt cannot be answered", where=name_of(index))
        if left < 1:
            raise ModelError(
                f"{len(prompt)} tokens leave no room for an answer; the model takes {limit}",
                where=name_of(index),
                mend="Shorten or drop the prompt.",
            )
        room.append(left)
    return room


def _batches(
    prompts: Sequence[Sequence[int]], n: int, max_tokens: int, batch_tokens: int, *, mixed: bool
) -> Iterator[list[Row]]:
    """Rows in batches of similar lengths within the budget; of equal lengths unless `mixed`. At least one row each."""
    batch: list[Row] = []
    shortest = 0
    for prompt in sorted(range(len(prompts)), key=lambda index: len(prompts[index])):
        length = len(prompts[prompt])
        for index in range(n):
            full = (len(batch) + 1) * (length + max_tokens) > batch_tokens
            if batch and (full or (not mixed and length != shortest)):
                yield batch
                batch = []
            if not batch:
                shortest = length
            batch.append((prompt, index))
    if batch:
        yield batch


def _uniforms(streams: Sequence[tuple[int, ...]], steps: int, seed: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """One uniform number a row and step; each row has a stream of its own."""
    return np.stack([np.random.default_rng((seed, *stream)).random(steps) for stream in streams])
