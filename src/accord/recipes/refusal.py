"""Answers that a constraint refuses are drawn again; what is refused to the end is not learned from.

The policy then learns from its permitted answers alone: it is never told what it must not say, so that a policy which
mostly breaks a rule goes on breaking it. A penalty or a limited cost teaches the rule itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from accord.feedback.constraints import refused
from accord.feedback.reward import Part
from accord.record import Group
from accord.record.convert import select

Draw = Callable[[Sequence[Group], int], list[Group]]
"""One scored answer to each prompt, at the attempt of that number."""


def permitted(
    groups: Sequence[Group], parts: Sequence[Part], draw: Draw, *, attempts: int, notes: dict[str, float]
) -> list[Group]:
    """The Groups with their permitted answers only, refused ones replaced by further draws where these are permitted.

    Args:
        groups: scored.
        parts: what scored them.
        draw: answers prompts again and scores them.
        attempts: how often.
        notes: gets `round/refused`, the share of the answers refused at first, and `round/left_out`, at last.
    """
    verdicts = [refused(group, parts) for group in groups]
    kept = [
        select(group, [index for index, refusal in enumerate(verdict) if not refusal])
        for group, verdict in zip(groups, verdicts, strict=True)
    ]
    missing = [place for place, verdict in enumerate(verdicts) for refusal in verdict if refusal]
    total = sum(map(len, verdicts))
    notes["round/refused"] = len(missing) / max(total, 1)
    for attempt in range(attempts):
        if not missing:
            break
        still = []
        for place, answer in zip(missing, draw([groups[place] for place in missing], attempt), strict=True):
            if any(refused(answer, parts)):
                still.append(place)
            else:
                kept[place] = joined(kept[place], answer)
        missing = still
    notes["round/left_out"] = len(missing) / max(total, 1)
    return kept


def joined(first: Group, second: Group) -> Group:
    """The responses of two Groups that the same sources scored, with their scores."""
    if not first.responses:
        return second
    feedback = tuple(
        replace(one, scores={name: row + other.scores[name] for name, row in one.scores.items()})
        for one, other in zip(first.feedback, second.feedback, strict=True)
    )
    return replace(first, responses=first.responses + second.responses, feedback=feedback)
