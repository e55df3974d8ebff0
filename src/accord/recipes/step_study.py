"""A process reward model on arithmetic in steps: does it know which step is wrong, and does that find a right one."""

from __future__ import annotations

import random
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from accord.feedback.process_model import ProcessRewardModel, Solution, solution_score
from accord.feedback.reward_model import load_reward_model
from accord.record import Feedback, Group, Response
from accord.record.steps import response_of_steps
from accord.train.config import TrainConfig
from accord.train.run import run_training

ADDED = (1, 2)
"""What is added in a step."""

STEPS = 4
WRONG = 0.3
"""Share of the steps that are wrong, in labelled solutions and in those to choose from."""

CHOICES = 8
"""Solutions of a problem to choose from."""

PAD, END = "<pad>", "<end>"


@dataclass(frozen=True)
class StepOutcome:
    """What one seed came to.

    Attributes:
        right: of each held-out step, 1 if the model is on the right side of one half.
        problems: the problem each of them belongs to.
        chosen: by rule, and for a random choice, 1 for each problem whose chosen solution is right throughout.
    """

    right: list[float]
    problems: list[int]
    chosen: dict[str, list[float]]


def study_steps(path: Path, *, seed: int, labelled: int = 2000) -> StepOutcome:
    """Train a process reward model on labelled sums, starting from random weights, and test both of its uses.

    Args:
        path: where runs and models go.
        seed: of problems, weights and training.
        labelled: solutions whose steps are labelled.
    """
    rng = random.Random(f"steps:{seed}")
    new_model(path / "base", seed=seed)
    taught = [solutions(rng, count=1) for _ in range(labelled)]
    return _tested(_trained(path, taught, seed), [solutions(rng, count=CHOICES) for _ in range(200)])


def _tested(run: Path, problems: Sequence[Group]) -> StepOutcome:
    model = load_reward_model(run)
    assert isinstance(model, ProcessRewardModel)
    right: list[float] = []
    places: list[int] = []
    rules: tuple[Solution, ...] = ("min", "product", "last")
    chosen: dict[str, list[float]] = {name: [] for name in ("at random", *rules)}
    for place, (group, found) in enumerate(zip(problems, model.steps(problems), strict=True)):
        labels = group.step_scores() or ()
        for of_labels, of_steps in zip(labels, found, strict=True):
            right += [float((label == 1.0) == (step > 0.5)) for label, step in zip(of_labels, of_steps, strict=True)]
            places += [place] * len(of_steps)
        whole = [float(all(label == 1.0 for label in row)) for row in labels]
        chosen["at random"].append(sum(whole) / len(whole))
        for rule in rules:
            scores = [solution_score(row, rule) for row in found]
            chosen[rule].append(whole[scores.index(max(scores))])
    return StepOutcome(right, places, chosen)


def _trained(path: Path, groups: Sequence[Group], seed: int) -> Path:
    config = TrainConfig(
        objective="process_reward",
        model=str(path / "base"),
        data=("sums",),
        out=str(path / "run"),
        seed=seed,
        epochs=3,
        batch_size=16,
        lr=3e-3,
        adam_beta2=0.95,
        holdout=0.0,
        samples=0,
        save_every=0,
        log_every=10_000,
    )
    return run_training(config, groups=groups).path


def solutions(rng: random.Random, *, count: int) -> Group:
    """Solutions of a new sum, a step an addition, with some steps wrong; a wrong step goes on from its wrong result."""
    numbers = [rng.randrange(2), *(rng.choice(ADDED) for _ in range(STEPS))]
    responses: list[Response] = []
    labels: list[tuple[float | None, ...]] = []
    for _ in range(count):
        total, steps, right = numbers[0], [], []
        for place, number in enumerate(numbers[1:], start=1):
            true = total + number
            slips = rng.random() < WRONG
            # No result is higher than a right one could be, so that all are digits.
            possible = range(2 + max(ADDED) * place)
            result = rng.choice([digit for digit in possible if digit != true]) if slips else true
            steps.append(f"{total}+{number}={result}")
            right.append(0.0 if slips else 1.0)
            total = result
        responses.append(response_of_steps(steps))
        labels.append(tuple(right))
    return Group("+".join(map(str, numbers)), tuple(responses), (Feedback("dataset", step_scores=tuple(labels)),))


def new_model(path: Path, *, seed: int) -> None:
    """Write a new small model that reads single characters."""
    words = [PAD, END, *string.printable]
    backend = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token=PAD))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    make: Any = PreTrainedTokenizerFast
    tokenizer = make(tokenizer_object=backend, eos_token=END, pad_token=PAD)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=128,
        initializer_range=0.1,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
