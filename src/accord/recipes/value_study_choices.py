"""The study of values, first part: are planted weights found in choices, and groups of annotators told apart?"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from accord.feedback.values import LearnedValues
from accord.recipes.value_fit import Fitted, fit_values
from accord.record import Estimate, Group
from accord.world.annotators import PLURALISTS, VALUES, Annotator, choose

REWARDS = tuple(f"accord.world.values:{name}" for name in VALUES)
PLAIN = Annotator(name="plain")
PEOPLE = (PLAIN, *PLURALISTS.values())


class Beside(msgspec.Struct, frozen=True):
    """How well choices are foretold, and how much less the learned weights lose."""

    accuracy: Estimate
    loss: Estimate
    loss_beside: Estimate | None


class ChoiceOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one seed's choices taught.

    Attributes:
        choices: of each annotator.
        learned: the weights of all together and of each.
        planted: the true weight of each value, by annotator.
        held_out: how well the choices of all are foretold, by what foretells them.
        own: what each annotator's own weights lose less than the weights of all.
        p_value: of all annotators weighing alike; `by_value` for each value, Holm-adjusted.
        control: the same of two who do weigh alike.
        agreement: Krippendorff's alpha.
    """

    choices: int
    learned: LearnedValues
    planted: dict[str, dict[str, float]]
    held_out: dict[str, Beside]
    own: dict[str, Estimate]
    p_value: float
    by_value: dict[str, float]
    control: float
    agreement: Estimate | None

    def covered(self) -> tuple[int, int]:
        """How many intervals of the annotators' weights hold the planted weight, of how many."""
        held = [
            estimate.low <= self.planted[who][name] <= estimate.high
            for who, weights in self.learned.groups.items()
            for name, estimate in weights.items()
        ]
        return sum(held), len(held)


def study_choices(answered: Sequence[Group], *, seed: int, temperature: float, resamples: int) -> ChoiceOutcome:
    """Have annotators choose between the same answers by Bradley-Terry, and fit what they go by.

    Args:
        answered: with several answers each.
        seed: of pairs, choices, folds and draws.
        temperature: of the choices; a planted weight is the annotator's own over it.
        resamples: of the bootstrap.
    """
    fitted = _fitted(answered, PEOPLE, seed=seed, temperature=temperature, resamples=resamples)
    alike = _fitted(
        answered, (PLAIN, replace(PLAIN, name="plain too")), seed=seed, temperature=temperature, resamples=20
    )
    assert fitted.test is not None
    assert alike.test is not None
    return ChoiceOutcome(
        choices=fitted.learned.choices // len(PEOPLE),
        learned=fitted.learned,
        planted={one.name: {name: own / temperature for name, own in one.weights().items()} for one in PEOPLE},
        held_out={name: Beside(one.accuracy, one.loss, one.loss_beside) for name, one in fitted.held_out.items()},
        own={
            name: one.own.loss_beside
            for name, one in fitted.annotators.items()
            if one.own is not None and one.own.loss_beside is not None
        },
        p_value=fitted.test.p_value,
        by_value=fitted.test.by_value,
        control=alike.test.p_value,
        agreement=fitted.agreement,
    )


def _fitted(
    answered: Sequence[Group], people: Sequence[Annotator], *, seed: int, temperature: float, resamples: int
) -> Fitted:
    groups = list(answered)
    for annotator in people:
        groups = list(choose(groups, annotator, seed=seed, temperature=temperature))
    return fit_values(groups, REWARDS, resamples=resamples, seed=seed)
