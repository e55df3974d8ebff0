"""`accord world compare`: every objective from the same start on the same preferences, judged by the oracle.

For each seed a model is fine-tuned once, answers prompts, and an annotator compares its answers. From that model and
those preferences every objective trains by the same recipe, at its default hyperparameters; data that it needs in
another form (labels, probabilities, demonstrations) is derived by Accord's own conversions.
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

import msgspec
from rich.console import Console

from accord.errors import AccordError, ConfigError
from accord.evaluate.statistics import compare
from accord.objectives import OBJECTIVES, resolve, signature_of
from accord.objectives.registry import validate
from accord.policy.policy import Policy
from accord.policy.sample import Sampling
from accord.recipes.comparison_page import Row, Table, render
from accord.recipes.quickstart import sft_config, write_demonstrations
from accord.recipes.threads import one_thread
from accord.recipes.world_evaluation import LONGEST_ANSWER, answer, evaluate
from accord.record import Comparison, Feedback, Group
from accord.rollout import rollout
from accord.train.config import TrainConfig
from accord.train.directory import RunDirectory
from accord.train.environment import read_environment
from accord.train.measure import PREFERENCE_ACCURACY, sample_answers
from accord.train.progress import Display
from accord.train.run import run_training
from accord.world.annotators import Annotator, prefer
from accord.world.base import BASE
from accord.world.cases import Case, cases, distinct_cases
from accord.world.oracle import judge
from accord.world.town import Town, draw_town

LIKELIHOOD_RATE = 1e-3
"""Learning rate of imitation and of reward models, as the quickstart fine-tunes."""

PREFERENCE_RATE = 3e-4
"""Learning rate of everything else, as the quickstart trains on preferences."""

OWN_RATES: dict[str, float] = {}
"""Objectives that need another scale at their defaults."""

ORACLE = Annotator()


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """How much of everything.

    Attributes:
        held_out: prompts of the test split that every model answers.
        demonstrations: answers that the start is fine-tuned on.
        prompts: prompts that the fine-tuned model answers for the annotator.
        answers: answers to each, of which the best and the worst are compared.
        epochs: passes over the preferences.
        town: seed of the town that the base model knows.
    """

    held_out: int = 500
    demonstrations: int = 100
    prompts: int = 1000
    answers: int = 8
    epochs: int = 2
    town: int = 0


@dataclass(frozen=True)
class Outcome:
    """What one training came to: judged answers of the policy, or the accuracies of a reward model pair by pair."""

    seconds: float
    answers: tuple[Group, ...] = ()
    kl: float = 0.0
    accuracy: tuple[list[float], list[float], list[str]] | None = None


def compare_objectives(
    objectives: Sequence[str] = (),
    *,
    seeds: int = 3,
    annotator: Annotator = ORACLE,
    budget: Budget | None = None,
    base: str | Path = BASE,
    out: str | Path = "docs/methods.md",
    console: Console | None = None,
) -> Table:
    """Train the objectives, measure them, and write the page and its figures (JSON beside it) after each seed.

    Args:
        objectives: names as for `accord train`; all registered ones if none is given.
        seeds: 0, 1, ...: each has its own demonstrations, start, prompts, preferences and order of training. The
            held-out prompts are always the same.
        annotator: who compares the answers; the oracle's own taste without slips by default.
        budget: how much of everything.
        base: the model to start from.
        out: the Markdown file to write.
        console: where progress is shown.

    Raises:
        ConfigError: an unknown objective, no seed, or a name for the page that does not end in `.md`.
    """
    out = Path(out)
    if seeds < 1:
        raise ConfigError(f"{seeds} is out of range", where="--seeds", mend="Give at least 1.")
    if not 0 <= annotator.noise < 1:
        raise ConfigError(f"{annotator.noise} is out of range", where="--noise", mend="Give at least 0, below 1.")
    if out.suffix != ".md":
        raise ConfigError("the page is Markdown", where=f"--out {out}", mend="Give a name that ends in .md.")
    names = list(dict.fromkeys(objectives)) or list(OBJECTIVES)
    for name in names:
        resolve(name)
    with one_thread(), tempfile.TemporaryDirectory() as scratch:
        arena = _Arena(Path(scratch), str(base), annotator, budget or Budget(), Display(console))
        command = _command(objectives, seeds, annotator, out)
        return arena.compare(names, seeds, command, out)


class _Arena:
    """What all trainings of one comparison share."""

    def __init__(self, scratch: Path, base: str, annotator: Annotator, budget: Budget, display: Display) -> None:
        self.scratch, self.base, self.annotator, self.budget, self.display = scratch, base, annotator, budget, display
        self.town = draw_town(budget.town)
        self.held_out = distinct_cases(self.town, "test", budget.held_out, seed=0)

    def compare(self, names: Sequence[str], seeds: int, command: str, out: Path) -> Table:
        starts: list[_Start] = []
        outcomes: dict[str, list[Outcome]] = {name: [] for name in names}
        failures: dict[str, str] = {}
        with self.display.bar("comparison", seeds * len(names)) as bar:
            for seed in range(seeds):
                starts.append(_Start(self.scratch / f"seed-{seed}", self, seed))
                for name in names:
                    try:
                        outcomes[name].append(starts[-1].train(name))
                    except AccordError as error:
                        failures.setdefault(name, f"seed {seed}: {error}")
                    bar.advance(numbers=f"{name}, seed {seed}")
                table = self._table(seeds, starts, outcomes, failures, command)
                _write(table, out)
        return table

    def _table(
        self,
        asked: int,
        starts: Sequence[_Start],
        outcomes: dict[str, list[Outcome]],
        failures: dict[str, str],
        command: str,
    ) -> Table:
        before = [group for start in starts for group in start.answers]
        at_start = evaluate(self.held_out * len(starts), before, before)
        rows = [
            _failed(name, failures[name]) if name in failures else _row(name, self.held_out, starts, done)
            for name, done in outcomes.items()
        ]
        return Table(
            command=command,
            seeds=len(starts),
            asked=asked,
            pairs=round(fmean(len(start.pairs) for start in starts)),
            budget=msgspec.to_builtins(self.budget),
            annotator=msgspec.to_builtins(self.annotator),
            start={axis: at_start.comparison(axis).before for axis in _AXES},
            rows=tuple(rows),
        )


class _Start:
    """The fine-tuned model of one seed, its answers and the preferences between them."""

    def __init__(self, path: Path, arena: _Arena, seed: int) -> None:
        self.path, self.arena, self.seed = path, arena, seed
        budget, town = arena.budget, arena.town
        files = write_demonstrations(path / "data", town, budget.demonstrations, seed=seed)
        self.policy = _trained(sft_config(arena.base, files, path / "sft", seed))
        self.answers = tuple(answer(self.policy, arena.held_out, seed=seed))
        self.pairs = self._pairs(_prompts(town, budget.prompts, seed), arena.annotator)

    @cached_property
    def held_out_pairs(self) -> list[Group]:
        """Pairs of answers to the held-out prompts, compared by the oracle: what a reward model should know."""
        return self._pairs(self.arena.held_out, ORACLE)

    def train(self, name: str) -> Outcome:
        """Train one objective from here and measure what became of it."""
        config = _config(name, self.path, self.seed, self.arena.budget.epochs)
        reward_model = "reward" in signature_of(resolve(name)).needs
        policy = _trained(config, self.pairs, self.held_out_pairs if reward_model else None)
        run = RunDirectory(config.out)
        seconds = float(read_environment(run.environment)["seconds"])
        if reward_model:
            return Outcome(seconds, accuracy=_accuracies(run.heldout))
        answers = tuple(answer(policy, self.arena.held_out, seed=self.seed))
        return Outcome(seconds, answers, self._kl(policy))

    def _pairs(self, prompts: Sequence[Case], annotator: Annotator) -> list[Group]:
        sampling = Sampling(temperature=1.0, max_tokens=LONGEST_ANSWER, seed=self.seed)
        groups = [case.group() for case in prompts]
        answered = rollout(self.policy, groups, n=self.arena.budget.answers, sampling=sampling)
        return [_scored(group, annotator) for group in prefer(map(judge, answered), annotator, seed=self.seed)]

    def _kl(self, policy: Policy) -> float:
        """Divergence from this start in nats a response, on the policy's own answers to the held-out prompts."""
        measured = sample_answers(
            policy,
            [case.group() for case in self.arena.held_out],
            start=nullcontext(self.policy),
            step=0,
            tokens=LONGEST_ANSWER,
            seed=self.seed,
            micro_batch_tokens=16384,
        )
        return measured.line["eval/kl"]


