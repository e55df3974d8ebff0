"""A trained process reward model as a reward: how probably each step is good, and what that makes of a response."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Literal

from msgspec.structs import replace

from accord.errors import ModelError
from accord.feedback.model_batches import TOKENS, by_budget, fitted
from accord.feedback.reward import Row
from accord.policy.heads import StepHead
from accord.policy.policy import Policy
from accord.record import Feedback, Group, SourceKind
from accord.record.steps import with_steps

Solution = Literal["min", "product", "last"]
"""What the probabilities of its steps make of a solution: the weakest step, all of them right, or the last."""

StepScores = tuple[tuple[float, ...], ...]
"""For each response of a Group, the probability that each of its steps is good."""


class ProcessRewardModel:
    """A reward model of steps. A response's score is made of the probabilities that its steps are good.

    Where a response has no steps of its own, its lines are the steps; a response without any scores 0.

    Args:
        policy: a policy with a head of steps.
        solution: how they make the score.
        tokens: that go through the model at once.
        name: of its score.

    Raises:
        ModelError: the policy has no such head.
    """

    source: SourceKind = "reward_model"

    def __init__(
        self, policy: Policy, *, solution: Solution = "min", tokens: int = TOKENS, name: str = "reward_model"
    ) -> None:
        if not isinstance(policy.reward_head, StepHead):
            raise ModelError("has no head for steps", where=policy.source)
        self.policy, self.solution, self.tokens, self.name = policy, solution, tokens, name
        self.cut = 0

    def __call__(self, groups: Sequence[Group]) -> list[Row]:
        """The score of every response."""
        return self.scores(self.steps(groups))

    def scores(self, steps: Sequence[Sequence[Sequence[float | None]]]) -> list[Row]:
        """The scores that probabilities of steps make; `None` is a step that was not judged."""
        return [
            tuple(solution_score([one for one in of if one is not None], self.solution) for of in of_group)
            for of_group in steps
        ]

    def steps(self, groups: Sequence[Group]) -> list[StepScores]:
        """The probability that each step of each response is good."""
        batch, cut = fitted(self.policy, [with_steps(group) for group in groups])
        self.cut += cut
        found: list[StepScores] = []
        for encoded, values in zip(
            batch, by_budget(self.policy, batch, self.tokens, self.policy.step_rewards), strict=True
        ):
            good = values.sigmoid().tolist()
            found.append(tuple(tuple(good[j][t] for t in one.steps) for j, one in enumerate(encoded.responses)))
        return found

    def judged(self, groups: Sequence[Group]) -> list[Group]:
        """The Groups with their steps and a Feedback of the probability of each.

        Steps that do not fit into the model have none.
        """
        stepped = [with_steps(group) for group in groups]
        return [
            replace(
                group, feedback=(*group.feedback, Feedback(self.source, self.name, step_scores=_padded(group, steps)))
            )
            for group, steps in zip(stepped, self.steps(stepped), strict=True)
        ]


def solution_score(steps: Sequence[float], solution: Solution) -> float:
    """What the probabilities of its steps make of a solution; 0 without steps.

    >>> solution_score([0.71, 0.23, 0.73], "min")
    0.23
    """
    if not steps:
        return 0.0
    return prod(steps) if solution == "product" else min(steps) if solution == "min" else steps[-1]


def _padded(group: Group, scores: StepScores) -> tuple[tuple[float | None, ...], ...]:
    """Step scores with `None` for the steps that did not fit."""
    return tuple(
        (*row, *(None,) * (len(response.steps) - len(row)))
        for row, response in zip(scores, group.responses, strict=True)
    )
