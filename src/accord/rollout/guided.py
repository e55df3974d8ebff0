r"""Value-guided decoding: a value of answers has a say in what a policy samples, and nothing is trained.

By tokens, the next token is drawn from the likeliest k, each judged behind the answer so far:

.. math:: \pi'(v \mid x, y_{<t}) \propto \pi(v \mid x, y_{<t})\, e^{\beta V(x,\, y_{<t} v)}
    \qquad\text{among the } k \text{ likeliest } v

By blocks, k continuations of some tokens are drawn from the policy itself, and one of them is kept:

.. math:: b_1, \dots, b_k \sim \pi(\cdot \mid x, y), \qquad P(\text{keep } b_j) \propto e^{\beta V(x,\, y b_j)}

With :math:`\beta = 0` both are the policy; with :math:`\beta = \infty` they keep the best candidate, so that a block as
long as an answer is best-of-k; as k grows, a block's distribution goes to :math:`\pi(b) e^{\beta V}`, the best at its
divergence from the policy.

Sources: tokens: Khanov, Burapacheep and Li 2024, "ARGS: alignment as reward-guided search" (arXiv:2402.01694), eq. 3
(greedy there at :math:`\beta = w`). Blocks: Mudgal et al. 2023, "Controlled decoding from language models"
(arXiv:2310.17022), section 3.3, which keeps the best. Judging a candidate by the answer that the policy would make of
it: Chakraborty et al. 2024, "Transfer Q star" (arXiv:2405.20495), section 3.

Deviation: a candidate that is kept by chance, in proportion to :math:`e^{\beta V}`, gives every divergence between that
of the policy and that of best-of-k.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
import torch
from torch import Tensor

from accord.errors import ConfigError, DataError
from accord.policy.policy import Policy
from accord.policy.sample import Progress, Row, Sampling, sample
from accord.record import Group, Response
from accord.rollout.rollout import rollout

Value = Callable[[Sequence[Group]], Sequence[Sequence[float | None]]]
"""What answers are worth, a row for each Group: any reward is one."""


class Guide(msgspec.Struct, frozen=True, kw_only=True):
    """How far the value has a say.

    Attributes:
        beta: log-odds that a unit of value is worth; infinite keeps the best candidate.
        candidates: tokens or blocks that are judged (k).
        by: whether tokens are judged or blocks.
        block: tokens of a block; the last of an answer may be shorter.
        outlook: how an answer that goes on is judged: as it stands (none), or with the policy's likeliest continuation
            (greedy), which samples k whole answers for each block.
    """

    beta: float = 1.0
    candidates: int = 8
    by: Literal["tokens", "blocks"] = "blocks"
    block: int = 16
    outlook: Literal["none", "greedy"] = "none"

    def __post_init__(self) -> None:
        for flag, value, fits, allowed in (
            ("--guide-beta", self.beta, self.beta >= 0, "0 or more"),
            ("--guide-candidates", self.candidates, self.candidates >= 1, "at least 1"),
            ("--guide-block", self.block, self.block >= 1, "at least 1"),
        ):
            if not fits:
                raise ConfigError(f"{value} is out of range", where=flag, mend=f"Give {allowed}.")
        if self.by == "tokens" and self.outlook == "greedy":
            mend = "Judge blocks: --guide-by blocks, of one token if need be."
            raise ConfigError("tokens are judged as they stand", where="--guide-outlook", mend=mend)


def guided_rollout(
    policy: Policy,
    groups: Sequence[Group],
    value: Value,
    *,
    n: int,
    sampling: Sampling,
    guide: Guide,
    progress: Progress | None = None,
) -> list[Group]:
    """The same prompts with `n` guided answers each.

    Answers by tokens carry the log-probabilities of the distribution they were drawn from. Those by blocks carry none:
    the probability of being kept has no closed form.

    Args:
        policy: what answers.
        groups: whose prompts to answer.
        value: what answers are worth.
        n: answers a prompt.
        sampling: how the policy draws; for blocks, without stop texts and above temperature 0.
        guide: how far the value has a say.
        progress: told how many answers are finished, of how many.

    Raises:
        ConfigError: blocks cannot be drawn with this sampling.
        DataError: an answer has no value; names its prompt.
        ModelError, NumericsError: as `rollout`.
    """
    if guide.by == "tokens":
        return _by_tokens(policy, groups, value, n, sampling, guide, progress)
    if sampling.temperature == 0:
        raise ConfigError("all candidates are alike", where="--temperature", mend="Give more than 0.")
    if sampling.stop:
        mend = "Leave it out, or judge tokens: --guide-by tokens."
        raise ConfigError("is not looked for where blocks meet", where="--stop", mend=mend)
    return _Blocks(policy, groups, value, n, sampling, guide).rollout(progress)


def tilted(logits: Tensor, values: Tensor, *, beta: float) -> Tensor:
    r"""Logits of :math:`p\,e^{\beta V}`, `[...,k]`; with an infinite beta those of p among the best.

    Args:
        logits: of p, `[...,k]`.
        values: `[...,k]`.
        beta: at least 0.
    """
    behind = values - values.amax(-1, keepdim=True)
    return logits + torch.where(behind == 0, 0.0, beta * behind).to(logits.dtype)


def _by_tokens(
    policy: Policy,
    groups: Sequence[Group],
    value: Value,
    n: int,
    sampling: Sampling,
    guide: Guide,
    progress: Progress | None,
) -> list[Group]:
    stops = set(policy.renderer.stop_ids)

    def steer(logits: Tensor, tokens: Tensor, rows: Sequence[Row]) -> Tensor:
        likeliest = logits.topk(min(guide.candidates, logits.shape[-1]), dim=-1)
        answers = [
            (row[0], (*begun, token), token in stops)
            for row, begun, candidates in zip(rows, tokens.tolist(), likeliest.indices.tolist(), strict=True)
            for token in candidates
        ]
        values = worths(policy, groups, value, answers).view(likeliest.values.shape).to(logits.device)
        kept = tilted(likeliest.values, values, beta=guide.beta)
        return torch.full_like(logits, -torch.inf).scatter(-1, likeliest.indices, kept)

    return rollout(policy, groups, n=n, sampling=sampling, progress=progress, steer=steer)


@dataclass(frozen=True)
class _Answer:
    """An answer on its way: to which prompt, which of its answers, its tokens, and whether and how it ended."""

    row: Row
    tokens: tuple[int, ...] = ()
    finished: bool = False
    ended: bool = False


@dataclass(frozen=True)
class _Blocks:
    """Guidance by blocks."""

    policy: Policy
    groups: Sequence[Group]
    value: Value
    n: int
    sampling: Sampling
    guide: Guide

    def rollout(self, progress: Progress | None) -> list[Group]:
        """Draw candidates for the next block of every answer, and keep one of each, until all have ended."""
        answers = {
            (prompt, index): _Answer((prompt, index)) for prompt in range(len(self.groups)) for index in range(self.n)
        }
        room = self.sampling.max_tokens
        for number, begun in enumerate(range(0, room, self.guide.block)):
            going = [answer for answer in answers.values() if not answer.ended]
            if not going:
                break
            length = min(self.guide.block, room - begun)
            sampling = msgspec.structs.replace(self.sampling, max_tokens=length)
            candidates = self._extended(going, sampling, n=self.guide.candidates, number=number)
            judged = candidates if self.guide.outlook == "none" else self._continued(candidates, room - begun - length)
            answers |= {one.row: one for one in self._kept(candidates, self._values(judged), number)}
            if progress is not None:
                progress(sum(answer.ended for answer in answers.values()), len(answers))
        return [
            msgspec.structs.replace(
                group, responses=tuple(self._response(group, answers[place, i]) for i in range(self.n)), feedback=()
            )
            for place, group in enumerate(self.groups)
        ]

    def _extended(self, answers: Sequence[_Answer], sampling: Sampling, *, n: int, number: int) -> list[list[_Answer]]:
        """Each answer with `n` continuations."""
        renderer = self.policy.renderer
        asked = [self.groups[answer.row[0]] for answer in answers]
        begun = [
            (*renderer.encode_prompt(group.prompt, origin=group.origin), *answer.tokens)
            for group, answer in zip(asked, answers, strict=True)
        ]
        with self.policy.precision():
            drawn = sample(
                self.policy.model,
                begun,
                n=n,
                sampling=sampling,
                stop_ids=renderer.stop_ids,
                pad_id=renderer.pad_id,
                streams=[(*answer.row, number) for answer in answers],
                name_of=lambda index: str(asked[index].origin or asked[index].id or f"prompt {answers[index].row[0]}"),
            )
        limit = self.policy.max_positions or math.inf
        return [
            [
                _Answer(
                    answer.row,
                    (*answer.tokens, *block.tokens),
                    block.finished,
                    ended=block.finished or len(read) + len(block.tokens) >= limit,
                )
                for block in blocks
            ]
            for answer, read, blocks in zip(answers, begun, drawn, strict=True)
        ]

    def _continued(self, candidates: Sequence[Sequence[_Answer]], room: int) -> list[list[_Answer]]:
        """The candidates with the policy's likeliest continuations, where they go on and have the room."""
        going = [one for drawn in candidates for one in drawn if not one.ended] if room else []
        if not going:
            return [list(drawn) for drawn in candidates]
        greedy = msgspec.structs.replace(self.sampling, temperature=0.0, max_tokens=room)
        ends = iter(self._extended(going, greedy, n=1, number=0))
        return [[one if one.ended else next(ends)[0] for one in drawn] for drawn in candidates]

    def _values(self, candidates: Sequence[Sequence[_Answer]]) -> Tensor:
        """What the candidates are worth, `[N,k]`."""
        answers = [(one.row[0], one.tokens, one.finished) for drawn in candidates for one in drawn]
        return worths(self.policy, self.groups, self.value, answers).view(len(candidates), -1)

    def _kept(self, candidates: Sequence[Sequence[_Answer]], values: Tensor, number: int) -> Iterator[_Answer]:
        """One candidate of each answer, drawn by its value from a random stream of its own."""
        chances = tilted(torch.zeros_like(values), values, beta=self.guide.beta).softmax(-1)
        for drawn, chance in zip(candidates, chances.numpy(), strict=True):
            stream = np.random.default_rng((self.sampling.seed, 43, *drawn[0].row, number))
            yield drawn[int(stream.choice(len(drawn), p=chance / chance.sum()))]

    def _response(self, group: Group, answer: _Answer) -> Response:
        renderer = self.policy.renderer
        return Response(
            text=renderer.text_of(answer.tokens, prompt=group.prompt),
            tokens=answer.tokens,
            finished=answer.finished,
            version=self.policy.version,
        )


