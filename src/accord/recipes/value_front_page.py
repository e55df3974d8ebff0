"""The front of several values as a Markdown page and a drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import msgspec
import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from accord.errors import ConfigError
from accord.recipes.method_plots import MUTED, STYLE, as_svg
from accord.recipes.value_front import Front
from accord.record import Estimate

MARKS = (("#2563eb", "o"), ("#d97706", "s"), ("#0f766e", "^"), ("#9333ea", "D"))
"""Colour and marker of each kind of model, in the order in which kinds come."""


def write_front(path: str | Path, front: Front, *, command: str, floors: Mapping[str, float] | None = None) -> None:
    """Write the page, and beside it the drawing (SVG) and the scores (JSON).

    Raises:
        ConfigError: the page's name does not end in `.md`.
    """
    page = Path(path)
    if page.suffix != ".md":
        raise ConfigError("the page is Markdown", where=f"--out {path}", mend="Give a name that ends in .md.")
    page.parent.mkdir(parents=True, exist_ok=True)
    drawing = page.with_suffix(".svg")
    drawing.write_text(draw(front), encoding="utf-8")
    page.write_text(render(front, command=command, drawing=drawing.name, floors=floors), encoding="utf-8")
    stored = {"values": front.values, "reference": front.reference, "points": front.points}
    page.with_suffix(".json").write_bytes(msgspec.json.encode(stored) + b"\n")


def render(front: Front, *, command: str, drawing: str, floors: Mapping[str, float] | None = None) -> str:
    """The page."""
    point = ", ".join(f"{name} {low:.3g}" for name, low in zip(front.values, front.reference, strict=True))
    parts = [
        f"# The front of {', '.join(front.values)}",
        f"```bash\n{command}\n```",
        f"![every model by its values]({drawing})",
        table_of(front),
        volumes_of(front),
        f"The volume is a share of the box between the reference point ({point}) and the best mean on each value. "
        "Intervals are 95% over prompts; means that stand out of many are partly luck, in the volume as well.",
        "At equal weights, from 0 at the reference to 1 at the best: "
        + "; ".join(f"{how} picks *{name}*" for how, name in front.chosen().items())
        + ".",
    ]
    if floors:
        limits = ", ".join(f"{name} of at least {floor:g}" for name, floor in floors.items())
        found = [(value, front.within(value, floors)) for value in front.values if value not in floors]
        said = "; ".join(
            f"best on {value}: {'none reaches it' if name is None else f'*{name}*'}" for value, name in found
        )
        parts.append(f"With {limits}: {said}.")
    return "\n\n".join(parts) + "\n"


def table_of(front: Front) -> str:
    """A line for each model."""
    head = ["model", *front.values, "on the front"]
    lines = [
        [point.name, *(interval(one) for one in point.estimates()), "yes" if member else ""]
        for point, member in zip(front.points, front.on_front(), strict=True)
    ]
    return markdown_table(head, lines)


def volumes_of(front: Front) -> str:
    """The volume under each kind of models, alone and with the single ones."""
    kinds = list(dict.fromkeys(point.kind for point in front.points))
    lines = [[f"{kinds[0]} models", interval(front.volume(kinds[:1])), ""]]
    for kind in kinds[1:]:
        both = [kinds[0], kind]
        lines.append(
            [f"with {kind} models", interval(front.volume(both)), interval(front.gain(both, kinds[:1]), "+.3f")]
        )
    return markdown_table(["dominated volume", "share of the box", "more than without"], lines)


def draw(front: Front) -> str:
    """Every model by each pair of values, as SVG; what is on the front is filled."""
    pairs = list(combinations(range(len(front.values)), 2))
    with rc_context(STYLE):
        figure = Figure(figsize=(min(9.6, 3.6 * len(pairs)), 3.5), layout="constrained")
        for axes, (across, up) in zip(np.atleast_1d(figure.subplots(1, len(pairs))), pairs, strict=True):
            for place, kind in enumerate(dict.fromkeys(point.kind for point in front.points)):
                colour, marker = MARKS[place % len(MARKS)]
                for member in (False, True):
                    chosen = [
                        means
                        for point, means, on in zip(front.points, front.means, front.on_front(), strict=True)
                        if point.kind == kind and on == member
                    ]
                    if chosen:
                        rows = np.stack(chosen)
                        face = colour if member else "none"
                        label = kind if member else f"{kind}, dominated"
                        axes.scatter(
                            rows[:, across],
                            rows[:, up],
                            s=22,
                            marker=marker,
                            edgecolors=colour,
                            facecolors=face,
                            label=label,
                        )
            axes.set_xlabel(front.values[across])
            axes.set_ylabel(front.values[up])
            axes.locator_params(nbins=5)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=7, labelcolor=MUTED)
    return as_svg(figure)


def markdown_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table; text in its cells cannot end them."""
    rule = ["---", *("---:" for _ in head[1:])]
    rows = [head, rule, *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def interval(estimate: Estimate, form: str = ".3f") -> str:
    """A number with its interval."""
    mean, low, high = (f"{value:{form}}".replace("-", "−") for value in (estimate.mean, estimate.low, estimate.high))
    return f"{mean} ({low} to {high})"
