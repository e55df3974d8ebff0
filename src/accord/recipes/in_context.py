r"""In-context DPO: align without training, by answers that demonstrations make more likely.

Candidates are sampled with aligned demonstrations :math:`d` in front of the prompt, and scored by how much the
demonstrations raised them,

.. math:: S(y) = \log\pi(y\mid d, x) - \log\pi(y\mid x) \qquad\text{or}\qquad
    S(y) = \log\pi(y\mid d^+, x) - \log\pi(y\mid d^-, x)

summed over the same response tokens: the policy with demonstrations is the aligned model and the policy without them
(or with bad ones, d-) its reference, so S is DPO's implicit reward without beta.

Source: Song et al. 2024, "ICDPO: effectively borrowing alignment capability of others via in-context direct preference
optimization" (arXiv:2402.09320). It is not the inverse-constraint method that shares its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from msgspec.structs import replace
from torch import Tensor

from accord.errors import ConfigError, DataError
from accord.policy.budget import within_budget
from accord.policy.embed import prompt_embedding
from accord.policy.policy import Policy
from accord.policy.sample import Progress, Sampling
from accord.record import Feedback, Group, Message
from accord.rollout import rollout

NEAR = 4
"""How many times as many demonstrations as are asked for the search by words hands to the search by meaning."""

MICRO_BATCH_TOKENS = 8192


class Demonstrations:
    """Demonstrations to choose from: by shared words first (BM25), then by what the policy makes of them.

    Args:
        groups: the first response of each is the demonstration.
        policy: embeds prompts, by the mean of its own hidden states.

    Raises:
        DataError: a Group has no response, or there are none at all.
    """

    def __init__(self, groups: Sequence[Group], policy: Policy) -> None:
        from bm25s import BM25  # type: ignore[import-untyped]

        for group in groups:
            if not group.responses:
                raise DataError("a demonstration without a response", path=str(group.origin or group.id or ""))
        if not groups:
            raise DataError("no demonstrations", mend="Name a file of prompts with answers.")
        self.groups, self._policy = list(groups), policy
        self._words = BM25()
        self._words.index([_words(group) for group in self.groups], show_progress=False)
        self._embedded = cache(self._embed)

    def nearest(self, group: Group, count: int) -> list[Group]:
        """The `count` demonstrations closest to a prompt, the closest last: next to the prompt they precede."""
        known = {word for one in self.groups for word in _words(one)}
        words = [word for word in _words(group) if word in known]
        scores = self._words.get_scores(words) if words else [0.0] * len(self.groups)
        others = [index for index, one in enumerate(self.groups) if one.prompt != group.prompt]
        by_words = sorted(others, key=lambda index: -scores[index])[: NEAR * count]
        own = self._of(group)
        by_meaning = sorted(by_words, key=lambda index: -float(own @ self._embedded(index)))
        return [self.groups[index] for index in reversed(by_meaning[:count])]

    def _embed(self, index: int) -> Tensor:
        return self._of(self.groups[index])

    def _of(self, group: Group) -> Tensor:
        return prompt_embedding(self._policy, self._policy.renderer.encode_prompt(group.prompt, origin=group.origin))


def answer_in_context(
    policy: Policy,
    groups: Sequence[Group],
    demonstrations: Demonstrations,
    *,
    against: Demonstrations | None = None,
    shots: int,
    candidates: int,
    sampling: Sampling,
    progress: Progress | None = None,
) -> list[Group]:
    """The same prompts with candidates sampled in the demonstrations' context, each scored as `"overall"`.

    The best of a Group's candidates is the answer: `accord.data.select.best_of_n` takes it. Log-probabilities of the
    sampling are left out: they are not those of the prompt alone.

    Args:
        policy: what answers.
        groups: whose prompts to answer.
        demonstrations: good ones to choose from.
        against: bad ones, to score against instead of the bare prompt.
        shots: demonstrations in front of a prompt; fewer where the policy's positions end.
        candidates: responses to sample and score.
        sampling: how to draw.
        progress: told how many responses are finished, of how many.

    Raises:
        ConfigError: not one demonstration fits in front of a prompt; names its row.
    """
    if shots < 1 or candidates < 1:
        raise ConfigError("must be 1 or more", where="--shots" if shots < 1 else "--candidates")
    good = [_with(policy, group, demonstrations, shots, sampling.max_tokens) for group in groups]
    bad = [group if against is None else _with(policy, group, against, shots, sampling.max_tokens) for group in groups]
    drawn = rollout(policy, good, n=candidates, sampling=sampling, progress=progress)
    contrasted = [replace(one, responses=group.responses) for one, group in zip(bad, drawn, strict=True)]
    found = []
    for group, answered, raised, plain in zip(
        groups, drawn, _totals(policy, drawn), _totals(policy, contrasted), strict=True
    ):
        scores = contrastive_scores(raised, plain)
        responses = tuple(replace(response, logprobs=None) for response in answered.responses)
        feedback = Feedback("judge", "in-context", scores={"overall": tuple(scores)})
        found.append(replace(group, responses=responses, feedback=(feedback,)))
    return found


def contrastive_scores(raised: Sequence[float], plain: Sequence[float]) -> list[float]:
    """How much more likely each response is in the first context than in the second, in nats.

    >>> contrastive_scores([-12.0, -10.5], [-15.0, -11.0])
    [3.0, 0.5]
    """
    return [one - other for one, other in zip(raised, plain, strict=True)]


def _with(policy: Policy, group: Group, demonstrations: Demonstrations, shots: int, room: int) -> Group:
    """The Group behind as many of its nearest demonstrations as leave room for an answer."""
    nearest = demonstrations.nearest(group, shots)
    for start in range(len(nearest)):
        turns = [
            message
            for one in nearest[start:]
            for message in (*one.messages(), *one.responses[0].context, Message("assistant", one.responses[0].text))
        ]
        prompt = (*turns, *group.messages())
        limit = policy.max_positions
        if limit is None or len(policy.renderer.encode_prompt(prompt, origin=group.origin)) + room <= limit:
            return replace(group, prompt=prompt, responses=(), feedback=())
    raise ConfigError(
        f"no demonstration fits between a prompt and an answer of {room} tokens",
        where=str(group.origin or group.id or "--demonstrations"),
        mend="Give shorter demonstrations or a lower --max-tokens.",
    )


def _totals(policy: Policy, groups: Sequence[Group]) -> list[list[float]]:
    """Log-probability of each response of each Group, summed over its tokens."""
    batch = [policy.renderer.encode(group) for group in groups]
    parts = within_budget(list(enumerate(batch)), MICRO_BATCH_TOKENS, policy.cost, encoded=lambda item: item[1])
    totals: dict[int, list[float]] = {}
    for part in parts:
        with torch.no_grad():
            sums = policy.logprobs([encoded for _, encoded in part]).sum(-1).tolist()
        totals |= {index: row[: len(one.responses)] for (index, one), row in zip(part, sums, strict=True)}
    return [totals[index] for index in range(len(batch))]


def _words(group: Group) -> list[str]:
    return group.messages()[-1].content.lower().split()
