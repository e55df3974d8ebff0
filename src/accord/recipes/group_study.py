"""`accord world groups`: what groups of annotators prefer, predicted from a few answers, on the embedded world.

The base model answers prompts; groups of annotators, who agree on what is right and differ in how much brevity, warmth
and caution are worth to them, divide their preference over the answers. A network learns over many groups, and predicts
groups and prompts that it never saw, the world's three named annotators among them.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import msgspec
import torch
from rich.console import Console
from torch import Tensor

from accord.errors import ConfigError
from accord.evaluate.statistics import compare, mean_estimate
from accord.feedback.group_network import GroupPredictor, shares
from accord.feedback.group_preference import (
    Answers,
    agrees,
    mean_of_groups,
    meta_train,
    nearest_group,
    predict,
    similarity,
)
from accord.feedback.group_reward import policy_embedder
from accord.policy.load import load_policy
from accord.policy.sample import Sampling
from accord.recipes.group_page import AXES, MEAN, NEAREST, NETWORK, PLAIN, UNIFORM, GroupTable, Row, render
from accord.recipes.threads import one_thread
from accord.recipes.world_evaluation import LONGEST_ANSWER
from accord.record import Group
from accord.rollout import rollout
from accord.train.progress import Display
from accord.world.annotators import PLURALISTS, VALUES, Annotator
from accord.world.base import BASE
from accord.world.cases import cases, distinct_cases
from accord.world.town import draw_town


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """How much of everything.

    Attributes:
        groups: of annotators to learn from.
        held_out: drawn groups to predict, beside the three named ones.
        questions: prompts to learn from.
        asked: held-out prompts, about other things, that are predicted.
        options: answers to each.
        contexts: how many answers of a group are known when it is predicted.
        temperature: of a group's choice: its shares are the softmax of what the answers are worth over this.
        width: of the network.
        layers: of the network.
        steps: of meta-training.
        learning_rate: of meta-training.
        town: seed of the town.
    """

    groups: int = 200
    held_out: int = 20
    questions: int = 1500
    asked: int = 200
    options: int = 5
    contexts: tuple[int, ...] = (1, 4, 12)
    temperature: float = 0.3
    width: int = 64
    layers: int = 2
    steps: int = 1200
    learning_rate: float = 2e-3
    town: int = 0


@dataclass(frozen=True)
class Outcome:
    """One seed: for every known number of answers and way to predict, each axis's value for every held-out group."""

    values: dict[tuple[int, str], dict[str, list[float]]] = field(default_factory=dict)
    seconds: float = 0.0


