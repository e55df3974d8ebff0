"""A learned constraint as a reward: how permissible a response is, from 0 to 1."""

from __future__ import annotations

import math
from collections.abc import Sequence

from accord.errors import ModelError
from accord.feedback.model_batches import TOKENS
from accord.feedback.reward import Row
from accord.feedback.reward_model import Loading, RewardModel, load_reward_model
from accord.policy.policy import Dtype
from accord.record import Group, SourceKind


class Permissibility:
    r"""The permissibility :math:`\zeta = \sigma(z)` of responses, from the log-odds that `inverse_constraint` learns.

    As a constraint with the threshold 1 its violation is the cost :math:`1 - \zeta`.

    Args:
        model: gives the log-odds.
        name: of its score.
    """

    source: SourceKind = "reward_model"

    def __init__(self, model: RewardModel, *, name: str = "permissible") -> None:
        self.model, self.name = model, name

    def __call__(self, groups: Sequence[Group]) -> list[Row]:
        """The permissibility of every response."""
        return [tuple(None if odds is None else sigmoid(odds) for odds in row) for row in self.model(groups)]


def permissible(directory: str, *, dtype: Dtype = "fp32", tokens: int = TOKENS) -> Permissibility:
    """A learned constraint that `accord train inverse_constraint` wrote.

    Args:
        directory: of the model.
        dtype: compute precision.
        tokens: tokens that go through the model at once.

    Raises:
        ModelError: it is no model of whole responses.
    """
    model = load_reward_model(directory, loading=Loading(dtype=dtype, tokens=tokens))
    if not isinstance(model, RewardModel):
        mend = "Train one: accord train inverse_constraint."
        raise ModelError("judges steps, and no whole responses", where=directory, mend=mend)
    return Permissibility(model)


def sigmoid(odds: float) -> float:
    """The probability of log-odds, whatever their size.

    >>> sigmoid(0.0), sigmoid(-1000.0), sigmoid(1000.0)
    (0.5, 0.0, 1.0)
    """
    if odds >= 0:
        return 1.0 / (1.0 + math.exp(-odds))
    return math.exp(odds) / (1.0 + math.exp(odds))
