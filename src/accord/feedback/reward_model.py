"""A trained reward model as a reward, of whole responses with one or several named values; loading one of any kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from accord.data import read
from accord.errors import ConfigError, DataError, ModelError
from accord.feedback.model_batches import TOKENS, by_budget, fitted
from accord.feedback.process_model import ProcessRewardModel, Solution
from accord.feedback.reward import Reward, Row
from accord.policy.heads import OVERALL, RewardHead, StepHead, find_head
from accord.policy.load import load_policy
from accord.policy.policy import Dtype, Policy
from accord.record import Group, SourceKind


class RewardModel:
    """A reward model of whole responses. Its score is the overall value, or a weighted sum of named ones.

    Rewards mean something only as differences between responses to the same prompt: the model learns them up to a
    constant. `normalised` sets it, so that 0 is the average reference response.

    A response that does not fit into the model behind its prompt is scored by what fits; `cut` counts them.

    Args:
        policy: a policy with a reward head.
        weights: of the named values in the sum; default the overall value.
        offset: taken off every score.
        tokens: that go through the model at once.
        name: of its score.

    Raises:
        ModelError: the policy has no such head.
        ConfigError: a weight is given to a value that the model does not have.
    """

    source: SourceKind = "reward_model"

    def __init__(
        self,
        policy: Policy,
        *,
        weights: Mapping[str, float] | None = None,
        offset: float = 0.0,
        tokens: int = TOKENS,
        name: str = "reward_model",
    ) -> None:
        if not isinstance(policy.reward_head, RewardHead):
            raise ModelError("has no head for whole responses", where=policy.source)
        self.policy, self.weights, self.offset, self.tokens, self.name = (
            policy,
            dict(weights or {}),
            offset,
            tokens,
            name,
        )
        self.names = policy.reward_head.names
        self.cut = 0
        unknown = [name for name in self.weights if name not in self.names]
        if unknown:
            mend = f"It has {', '.join(self.names)}."
            raise ConfigError(f"the reward model has no value {unknown[0]!r}", where=policy.source, mend=mend)

    def __call__(self, groups: Sequence[Group]) -> list[Row]:
        """The score of every response."""
        return self.scores(self.values(groups))

    def values(self, groups: Sequence[Group]) -> list[torch.Tensor]:
        """Every value of each Group's responses, `[n,K]`, as the model gives it."""
        batch, cut = fitted(self.policy, groups)
        self.cut += cut
        found = by_budget(self.policy, batch, self.tokens, self.policy.named_rewards)
        return [values[: len(encoded.responses)] for encoded, values in zip(batch, found, strict=True)]

    def scores(self, values: Sequence[torch.Tensor]) -> list[Row]:
        """The scores that values `[n,K]` make."""
        head = self.policy.reward_head
        assert isinstance(head, RewardHead)
        weights = torch.tensor([self.weights.get(name, 0.0) for name in self.names])
        sums = [one @ weights if self.weights else head.overall(one) for one in values]
        return [tuple((one - self.offset).tolist()) for one in sums]

    def by_name(self, values: Sequence[torch.Tensor]) -> dict[str, list[Row]]:
        """Values `[n,K]` as rows, by name."""
        return {name: [tuple(one[:, k].tolist()) for one in values] for k, name in enumerate(self.names)}

    def normalised(self, reference: Sequence[Group]) -> RewardModel:
        """The same model with its mean score on reference responses taken off every score.

        Raises:
            DataError: there is no reference response.
        """
        scores = [score for row in self(reference) for score in row if score is not None]
        if not scores:
            raise DataError(
                "the reference has no responses", mend="Give Groups with responses, such as demonstrations."
            )
        offset = self.offset + sum(scores) / len(scores)
        return RewardModel(self.policy, weights=self.weights, offset=offset, tokens=self.tokens, name=self.name)


