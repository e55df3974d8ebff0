"""Reinforcement learning from verifiable rewards: a verifier's yes or no as a reward.

Source: Lambert et al. 2024 (Tülu 3, arXiv 2411.15124), section 6.
"""

from __future__ import annotations

from collections.abc import Sequence

from accord.feedback.reward import Reward, Row
from accord.record import Group, SourceKind


def rlvr(verified: float | None, finished: bool, *, alpha: float = 10.0, missing_eos: float = -10.0) -> float | None:
    r"""The reward of one response.

    .. math:: v(x, y) = \alpha \cdot \text{verified}(x, y), \qquad v = \text{missing\_eos where y did not end by itself}

    Missing stays missing, finished or not. The penalty takes the reward's place rather than being added to it.
    """
    if verified is None:
        return None
    return alpha * verified if finished else missing_eos


class RLVR:
    """A verifier in the form of `rlvr`.

    Args:
        verifier: what says 1.0 or 0.0 (or a grade).
        alpha: reward of a verified response.
        missing_eos: reward of a response that hit the length limit.
        name: of its score.
    """

    source: SourceKind = "verifier"

    def __init__(
        self, verifier: Reward, *, alpha: float = 10.0, missing_eos: float = -10.0, name: str = "rlvr"
    ) -> None:
        self.name, self.verifier, self.alpha, self.missing_eos = name, verifier, alpha, missing_eos

    def __call__(self, groups: Sequence[Group]) -> list[Row]:
        """A row of rewards for each Group."""
        return [
            tuple(
                rlvr(value, response.finished, alpha=self.alpha, missing_eos=self.missing_eos)
                for value, response in zip(row, group.responses, strict=True)
            )
            for group, row in zip(groups, self.verifier(groups), strict=True)
        ]
