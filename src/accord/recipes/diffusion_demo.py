"""`accord diffusion`: Diffusion-DPO and consistency models on two toys over several seeds, as a page with a picture."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from statistics import fmean

import msgspec
import torch
from rich.console import Console

from accord.diffusion.toys import Toy, drawings, rings
from accord.errors import ConfigError
from accord.evaluate.statistics import compare, mean_estimate
from accord.recipes.diffusion_page import Page, Row, ToyFigures, draw, render
from accord.recipes.diffusion_study import ALIGNED, DISTILLED, FEW, FROM_DATA, LITERAL, START, Budget, Outcome, study
from accord.recipes.threads import one_thread
from accord.record import Estimate
from accord.train.progress import Display

TOYS = ((rings(), Budget()), (drawings(), Budget(width=192, denoising=1500)))


def demonstrate(
    *,
    seeds: int = 1,
    out: str | Path = "runs/diffusion/diffusion.md",
    toys: Sequence[tuple[Toy, Budget]] = TOYS,
    console: Console | None = None,
) -> Page:
    """Train and measure everything, and write the page, its picture (PNG) and its figures (JSON) beside each other.

    Args:
        seeds: 0, 1, ...: each has its own models, preferences and samples.
        out: the Markdown file to write.
        toys: what to align models of, and how much of everything.
        console: where progress is shown.

    Raises:
        ConfigError: no seed, or a name for the page that does not end in `.md`.
    """
    out = Path(out)
    if seeds < 1:
        raise ConfigError(f"{seeds} is out of range", where="--seeds", mend="Give at least 1.")
    if out.suffix != ".md":
        raise ConfigError("the page is Markdown", where=f"--out {out}", mend="Give a name that ends in .md.")
    studied: list[tuple[Toy, list[Outcome]]] = []
    figures = []
    with one_thread(), Display(console).bar("models", seeds * len(toys)) as bar:
        for toy, budget in toys:
            started, outcomes = time.process_time(), []
            for seed in range(seeds):
                outcomes.append(study(toy, budget, seed))
                bar.advance(numbers=f"{toy.name}, seed {seed}")
            studied.append((toy, outcomes))
            figures.append(_figures(toy, budget, outcomes, (time.process_time() - started) / seeds))
    page = Page(command=f"accord diffusion --seeds {seeds} --out {out}", seeds=seeds, toys=tuple(figures))
    out.parent.mkdir(parents=True, exist_ok=True)
    picture = out.with_suffix(".png")
    draw([(toy, outcomes[0]) for toy, outcomes in studied], picture)
    out.write_text(render(page, picture.name), encoding="utf-8")
    out.with_suffix(".json").write_bytes(msgspec.json.format(msgspec.json.encode(page)) + b"\n")
    return page


def _figures(toy: Toy, budget: Budget, outcomes: Sequence[Outcome], seconds: float) -> ToyFigures:
    many = budget.schedule
    rows = [_row(outcomes, (name, many), (START, many)) for name in (START, ALIGNED, LITERAL)]
    for calls in FEW:
        rows += [_row(outcomes, (name, calls), (ALIGNED, many)) for name in (ALIGNED, DISTILLED)]
        rows.append(_row(outcomes, (FROM_DATA, calls), (START, many)))
    return ToyFigures(
        name=toy.name,
        liking=toy.liking,
        budget=msgspec.to_builtins(budget),
        rows=tuple(rows),
        data_error=_data_error(toy),
        accuracy=mean_estimate(list(chain.from_iterable(outcome.accuracy for outcome in outcomes))),
        noise_error={
            name: tuple(outcome.noise_error[name] for outcome in outcomes) for name in (START, ALIGNED, LITERAL)
        },
        literal_loss=tuple(outcome.literal_loss for outcome in outcomes),
        seconds=seconds,
    )


def _data_error(toy: Toy, count: int = 4096) -> Estimate:
    """Of the data themselves: below this, no model can be expected to come."""
    items, condition = toy.draw(count, torch.Generator().manual_seed(0))
    return mean_estimate(toy.error(items, condition).tolist())


def _row(outcomes: Sequence[Outcome], key: tuple[str, int], base: tuple[str, int]) -> Row:
    """One sampler against another over all seeds, sample by sample: both drew for the same conditions."""
    measured, beside = ([outcome.measured[which] for outcome in outcomes] for which in (key, base))
    rewards, base_rewards = (list(chain.from_iterable(m.rewards for m in each)) for each in (measured, beside))
    return Row(
        model=key[0],
        calls=key[1],
        beside=base[0],
        reward=compare("reward", base_rewards, rewards, unit="reward"),
        by_seed=tuple(fmean(m.rewards) - fmean(b.rewards) for m, b in zip(measured, beside, strict=True)),
        error=mean_estimate(list(chain.from_iterable(m.errors for m in measured))),
    )
