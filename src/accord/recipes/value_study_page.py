"""The page of the study of values, with its drawing."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from accord.evaluate.statistics import Floats, mean_estimate, paired_difference
from accord.recipes.value_front import Front, Standing, front_of
from accord.recipes.value_front_page import draw, interval, markdown_table
from accord.recipes.value_study_choices import PEOPLE
from accord.recipes.value_study_front import FRONT_VALUES, METHOD, MIXED, SINGLE, SOUP, named
from accord.recipes.value_study_guided import UNGUIDED, WHO
from accord.record import Estimate
from accord.world.annotators import VALUES

if TYPE_CHECKING:
    from accord.recipes.value_study import Outcome


def write_page(path: Path, outcomes: Sequence[Outcome], *, command: str) -> None:
    """Write the page and its drawing (SVG beside it)."""
    front = pooled([outcome.points for outcome in outcomes])
    drawing = path.with_suffix(".svg")
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing.write_text(draw(front), encoding="utf-8")
    path.write_text(render(outcomes, front, command=command, drawing=drawing.name), encoding="utf-8")


def pooled(seeds: Sequence[Sequence[Standing]]) -> Front:
    """The front of several seeds: each way's scores of a prompt are averaged over its trainings."""
    points = [
        msgspec.structs.replace(own[0], scores=tuple(map(tuple, np.mean([one.scores for one in own], axis=0).tolist())))
        for own in zip(*seeds, strict=True)
    ]
    return front_of(FRONT_VALUES, points)


def render(outcomes: Sequence[Outcome], front: Front, *, command: str, drawing: str) -> str:
    """The page as Markdown."""
    parts = [
        "# Several values on the embedded world",
        f"```bash\n{command}\n```",
        _wrapped(
            f"Over {len(outcomes)} seed{'s'[: len(outcomes) - 1]}. The figures are beside this page, a seed a line. "
            "Intervals are of 95%; those of answers are over prompts, each averaged over the seeds."
        ),
        *_choices(outcomes),
        *_groups(outcomes),
        *_front(outcomes, front, drawing),
        *_guided(outcomes),
        _wrapped(f"{np.mean([outcome.seconds for outcome in outcomes]):.0f} s of processor time a seed."),
    ]
    return "\n\n".join(parts) + "\n"


def _choices(outcomes: Sequence[Outcome]) -> list[str]:
    first, scale = outcomes[0].choices, outcomes[0].scale
    held, of = np.sum([outcome.choices.covered() for outcome in outcomes], axis=0).tolist()
    lines = [
        [f"{who.name}, {name}", f"{first.planted[who.name][name]:.2f}"]
        + [interval(outcome.choices.learned.groups[who.name][name], ".2f") for outcome in outcomes]
        for who in PEOPLE
        for name in VALUES
    ]
    foretold = [
        [
            name,
            *(
                f"{np.mean([getattr(o.choices.held_out[name], axis).mean for o in outcomes]):.3f}"
                for axis in ("accuracy", "loss")
            ),
            "; ".join(filter(None, (_beside(outcome.choices.held_out[name].loss_beside) for outcome in outcomes))),
        ]
        for name in first.held_out
    ]
    return [
        "## What choices go by",
        _wrapped(
            f"Four annotators choose between two answers of the base to each of {scale.questions} prompts, by "
            "Bradley-Terry on what the answers are worth to them: right answers (the oracle's gold), and for three of "
            f"them brevity, warmth or caution. A planted weight is the annotator's own over the temperature of the "
            f"choices, {scale.temperature:g}. Each annotator's weights are fitted to its own {first.choices} choices. "
            f"**{held} of {of} intervals hold the planted weight**, where {0.95 * of:.0f} are expected to."
        ),
        _table_of(["annotator and value", "planted", *(f"seed {outcome.seed}" for outcome in outcomes)], lines),
        _wrapped(
            "One set of weights for all four foretells their choices on prompts that were not learned from as follows; "
            "the last column is the learned weights' loss less this one's, for each seed. A coin's loss is 0.693."
        ),
        markdown_table(["foretold by", "accuracy", "loss, nats", "learned less this, loss"], foretold),
    ]


def _groups(outcomes: Sequence[Outcome]) -> list[str]:
    lines = [
        [
            f"{outcome.seed}",
            _p(outcome.choices.p_value),
            *(_p(outcome.choices.by_value[name]) for name in VALUES),
            _p(outcome.choices.control),
            "" if outcome.choices.agreement is None else interval(outcome.choices.agreement, ".2f"),
        ]
        for outcome in outcomes
    ]
    own = [[who.name, *(_beside(outcome.choices.own.get(who.name)) for outcome in outcomes)] for who in PEOPLE]
    return [
        "## Groups of annotators",
        _wrapped(
            "The annotators compared the same pairs. The test of equal weights takes the prompts that they share into "
            "account; p-values of single values are Holm-adjusted. All agree on right answers, so that `right` should "
            "not tell them apart and the others should. The control is two annotators of the same weights. "
            "Krippendorff's alpha is of all four on all pairs."
        ),
        markdown_table(["seed", "all values", *VALUES, "control", "alpha"], lines),
        "An annotator's own weights, less the weights of all, lose on its held-out choices (nats a choice):",
        markdown_table(["annotator", *(f"seed {outcome.seed}" for outcome in outcomes)], own),
    ]