def worths(
    policy: Policy, groups: Sequence[Group], value: Value, answers: Sequence[tuple[int, tuple[int, ...], bool]]
) -> Tensor:
    """What answers are worth, `[N]` float64: each the index of its prompt, its tokens, and whether it has ended.

    Raises:
        DataError: one has no value, or one that is not finite; names its prompt.
    """
    by_prompt: dict[int, list[int]] = defaultdict(list)
    for place, (prompt, _, _) in enumerate(answers):
        by_prompt[prompt].append(place)
    asked = [
        msgspec.structs.replace(
            groups[prompt],
            responses=tuple(
                Response(
                    policy.renderer.text_of(answers[place][1], prompt=groups[prompt].prompt), finished=answers[place][2]
                )
                for place in places
            ),
            feedback=(),
        )
        for prompt, places in by_prompt.items()
    ]
    found = torch.zeros(len(answers), dtype=torch.float64)
    for group, places, row in zip(asked, by_prompt.values(), value(asked), strict=True):
        for place, worth in zip(places, row, strict=True):
            if worth is None or not math.isfinite(worth):
                mend = "Guide by a reward that scores every answer, unfinished ones as well."
                raise DataError(f"an answer on its way has the value {worth}", path=_named(group), mend=mend)
            found[place] = worth
    return found


def _named(group: Group) -> str:
    return str(group.origin or group.id or f"prompt {group.prompt_text()[:80]!r}")
