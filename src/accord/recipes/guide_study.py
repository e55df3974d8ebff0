"""`accord world guides`: what a guide, a teacher and a soup are worth, by the oracle.

A guide is trained long on the oracle's own reward. From the same base, policies then learn for a few rounds: alone,
with the guide in what is sampled, drawn to it, from its distributions, and from what it writes. All are asked the same
held-out prompts halfway and at the end.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from accord.errors import ConfigError
from accord.evaluate.statistics import mean_estimate, paired_difference
from accord.feedback.reward import Row
from accord.policy.load import load_policy
from accord.policy.policy import Policy
from accord.policy.soup import cook
from accord.recipes.guide_study_page import LineOfStudy, Page, render
from accord.recipes.online import train_online
from accord.recipes.teach import train_taught
from accord.recipes.threads import one_thread
from accord.recipes.world_evaluation import LONGEST_ANSWER, answer, scores
from accord.record import Estimate, Group
from accord.train.config import TrainConfig
from accord.train.progress import Display
from accord.world.base import BASE
from accord.world.cases import cases, distinct_cases
from accord.world.oracle import judge
from accord.world.town import draw_town

ALONE, GUIDE, BASE_MODEL, SOUP = "alone", "the guide itself", "base", "soup of the seeds, alone"

WAYS: Mapping[str, Mapping[str, Any]] = {
    ALONE: {},
    "guide in the sampling": {"guide_share": 0.5},
    "drawn to the guide": {"guide_share": 0.0, "hyper": {"guide_kl": 2.0}},
    "both": {"guide_share": 0.5, "hyper": {"guide_kl": 2.0}},
    "distil on own answers": {"objective": "distill", "own_answers": 1.0},
    "imitate what it writes": {"objective": "sft"},
}
"""Settings of each way to learn, over those that all share."""


class Scale(msgspec.Struct, frozen=True, kw_only=True):
    """How much of everything.

    Attributes:
        rounds: that every policy learns for.
        guide_rounds: that the guide was trained for.
        prompts: of a round.
        answers: to each of them.
        batch_size: prompts of an optimiser step.
        held_out: prompts of the test split.
        method: the policy-gradient method.
        lr: learning rate of all.
    """

    rounds: int = 8
    guide_rounds: int = 20
    prompts: int = 32
    answers: int = 8
    batch_size: int = 8
    held_out: int = 150
    method: str = "grpo"
    lr: float = 3e-4

    @property
    def parts(self) -> int:
        """Optimiser steps of a round."""
        return -(-self.prompts // self.batch_size)


class Gold:
    """The oracle's own score as a reward."""

    name = "gold"

    def __call__(self, groups: Sequence[Group]) -> list[Row]:
        """One score a response."""
        return [tuple(judge(group).scores("gold") or ()) for group in groups]


