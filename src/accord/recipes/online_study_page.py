"""The page of `accord world online`: a table a task with intervals, and the curve of over-optimisation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from accord.evaluate.statistics import compare
from accord.record import Comparison

if TYPE_CHECKING:
    from accord.recipes.online_study import Budget, Outcome, Point

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


def write_page(path: Path, outcomes: Sequence[Outcome], points: Sequence[Point], budget: Budget) -> None:
    """Write the Markdown page, and the figure of the curve beside it as SVG."""
    seeds = len({one.seed for one in outcomes})
    parts = [_HEAD.format(seeds=seeds, **{name: getattr(budget, name) for name in budget.__struct_fields__})]
    for task, (title, text) in _TITLES.items():
        rows = _table([one for one in outcomes if one.task == task])
        parts.append(f"## {title}\n\n{text}\n\n{rows}\n")
    if points:
        draw_curve(points, path.with_name(f"{path.stem}-curve.svg"))
        parts.append(
            _CURVE.format(
                figure=f"{path.stem}-curve.svg", table=_curve_table(points), seeds=len({p.seed for p in points})
            )
        )
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


def _curve_table(points: Sequence[Point]) -> str:
    lines = ["| steps | KL | learned reward | gold |", "| ---: | ---: | ---: | ---: |"]
    for step in sorted({point.step for point in points}):
        here = [point for point in points if point.step == step]
        means = (fmean(getattr(point, name) for point in here) for name in ("kl", "proxy", "gold"))
        lines.append(f"| {step} | " + " | ".join(f"{value:.3f}" for value in means) + " |")
    return "\n".join([*lines, "", _turn(points)])


def _turn(points: Sequence[Point]) -> str:
    """Where gold turned, if it did."""
    steps = sorted({point.step for point in points})
    gold = {step: fmean(point.gold for point in points if point.step == step) for step in steps}
    best = max(steps, key=gold.__getitem__)
    if best == steps[-1]:
        return "Gold was still rising at the end: over-optimisation did not set in within these steps."
    return f"Gold was highest after {best} steps, {gold[best]:.3f}, and ended at {gold[steps[-1]]:.3f}."


def draw_curve(points: Sequence[Point], path: Path) -> None:
    """Learned reward and gold over the square root of the divergence, a line a seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, name, title in ((left, "proxy", "learned reward"), (right, "gold", "oracle's gold")):
        for seed in sorted({point.seed for point in points}):
            mine = sorted((p for p in points if p.seed == seed), key=lambda p: p.step)
            axes.plot([max(0.0, p.kl) ** 0.5 for p in mine], [getattr(p, name) for p in mine], marker="o", markersize=3)
        axes.set_xlabel("square root of KL to the start, nats")
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

A reward model sees one comparison each of 150 prompts. RLOO without a price on divergence then maximises it, while the
oracle watches on held-out prompts (`role=monitor`): means over {seeds} seeds. Source of the experiment: Gao et al. 2022
(arXiv:2210.10760).

![learned reward and gold over the divergence]({figure})

{table}
"""
