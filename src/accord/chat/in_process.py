"""A policy in this process as a model that talks."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from itertools import groupby

import msgspec
import torch

from accord.chat.types import Progress, Reply, Request
from accord.policy.budget import within_budget
from accord.policy.policy import Policy
from accord.policy.sample import Sampling, sample
from accord.record import Encoded, EncodedResponse, Group, Response

TOKENS = 8192
"""Tokens that go through the model at once when choices are scored."""


class PolicyChat:
    """Asks a policy.

    Args:
        policy: who answers.
        name: what it is called in messages.
    """

    def __init__(self, policy: Policy, *, name: str | None = None) -> None:
        self.policy, self.name = policy, name or policy.source

    @property
    def identity(self) -> str:
        """Starting weights, version in training, and how it reads conversations."""
        return f"{self.policy.fingerprint()}-{self.policy.version}-{self.policy.renderer.fingerprint()}"

    def __call__(self, requests: Sequence[Request], *, progress: Progress | None = None) -> list[Reply]:
        """The replies, in the order of the requests."""
        replies: dict[int, Reply] = {}
        order = sorted(range(len(requests)), key=lambda index: _kind(requests[index]))
        for _, same in groupby(order, key=lambda index: _kind(requests[index])):
            indices = list(same)
            batch = [requests[index] for index in indices]
            answered = self._chosen(batch) if batch[0].choices else self._said(batch)
            replies |= dict(zip(indices, answered, strict=True))
            if progress is not None:
                progress(len(replies), len(requests))
        return [replies[index] for index in range(len(requests))]

    def _said(self, requests: Sequence[Request]) -> list[Reply]:
        """Sampled answers to requests that differ in their messages alone."""
        first, renderer = requests[0], self.policy.renderer
        prompts = [renderer.encode_prompt(request.messages) for request in requests]
        sampling = Sampling(
            temperature=first.temperature,
            top_p=first.top_p,
            max_tokens=first.max_tokens,
            seed=first.seed,
            stop=first.stop,
        )
        with self.policy.precision():
            drawn = sample(
                self.policy.model,
                prompts,
                n=1,
                sampling=sampling,
                stop_ids=renderer.stop_ids,
                pad_id=renderer.pad_id,
                decode=renderer.decode,
                streams=[_stream(request) for request in requests],
                name_of=lambda index: f"{self.name}, {requests[index].messages[-1].content[:80]!r}",
            )
        return [
            Reply(
                _before(request.stop, renderer.text_of(answer.tokens, prompt=request.messages)),
                answer.finished,
                tokens=(len(prompt), len(answer.tokens)),
            )
            for request, prompt, (answer,) in zip(requests, prompts, drawn, strict=True)
        ]

    def _chosen(self, requests: Sequence[Request]) -> list[Reply]:
        """The probability of each choice as the beginning of the answer: its summed token log-probabilities."""
        batch = [self._beginnings(request) for request in requests]
        replies: dict[int, Reply] = {}
        places = {id(encoded): index for index, encoded in enumerate(batch)}
        for part in within_budget(batch, TOKENS, self.policy.cost, encoded=lambda encoded: encoded):
            with torch.inference_mode():
                folded = self.policy.logprobs(part).sum(-1).double()
            for row, encoded in zip(folded, part, strict=True):
                index = places[id(encoded)]
                replies[index] = _choice(requests[index], row[: len(encoded.responses)], len(encoded.prompt))
        return [replies[index] for index in range(len(requests))]

    def _beginnings(self, request: Request) -> Encoded:
        """The prompt with the choices as answers that go on: without the end of their turn."""
        # A step ends where the choice ends, so that the ids up to there are those of the choice alone.
        answers = tuple(Response(choice, steps=(len(choice),)) for choice in request.choices)
        encoded = self.policy.renderer.encode(Group(request.messages, answers))
        cut = []
        for answer in encoded.responses:
            end = answer.steps[0] + 1
            cut.append(EncodedResponse(answer.tokens[:end], answer.trained[:end]))
        return Encoded(encoded.prompt, tuple(cut))


def _kind(request: Request) -> tuple[object, ...]:
    """What requests must share to be answered together."""
    if request.choices:
        return (True, 0.0, 0.0, 0, 0, ())
    return (False, request.temperature, request.top_p, request.max_tokens, request.seed, request.stop)


def _before(stop: Sequence[str], text: str) -> str:
    """A text up to the first of the texts that end it."""
    return text[: min((place for end in stop if (place := text.find(end)) >= 0), default=len(text))]


def _stream(request: Request) -> tuple[int, ...]:
    """Where its random numbers come from: what is drawn does not depend on what else is asked with it."""
    told = hashlib.blake2b(msgspec.json.encode(request.messages), digest_size=8)
    return (int.from_bytes(told.digest(), "big"),)


def _choice(request: Request, logprobs: torch.Tensor, read: int) -> Reply:
    total = torch.logsumexp(logprobs, 0)
    probabilities = tuple((logprobs - total).exp().tolist())
    likeliest = max(range(len(probabilities)), key=probabilities.__getitem__)
    return Reply(
        request.choices[likeliest],
        probabilities=probabilities,
        mass=min(1.0, math.exp(float(total))),
        tokens=(read, 0),
    )
