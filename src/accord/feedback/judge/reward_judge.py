r"""A reward as a judge of pairs, :math:`p = \sigma((r_1 - r_2)/T)`, and controls: judges that are known to be bad."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from accord.chat.types import Progress
from accord.feedback.judge.pair import Judgement, Pair, joined
from accord.feedback.judge.templates import answer_text
from accord.feedback.reward import Reward
from accord.record import Group, Response


class RewardJudge:
    """Prefers the response with the higher score: a reward model, a verifier, a rule.

    Args:
        reward: what scores.
        temperature: of the difference between two scores; a rule that is meant to decide takes a small one.
        name: what it is called; default the reward's own.
    """

    def __init__(self, reward: Reward, *, temperature: float = 1.0, name: str | None = None) -> None:
        self.reward, self.temperature, self.name = reward, temperature, name or reward.name

    def compare(self, pairs: Sequence[Pair], *, progress: Progress | None = None) -> list[Judgement]:
        """A judgement of each pair; there is none where a score is missing. The order of showing plays no part."""
        groups = {id(pair.group): pair.group for pair in pairs}
        rows = dict(zip(groups, self.reward(list(groups.values())), strict=True))
        if progress is not None:
            progress(len(pairs), len(pairs))
        return [self._judgement(rows[id(pair.group)][pair.first], rows[id(pair.group)][pair.second]) for pair in pairs]

    def _judgement(self, first: float | None, second: float | None) -> Judgement:
        if first is None or second is None:
            return Judgement(None, asked=1, unread=1)
        margin = (first - second) / self.temperature
        p = 1 / (1 + math.exp(-margin)) if margin > -500 else 0.0
        return Judgement(p, (p, 1 - p), asked=1)


class ControlJudge:
    """Decides by a rule that has nothing to do with quality.

    Args:
        name: of the rule.
        first_wins: probability of what is shown first, of the two responses in the order shown.
    """

    def __init__(self, name: str, first_wins: Callable[[Group, Response, Response], float]) -> None:
        self.name, self._first_wins = name, first_wins

    def compare(self, pairs: Sequence[Pair], *, progress: Progress | None = None) -> list[Judgement]:
        """A judgement of each pair, from both orders."""
        return [self._judgement(pair.group, *pair.responses) for pair in pairs]

    def _judgement(self, group: Group, first: Response, second: Response) -> Judgement:
        orders = (self._first_wins(group, first, second), self._first_wins(group, second, first))
        return joined({"overall": orders}, weights={"overall": 1.0}, asked=2)


def _longer(group: Group, first: Response, second: Response) -> float:
    lengths = len(answer_text(first)), len(answer_text(second))
    return 0.5 if lengths[0] == lengths[1] else float(lengths[0] > lengths[1])


def _coin(group: Group, first: Response, second: Response) -> float:
    """Heads or tails, the same for the same responses in whatever order."""
    texts = sorted((answer_text(first), answer_text(second)))
    digest = hashlib.blake2b(repr((group.prompt_text(), texts)).encode(), digest_size=1).digest()
    return float((digest[0] % 2 == 0) == (answer_text(first) == texts[0]))


CONTROLS: Mapping[str, ControlJudge] = MappingProxyType(
    {
        "first": ControlJudge("first", lambda group, first, second: 1.0),
        "longest": ControlJudge("longest", _longer),
        "random": ControlJudge("random", _coin),
    }
)
"""Whatever stands first; the longer answer; a coin, the same for both orders."""
