"""`accord world values`: planted weights in choices, groups of annotators, fronts of soups, and guided decoding."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import msgspec
from rich.console import Console

from accord.errors import ConfigError, DataError
from accord.policy.load import load_policy
from accord.policy.sample import Sampling
from accord.recipes.threads import one_thread
from accord.recipes.value_front import Standing
from accord.recipes.value_study_choices import ChoiceOutcome, study_choices
from accord.recipes.value_study_front import FrontScale, study_front
from accord.recipes.value_study_guided import GuidedOutcome, study_guided
from accord.recipes.world_evaluation import LONGEST_ANSWER
from accord.rollout import rollout
from accord.train.progress import Display
from accord.world.base import BASE
from accord.world.cases import cases, distinct_cases
from accord.world.town import draw_town


class Scale(msgspec.Struct, frozen=True, kw_only=True):
    """How much of everything.

    Attributes:
        questions: prompts that annotators choose on.
        options: answers to each, of which two are compared.
        temperature: of the choices.
        resamples: of the bootstrap.
        held_out: prompts of the test split.
        learned: prompts that policies learn from.
        front: of the trainings.
    """

    questions: int = 600
    options: int = 4
    temperature: float = 0.3
    resamples: int = 200
    held_out: int = 150
    learned: int = 600
    front: FrontScale = FrontScale()


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One seed.

    Attributes:
        seed: of everything.
        scale: how much of everything.
        choices: what choices taught.
        points: every model on the held-out prompts.
        guided: every way to guide, on the same prompts.
        seconds: of processor time.
    """

    seed: int
    scale: Scale
    choices: ChoiceOutcome
    points: tuple[Standing, ...]
    guided: dict[str, GuidedOutcome]
    seconds: float


def study_values(
    *,
    seeds: int = 3,
    scale: Scale | None = None,
    out: str | Path = "docs/values.md",
    console: Console | None = None,
) -> list[Outcome]:
    """Run every part over seeds, and write the page with its drawing.

    What has been found is kept beside the page, a seed a line, and taken up from there.

    Args:
        seeds: 0, 1, ...: each has its own choices, trainings and answers. The held-out prompts are the same.
        scale: how much of everything.
        out: the Markdown file to write.
        console: where progress is shown.

    Raises:
        ConfigError: no seed, or a name for the page that does not end in `.md`.
        DataError: what is kept is damaged.
    """
    from accord.recipes.value_study_page import write_page

    path, scale = Path(out), scale or Scale()
    if seeds < 1:
        raise ConfigError(f"{seeds} is out of range", where="--seeds", mend="Give at least 1.")
    if path.suffix != ".md":
        raise ConfigError("the page is Markdown", where=f"--out {out}", mend="Give a name that ends in .md.")
    kept = path.with_suffix(".jsonl")
    found = {one.seed: one for one in _read(kept) if one.scale == scale}
    with one_thread(), Display(console).bar("seeds", seeds) as bar:
        for seed in range(seeds):
            if seed not in found:
                found[seed] = _studied(seed, scale)
                _write(kept, list(found.values()))
            bar.advance()
    outcomes = [found[seed] for seed in range(seeds)]
    write_page(path, outcomes, command=f"accord world values --seeds {seeds} --out {out}")
    return outcomes


def _studied(seed: int, scale: Scale) -> Outcome:
    started, town = time.process_time(), draw_town(0)
    policy = load_policy(BASE)
    asked = [case.group() for case in islice(cases(town, "align", seed=seed + 101), scale.questions)]
    prompts = [case.group() for case in islice(cases(town, "align", seed=seed + 1), scale.learned)]
    held_out = [case.group() for case in distinct_cases(town, "test", scale.held_out, seed=0)]
    sampling = Sampling(temperature=1.0, max_tokens=LONGEST_ANSWER, seed=seed)
    answered = rollout(policy, asked, n=scale.options, sampling=sampling)
    choices = study_choices(answered, seed=seed, temperature=scale.temperature, resamples=scale.resamples)
    guided = study_guided(policy, held_out, choices.learned, seed=seed)
    points = study_front(prompts, held_out, seed=seed, scale=scale.front)
    return Outcome(
        seed=seed,
        scale=scale,
        choices=choices,
        points=points,
        guided=guided,
        seconds=time.process_time() - started,
    )


def _read(path: Path) -> list[Outcome]:
    if not path.exists():
        return []
    try:
        return [msgspec.json.decode(line, type=Outcome) for line in path.read_bytes().splitlines()]
    except msgspec.DecodeError as error:
        raise DataError(f"is damaged ({error})", path=path, mend="Delete it, and run the study again.") from error


def _write(path: Path, outcomes: Sequence[Outcome]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".partial")
    beside.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in outcomes))
    os.replace(beside, path)
