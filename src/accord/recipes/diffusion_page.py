"""The figures of the diffusion demonstration, the Markdown page that shows them, and its picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import torch

from accord.diffusion.toys import INK, Toy
from accord.recipes.diffusion_study import ALIGNED, DISTILLED, FROM_DATA, LITERAL, START, Outcome
from accord.record import Comparison, Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One way to sample.

    Attributes:
        model: its name.
        calls: of the model, for one sample.
        beside: the model that it is compared with, sampled in all steps.
        reward: that model's samples against these.
        by_seed: the difference in mean reward of each seed alone.
        error: distance of a sample from the nearest thing that its condition allows.
    """

    model: str
    calls: int
    beside: str
    reward: Comparison
    by_seed: tuple[float, ...]
    error: Estimate


class ToyFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One toy over all seeds.

    Attributes:
        name: what its items are.
        liking: what the annotator likes.
        budget: how much of everything.
        rows: one a sampler.
        data_error: distance of the data themselves.
        accuracy: implicit accuracy on held-out pairs.
        noise_error: mean squared error of the noise predicted in data, by model, one a seed.
        literal_loss: the literal form's last loss, one a seed.
        seconds: of processor time, a seed.
    """

    name: str
    liking: str
    budget: dict[str, Any]
    rows: tuple[Row, ...]
    data_error: Estimate
    accuracy: Estimate
    noise_error: dict[str, tuple[float, ...]]
    literal_loss: tuple[float, ...]
    seconds: float


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """The whole demonstration.

    Attributes:
        command: makes it again.
        seeds: how many.
        toys: their figures.
    """

    command: str
    seeds: int
    toys: tuple[ToyFigures, ...]


def render(page: Page, picture: str) -> str:
    """The page."""
    return "\n\n".join([_introduction(page, picture), *map(_toy, page.toys), _recipe(page)]) + "\n"


def _introduction(page: Page, picture: str) -> str:
    return f"""# Aligning a diffusion model

```bash
{page.command}
```

Diffusion models of points and of 8 by 8 drawings are trained from nothing, sampled, and aligned by Diffusion-DPO to an
annotator who compares their samples; {_count(page.seeds, "seed")}. `accord.diffusion` does the same with any
`eps_model(x_t, t, condition)` that predicts noise:

```python
from accord.diffusion.objective import Pairs
from accord.diffusion.train import align

align(eps_model, Pairs(chosen, rejected, condition), schedule, generator=generator, beta=300.0)
```

![samples before and after]({picture})

*Samples of seed 0. Grey in the upper row is where the data lie.*

The *literal difference* is the loss mean(ε_w² − ε_l²), which introductions give as Diffusion-DPO. It is here to show
why it must not be used: it has no target and no bottom, and its model forgets what noise is. The consistency models
sample in one call or four what the others take all steps for: one is trained on the data, like the start, the other is
distilled from the aligned model and should be compared with that."""


def _toy(toy: ToyFigures) -> str:
    head = ["model", "calls", "reward", "beside", "difference in reward", "by seed", "error"]
    lines = [_line(row) for row in toy.rows]
    errors = {name: _range(values) for name, values in toy.noise_error.items()}
    return f"""## {toy.name.capitalize()}

The annotator likes {toy.liking}.

{_table(head, lines)}

- **Error of the data** themselves: {_estimate(toy.data_error, ".3f")}.
- **Implicit accuracy** on held-out pairs, where 0.5 is chance: {_estimate(toy.accuracy)}.
- **Error of the predicted noise** in data, mean square: start {errors[START]}, {ALIGNED} {errors[ALIGNED]},
  {LITERAL} {errors[LITERAL]}, whose loss had fallen to {_range(toy.literal_loss)} when it was stopped."""


def _line(row: Row) -> list[str]:
    own = row.model == row.beside and not row.reward.difference.mean
    difference = (
        ["", "", ""] if own else [row.beside, _estimate(row.reward.difference, "+.2f"), _range(row.by_seed, "+")]
    )
    return [row.model, str(row.calls), _number(row.reward.after.mean), *difference, _estimate(row.error, ".3f")]


def _recipe(page: Page) -> str:
    head = [name for name in page.toys[0].budget if name != "width"]
    lines = [
        [toy.name, str(toy.budget["width"]), *(f"{toy.budget[name]:g}" for name in head), f"{toy.seconds:.0f}"]
        for toy in page.toys
    ]
    budgets = _table(["toy", "width", *head, "seconds"], lines)
    return f"""## How to read it