class _Study:
    """Trains in the world, and keeps the oracle's score of every held-out answer."""

    def __init__(self, path: Path, scale: Scale) -> None:
        town = draw_town(0)
        self.path, self.scale = path, scale
        self.held_out = distinct_cases(town, "test", scale.held_out, seed=0)
        self.prompts = [case.group() for case in islice(cases(town, "align", seed=1), 600)]
        self.keys = [case.key for case in self.held_out]

    def gold(self, policy: Policy, seed: int) -> list[float]:
        """The oracle's score of an answer to each held-out prompt."""
        return scores(answer(policy, self.held_out, seed=seed), "gold")

    def trained(self, name: str, seed: int, *, rounds: int, **settings: Any) -> tuple[Path, dict[int, list[float]]]:
        """One training: its model, and the scores by round, measured halfway and at the end."""
        scale, out = self.scale, self.path / f"{name.replace(' ', '-')}-{seed}"
        given: dict[str, Any] = {
            "objective": scale.method,
            "steps": rounds * scale.parts,
            "batch_size": scale.batch_size,
            "prompts": scale.prompts,
            "n": scale.answers,
            "seed": seed,
            "lr": scale.lr,
            "schedule": "constant",
            "max_tokens": LONGEST_ANSWER,
            "holdout": 0.0,
            "samples": 0,
            "save_every": 0,
            "guide_span": 1.0,
            "eval_every": max(1, rounds // 2) * scale.parts,
        } | settings
        config = TrainConfig(model=str(BASE), data=("world",), out=str(out), **given)
        seen: dict[int, list[float]] = {}

        def probe(policy: Policy, step: int) -> dict[str, float]:
            found = seen[step // scale.parts] = self.gold(policy, seed)
            return {"gold": sum(found) / len(found)}

        if config.teacher is None:
            train_online(config, [Gold()], groups=self.prompts, probe=probe)
        else:
            train_taught(config, groups=self.prompts, probe=probe)
        return out / "model", seen


def study_guides(
    *, seeds: int = 3, scale: Scale | None = None, out: str | Path, console: Console | None = None
) -> Page:
    """Train, measure, and write the page and its figures (JSON beside it).

    Args:
        seeds: 0, 1, ...: each draws its own prompts and answers; the guide is one for all.
        scale: how much of everything.
        out: the Markdown file to write.
        console: where progress is shown.

    Raises:
        ConfigError: no seed, or a name for the page that does not end in `.md`.
    """
    out, scale = Path(out), scale or Scale()
    if seeds < 1:
        raise ConfigError(f"{seeds} is out of range", where="--seeds", mend="Give at least 1.")
    if out.suffix != ".md":
        raise ConfigError("the page is Markdown", where=f"--out {out}", mend="Give a name that ends in .md.")
    found: dict[str, list[dict[int, list[float]]]] = {name: [] for name in (BASE_MODEL, *WAYS, SOUP, GUIDE)}
    last, models = scale.rounds, []
    with (
        one_thread(),
        tempfile.TemporaryDirectory() as scratch,
        Display(console).bar("trainings", 1 + seeds * len(WAYS)) as bar,
    ):
        study = _Study(Path(scratch), scale)
        guide, _ = study.trained("guide", 100, rounds=scale.guide_rounds, eval_every=0)
        bar.advance()
        for seed in range(seeds):
            found[GUIDE].append({last: study.gold(load_policy(guide), seed)})
            for name, settings in WAYS.items():
                helped = {} if name == ALONE else {"guide": str(guide)}
                if "objective" in settings:
                    helped = {"teacher": str(guide)}
                model, seen = study.trained(name, seed, rounds=scale.rounds, **helped, **settings)
                found[name].append(seen)
                if name == ALONE:
                    models.append(model)
                bar.advance()
            found[BASE_MODEL].append({last: found[ALONE][seed][0]})
        soup = cook([load_policy(model) for model in models], (1.0 / seeds,) * seeds)
        found[SOUP] = [{last: study.gold(soup, seed)} for seed in range(seeds)]
    page = Page(
        command=f"accord world guides --seeds {seeds} --out {out}",
        seeds=seeds,
        scale=msgspec.to_builtins(scale),
        lines=tuple(_line(name, found, study.keys, last) for name in found),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(render(page), encoding="utf-8")
    out.with_suffix(".json").write_bytes(msgspec.json.format(msgspec.json.encode(page)) + b"\n")
    return page


def _line(name: str, found: Mapping[str, list[dict[int, list[float]]]], keys: Sequence[str], last: int) -> LineOfStudy:
    of_seeds, alone, half = found[name], found[ALONE], max(1, last // 2)
    clusters = list(keys) * len(of_seeds)

    def over_alone(step: int) -> Estimate | None:
        if name == ALONE or any(step not in seen for seen in of_seeds):
            return None
        return paired_difference(_joined(alone, step), _joined(of_seeds, step), clusters)

    return LineOfStudy(
        name=name,
        gold=mean_estimate(_joined(of_seeds, last), clusters),
        by_seed=tuple(sum(seen[last]) / len(seen[last]) for seen in of_seeds),
        over_alone=over_alone(last),
        halfway=mean_estimate(_joined(of_seeds, half), clusters) if half in of_seeds[0] else None,
        over_alone_halfway=over_alone(half),
    )


def _joined(of_seeds: Sequence[Mapping[int, list[float]]], step: int) -> list[float]:
    return [value for seen in of_seeds for value in seen[step]]
