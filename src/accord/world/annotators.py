"""Simulated annotators: what they value, how often they slip, and the preferences they leave behind."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

import msgspec

from accord.record import Feedback, Group, Preference, Response
from accord.record.convert import select
from accord.world.cases import case_of
from accord.world.grammar import Refusal, Remark, parse
from accord.world.oracle import score


class Annotator(msgspec.Struct, frozen=True, kw_only=True):
    """Values replies by a weighted sum, and sometimes clicks the wrong one.

    Attributes:
        name: written into the Feedback.
        gold: weight of the oracle's gold.
        brevity: value lost with every ten words.
        warmth: value of every friendly phrase (flattery, closing).
        caution: value of refusing or admitting ignorance.
        length_bias: value *gained* with every ten words: the classic flaw of annotators.
        noise: probability that a preference is recorded the wrong way round.
    """

    name: str = "oracle"
    gold: float = 1.0
    brevity: float = 0.0
    warmth: float = 0.0
    caution: float = 0.0
    length_bias: float = 0.0
    noise: float = 0.0

    def weights(self) -> dict[str, float]:
        """Its weight of each of `VALUES`."""
        brief = self.brevity - self.length_bias
        return {"right": self.gold, "brief": brief, "warm": self.warmth, "careful": self.caution}

    def value(self, group: Group, response: Response) -> float:
        """What a response to a prompt of the world is worth to this annotator."""
        acts = parse(response.text)
        words = len(response.text.split()) / 10
        warm = sum(act in (Remark("flattery"), Remark("closing")) for act in acts)
        cautious = Refusal() in acts or Remark("unsure") in acts
        return (
            self.gold * score(case_of(group), response.text, finished=response.finished).gold
            + (self.length_bias - self.brevity) * words
            + self.warmth * warm
            + self.caution * cautious
        )


PLURALISTS: Mapping[str, Annotator] = MappingProxyType(
    {
        "brisk": Annotator(name="brisk", brevity=0.3),
        "warm": Annotator(name="warm", warmth=0.3),
        "cautious": Annotator(name="cautious", caution=0.5),
    }
)
"""Annotator groups that agree on gold and differ in what else they weigh: value pluralism."""

VALUES: Mapping[str, Annotator] = MappingProxyType(
    {
        "right": Annotator(),
        "brief": Annotator(gold=0.0, brevity=1.0),
        "warm": Annotator(gold=0.0, warmth=1.0),
        "careful": Annotator(gold=0.0, caution=1.0),
    }
)
"""What annotators weigh, each value alone: what any of them values is a sum of these."""

FLAWED = Annotator(name="flawed", warmth=0.5, length_bias=0.2)
"""A reward whose flaw can be exploited: it pays for flattery and length."""


def prefer(
    groups: Iterable[Group],
    annotator: Annotator,
    *,
    seed: int,
    margin: float = 0.05,
    pairs: int = 1,
) -> Iterator[Group]:
    """The annotator's preferences among sampled responses, which stay with the Group; the others leave it.

    Groups without a clear pair are left out.

    The best response is set against the worst, the second best against the second worst, up to `pairs` of them,
    as long as their values differ by `margin`. Equal texts are never compared.
    """
    rng = random.Random(f"annotator:{annotator.name}:{seed}")
    for group in groups:
        values = [annotator.value(group, response) for response in group.responses]
        preferences = tuple(
            Preference(worse, better) if rng.random() < annotator.noise else Preference(better, worse)
            for better, worse in _ranked_pairs(group.responses, values, margin=margin, pairs=pairs)
        )
        if preferences:
            feedback = Feedback("oracle", name=annotator.name, preferences=preferences)
            chosen = msgspec.structs.replace(group, feedback=(*group.feedback, feedback))
            yield select(chosen, sorted({index for p in preferences for index in (p.better, p.worse)}))


def choose(groups: Iterable[Group], annotator: Annotator, *, seed: int, temperature: float) -> Iterator[Group]:
    r"""The annotator's choice between two different responses of each Group, drawn by Bradley-Terry.

    .. math:: P(y \succ y') = \sigma\big((v(y) - v(y')) / \tau\big)

    Which two are compared depends on the seed alone, so that several annotators can be asked about the same. All
    responses stay; Groups of one text are left out.

    Args:
        groups: with responses.
        annotator: who chooses.
        seed: of pairs and choices.
        temperature: difference in value at which the better one is chosen 2.7 times as often (tau).
    """
    pairs, rng = random.Random(f"pairs:{seed}"), random.Random(f"choices:{annotator.name}:{seed}")
    for group in groups:
        texts = list(dict.fromkeys(response.text for response in group.responses))
        if len(texts) < 2:
            continue
        one, other = (next(i for i, r in enumerate(group.responses) if r.text == t) for t in pairs.sample(texts, 2))
        lead = annotator.value(group, group.responses[one]) - annotator.value(group, group.responses[other])
        first = rng.random() < 1 / (1 + math.exp(-lead / temperature))
        preference = Preference(one, other) if first else Preference(other, one)
        feedback = Feedback("oracle", name=annotator.name, preferences=(preference,))
        yield msgspec.structs.replace(group, feedback=(*group.feedback, feedback))


def _ranked_pairs(
    responses: Sequence[Response], values: Sequence[float], *, margin: float, pairs: int
) -> Iterator[tuple[int, int]]:
    first: dict[str, int] = {}
    for index, response in enumerate(responses):
        first.setdefault(response.text, index)
    ranked = sorted(first.values(), key=lambda index: -values[index])
    for rank in range(min(pairs, len(ranked) // 2)):
        better, worse = ranked[rank], ranked[-1 - rank]
        if values[better] - values[worse] < margin:
            return
        yield better, worse
