"""Curves as inline SVG whose colours and fonts come from the page, so that one drawing serves light, dark and print.

matplotlib draws with stand-in colours that are replaced by CSS variables afterwards; text stays text and takes the
page's font. Nothing but numbers is drawn: titles and legends, which may hold untrusted names, are HTML.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from accord.report.reading import Run, Series
from accord.report.text import brief_number, one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = 6
"""How many colours the page's style sheet defines, `--series-0` to `--series-5`."""

POINTS = 240
_INK, _GRID = "#0a0b0c", "#0d0e0f"
_SERIES = tuple(f"#0c0d{index:02x}" for index in range(COLOURS))
_PAGE_COLOURS = {
    _INK: "currentColor",
    _GRID: "var(--grid)",
    **{stand_in: f"var(--series-{index})" for index, stand_in in enumerate(_SERIES)},
}
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "accord",
    "font.size": 8.5,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.limits": (-3, 5),
    "axes.formatter.useoffset": False,
    "axes.xmargin": 0.02,
    "axes.ymargin": 0.08,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "text.color": _INK,
    "xtick.color": _GRID,
    "ytick.color": _GRID,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


@dataclass(frozen=True)
class Curve:
    """One line of a chart.

    Attributes:
        label: what it is, for the legend.
        series: its points.
        colour: index of the page's colour.
        measured: a measurement (markers, strong line) rather than one point a step (faint line and its running mean).
        dashed: drawn dashed, so that colour is not the only difference.
    """

    label: str
    series: Series
    colour: int = 0
    measured: bool = False
    dashed: bool = False


@dataclass(frozen=True)
class Chart:
    """A drawing with its title, caption and legend; `summary` says in words what it shows."""

    title: str
    caption: str
    curves: tuple[Curve, ...]
    svg: Markup
    summary: str


@dataclass(frozen=True)
class Spec:
    """What a chart shows: curves as (metric, label, colour, dashed), and a level to draw, such as chance."""

    title: str
    caption: str
    lines: tuple[tuple[str, str, int, bool], ...]
    level: float | None = None


MAIN = (
    Spec(
        "Reward",
        "Of the answers a round learns from, and of one answer to each held-out prompt.",
        (("score", "training", 0, False), ("eval/reward", "held out", 1, False)),
    ),
    Spec("Loss", "", (("loss", "training", 0, False), ("eval/loss", "held out", 1, False))),
    Spec(
        "Log-probability of the data's responses",
        "Summed nats a response. When chosen falls along with rejected, probability went elsewhere.",
        (
            ("chosen_logp", "chosen, training", 2, False),
            ("rejected_logp", "rejected, training", 1, False),
            ("eval/chosen_logp", "chosen, held out", 2, True),
            ("eval/rejected_logp", "rejected, held out", 1, True),
        ),
    ),
    Spec(
        "Margin",
        "How much more the policy prefers chosen to rejected than the starting model did.",
        (("margin", "training", 0, False), ("eval/margin", "held out", 1, False)),
        level=0.0,
    ),
    Spec(
        "Accuracy",
        "Share of pairs ranked right; the dotted line is chance.",
        (("accuracy", "training", 0, False), ("eval/accuracy", "held out", 1, False)),
        level=0.5,
    ),
    Spec("KL to the start", "Nats a response, on the policy's own samples.", (("eval/kl", "sampled", 0, False),)),
    Spec(
        "Response length",
        "Tokens.",
        (("eval/response_length", "sampled", 0, False), ("response_length", "training data", 5, False)),
    ),
    Spec(
        "Implicit reward",
        "",
        (("chosen_reward", "chosen", 2, False), ("rejected_reward", "rejected", 1, False)),
        level=0.0,
    ),
    Spec(
        "Variety", "Distinct word pairs in sampled responses, as a share.", (("eval/distinct_2", "sampled", 0, False),)
    ),
)
SMALL = (
    Spec("Learning rate", "", (("lr", "", 5, False),)),
    Spec("Gradient norm", "Before clipping.", (("grad_norm", "", 5, False),)),
    Spec("Log-ratio to the start", "Summed nats on the data's responses.", (("log_ratio", "", 5, False),), level=0.0),
    Spec(
        "Surprisal",
        "Nats a token of the policy's own answers: what is left of its entropy.",
        (("surprisal", "", 5, False),),
    ),
    Spec(
        "Clipped",
        "Share of tokens whose gradient a bound stopped.",
        (("clip_low", "low", 1, False), ("clip_high", "high", 0, False)),
    ),
    Spec("Step from the sampling policy", "k3 divergence, nats a token.", (("policy_kl_k3", "", 5, False),)),
    Spec(
        "Groups that teach nothing",
        "Share of prompts whose answers all score alike.",
        (("zero_variance_groups", "", 5, False),),
    ),
    Spec("Speed", "Tokens a second.", (("tokens_per_second", "", 5, False),)),
)
COMPARED = (
    "eval/reward",
    "eval/loss",
    "loss",
    "eval/accuracy",
    "eval/margin",
    "eval/chosen_logp",
    "eval/rejected_logp",
    "eval/kl",
)
"""Metrics that are overlaid when several runs are compared, with response length and every probe."""