@dataclass(frozen=True)
class Loading:
    """How reward models are loaded and run.

    Attributes:
        dtype: compute precision.
        device: torch device; default CUDA if there is one, else the CPU.
        chat: whether plain-text prompts are wrapped as a user turn; must be as in training.
        tokens: tokens that go through the model at once.
        trust_remote_code: run code that comes with the model.
    """

    dtype: Dtype = "fp32"
    device: str | None = None
    chat: Literal["auto", "on", "off"] = "auto"
    tokens: int = TOKENS
    trust_remote_code: bool = False


def load_reward_model(
    model: str | Path,
    *,
    weights: Mapping[str, float] | None = None,
    solution: Solution = "min",
    loading: Loading | None = None,
) -> RewardModel | ProcessRewardModel:
    """Load a reward model that `accord train` or anybody's classifier training wrote.

    Args:
        model: directory or hub id of a sequence classifier, or a token classifier of two labels; or a run directory.
        weights: of named values, for a model of whole responses.
        solution: for a model of steps.
        loading: how to load and run it.

    Raises:
        ModelError: it is no reward model, or cannot be loaded.
    """
    how = loading or Loading()
    source = _model_in(str(model))
    policy = load_policy(
        source, dtype=how.dtype, device=how.device, chat=how.chat, trust_remote_code=how.trust_remote_code
    )
    head = find_head(policy.model, source)
    if head is None:
        mend = (
            "Train one: accord train bradley_terry, multi_bradley_terry, reward_regression, cost_model, process_reward."
        )
        raise ModelError("is a language model and no reward model", where=source, mend=mend)
    policy.reward_head = head.to(policy.device)
    name = _name_of(source)
    if isinstance(head, StepHead):
        return ProcessRewardModel(policy, solution=solution, tokens=how.tokens, name=name)
    return RewardModel(policy, weights=weights, tokens=how.tokens, name=name)


def model_reward(
    directory: str,
    *,
    value: str = OVERALL,
    solution: Solution = "min",
    combine: Literal["mean", "min", "lower"] = "mean",
    k: float = 1.0,
    reference: str = "",
    dtype: Dtype = "fp32",
    tokens: int = TOKENS,
) -> Reward:
    """A reward model, or an ensemble of several, as a reward.

    Args:
        directory: of the model; several are separated by commas.
        value: which of several named values is the score.
        solution: of a process reward model: what its steps make of a solution.
        combine: of an ensemble: the members' mean, the lowest, or the mean less k standard deviations.
        k: how many standard deviations.
        reference: a file of Groups whose responses score 0 on average.
        dtype: compute precision.
        tokens: tokens that go through the model at once.
    """
    from accord.feedback.ensemble import Ensemble

    weights = None if value == OVERALL else {value: 1.0}
    loading = Loading(dtype=dtype, tokens=tokens)
    members = [
        load_reward_model(one, weights=weights, solution=solution, loading=loading)
        for given in directory.split(",")
        for one in members_in(given)
    ]
    if reference:
        groups = read([reference]).groups
        members = [one.normalised(groups) if isinstance(one, RewardModel) else one for one in members]
    return members[0] if len(members) == 1 else Ensemble(members, combine=combine, k=k)


def members_in(directory: str) -> list[str]:
    """The members of an ensemble that one command trained into a directory; otherwise the directory alone."""
    members = sorted(str(path.parent) for path in Path(directory).glob("member-*/model"))
    return members or [directory]


def _model_in(source: str) -> str:
    """The model of a run directory, or the directory itself."""
    inside = Path(source) / "model"
    return str(inside) if (inside / "config.json").exists() and not (Path(source) / "config.json").exists() else source


def _name_of(source: str) -> str:
    """What tells a reward model from others: the last parts of its path that say something."""
    parts = [part for part in Path(source).parts if part not in ("model", "runs", "/", "..", ".")]
    return "-".join(parts[-2:] if parts and parts[-1].startswith("member-") else parts[-1:]) or "reward_model"
