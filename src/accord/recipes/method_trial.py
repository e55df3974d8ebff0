"""Which of several methods suits the data, found by trying: each trained briefly, the promising ones more often."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace
from rich.console import Console
from rich.table import Table

from accord.data import read
from accord.data.show import printable
from accord.errors import ConfigError, DataError
from accord.evaluate.bandit import ucb1
from accord.evaluate.statistics import UNBOUNDED, mean_estimate
from accord.objectives import resolve, signature_of
from accord.record import Estimate, Group
from accord.train.config import TrainConfig
from accord.train.measure import PREFERENCE_ACCURACY
from accord.train.progress import Display
from accord.train.run import run_training

Pull = Callable[[str, int], float]
"""Tries a method once more, the n-th time, and gives the outcome, from 0 to 1."""


class Trial(msgspec.Struct, frozen=True):
    """One method.

    Attributes:
        method: its name.
        outcomes: of every try, in order.
    """

    method: str
    outcomes: tuple[float, ...]

    @property
    def mean(self) -> Estimate:
        """The mean outcome, with its interval over tries."""
        return mean_estimate(self.outcomes)


def allot(methods: Sequence[str], pull: Pull, *, pulls: int) -> list[Trial]:
    """Try methods so often in all, each next the one of the highest upper confidence bound, best mean first.

    Every method is tried once before any is tried twice. The n-th try of a method meets the n-th try of another on the
    same terms, if `pull` makes it so.

    Args:
        methods: at least two.
        pull: tries one.
        pulls: tries in all, at least one for each.

    Raises:
        ConfigError: fewer than two methods, the same twice, or fewer tries than methods.

    Source: Auer, Cesa-Bianchi and Fischer 2002, UCB1.
    """
    if len(set(methods)) < max(2, len(methods)):
        raise ConfigError("two different methods or more are compared", where="--try", mend="Name them once each.")
    if pulls < len(methods):
        mend = f"Give at least {len(methods)}."
        raise ConfigError(f"{pulls} trials do not reach {len(methods)} methods", where="--trials", mend=mend)
    outcomes: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(pulls):
        means = [sum(own) / len(own) if own else 0.0 for own in outcomes.values()]
        bounds = ucb1(means, [len(own) for own in outcomes.values()])
        name = methods[bounds.index(max(bounds))]
        outcomes[name].append(pull(name, len(outcomes[name])))
    trials = [Trial(name, tuple(own)) for name, own in outcomes.items()]
    return sorted(trials, key=lambda one: -one.mean.mean)


def try_methods(
    methods: Sequence[str],
    config: TrainConfig,
    *,
    pulls: int,
    groups: Sequence[Group] | None = None,
    console: Console | None = None,
) -> list[Trial]:
    """Train objectives that learn from preferences briefly, again and again, and compare what they rank right.

    The outcome of a try is the share of held-out preferences that the trained policy ranks right. The n-th tries of all
    methods have one seed, and with it the same held-out prompts.

    Args:
        methods: names of objectives.
        config: the settings of a try; its `objective` and `out` are not looked at.
        pulls: tries in all.
        groups: preferences, instead of reading `config.data`.
        console: where progress is shown.

    Raises:
        ConfigError: a method that does not learn from preferences, or as `allot`.
        DataError: no preference is held out.
    """
    for name in methods:
        if "prefer" not in signature_of(resolve(name)).needs:
            mend = "Name objectives that learn from preferences, such as dpo, ipo, simpo."
            raise ConfigError(f"{name} does not learn from preferences", where="--try", mend=mend)
    data = read(config.data, columns=config.columns).groups if groups is None else list(groups)
    with tempfile.TemporaryDirectory() as directory, Display(console).bar("trials", pulls) as bar:

        def pull(name: str, number: int) -> float:
            out = Path(directory) / f"{name.replace(':', '-')}-{number}"
            own = replace(config, objective=name, out=str(out), seed=config.seed + number, samples=0, save_every=0)
            run_training(own, groups=data)
            bar.advance()
            return _accuracy(out / "heldout.jsonl")

        return allot(methods, pull, pulls=pulls)


def render(trials: Sequence[Trial]) -> Table:
    """The methods, the best first."""
    table = Table("method", "trials", "held-out accuracy", title="What was tried", title_justify="left")
    for one in trials:
        mean = one.mean
        interval = "" if mean.high >= UNBOUNDED else f" ({mean.low:.3f} to {mean.high:.3f})"
        table.add_row(printable(one.method), str(len(one.outcomes)), f"{mean.mean:.3f}{interval}")
    return table


def _accuracy(path: Path) -> float:
    """The last measurement of a run."""
    lines = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()] if path.exists() else []
    measured = [line for line in lines if line["name"] == PREFERENCE_ACCURACY]
    if not measured:
        raise DataError("no preference was held out", mend="Give more data, or a larger --holdout.")
    values = measured[-1]["values"]
    return float(sum(values) / len(values))
