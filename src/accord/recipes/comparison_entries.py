"""What is compared: each objective at its defaults, a few told what they ask for, and who annotates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from accord.errors import ConfigError
from accord.objectives import OBJECTIVES, resolve, signature_of
from accord.objectives.registry import validate
from accord.recipes.comparison_start import LIKELIHOOD_RATE, PREFERENCE_RATE
from accord.world.annotators import Annotator

ConditionName = Literal["plain", "flipped", "length"]

FLIPPED = 0.2
"""Share of the preferences that are recorded the wrong way round under `flipped`."""

LENGTH_BIAS = 0.5
"""Value that the annotator under `length` sees in every ten words, where gold goes from 0 to 1."""

CONDITIONS: Mapping[ConditionName, Annotator] = MappingProxyType(
    {"plain": Annotator(), "flipped": Annotator(noise=FLIPPED), "length": Annotator(length_bias=LENGTH_BIAS)}
)
"""The annotators: the oracle's own taste, the same with slips, and one who pays for length."""

LEFT_OUT: Mapping[str, str] = MappingProxyType(
    {
        "process_reward": "learns from labels of steps, which answers in the town do not have. "
        "`accord world reward` trains it on arithmetic in steps.",
        "inverse_constraint": "learns what demonstrators leave undone although it would pay, beside samples of "
        "a policy that does it; preferences hold neither.",
        "ilql": "learns what tokens are worth, and improves on the logs by decoding with that; the comparison samples "
        "the policy itself, which imitates them.",
        **dict.fromkeys(
            ("xpo", "nash_md"), "learns online, from pairs of two samplers that are drawn and compared as it trains."
        ),
    }
)
"""Objectives that these data cannot teach, and why."""


@dataclass(frozen=True)
class Entry:
    """One line of the comparison.

    Attributes:
        objective: its name, as for `accord train`.
        hyper: what is not at its default.
        conditions: under which it is trained.
    """

    objective: str
    hyper: Mapping[str, Any] = field(default_factory=dict)
    conditions: tuple[ConditionName, ...] = tuple(CONDITIONS)

    @property
    def name(self) -> str:
        """The objective with its flags: `dpo --label-smoothing 0.2`."""
        return " ".join([self.objective, *(f"--{key.replace('_', '-')} {value}" for key, value in self.hyper.items())])

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """All of the objective's own."""
        return validate(self.objective, self.hyper)

    @property
    def learns_rewards(self) -> bool:
        """Whether it trains a reward model, not a policy."""
        return bool({"reward", "named_rewards"} & set(signature_of(resolve(self.objective)).needs))

    @property
    def learning_rate(self) -> float:
        """The learning rate that it is trained with here."""
        needs = signature_of(resolve(self.objective)).needs
        compares = "reference" in needs or ("prefer" in needs and "reward" not in needs)
        return PREFERENCE_RATE if compares else LIKELIHOOD_RATE


TOLD: tuple[Entry, ...] = (
    Entry("robust_dpo", {"flip_rate": FLIPPED}, ("flipped",)),
    Entry("dpo", {"label_smoothing": FLIPPED}, ("flipped",)),
    Entry("exo", {"flip_rate": FLIPPED}, ("flipped",)),
    Entry("wpo", {"label_smoothing": FLIPPED}, ("flipped",)),
    Entry("aot", {"label_smoothing": FLIPPED}, ("flipped",)),
    Entry("gpo", {"link": "savage"}, ("flipped",)),
    Entry("r_dpo", {"alpha": 0.1}, ("length",)),
    Entry("ld_dpo", {"alpha": 0.0}, ("length",)),
    Entry("dpo", {"length": "token_mean", "beta": 1.0}, ("length",)),
)
"""What is set by what is known of the data: the share of flips; and how much length explains, which is documented."""

ROBUST = ("robust_dpo", "ipo", "wpo", "aot", *(entry.name for entry in TOLD if "flipped" in entry.conditions))
"""Entries that claim something under flipped preferences."""

LENGTH_CONTROLLED = ("simpo", "r_dpo", "ld_dpo", *(entry.name for entry in TOLD if "length" in entry.conditions))
"""Entries that claim something where length is paid for."""


def entries(objectives: Sequence[str] = ()) -> list[Entry]:
    """The entries of these objectives, of all registered ones if none is given.

    Raises:
        ConfigError: an unknown objective, or one that these data cannot teach.
    """
    for name in objectives:
        resolve(name)
        if name in LEFT_OUT:
            raise ConfigError(f"cannot be compared here: it {LEFT_OUT[name]}", where=name)
    wanted = dict.fromkeys(objectives or (name for name in OBJECTIVES if name not in LEFT_OUT))
    return [*map(Entry, wanted), *(entry for entry in TOLD if entry.objective in wanted)]