_AXES = ("gold", "over-refusal", "words")


def learning_rate(name: str) -> float:
    """The learning rate that an objective is trained with here."""
    needs = signature_of(resolve(name)).needs
    compares = "reference" in needs or ("prefer" in needs and "reward" not in needs)
    return OWN_RATES.get(name, PREFERENCE_RATE if compares else LIKELIHOOD_RATE)


def _config(name: str, path: Path, seed: int, epochs: int) -> TrainConfig:
    return TrainConfig(
        objective=name,
        model=str(path / "sft" / "model"),
        data=("preferences",),
        out=str(path / "runs" / name.replace(":", "-")),
        seed=seed,
        epochs=epochs,
        batch_size=32,
        lr=learning_rate(name),
        schedule="linear",
        adam_beta2=0.95,
        holdout=0.0,
        samples=0,
        log_every=1000,
    )


def _trained(config: TrainConfig, groups: Sequence[Group] | None = None, held_out: list[Group] | None = None) -> Policy:
    policy = run_training(config, groups=groups, eval_groups=held_out).policy
    assert policy is not None
    return policy


def _prompts(town: Town, count: int, seed: int) -> list[Case]:
    return list(islice(cases(town, "align", seed=seed + 1), count))


def _scored(group: Group, annotator: Annotator) -> Group:
    """The pair with the annotator's preference and values only; where it slipped, the values have slipped as well.

    Scores that knew better than the preferences would show an objective which of them are flipped.
    """
    preferences = tuple(group.preferences())
    values = [annotator.value(group, response) for response in group.responses]
    scores = [max(values) if index == preferences[0].better else min(values) for index in range(len(values))]
    feedback = Feedback("oracle", annotator.name, preferences, scores={"overall": tuple(scores)})
    return msgspec.structs.replace(group, feedback=(feedback,))