def run_charts(run: Run, specs: Sequence[Spec]) -> tuple[Chart, ...]:
    """The charts of one run; those without a curve of at least two points are left out."""
    return tuple(chart for index, spec in enumerate(specs) if (chart := _spec_chart(run, spec, index)) is not None)


def other_specs(run: Run) -> tuple[Spec, ...]:
    """Charts for what only this run has: probes, its rewards, and the components of its loss."""
    probes = [key for key in run.series if key.startswith("probe/")]
    rewards = sorted({key.removeprefix("eval/") for key in run.series if key.startswith(("reward/", "eval/reward/"))})
    parts = [key for key in run.series if key.startswith(("loss/", "eval/loss/"))]
    return tuple(
        [Spec(_plain_name(key.removeprefix("probe/")), "Probe.", ((key, "", 0, False),)) for key in probes]
        + [
            Spec(
                _plain_name(key.removeprefix("reward/")),
                "One of the rewards.",
                ((key, "training", 0, False), (f"eval/{key}", "held out", 1, False)),
            )
            for key in rewards
            if not key.endswith("/missing")
        ]
        + [Spec(_plain_name(key), "Component of the loss.", ((key, "", 3, False),)) for key in parts]
    )


def compared_charts(runs: Sequence[Run], names: Sequence[str]) -> tuple[Chart, ...]:
    """One chart a metric with a curve a run."""
    probes = sorted({key for run in runs for key in run.series if key.startswith("probe/")})
    charts = []
    for index, key in enumerate((*COMPARED, "eval/response_length", "eval/distinct_2", *probes)):
        curves = tuple(
            Curve(name, run.metric(key), place % COLOURS, measured="/" in key, dashed=place >= COLOURS)
            for place, (run, name) in enumerate(zip(runs, names, strict=True))
            if run.metric(key)
        )
        if _is_drawable(curves):
            charts.append(_chart(_METRIC_TITLES.get(key, _plain_name(key)), "", curves, None, f"compared-{index}"))
    return tuple(charts)


def _plain_name(key: str) -> str:
    return one_line(key.replace("_", " "), 80)


_METRIC_TITLES = {
    "loss": "Training loss",
    "eval/loss": "Held-out loss",
    "eval/reward": "Held-out reward",
    "eval/accuracy": "Held-out accuracy",
    "eval/margin": "Held-out margin",
    "eval/chosen_logp": "Log-probability of chosen, held out",
    "eval/rejected_logp": "Log-probability of rejected, held out",
    "eval/kl": "KL to the start",
    "eval/response_length": "Length of sampled responses",
    "eval/distinct_2": "Variety of sampled responses",
}