def study_groups(
    *,
    seeds: int = 3,
    budget: Budget | None = None,
    out: str | Path = "docs/group-preference.md",
    console: Console | None = None,
) -> GroupTable:
    """Learn and predict groups over several seeds, and write the page and its figures (JSON beside it).

    Args:
        seeds: 0, 1, ...: each has its own groups, prompts, answers and network. The held-out prompts are the same.
        budget: how much of everything.
        out: the Markdown file to write.
        console: where progress is shown.

    Raises:
        ConfigError: no seed, or a name for the page that does not end in `.md`.
    """
    out, budget = Path(out), budget or Budget()
    if seeds < 1:
        raise ConfigError(f"{seeds} is out of range", where="--seeds", mend="Give at least 1.")
    if out.suffix != ".md":
        raise ConfigError("the page is Markdown", where=f"--out {out}", mend="Give a name that ends in .md.")
    outcomes = []
    with one_thread(), Display(console).bar("seeds", seeds) as bar:
        for seed in range(seeds):
            outcomes.append(_study(budget, seed))
            bar.advance()
    table = GroupTable(
        command=f"accord world groups --seeds {seeds} --out {out}",
        seeds=seeds,
        budget=msgspec.to_builtins(budget),
        rows=tuple(_row(outcomes, *key) for key in outcomes[0].values),
        seconds=sum(outcome.seconds for outcome in outcomes) / seeds,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(render(table), encoding="utf-8")
    out.with_suffix(".json").write_bytes(msgspec.json.format(msgspec.json.encode(table)) + b"\n")
    return table


def population(count: int, rng: random.Random) -> list[Annotator]:
    """Groups of annotators that agree on gold and weigh brevity, warmth and caution each in their own way."""
    return [
        Annotator(
            name=f"group {index}",
            brevity=rng.uniform(-0.6, 0.6),
            warmth=rng.uniform(-0.6, 0.6),
            caution=rng.uniform(-0.6, 0.6),
        )
        for index in range(count)
    ]


def _study(budget: Budget, seed: int) -> Outcome:
    started = time.process_time()
    answered = _answered(budget, seed)
    embedding, valid = policy_embedder(load_policy(BASE))(answered)
    rng = random.Random(f"groups:{seed}")
    annotators, strangers = population(budget.groups, rng), population(budget.held_out, rng)
    worth = _worth(answered, [*annotators, *strangers, *PLURALISTS.values()])
    everyone = [Answers(embedding, valid, (own / budget.temperature).softmax(-1)) for own in worth]
    known, held_out = everyone[: budget.groups], everyone[budget.groups :]
    network = _network(embedding.shape[-1], budget, seed)
    # The last questions that are learned from are left to be the context of strangers.
    longest = max(budget.contexts)
    taught = [answers[: budget.questions - longest] for answers in known]
    meta_train(
        network,
        taught,
        generator=torch.Generator().manual_seed(seed),
        steps=budget.steps,
        questions=longest + 8,
        longest_context=longest,
        lr=budget.learning_rate,
    )
    outcome = Outcome(seconds=time.process_time() - started)
    asked = slice(budget.questions, None)
    for count in budget.contexts:
        context = slice(budget.questions - count, budget.questions)
        for own, value in zip(held_out, worth[budget.groups :], strict=True):
            for way, predicted in _ways(network, known, own, context, asked).items():
                _record(outcome, (count, way), predicted, own[asked], value[asked])
    return outcome


def _answered(budget: Budget, seed: int) -> list[Group]:
    """Prompts to learn from, then held-out ones about other things, each with answers of the base model."""
    town = draw_town(budget.town)
    prompts = [case.group() for case in islice(cases(town, "align", seed=seed + 1), budget.questions)]
    prompts += [case.group() for case in distinct_cases(town, "test", budget.asked, seed=0)]
    sampling = Sampling(temperature=1.0, max_tokens=LONGEST_ANSWER, seed=seed)
    return rollout(load_policy(BASE), prompts, n=budget.options, sampling=sampling)


def _worth(answered: Sequence[Group], annotators: Sequence[Annotator]) -> list[Tensor]:
    """What every answer is worth to each annotator, `[Q,K]`.

    Worth is linear in an annotator's weights, so that the answers are read once for each weight and not once for each
    annotator.
    """
    parts = torch.tensor(
        [
            [[axis.value(group, response) for axis in VALUES.values()] for response in group.responses]
            for group in answered
        ]
    )
    weights = [torch.tensor([own.weights()[name] for name in VALUES]) for own in annotators]
    return [parts @ own for own in weights]


def _network(size: int, budget: Budget, seed: int) -> GroupPredictor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GroupPredictor(size, width=budget.width, layers=budget.layers, embedder_layers=3)


def _ways(
    network: GroupPredictor, known: Sequence[Answers], own: Answers, context: slice, asked: slice
) -> dict[str, Tensor]:
    """Shares of the asked questions' options by every way to predict."""
    target, answers = own[asked], own[context]
    others, of_context = [group[asked] for group in known], [group[context] for group in known]
    plain = Answers(answers.embedding, answers.valid, mean_of_groups(of_context))
    return {
        UNIFORM: shares(torch.zeros(target.valid.shape), target.valid),
        PLAIN: predict(network, plain, target.embedding, target.valid),
        NETWORK: predict(network, answers, target.embedding, target.valid),
        MEAN: mean_of_groups(others),
        NEAREST: nearest_group(others, answers, of_context).preference,
    }


def _record(outcome: Outcome, key: tuple[int, str], predicted: Tensor, target: Answers, worth: Tensor) -> None:
    """Each axis of one held-out group, averaged over its questions."""
    chosen = worth.gather(-1, predicted.argmax(-1, keepdim=True))
    values = outcome.values.setdefault(key, {axis: [] for axis in AXES})
    values["similarity"].append(float(similarity(predicted, target.preference).mean()))
    values["accuracy"].append(float(agrees(predicted, target.preference).mean()))
    values["gain"].append(float((chosen[:, 0] - worth.mean(-1)).mean()))


def _row(outcomes: Sequence[Outcome], count: int, way: str) -> Row:
    """All seeds together; a held-out group is one item."""

    def joined(which: str, axis: str) -> list[float]:
        return [value for outcome in outcomes for value in outcome.values[count, which][axis]]

    return Row(
        known=count,
        way=way,
        axes={axis: mean_estimate(joined(way, axis)) for axis in AXES},
        beside={axis: compare(axis, joined(PLAIN, axis), joined(way, axis), unit="worth").difference for axis in AXES},
    )