def _accuracies(path: Path) -> tuple[list[float], list[float], list[str]]:
    """Accuracy on each held-out pair before and after training, and the prompt it belongs to."""
    measured = [axis for axis in _lines(path) if axis["name"] == PREFERENCE_ACCURACY]
    return measured[0]["values"], measured[-1]["values"], measured[0]["clusters"]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_bytes().splitlines():
        yield msgspec.json.decode(line)


def _row(name: str, held_out: list[Case], starts: Sequence[_Start], outcomes: Sequence[Outcome]) -> Row:
    """All seeds together; the same prompt under several seeds is one cluster."""
    accuracies = [outcome.accuracy for outcome in outcomes if outcome.accuracy is not None]
    if accuracies:
        before = [value for one in accuracies for value in one[0]]
        after = [value for one in accuracies for value in one[1]]
        prompts = [prompt for one in accuracies for prompt in one[2]]
        comparison = compare("accuracy", before, after, clusters=prompts)
        by_seed = tuple(fmean(one[1]) - fmean(one[0]) for one in accuracies)
        return _filled(name, {"accuracy": comparison}, by_seed, outcomes)
    before_answers = [group for start in starts for group in start.answers]
    after_answers = [group for outcome in outcomes for group in outcome.answers]
    evaluation = evaluate(held_out * len(starts), before_answers, after_answers)
    by_seed = tuple(
        evaluate(held_out, start.answers, outcome.answers).comparison("gold").difference.mean
        for start, outcome in zip(starts, outcomes, strict=True)
    )
    return _filled(name, {axis: evaluation.comparison(axis) for axis in _AXES}, by_seed, outcomes)


def _filled(
    name: str, comparisons: dict[str, Comparison], by_seed: tuple[float, ...], outcomes: Sequence[Outcome]
) -> Row:
    return Row(
        objective=name,
        learning_rate=learning_rate(name),
        hyperparameters=validate(name, {}),
        comparisons=comparisons,
        by_seed=by_seed,
        kl=None if "accuracy" in comparisons else fmean(outcome.kl for outcome in outcomes),
        seconds=fmean(outcome.seconds for outcome in outcomes),
    )


def _failed(name: str, failure: str) -> Row:
    rate, hyperparameters = learning_rate(name), validate(name, {})
    return Row(objective=name, learning_rate=rate, hyperparameters=hyperparameters, failure=failure)


def _command(objectives: Sequence[str], seeds: int, annotator: Annotator, out: Path) -> str:
    flags = [("--seeds", seeds, None), ("--noise", annotator.noise, 0.0), ("--length-bias", annotator.length_bias, 0.0)]
    given = [str(word) for flag, value, default in flags if value != default for word in (flag, value)]
    return shlex.join(["accord", "world", "compare", *objectives, *given, "--out", str(out)])


def _write(table: Table, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(render(table), encoding="utf-8")
    out.with_suffix(".json").write_bytes(msgspec.json.format(msgspec.json.encode(table)) + b"\n")
