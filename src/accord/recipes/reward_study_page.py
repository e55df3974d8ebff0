"""The figures of the study of reward models, and the Markdown page that shows them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

import msgspec

from accord.feedback.calibration import Calibration
from accord.recipes.reward_table import sentence_of
from accord.record import Estimate


class Pick(msgspec.Struct, frozen=True):
    """What a judge picks from many answers.

    Attributes:
        judge: one model, or how an ensemble is combined.
        gold: the oracle's score of the picked answers.
        optimism: what the judge thinks of them, less what a model thinks that had no part in the choice.
        over_one: difference in gold from what one model picks, prompt by prompt; `None` for that model.
    """

    judge: str
    gold: Estimate
    optimism: Estimate
    over_one: Estimate | None


class StepRow(msgspec.Struct, frozen=True):
    """Arithmetic in steps.

    Attributes:
        accuracy: share of held-out steps on the right side of one half.
        chosen: share of problems whose chosen solution is right throughout, by how it is chosen.
    """

    accuracy: Estimate
    chosen: dict[str, Estimate]


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """The whole study."""

    command: str
    seeds: int
    scale: dict[str, Any]
    accuracy: dict[str, Estimate]
    calibration: dict[str, Calibration]
    picks: tuple[Pick, ...]
    at_random: Estimate
    steps: StepRow


def render(page: Page) -> str:
    """The page as Markdown."""
    return "\n".join([*_head(page), *_agreement(page), *_picked(page), *_arithmetic(page), ""])


def _head(page: Page) -> Iterator[str]:
    yield "# Reward models\n"
    yield _wrapped(
        f"Made by `{page.command}`, over {page.seeds} seeds. Intervals are 95%; the same prompt under several seeds is "
        "one cluster."
    )


def _agreement(page: Page) -> Iterator[str]:
    scale = page.scale
    yield "## Agreement with the oracle\n"
    yield _wrapped(
        f"Each model is trained by `bradley_terry` on {scale['share']:.0%} of the preferences between answers to "
        f"{scale['prompts']} prompts, of which {scale['noise']:.0%} are recorded the wrong way round. Held-out pairs "
        "are compared by the oracle without a slip."
    )
    yield "| | held-out pairs ranked right | interval |"
    yield "|---|---:|---|"
    for name, estimate in page.accuracy.items():
        yield f"| {_judge(name, page)} | {estimate.mean:.3f} | {_between(estimate)} |"
    yield ""
    for name, found in page.calibration.items():
        yield _wrapped(f"Calibration of the {_judge(name, page)}: {sentence_of(found)}.")


def _picked(page: Page) -> Iterator[str]:
    yield f"## The best of {page.scale['choices']} answers\n"
    yield _wrapped(
        "Gold is the oracle's score of the answer that is picked. Optimism is what the judge thinks of its pick, less "
        "what an independent model of the same kind thinks of it, in units of reward: what is picked for its score "
        "owes some of the score to the judge's mistakes. A random answer has a gold of "
        f"{page.at_random.mean:.3f} (interval {_between(page.at_random)})."
    )
    yield "| picked by | gold | interval | over one model | interval | optimism | interval |"
    yield "|---|---:|---|---:|---|---:|---|"
    for pick in page.picks:
        over = pick.over_one
        beside = "| – | –" if over is None else f"| {over.mean:+.3f} | {over.low:+.3f} to {over.high:+.3f}"
        yield (
            f"| {_judge(pick.judge, page)} | {pick.gold.mean:.3f} | {_between(pick.gold)} {beside} "
            f"| {pick.optimism.mean:+.3f} | {pick.optimism.low:+.3f} to {pick.optimism.high:+.3f} |"
        )
    yield ""


def _arithmetic(page: Page) -> Iterator[str]:
    steps = page.steps
    yield "## Steps\n"
    yield _wrapped(
        "A small new model learns by `process_reward`, from sums in four steps of which three in ten are wrong, which "
        f"step is wrong. It judges {steps.accuracy.mean:.1%} (interval {steps.accuracy.low:.1%} to "
        f"{steps.accuracy.high:.1%}) of {steps.accuracy.n:,} new steps right. Of eight solutions to a new sum, the "
        "chosen one is right throughout:"
    )
    yield "| chosen by | right | interval |"
    yield "|---|---:|---|"
    for rule, estimate in steps.chosen.items():
        yield f"| {_RULES[rule]} | {estimate.mean:.3f} | {_between(estimate)} |"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False) + "\n"


_RULES = {
    "at random": "chance",
    "min": "the weakest step",
    "product": "the product of all steps",
    "last": "the last step",
}


def _judge(name: str, page: Page) -> str:
    return name if name == "one model" else f"ensemble of {page.scale['members']}, {name}"


def _between(estimate: Estimate) -> str:
    return f"{estimate.low:.3f} to {estimate.high:.3f}"
