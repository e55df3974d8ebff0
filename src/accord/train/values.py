"""What reward models are taught: ratings and comparisons on several named values, labels of steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from accord.policy.heads import Head, RewardHead, StepHead
from accord.policy.policy import Policy
from accord.record import Encoded, Group
from accord.record.values import preferences_on, score_names, value_names


def reward_head(policy: Policy, needs: Sequence[str], groups: Sequence[Group]) -> Head | None:
    """The head that an objective's reward model needs; `None` if it trains no reward model.

    A head of several values has an output for each that the data judge. Where the model is a reward model of the same
    values already, its head goes on being trained.

    Raises:
        ModelError: transformers has no classifier of this architecture.
    """
    head: Head | None = None
    if "named_rewards" in needs:
        names = value_names(groups) if "named_prefer" in needs else score_names(groups)
        head = RewardHead.for_model(policy.model, policy.source, names)
    elif "reward" in needs:
        head = RewardHead.for_model(policy.model, policy.source)
    elif "step_reward" in needs:
        head = StepHead.for_model(policy.model, policy.source)
    return head


def value_tensors(groups: Sequence[Group], width: int, names: Sequence[str], needs: Sequence[str]) -> dict[str, Tensor]:
    """`ratings` and `rated` `[B,n,K]` and `named_prefer` `[B,K,n,n]`, those that are needed, in the order of the names.

    Args:
        groups: what was judged.
        width: responses of the widest Group.
        names: of the values.
        needs: the tensors an objective names.
    """
    found: dict[str, Tensor] = {}
    if "ratings" in needs or "rated" in needs:
        found["ratings"], found["rated"] = (torch.zeros(len(groups), width, len(names)) for _ in range(2))
        for b, group in enumerate(groups):
            for k, name in enumerate(names):
                for j, value in enumerate(group.scores(name) or ()):
                    if value is not None:
                        found["ratings"][b, j, k], found["rated"][b, j, k] = value, 1.0
    if "named_prefer" in needs:
        found["named_prefer"] = torch.zeros(len(groups), len(names), width, width)
        for b, group in enumerate(groups):
            for k, name in enumerate(names):
                for preference in preferences_on(group, name):
                    found["named_prefer"][b, k, preference.better, preference.worse] += preference.weight
    return found


def step_tensors(group: Group, encoded: Encoded) -> Mapping[str, Tensor]:
    """`step_score` and `step_end` `[n,T]` of one Group, at the last token of each step that has a score.

    Empty where no step has one. Steps that were cut away have no token.
    """
    rows = group.step_scores()
    if rows is None:
        return {}
    longest = max((len(response.tokens) for response in encoded.responses), default=0)
    score, end = (torch.zeros(len(rows), longest) for _ in range(2))
    for j, (row, response) in enumerate(zip(rows, encoded.responses, strict=True)):
        for value, place in zip(row, response.steps, strict=False):
            if value is not None:
                score[j, place], end[j, place] = value, 1.0
    return {"step_score": score, "step_end": end}
