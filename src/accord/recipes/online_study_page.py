"""The page of `accord world online`: a table a task with intervals, and the curve of over-optimisation."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from accord.evaluate.statistics import compare
from accord.record import Comparison

if TYPE_CHECKING:
    from accord.recipes.online_study import Budget, Outcome
    from accord.recipes.overoptimised import Curve

_TITLES = {
    "oracle": (
        "The oracle's gold",
        "All kinds of prompts of the world; the reward is the exact oracle's gold, 0 to 1.",
    ),
    "sums": (
        "Sums by a verifier",
        "Sums, successors and comparisons of small numbers; the reward is 1 if the last number of the answer is right.",
    ),
}


def write_page(path: Path, outcomes: Sequence[Outcome], curves: Sequence[Curve], budget: Budget) -> None:
    """Write the Markdown page, and the figure of the curve beside it as SVG."""
    seeds = len({one.seed for one in outcomes})
    parts = [_HEAD.format(seeds=seeds, **{name: getattr(budget, name) for name in budget.__struct_fields__})]
    for task, (title, text) in _TITLES.items():
        rows = _table([one for one in outcomes if one.task == task])
        parts.append(f"## {title}\n\n{text}\n\n{rows}\n")
    if curves:
        draw_curve(curves, path.with_name(f"{path.stem}-curve.svg"))
        parts.append(_of_curves(curves, f"{path.stem}-curve.svg"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(parts), encoding="utf-8")


def _table(outcomes: Sequence[Outcome]) -> str:
    lines = [
        "| method | seeds | before | after | difference | by seed | KL | tokens | seconds |",
        "| --- | ---: | ---: | ---: | --- | --- | ---: | ---: | ---: |",
    ]
    by_method: dict[str, list[Outcome]] = {}
    for one in outcomes:
        by_method.setdefault(one.method, []).append(one)
    rows = [(_together(of_method), of_method) for of_method in by_method.values()]
    for comparison, of_method in sorted(rows, key=lambda row: -row[0].difference.mean):
        difference = comparison.difference
        each = sorted(fmean(one.after) - fmean(one.before) for one in of_method)
        lines.append(
            f"| `{of_method[0].method}` | {len(of_method)} | {comparison.before.mean:.3f} | "
            f"{comparison.after.mean:.3f} | "
            f"{difference.mean:+.3f} ({difference.low:+.3f} to {difference.high:+.3f}) | "
            f"{each[0]:+.3f} to {each[-1]:+.3f} | "
            f"{fmean(one.kl for one in of_method):.2f} | {fmean(one.length for one in of_method):.1f} | "
            f"{fmean(one.seconds for one in of_method):.0f} |"
        )
    return "\n".join(lines)


def _together(outcomes: Sequence[Outcome]) -> Comparison:
    """All seeds of a method, paired prompt by prompt; prompts about the same thing are one cluster."""
    return compare(
        "reward",
        [value for one in outcomes for value in one.before],
        [value for one in outcomes for value in one.after],
        clusters=[key for one in outcomes for key in one.clusters],
    )


def _of_curves(curves: Sequence[Curve], figure: str) -> str:
    pursuit = curves[0].pursuit
    settings = {name: getattr(pursuit, name) for name in pursuit.__struct_fields__}
    alarms = [f"- Seed {curve.seed}: {alarm}" for curve in curves for alarm in curve.alarms]
    return _CURVE.format(
        **settings,
        figure=figure,
        table=_curve_table(curves),
        seeds=len(curves),
        turns="\n".join(_turn(curve) for curve in curves),
        alarms="\n".join(textwrap.fill(alarm, 120, subsequent_indent="  ") for alarm in alarms) or "- None.",
    )


def _curve_table(curves: Sequence[Curve]) -> str:
    lines = ["| steps | KL | learned reward | gold | gold by seed |", "| ---: | ---: | ---: | ---: | --- |"]
    for here in zip(*(curve.points for curve in curves), strict=True):
        means = (fmean(getattr(point, name) for point in here) for name in ("kl", "proxy", "gold"))
        by_seed = ", ".join(f"{point.gold:.3f}" for point in here)
        lines.append(f"| {here[0].step} | {' | '.join(f'{value:.3f}' for value in means)} | {by_seed} |")
    return "\n".join(lines)


def _turn(curve: Curve) -> str:
    """Where gold turned, if it did, and what the learned reward did from there."""
    first, last = curve.points[0], curve.points[-1]
    best = max(curve.points, key=lambda point: point.gold)
    if best == last:
        return f"- Seed {curve.seed}: gold was still rising at the end, from {first.gold:.3f} to {last.gold:.3f}."
    rose = "rose" if last.proxy > best.proxy else "fell"
    return (
        f"- Seed {curve.seed}: gold went from {first.gold:.3f} to {best.gold:.3f} after {best.step} steps and to "
        f"{last.gold:.3f} at the end; the learned reward {rose} from {best.proxy:.3f} to {last.proxy:.3f} meanwhile."
    )


def draw_curve(curves: Sequence[Curve], path: Path) -> None:
    """Learned reward and gold over the steps, a line a seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, name, title in ((left, "proxy", "learned reward"), (right, "gold", "oracle's gold")):
        for curve in curves:
            steps = [point.step for point in curve.points]
            axes.plot(steps, [getattr(point, name) for point in curve.points], marker="o", markersize=3)
        axes.set_xlabel("optimiser steps")
        axes.set_title(title, fontsize=10)
        axes.grid(alpha=0.3)
    figure.savefig(path, metadata={"Date": None})


_HEAD = """# What the policy-gradient methods do on the embedded world

```bash
accord world online --seeds {seeds} --out docs/online.md
```

Every method starts from the world's flawed base model, samples {answers} answers a round at temperature 1 and learns
for {rounds} rounds at its default hyperparameters and a learning rate of {learning_rate:g}; methods that pass over a
round several times take as many updates more. Up to {held_out} held-out prompts are answered before and after.
Differences have 95% intervals, paired prompt by prompt over all seeds, prompts about the same thing as one cluster;
beside them each seed's own difference, from the lowest to the highest. KL is in nats a response from the start, over 32
of the model's own answers. Seconds are by the clock in one thread of a shared machine.

No learning rate was tuned for a method, and the model has 0.4 million parameters: the order is that of these defaults
here.
"""

_CURVE = """## Over-optimisation of a learned reward

A reward model sees one comparison each of {comparisons} prompts, {noise:.0%} of them turned round. RLOO without a price
on divergence then maximises it for {rounds} rounds of {answers} answers at a learning rate of {learning_rate:g}, while
the oracle watches on held-out prompts (`role=monitor`). Means over {seeds} seeds, each with a reward model of its own.
Source of the experiment: Gao et al. 2022 (arXiv:2210.10760).

![learned reward and gold over the steps]({figure})

{table}

{turns}

What the runs themselves said:

{alarms}
"""