def _spec_chart(run: Run, spec: Spec, index: int) -> Chart | None:
    curves = tuple(
        Curve(label, run.metric(key), colour, measured=key.startswith(("eval/", "probe/")), dashed=dashed)
        for key, label, colour, dashed in spec.lines
        if run.metric(key)
    )
    prefix = re.sub(r"\W+", "-", f"{spec.title}-{index}".lower())
    return _chart(spec.title, spec.caption, curves, spec.level, prefix) if _is_drawable(curves) else None


def _is_drawable(curves: Sequence[Curve]) -> bool:
    """A lone point is no curve; the tables hold its number."""
    return any(len(curve.series.steps) > 1 for curve in curves)


def _chart(title: str, caption: str, curves: tuple[Curve, ...], level: float | None, prefix: str) -> Chart:
    parts = [
        f"{curve.label + ': ' if curve.label else ''}{brief_number(curve.series.start())} at step "
        f"{curve.series.steps[0]}, {brief_number(curve.series.end())} at step {curve.series.steps[-1]}"
        for curve in curves
    ]
    return Chart(title, caption, curves, _draw(curves, level, prefix), "; ".join(parts) + ".")


def _draw(curves: Sequence[Curve], level: float | None, prefix: str) -> Markup:
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(4.6, 2.5))
        FigureCanvasSVG(figure)
        axes = figure.add_axes((0.13, 0.11, 0.855, 0.85))
        axes.tick_params(length=0, pad=4)
        axes.locator_params(axis="y", nbins=5)
        axes.locator_params(axis="x", nbins=6, integer=True)
        if level is not None:
            axes.axhline(level, color=_INK, linewidth=0.8, linestyle=":", alpha=0.6)
        for curve in curves:
            _draw_curve(axes, curve)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _for_page(buffer.getvalue(), prefix)


def _draw_curve(axes: Axes, curve: Curve) -> None:
    colour, dash = _SERIES[curve.colour], (0, (4, 2)) if curve.dashed else "-"
    steps, values = curve.series.steps, curve.series.values
    if curve.measured or len(steps) < 12:
        axes.plot(steps, values, color=colour, linestyle=dash, linewidth=1.8, marker="o", markersize=3.2)
        return
    thinned_steps, thinned = _binned(steps, values, POINTS)
    axes.plot(thinned_steps, thinned, color=colour, linewidth=0.7, alpha=0.35)
    mean_steps, means = _binned(steps, values, 30)
    axes.plot(mean_steps, means, color=colour, linestyle=dash, linewidth=1.8)


def _binned(steps: Sequence[int], values: Sequence[float], bins: int) -> tuple[list[float], list[float]]:
    """Means of at most `bins` equal runs of neighbouring points; the first and the last point keep their step."""
    number = min(bins, len(steps))
    edges = [len(steps) * place // number for place in range(number + 1)]
    middle = [fmean(steps[low:high]) for low, high in pairwise(edges)]
    middle[0], middle[-1] = steps[0], steps[-1]
    return middle, [fmean(values[low:high]) for low, high in pairwise(edges)]


def _for_page(svg: str, prefix: str) -> Markup:
    """The `<svg>` element alone, with the page's colours and font, and ids that are unique on the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(
        r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true" focusable="false">', svg, count=1
    )
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    svg = re.sub(r"font-family: [^;\"]*; ?", "", svg)
    svg = (
        svg.replace('id="', f'id="{prefix}-')
        .replace("url(#", f"url(#{prefix}-")
        .replace('href="#', f'href="#{prefix}-')
    )
    svg = svg.replace("xlink:href", "href")
    for stand_in, colour in _PAGE_COLOURS.items():
        svg = svg.replace(stand_in, colour)
    return Markup(svg)  # noqa: S704 - drawn by us, holds nothing but numbers
