"""From Groups to the tensors an objective names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import torch
from torch import Tensor

from accord.errors import DataError
from accord.policy.rows import longest_row, row_tokens
from accord.record import Encoded, EncodedResponse, Group
from accord.train.values import step_tensors

SAMPLER, OWN = "sampler", "policy"
"""Where a response's `meta` says which sampler it comes from, and what it says of the trained policy itself."""


@dataclass(frozen=True)
class Example:
    """A Group with its token ids, and where an objective compares with them, mismatched ids.

    `mismatched` holds this Group's prompt with another Group's responses (KTO's reference point). `given` holds what
    was computed of each response token beforehand, by its name in the vocabulary, `[n,T]`: the advantages of an online
    round, and the log-probs that go with them. `kept` is a text beside it that is to stay likely (PPO-ptx). `following`
    is the state that follows each response, `None` after the last of an episode.
    """

    group: Group
    encoded: Encoded
    mismatched: Encoded | None = None
    given: Mapping[str, Tensor] = field(default_factory=dict)
    kept: Encoded | None = None
    following: tuple[Encoded | None, ...] = ()

    @property
    def rows(self) -> int:
        """Rows it puts through the model."""
        return len(self.encoded.responses)

    @property
    def longest(self) -> int:
        """Tokens of its longest row."""
        return longest_row(self.encoded)

    @property
    def tokens(self) -> int:
        """Tokens of all its rows."""
        return row_tokens(self.encoded)


def make_examples(
    groups: Sequence[Group], encoded: Sequence[Encoded], *, mismatch: bool, others: Sequence[Encoded] = ()
) -> list[Example]:
    """Pair Groups with their token ids.

    With `mismatch`, each prompt also meets the responses of the closest earlier Group that has another prompt, or
    where these Groups have but one prompt, of one of the `others`. The pairing belongs to the data set, not to a
    batch: shuffling, batch size and micro-batches cannot change it, and a batch of one works.

    Raises:
        DataError: a mismatch is asked for and all Groups have the same prompt.
    """
    if not mismatch:
        return [Example(group, ids, given=step_tensors(group, ids)) for group, ids in zip(groups, encoded, strict=True)]
    limit = max((longest_row(ids) for ids in encoded), default=0)
    examples = []
    for index, (group, ids) in enumerate(zip(groups, encoded, strict=True)):
        examples.append(Example(group, ids, _mismatched(ids, _other_prompt(encoded, others, index), limit)))
    return examples


def _other_prompt(encoded: Sequence[Encoded], others: Sequence[Encoded], index: int) -> Encoded:
    earlier = (encoded[(index - step) % len(encoded)] for step in range(1, len(encoded)))
    for candidate in chain(earlier, others):
        if candidate.prompt != encoded[index].prompt:
            return candidate
    raise DataError(
        "every row has the same prompt, but this objective compares prompts with the responses to other prompts",
        mend="Add rows with other prompts.",
    )


def _mismatched(ids: Encoded, other: Encoded, limit: int) -> Encoded:
    """This prompt with the other's responses, cut so that no row becomes longer than the longest real one."""
    room = max(1, limit - len(ids.prompt))
    cut = tuple(
        EncodedResponse(response.tokens[:room], response.trained[:room])
        for response in other.responses
        if any(response.trained[:room])
    )
    return Encoded(ids.prompt, cut)


def feedback_tensors(groups: Sequence[Group], width: int, names: Sequence[str]) -> dict[str, Tensor]:
    """The named feedback tensors, folded `[B,n]` (`prefer` is `[B,n,n]`), zero where nothing is given."""
    makers = {
        "prefer": _prefer,
        "label": _label,
        "score": _score,
        "scored": _scored,
        "distribution": _distribution,
        "cost": _cost,
        "baseline": _baseline,
        "finished": _finished,
        "own_sample": _own_sample,
        "named_scores": _named_scores,
        "named_weight": _named_weights,
    }
    return {name: makers[name](groups, width) for name in names if name in makers}


def given_tensors(examples: Sequence[Example], shape: Sequence[int], names: Sequence[str]) -> dict[str, Tensor]:
    """The named tensors that the examples bring with them, folded `[B,n,T]`, zero where there is no token."""
    found = {}
    for name in names:
        if any(name in example.given for example in examples):
            found[name] = torch.zeros(*shape)
            for b, example in enumerate(examples):
                rows, tokens = example.given[name].shape
                found[name][b, :rows, :tokens] = example.given[name]
    return found


def _prefer(groups: Sequence[Group], width: int) -> Tensor:
    prefer = torch.zeros(len(groups), width, width)
    for b, group in enumerate(groups):
        for preference in group.preferences():
            prefer[b, preference.better, preference.worse] += preference.weight
    return prefer


def _label(groups: Sequence[Group], width: int) -> Tensor:
    label = torch.zeros(len(groups), width)
    for b, group in enumerate(groups):
        for j, value in enumerate(group.labels()):
            label[b, j] = value
    return label


def _score(groups: Sequence[Group], width: int, name: str = "overall") -> Tensor:
    score = torch.zeros(len(groups), width)
    for b, group in enumerate(groups):
        for j, value in enumerate(group.scores(name) or ()):
            score[b, j] = 0.0 if value is None else value
    return score


def _cost(groups: Sequence[Group], width: int) -> Tensor:
    return _score(groups, width, "cost")


def _baseline(groups: Sequence[Group], width: int) -> Tensor:
    return _score(groups, width, "baseline")


def _named_scores(groups: Sequence[Group], width: int) -> Tensor:
    names = list(_weights(groups))
    return (
        torch.stack([_score(groups, width, name) for name in names], -1)
        if names
        else torch.zeros(len(groups), width, 0)
    )


def _named_weights(groups: Sequence[Group], width: int) -> Tensor:
    """Each score's weight in the sum, on the responses that have it."""
    weights = _weights(groups)
    named = torch.zeros(len(groups), width, len(weights))
    for k, (name, weight) in enumerate(weights.items()):
        for b, group in enumerate(groups):
            for j, value in enumerate(group.scores(name) or ()):
                named[b, j, k] = weight if value is not None else 0.0
    return named


def _weights(groups: Sequence[Group]) -> dict[str, float]:
    """The weight of every score that the sum "overall" is made of, by name."""
    found: dict[str, float] = {}
    for feedback in (feedback for group in groups for feedback in group.feedback if "overall" in feedback.scores):
        found |= feedback.meta.get("weights", {})
    return found


def _own_sample(groups: Sequence[Group], width: int) -> Tensor:
    own = torch.zeros(len(groups), width)
    for b, group in enumerate(groups):
        for j, response in enumerate(group.responses):
            own[b, j] = float(response.meta.get(SAMPLER, OWN) == OWN)
    return own


def _finished(groups: Sequence[Group], width: int) -> Tensor:
    finished = torch.zeros(len(groups), width)
    for b, group in enumerate(groups):
        for j, response in enumerate(group.responses):
            finished[b, j] = float(response.finished)
    return finished


def _scored(groups: Sequence[Group], width: int) -> Tensor:
    scored = torch.zeros(len(groups), width)
    for b, group in enumerate(groups):
        for j, value in enumerate(group.scores() or ()):
            scored[b, j] = float(value is not None)
    return scored


def _distribution(groups: Sequence[Group], width: int) -> Tensor:
    distribution = torch.zeros(len(groups), width)
    for b, group in enumerate(groups):
        for j, value in enumerate(group.distribution() or ()):
            distribution[b, j] = value
    return distribution