Rewards are means over the samples of all seeds. Differences have 95% intervals over samples, paired by condition; each
seed's own difference stands beside, from the lowest to the highest. *Error* is the root mean square distance of a
sample from the nearest thing that its condition allows: a reward that rises with it was bought with samples that are
nothing. *{ALIGNED}* with few calls is the same model under DDIM with as few steps.

How much of everything: the width of the networks, which have two blocks; steps of pretraining; pairs of the start's own
samples; steps of alignment; steps of a consistency model as a denoiser, and on consistency; items a step; samples of
every model; steps of the diffusion; beta; and seconds of processor time a seed, on one core.

{budgets}"""


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rule = ["---" if name in _TEXT else "---:" for name in head]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *lines))


_TEXT = {"model", "beside", "difference in reward", "by seed", "error", "toy"}


def _estimate(estimate: Estimate, form: str = ".2f") -> str:
    mean, low, high = (f"{value:{form}}".replace("-", "−") for value in (estimate.mean, estimate.low, estimate.high))
    return f"{mean} ({low} to {high})"


def _number(value: float) -> str:
    return f"{value:.2f}".replace("-0.00", "0.00").replace("-", "−")


def _range(values: Sequence[float], sign: str = "") -> str:
    form = sign + (".2f" if sign else ".3g")
    low, high = (f"{value:{form}}".replace("-", "−") for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _count(number: int, what: str) -> str:
    return f"one {what}" if number == 1 else f"{number} {what}s"


def draw(studied: Sequence[tuple[Toy, Outcome]], path: Path) -> None:
    """The picture: a row a toy, a panel a model."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 2.6 * len(studied)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(studied), 5, squeeze=False)
    for row, (toy, outcome) in zip(panels, studied, strict=True):
        many = max(calls for _, calls in outcome.measured)
        shown = ((START, many), (ALIGNED, many), (DISTILLED, 1), (FROM_DATA, 1), (LITERAL, many))
        for axes, key in zip(row, shown, strict=True):
            paint = _points if len(toy.shape) == 1 else _images
            paint(axes, toy, outcome, key)
            axes.set_title(f"{key[0]}, {_count(key[1], 'call')}", fontsize=9)
            axes.set_xticks([])
            axes.set_yticks([])
    figure.savefig(path, metadata={"Software": None})


def _points(axes: Axes, toy: Toy, outcome: Outcome, key: tuple[str, int]) -> None:
    items = outcome.measured[key].items.numpy()
    data = toy.models.flatten(0, 1).numpy()
    axes.scatter(data[:, 0], data[:, 1], s=60, color="#d8d8d8", linewidths=0)
    for condition, colour in enumerate(("#1f6fb2", "#c2571a", "#2e8b57")):
        own = items[(outcome.condition == condition).numpy()]
        axes.scatter(own[:, 0], own[:, 1], s=2, color=colour, linewidths=0)
    axes.set_xlim(-1.2, 1.2)
    axes.set_ylim(-0.8, 1.1)
    axes.set_aspect("equal")


def _images(axes: Axes, toy: Toy, outcome: Outcome, key: tuple[str, int], side: int = 5) -> None:
    """The first samples in a square, with a line of paper between them."""
    height, width = toy.shape
    sheet = torch.full((side * (height + 1) - 1, side * (width + 1) - 1), float("nan"))
    for place, item in enumerate(outcome.measured[key].items[: side * side]):
        top, left = place // side * (height + 1), place % side * (width + 1)
        sheet[top : top + height, left : left + width] = item
    axes.imshow(sheet.numpy(), cmap="gray_r", vmin=-INK, vmax=INK)
