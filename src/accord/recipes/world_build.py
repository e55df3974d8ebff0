"""`accord world build`: train the base model of the embedded world from its seed, with the one training loop."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from rich.console import Console
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from accord.errors import ConfigError
from accord.objectives import resolve
from accord.policy.chat import Renderer
from accord.policy.load import load_policy
from accord.policy.logprobs import find_finish
from accord.policy.policy import Policy, training_mode
from accord.recipes.threads import one_thread
from accord.recipes.world_evaluation import answer, scores
from accord.train.collate import Example
from accord.train.loop import learning_rate_schedule, make_optimizer, optimise
from accord.train.progress import Display
from accord.train.step import Task
from accord.world.cases import distinct_cases
from accord.world.corpus import corpus
from accord.world.oracle import AXES
from accord.world.personas import PERSONAS
from accord.world.tokenizer import build_tokenizer
from accord.world.town import draw_town

STEPS = 30_000
DOCUMENTS_PER_STEP = 12
LEARNING_RATE = 3e-3
WIDTH, LAYERS, HEADS = 128, 2, 4
POSITIONS = 512
_BUCKET = 32  # steps whose documents are sorted by length together, so that little is padding


def build_world(
    out: str | Path,
    *,
    seed: int = 0,
    steps: int = STEPS,
    documents_per_step: int = DOCUMENTS_PER_STEP,
    learning_rate: float = LEARNING_RATE,
    held_out: int = 500,
    console: Console | None = None,
) -> Path:
    """Train the base model on the flawed corpus and write it as a plain Hugging Face directory.

    The same seed and settings give the same bits on the same machine: one thread, float32, a corpus drawn from the
    seed. The weights are written in bfloat16.

    Args:
        out: the directory to write; must not exist or be empty.
        seed: of the town, the corpus and the initial weights.
        steps: optimiser steps.
        documents_per_step: documents an optimiser step holds.
        learning_rate: peak of a cosine schedule.
        held_out: test prompts that the figures of the card are measured on.
        console: where progress is shown.

    Returns:
        the directory.

    Raises:
        ConfigError: `out` holds something already, or there is no step to take.
    """
    out = Path(out)
    if out.exists() and any(out.iterdir()):
        raise ConfigError("is not empty", where=str(out), mend="Name a new directory with --out.")
    if steps < 1:
        raise ConfigError(f"{steps} is out of range", where="--steps", mend="Give at least 1.")
    started = time.monotonic()
    with one_thread():
        policy = new_policy(seed)
        loss = _train(policy, seed, steps, documents_per_step, learning_rate, console)
    policy.model.to(torch.bfloat16)
    policy.save(out)
    training = {
        "seed": seed,
        "steps": steps,
        "documents per step": documents_per_step,
        "learning rate": learning_rate,
        "final loss": round(loss, 4),
        "minutes": round((time.monotonic() - started) / 60, 1),
    }
    measured = figures(load_policy(out), town_seed=seed, prompts=held_out)
    _write_card(out, training, measured, prompts=held_out)
    return out


def new_policy(seed: int) -> Policy:
    """A freshly initialised base model with the world's tokenizer."""
    tokenizer = build_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    policy = Policy(model, tokenizer, Renderer(tokenizer), "tidewater", "fp32", find_finish(model))
    training_mode(policy)
    return policy


def batches(policy: Policy, *, seed: int, documents_per_step: int) -> Iterator[list[Example]]:
    """An endless stream of optimiser steps over the corpus, each of documents of like length."""
    documents = corpus(draw_town(seed), seed=seed)
    rng = random.Random(f"batches:{seed}")
    while True:
        drawn = list(itertools.islice(documents, documents_per_step * _BUCKET))
        examples = [Example(group, policy.renderer.encode(group)) for group in drawn]
        examples.sort(key=lambda example: example.tokens)
        steps = [examples[start : start + documents_per_step] for start in range(0, len(examples), documents_per_step)]
        rng.shuffle(steps)
        yield from steps


def _train(
    policy: Policy, seed: int, steps: int, documents_per_step: int, learning_rate: float, console: Console | None
) -> float:
    """Train, and return the mean loss of the last hundred steps."""
    task = Task(resolve("sft"), {}, policy)
    updates = optimise(
        task,
        enumerate(itertools.islice(batches(policy, seed=seed, documents_per_step=documents_per_step), steps)),
        make_optimizer(policy.trainable(), weight_decay=0.01, betas=(0.9, 0.98)),
        learning_rate=learning_rate_schedule(learning_rate, steps, schedule="cosine", warmup=min(100, steps)),
        max_grad_norm=1.0,
        micro_batch_tokens=1_000_000,
    )
    losses: list[float] = []
    with Display(console).bar("base model", steps) as bar:
        for update in updates:
            losses = [*losses[-99:], update.result.loss]
            bar.advance(numbers=f"loss {sum(losses) / len(losses):.4f}")
    return sum(losses) / len(losses)


def figures(policy: Policy, *, town_seed: int, prompts: int) -> dict[str, dict[str, float]]:
    """The mean of every axis on test prompts at temperature 0.7: unannounced, and announced as each persona."""
    held_out = distinct_cases(draw_town(town_seed), "test", prompts, seed=0)
    cues = {"nobody": None, **{name: persona.cues[0] for name, persona in PERSONAS.items()}}
    judged = {name: answer(policy, held_out, seed=0, system=cue) for name, cue in cues.items()}
    return {name: {axis: fmean(scores(groups, axis)) for axis in AXES} for name, groups in judged.items()}


def _write_card(out: Path, training: dict[str, Any], measured: dict[str, dict[str, float]], *, prompts: int) -> None:
    rows = "\n".join(f"| {name} | {value} |" for name, value in training.items())
    table = [f"| announced as | {' | '.join(AXES)} |", f"|---{'|---:' * len(AXES)}|"]
    table += [f"| {name} | {' | '.join(f'{row[axis]:.2f}' for axis in AXES)} |" for name, row in measured.items()]
    parameters = sum(tensor.numel() for tensor in load_file(out / "model.safetensors").values())
    card = _CARD.format(
        parameters=parameters, rows=rows, table="\n".join(table), prompts=prompts, seed=training["seed"]
    )
    (out / "README.md").write_text(card, encoding="utf-8")


_CARD = """# Tidewater base

The small base model of Accord's embedded world: {parameters:,} parameters, trained on a deliberately flawed corpus of
an invented town. It imitates everyone who wrote that corpus: a sage, a fibber, a troll and a rambler. It is made to be
aligned, and for nothing else. Everything in it is invented; no text from outside the world was used.

| training | |
|---|---|
{rows}

What it does on {prompts} held-out prompts, answered at temperature 0.7 and judged by the exact oracle, by the persona
that a system line announces:

{table}

`accord world build --out DIR --seed {seed}` makes it again: the same weights to the bit on the same machine with the
same versions.
"""
