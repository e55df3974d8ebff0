"""The figures of the study of guides, and the Markdown page that shows them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

import msgspec

from accord.record import Estimate


class LineOfStudy(msgspec.Struct, frozen=True):
    """One way to learn.

    Attributes:
        name: which.
        gold: the oracle's score at the end, over all seeds.
        by_seed: its mean for each seed.
        over_alone: difference at the end from learning alone, prompt by prompt; `None` for that itself.
        halfway: the oracle's score after half of the rounds; `None` for what was not trained here.
        over_alone_halfway: difference there.
    """

    name: str
    gold: Estimate
    by_seed: tuple[float, ...]
    over_alone: Estimate | None
    halfway: Estimate | None
    over_alone_halfway: Estimate | None


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """The whole study."""

    command: str
    seeds: int
    scale: dict[str, Any]
    lines: tuple[LineOfStudy, ...]


def render(page: Page) -> str:
    """The page as Markdown."""
    return "\n".join([*_head(page), *_table(page), *_verdicts(page), *_gap(page), ""])


def _head(page: Page) -> Iterator[str]:
    scale = page.scale
    yield "# Guides, teachers and soups on the embedded world"
    yield ""
    yield f"```bash\n{page.command}\n```"
    yield ""
    text = (
        f"The guide is the base trained by `{scale['method']}` on the oracle's reward for {scale['guide_rounds']} "
        f"rounds of {scale['prompts']} prompts with {scale['answers']} answers each, {scale['batch_size']} prompts a "
        f"step. Every other policy starts from the base and gets {scale['rounds']} rounds of the same size at the same "
        f"learning rate, over {page.seeds} seeds: alone; with the guide's share of the sampling falling from 0.5 to 0; "
        "with `--guide-kl 2` falling to 0 likewise; both; by `distill` from the guide on its own answers; by `sft` on "
        f"what the guide writes. Each is asked the same {scale['held_out']} held-out prompts, at temperature 0.7. "
        "Intervals are of 95%, over prompts; differences are taken prompt by prompt. The JSON file beside this page "
        "has the figures."
    )
    yield from textwrap.wrap(text, 120)
    yield ""


def _table(page: Page) -> Iterator[str]:
    yield "| way to learn | gold halfway | over alone, halfway | gold at the end | over alone, at the end | by seed |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for line in page.lines:
        seeds = ", ".join(f"{value:.2f}" for value in line.by_seed)
        cells = (_level(line.halfway), _gain(line.over_alone_halfway), _level(line.gold), _gain(line.over_alone))
        yield f"| {line.name} | {' | '.join(cells)} | {seeds} |"
    yield ""


def _verdicts(page: Page) -> Iterator[str]:
    """Which ways to learn did better or worse than learning alone, beyond the interval."""
    ways = [line for line in page.lines if line.over_alone is not None and line.name not in _NO_WAYS]
    verdicts = {
        "Better than alone at the end": [one.name for one in ways if one.over_alone and one.over_alone.low > 0],
        "Worse": [one.name for one in ways if one.over_alone and one.over_alone.high < 0],
    }
    told = [name for names in verdicts.values() for name in names]
    verdicts["Not told apart from it"] = [one.name for one in ways if one.name not in told]
    for verdict, names in verdicts.items():
        yield f"- {verdict}: {', '.join(names) or 'none'}."
    yield "- " + textwrap.fill(_WHY, 118).replace("\n", "\n  ")
    yield ""


def _gap(page: Page) -> Iterator[str]:
    """How much of the way from the base to its teacher each way has come."""
    by_name = {line.name: line.gold.mean for line in page.lines}
    base, teacher = by_name["base"], by_name["the guide itself"]
    if teacher <= base:
        yield "The guide is no better than the base, so there is no gap to close."
        return
    shares = ", ".join(
        f"{name} {(gold - base) / (teacher - base):.0%}" for name, gold in by_name.items() if name not in _NO_WAYS
    )
    yield from textwrap.wrap(f"Share of the way from the base to the guide: {shares}.", 120)


def _level(estimate: Estimate | None) -> str:
    return "" if estimate is None else f"{estimate.mean:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def _gain(estimate: Estimate | None) -> str:
    return "" if estimate is None else f"{estimate.mean:+.3f} ({estimate.low:+.3f} to {estimate.high:+.3f})"


_NO_WAYS = ("base", "the guide itself")
_WHY = (
    "A guide in the sampling shows the policy answers that it would rarely have given, but each token is weighed by "
    "what the policy itself would have made of it, so that what is far from the policy teaches little. Being drawn to "
    "it, distillation and imitation hand over its distributions or texts, whatever the policy thinks of them."
)
