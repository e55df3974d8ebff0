r"""Robustness: what becomes of another suite's number when its prompts are changed in ways that change nothing.

With :math:`s_0` an item's number, :math:`s_k` that under the k-th of K perturbations (both turned so that higher is
better) and a threshold :math:`\theta`,

.. math:: \mathrm{drop} = s_0 - \tfrac1K \sum_k s_k, \qquad \mathrm{worst} = \min_k s_k, \qquad
    \mathrm{pass} = [\min_k s_k \ge \theta]

and `consistency` is the share of the items that pass, or fail, under every perturbation as they do without one.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from msgspec.structs import replace

from accord.chat.types import Chat
from accord.errors import ConfigError
from accord.evaluate.perturb import PERTURBATIONS, perturbed
from accord.evaluate.subject import Subject
from accord.evaluate.task import Ask, Score, Task, Values, axis
from accord.record import Group
from accord.record.measurement import Axis

_VARIANTS = "variants"


def robustness(
    data: str | None = None,
    *,
    suite: str = "hhh",
    perturbations: str = "+".join(PERTURBATIONS),
    of: str = "",
    threshold: float = 0.5,
    seed: int = 0,
    judge: Chat | None = None,
) -> Task:
    """Another suite under perturbations.

    Args:
        data: of the other suite.
        suite: the other suite, with its options after a colon, or a task of yours.
        perturbations: which of them, with + between them.
        of: the axis that is looked at; default the suite's first that is a mean.
        threshold: what an item must reach to pass; where lower is better, what it must not exceed.
        seed: of the perturbations.
        judge: of the other suite.

    Raises:
        ConfigError: a perturbation or the axis is unknown.
    """
    from accord.evaluate.suites.spec import build_task

    return perturbed_task(
        build_task(suite, data=data, judge=judge),
        _names(perturbations),
        of=of,
        threshold=threshold,
        seed=seed,
    )


def perturbed_task(task: Task, names: Sequence[str], *, of: str = "", threshold: float = 0.5, seed: int = 0) -> Task:
    """A task whose items are also asked under perturbations.

    Args:
        task: what is asked.
        names: of the perturbations.
        of, threshold, seed: as for `robustness`.

    Raises:
        ConfigError: the task has no such axis, or none that is a mean with a direction.
    """
    target = _axis(task, of)
    lower = target.higher_is_better is False
    items = [item if item.id else replace(item, id=str(place)) for place, item in enumerate(task.items)]
    shared = {"unit": target.unit, "higher_is_better": not lower}
    passing = f"stays at or below {threshold:g}" if lower else f"reaches {threshold:g}"
    return Task(
        f"{task.name} under perturbations",
        items,
        ask=_asked_in_variants(task.ask, names, seed),
        score=_compared(task.score, names, target, threshold),
        axes=[
            axis("worst", **shared, description=f"The item's worst {target.name} under any perturbation."),
            axis("drop", unit=target.unit, higher_is_better=False, description="What a perturbation takes on average."),
            axis("pass", description=f"Every perturbation {passing}."),
            axis("consistency", description="Every perturbation passes or fails as the item itself does."),
            axis("unchanged", **shared, description=f"{target.name} without perturbation."),
            *(axis(name, **shared, description=f"{target.name} under {name}.") for name in names),
        ],
        cluster=task.cluster,
        slices=task.slices,
        controls=task.controls,
        settings={
            **task.settings,
            "perturbations": list(names),
            "of": target.name,
            "threshold": threshold,
            "seed": seed,
        },
        notes=task.notes,
    )


def invariance(unchanged: float, changed: Sequence[float], *, threshold: float, lower: bool = False) -> Values:
    """The numbers of one item: drop, worst, pass and consistency."""
    worst = max(changed) if lower else min(changed)
    drop = unchanged - sum(changed) / len(changed)
    passes = [value <= threshold if lower else value >= threshold for value in (unchanged, *changed)]
    return {
        "unchanged": unchanged,
        "drop": -drop if lower else drop,
        "worst": worst,
        "pass": float(all(passes[1:])),
        "consistency": float(len(set(passes)) == 1),
    }


def _asked_in_variants(ask: Ask, names: Sequence[str], seed: int) -> Ask:
    """Asks each item and its variants together; the item comes back with its variants in `meta`."""

    def asked(subject: Subject, items: Sequence[Group]) -> list[Group]:
        variants = [perturbed(item, name, seed=seed) for item in items for name in names]
        answered = ask(subject, [*items, *variants])
        rest, count = answered[len(items) :], len(names)
        return [
            replace(item, meta={**item.meta, _VARIANTS: rest[place * count : (place + 1) * count]})
            for place, item in enumerate(answered[: len(items)])
        ]

    return asked


def _compared(score: Score, names: Sequence[str], target: Axis, threshold: float) -> Score:
    """Scores items and their variants together, and compares them."""
    column, lower = target.sources()[0], target.higher_is_better is False

    def scored(items: Sequence[Group]) -> list[Values]:
        everything = [one for item in items for one in (item, *item.meta[_VARIANTS])]
        values = [row.get(column) for row in score(everything)]
        rows: list[Values] = []
        for start in range(0, len(values), len(names) + 1):
            unchanged, *changed = values[start : start + len(names) + 1]
            known = [float(value) for value in changed if value is not None]
            if unchanged is None or len(known) < len(changed):
                rows.append({})
                continue
            found = invariance(float(unchanged), known, threshold=threshold, lower=lower)
            rows.append({**found, **dict(zip(names, known, strict=True))})
        return rows

    return scored


def _axis(task: Task, of: str) -> Axis:
    means = [one for one in task.axes if one.statistic == "mean" and one.higher_is_better is not None]
    found = next((one for one in means if not of or one.name == of), None)
    if found is None:
        known = ", ".join(one.name for one in means) or "none"
        mend = f"Its axes that are means with a direction: {known}."
        raise ConfigError(f"{task.name} has no axis {of!r} to perturb", where="--suite robustness", mend=mend)
    return found


def _names(given: str) -> list[str]:
    names = [name for name in given.split("+") if name]
    for name in names:
        if name not in PERTURBATIONS:
            close = difflib.get_close_matches(name, PERTURBATIONS, n=1)
            mend = f"Did you mean {close[0]!r}? " if close else ""
            mend += f"Known: {', '.join(PERTURBATIONS)}."
            raise ConfigError(f"no perturbation is named {name!r}", where="--suite robustness", mend=mend)
    if not names:
        raise ConfigError("no perturbation is named", where="--suite robustness")
    return names
