"""Models as subjects: a policy in this process, a reward model, a model that talks; and opening one by its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from accord.chat.cached import CachedChat
from accord.chat.in_process import TOKENS, PolicyChat
from accord.chat.spec import Opening, open_chat
from accord.chat.types import Chat
from accord.errors import ConfigError, DataError, ModelError
from accord.evaluate.ask import name_of
from accord.evaluate.subject import Likelihood, Likelihoods, Rewards, Subject
from accord.evaluate.windows import windows_of
from accord.feedback.model_batches import by_budget
from accord.feedback.process_model import ProcessRewardModel
from accord.feedback.reward import Reward, Row
from accord.feedback.reward_model import RewardModel
from accord.feedback.spec import parse_one
from accord.policy.fingerprint import weights_fingerprint
from accord.policy.heads import Head, RewardHead, find_head
from accord.policy.load import load_policy
from accord.policy.policy import Policy
from accord.policy.rows import longest_row
from accord.record import Encoded, Group

REWARD = "reward:"
"""What begins the name of a reward that is measured as a reward model is."""


def chat_subject(chat: Chat, *, name: str) -> Subject:
    """A model that talks: it answers, and chooses where it gives probabilities."""
    return Subject(name, chat.identity, chat=chat)


def reward_subject(reward: Reward, *, name: str) -> Subject:
    """A reward model, or any other reward."""
    return Subject(name, _identity_of(reward, name), rewards=reward)


def policy_subject(
    policy: Policy, *, name: str | None = None, reference: Policy | None = None, tokens: int = TOKENS
) -> Subject:
    r"""A policy: it answers and gives log-likelihoods; with a reference, also DPO's implicit rewards,

    .. math:: r(x, y) = \log \pi(y \mid x) - \log \pi_{\mathrm{ref}}(y \mid x)

    A response is scored with the end of its turn unless it is unfinished (`Response.finished`), so that a continuation
    is scored alone. After an empty prompt, its text is read as it is, behind the beginning-of-sequence token, and in
    windows where it is longer than the model reads.

    Args:
        policy: who is measured.
        name: what it is called.
        reference: what it was trained from.
        tokens: that go through a model at once.

    Source: Rafailov et al. 2023 (arXiv:2305.18290), section 4; Lambert et al. 2024 (RewardBench) score it with beta 1.
    """
    chat = PolicyChat(policy, name=name)
    scored = policy_likelihoods(policy, tokens=tokens)
    subject = Subject(name or policy.source, chat.identity, chat=chat, likelihoods=scored)
    if reference is None:
        return subject
    start = policy_likelihoods(reference, tokens=tokens)
    identity = f"{chat.identity} against {PolicyChat(reference).identity}"
    return replace(subject, identity=identity, rewards=_implicit(scored, start))


def policy_likelihoods(policy: Policy, *, tokens: int = TOKENS) -> Likelihoods:
    """How likely a policy finds given responses.

    Args:
        policy: who is asked.
        tokens: that go through it at once.
    """

    def likelihoods(items: Sequence[Group]) -> list[tuple[Likelihood, ...]]:
        parts = [(place, *part) for place, item in enumerate(items) for part in _parts(policy, item, place)]
        batch = [encoded for _, _, encoded in parts]
        scored = by_budget(policy, batch, tokens, lambda some: _sums(policy, some))
        found = [[Likelihood(0.0, 0, True)] * len(item.responses) for item in items]
        for (place, indices, encoded), rows in zip(parts, scored, strict=True):
            for index, response, (total, below) in zip(indices, encoded.responses, rows.tolist(), strict=False):
                known = found[place][index]
                greedy = bool(known.greedy) and below == 0
                found[place][index] = Likelihood(known.total + total, known.tokens + sum(response.trained), greedy)
        return [tuple(row) for row in found]

    return likelihoods


def open_subject(
    spec: str, *, opening: Opening | None = None, reference: str | None = None, cache: Path | None = None
) -> Subject:
    """The model that a command line names; its answers are kept on disk.

    Args:
        spec: a model's directory or hub id (of a language model or a reward model), http://host/v1#model,
            module:function, or reward:SPEC as of `accord.feedback.spec`.
        opening: how it is loaded or reached.
        reference: directory or hub id of what a policy was trained from, for its implicit rewards.
        cache: the SQLite file of its answers; default in Accord's cache directory.

    Raises:
        ConfigError: it cannot be read or found, or has no use for a reference.
        ModelError: a model cannot be loaded.
    """
    how = opening or Opening()
    if spec.startswith(REWARD):
        _refuse_reference(reference, spec)
        return reward_subject(parse_one(spec.removeprefix(REWARD)).reward, name=spec)
    chat = open_chat(spec, how)
    if not isinstance(chat, PolicyChat):
        _refuse_reference(reference, spec)
        return chat_subject(CachedChat(chat, cache), name=spec)
    head = find_head(chat.policy.model, spec)
    if head is not None:
        _refuse_reference(reference, spec)
        return reward_subject(_reward_model(chat.policy, head), name=spec)
    start = None if reference is None else _load(reference, how)
    return replace(policy_subject(chat.policy, name=spec, reference=start), chat=CachedChat(chat, cache))


def _sums(policy: Policy, batch: Sequence[Encoded]) -> torch.Tensor:
    """Of each response its summed log-probability, and how many of its tokens are not the likeliest, `[B,n,2]`."""
    values, peaks = policy.logprobs_and_peaks(batch)
    return torch.stack([values.double().sum(-1), (values < peaks).double().sum(-1)], -1)


def _parts(policy: Policy, item: Group, place: int) -> list[tuple[Sequence[int], Encoded]]:
    """What of an item goes through the model at a time, with the places of the responses that it scores."""
    if item.prompt == "":
        return [((i,), part) for i, response in enumerate(item.responses) for part in windows_of(policy, response.text)]
    encoded, limit = policy.renderer.encode(item), policy.max_positions
    length = longest_row(encoded)
    if limit is not None and length > limit:
        mend = "Leave the item out, or measure a model with a longer context."
        raise DataError(f"has {length} tokens, and the model reads {limit}", path=name_of(item, place), mend=mend)
    return [(range(len(item.responses)), encoded)]


def _implicit(policy: Likelihoods, reference: Likelihoods) -> Rewards:
    def rewards(items: Sequence[Group]) -> list[Row]:
        return [
            tuple(one.total - other.total for one, other in zip(own, start, strict=True))
            for own, start in zip(policy(items), reference(items), strict=True)
        ]

    return rewards


def _reward_model(policy: Policy, head: Head) -> RewardModel | ProcessRewardModel:
    policy.reward_head = head.to(policy.device)
    return RewardModel(policy) if isinstance(head, RewardHead) else ProcessRewardModel(policy)


def _identity_of(reward: Reward, name: str) -> str:
    """Weights and reading of a reward model by content; any other reward by its name."""
    if not isinstance(reward, RewardModel | ProcessRewardModel):
        return name
    policy = reward.policy
    assert policy.reward_head is not None
    head = weights_fingerprint(dict(policy.reward_head.named_parameters()))
    return f"{policy.fingerprint()}-{head}-{policy.renderer.fingerprint()}"


def _load(source: str, how: Opening) -> Policy:
    try:
        return load_policy(
            source, dtype=how.dtype, device=how.device, chat=how.chat, trust_remote_code=how.trust_remote_code
        )
    except ModelError as error:
        raise ModelError(error.what, where=f"--reference {source}", mend=error.mend) from error


def _refuse_reference(reference: str | None, spec: str) -> None:
    if reference is not None:
        mend = "Only a policy in this process has one: leave it out."
        raise ConfigError(f"{spec} has no use for it", where="--reference", mend=mend)
