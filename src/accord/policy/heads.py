"""The heads of reward models: of whole responses, with one or several named values, and of their steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from accord.errors import ModelError
from accord.policy.classifiers import STEP_LABELS, classifier_head, require_classifier, save_classifier

OVERALL = "overall"
"""The value that stands for all."""

OUTPUTS = ("reward", "named_rewards", "step_reward")
"""What heads give, by its name in the vocabulary of objectives."""


class RewardHead(nn.Module):
    """A linear map from the state after the last token to one number, or to several named ones.

    The weight starts at zero, so that the first loss is exactly log 2 and no response is favoured before training.

    Args:
        hidden_size: width of the states.
        names: what the outputs are, in order.
    """

    def __init__(self, hidden_size: int, names: tuple[str, ...] = (OVERALL,)) -> None:
        super().__init__()
        self.names = names
        self.score = nn.Linear(hidden_size, len(names), bias=False)
        nn.init.zeros_(self.score.weight)

    @classmethod
    def for_model(cls, model: Any, source: str, names: tuple[str, ...] = (OVERALL,)) -> RewardHead:
        """A head for a model: the one saved beside its weights if it gives these values, a new one otherwise.

        Raises:
            ModelError: the architecture has no classifier, so that the reward model could not be loaded elsewhere.
        """
        require_classifier(model.config, "sequence")
        saved = find_head(model, source)
        return saved if isinstance(saved, cls) and saved.names == names else cls(_width(model), names)

    def forward(self, states: Tensor) -> Tensor:
        """States `[R,H]` to values `[R,K]`."""
        values: Tensor = self.score(states.to(self.score.weight.dtype))
        return values

    def overall(self, values: Tensor) -> Tensor:
        """The value that stands for all, `[...,K] -> [...]`: the one of that name, else the mean."""
        return values[..., self.names.index(OVERALL)] if OVERALL in self.names else values.mean(-1)


class StepHead(nn.Module):
    """A linear map from the state after a step to the log-odds that the step is good. It starts at zero."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.score = nn.Linear(hidden_size, 1)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    @classmethod
    def for_model(cls, model: Any, source: str) -> StepHead:
        """A head for a model: the one saved beside its weights if it is a process reward model, else a new one.

        Raises:
            ModelError: the architecture has no classifier, so that the reward model could not be loaded elsewhere.
        """
        require_classifier(model.config, "token")
        saved = find_head(model, source)
        return saved if isinstance(saved, cls) else cls(_width(model))

    def forward(self, states: Tensor) -> Tensor:
        """States `[S,H]` to log-odds `[S]`."""
        values: Tensor = self.score(states.to(self.score.weight.dtype)).squeeze(-1)
        return values


Head = RewardHead | StepHead


def find_head(model: Any, source: str) -> Head | None:
    """The head saved beside a model's weights, or `None` if they are no reward model.

    Raises:
        ModelError: there is a classifier of tokens that tells other than two labels apart.
    """
    saved = classifier_head(source)
    if saved is None:
        return None
    if saved.task == "sequence":
        names = saved.labels if len(saved.labels) > 1 else (OVERALL,)
        reward = RewardHead(saved.weight.shape[1], names)
        reward.score.weight.data.copy_(saved.weight)
        return reward
    if len(saved.weight) != len(STEP_LABELS):
        mend = "Accord reads process reward models of two labels, bad and good."
        raise ModelError(f"classifies tokens into {len(saved.weight)} labels", where=source, mend=mend)
    step = StepHead(saved.weight.shape[1])
    bad, good = (saved.labels.index(label) if label in saved.labels else i for i, label in enumerate(STEP_LABELS))
    step.score.weight.data.copy_(saved.weight[good] - saved.weight[bad])
    if saved.bias is not None:
        step.score.bias.data.copy_(saved.bias[good] - saved.bias[bad])
    return step


def save_reward_model(model: Any, head: Head, directory: Path, *, pad_id: int) -> None:
    """Write trunk and head as a plain classifier.

    A head of whole responses becomes an `AutoModelForSequenceClassification` whose labels are the values' names; one of
    steps an `AutoModelForTokenClassification` whose two logits, {bad, good}, are 0 and the log-odds.

    Raises:
        ModelError: transformers has no such classifier for this architecture.
    """
    if isinstance(head, RewardHead):
        weight, labels = head.score.weight.detach(), head.names
        save_classifier(model, "sequence", {"weight": weight}, labels, directory, pad_id=pad_id)
        return
    parts = {name: torch.cat([torch.zeros_like(part), part]) for name, part in head.score.state_dict().items()}
    save_classifier(model, "token", parts, STEP_LABELS, directory, pad_id=pad_id)


def _width(model: Any) -> int:
    return int(model.config.get_text_config().hidden_size)