def _front(outcomes: Sequence[Outcome], front: Front, drawing: str) -> list[str]:
    scale = outcomes[0].scale.front
    by_seed = [front_of(FRONT_VALUES, outcome.points) for outcome in outcomes]
    sets = {
        "three single policies": [SINGLE],
        f"and the {sum(point.kind == SOUP for point in front.points)} soups of them": [SINGLE, SOUP],
        f"and {len(scale.mixes)} policies trained on mixes": [SINGLE, MIXED],
        "all": [SINGLE, SOUP, MIXED],
    }
    volumes = [
        [
            name,
            interval(front.volume(kinds)),
            "" if kinds == [SINGLE] else interval(front.gain(kinds, [SINGLE]), "+.3f"),
            ", ".join(f"{one.volume(kinds).mean:.3f}" for one in by_seed),
        ]
        for name, kinds in sets.items()
    ]
    reference = ", ".join(f"{name} {_signed(low)}" for name, low in zip(front.values, front.reference, strict=True))
    best = ", ".join(f"{name} {_signed(high)}" for name, high in zip(front.values, front.best.tolist(), strict=True))
    shown = [
        [point.name, *(interval(one, ".2f") for one in point.estimates()), "yes" if member else ""]
        for point, member in zip(front.points, front.on_front(), strict=True)
    ]
    return [
        "## Rewarded soups",
        _wrapped(
            f"From the base, one policy is trained for each of three values ({', '.join(FRONT_VALUES)}; brevity is "
            "minus the words in tens, warmth the number of friendly phrases) by "
            f"`{METHOD}` for {scale.rounds} rounds of {scale.prompts} prompts with {scale.answers} answers. Their "
            f"weights are averaged with all shares that are multiples of 1/{scale.parts}; {len(scale.mixes)} further "
            "policies are trained as long on mixes of the rewards. "
            "What they come to on held-out prompts:"
        ),
        f"![every model by each pair of values]({drawing})",
        _wrapped(
            f"The volume is a share of the box between the reference point ({reference}), a tenth of the span below "
            f"the lowest mean of any model on each value, and the best ({best})."
        ),
        markdown_table(["dominated volume", "share of the box", "more than the single policies", "by seed"], volumes),
        _wrapped(
            "A soup beside the policy that was trained on rewards of the same shares, by the sum of the values with "
            "those shares, each from 0 at the reference to 1 at the best. *Line* is the mean of what the single "
            "policies come to, as if values and not weights were averaged."
        ),
        *_mixes(front, scale.mixes),
        _table_of(["model", *front.values, "on the front"], shown),
    ]


def _mixes(front: Front, mixes: Sequence[Sequence[float]]) -> list[str]:
    """Soups beside the line between their parts and beside training on the mix, and what that says."""
    lines, below, above = [], 0, 0
    for shares, (line, soup, trained) in _worths(front, mixes):
        over_line, over_trained = paired_difference(line, soup), paired_difference(trained, soup)
        below, above = below + (over_trained.high < 0), above + (over_line.low > 0)
        cells = [interval(mean_estimate(one)) for one in (line, soup, trained)]
        lines.append([named(shares), *cells, interval(over_line, "+.3f"), interval(over_trained, "+.3f")])
    said = (
        f"A soup is worth less than the policy trained on its mix in {below} of {len(lines)}, and more than the line "
        f"in {above}: what soups save in training they pay for in value, and what they give is the choice between many "
        "models after it."
    )
    head = ["shares", "line", "soup", "trained", "soup less line", "soup less trained"]
    return [markdown_table(head, lines), _wrapped(said)] if below else [markdown_table(head, lines)]


def _worths(
    front: Front, mixes: Sequence[Sequence[float]]
) -> Iterator[tuple[Sequence[float], tuple[Floats, Floats, Floats]]]:
    """For each mix of shares the value by those shares of each prompt: of the line, the soup, the trained policy."""
    found = {(point.kind, named(point.shares)): np.asarray(point.scores) for point in front.points}
    singles = [found[SINGLE, name] for name in FRONT_VALUES]
    span = np.maximum(front.best - front.reference, 1e-12)
    for shares in mixes:
        straight = np.tensordot(np.asarray(shares), np.stack(singles), 1)
        each = (straight, found[SOUP, named(shares)], found[MIXED, named(shares)])
        line, soup, trained = ((one - front.reference) / span @ np.asarray(shares) for one in each)
        yield shares, (line, soup, trained)


def _guided(outcomes: Sequence[Outcome]) -> list[str]:
    def joined(way: str, axis: str) -> list[float]:
        rows = [getattr(outcome.guided[way], axis) for outcome in outcomes]
        means: list[float] = np.mean(rows, axis=0).tolist()
        return means

    lines = [
        [
            way,
            *(interval(mean_estimate(joined(way, axis)), ".2f") for axis in ("learned", "worth", "right")),
            ""
            if way == UNGUIDED
            else interval(paired_difference(joined(UNGUIDED, "worth"), joined(way, "worth")), "+.2f"),
        ]
        for way in outcomes[0].guided
    ]
    return [
        "## Value-guided decoding",
        _wrapped(
            "The base, untrained, answers the held-out prompts guided by the value that was learned from the choices "
            f"of the annotator `{WHO}` (`accord sample --guide-reward values:FILE,group={WHO}`), with 8 candidates. "
            "*Learned* is that value in log-odds of a choice, *worth* what the answer is worth to the annotator, "
            "*right* the oracle's gold."
        ),
        markdown_table(["way", "learned", "worth", "right", "worth, more than not guided"], lines),
        _wrapped(
            "With beta 0 a candidate is kept by chance: the same distribution as without guidance. The values read "
            "whole sentences, and an answer that breaks off inside of one has neither content nor warmth: tokens and "
            "blocks that are judged as they stand differ in value at the ends of sentences alone. Judged with its "
            "likeliest continuation, every block has a value of its own."
        ),
    ]


def _table_of(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A long table, folded away."""
    return f"<details><summary>{len(lines)} lines</summary>\n\n{markdown_table(head, lines)}\n\n</details>"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def _beside(estimate: Estimate | None) -> str:
    return "" if estimate is None else interval(estimate, "+.3f")


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
