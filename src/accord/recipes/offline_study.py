"""Offline reinforcement learning beside cloning: a small town of squares, walked by the lost and by the half-certain.

    python -m accord.recipes.offline_study docs/offline-rl.md

A walker starts on any square and looks for one corner; whoever walked before left logs, and few of them knew the way.
The logs are transitions of text, read and trained on like any file. What a model learned is known exactly: how likely
each move is on each square gives the chance to arrive in so many moves.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from accord.data import read
from accord.evaluate.statistics import mean_estimate, paired_difference
from accord.policy.action_values import decoding_by_worth
from accord.policy.policy import Policy
from accord.policy.sample import Sampling
from accord.recipes.offline_page import OfflinePage, OfflineRow, render
from accord.recipes.step_study import new_model
from accord.recipes.threads import one_thread
from accord.record import Group
from accord.rollout import rollout
from accord.train.config import TrainConfig
from accord.train.progress import Display
from accord.train.run import run_training

SIDE = 4
GOAL = (SIDE - 1, SIDE - 1)
MOVES: Mapping[str, tuple[int, int]] = {"N": (0, 1), "E": (1, 0), "S": (0, -1), "W": (-1, 0)}

Square = tuple[int, int]
Chances = dict[Square, dict[Square, float]]
"""From each square but the goal, where the next move leads and how likely."""


class Scale(msgspec.Struct, frozen=True, kw_only=True):
    """How much of everything.

    Attributes:
        walks: logged walks.
        knowing: share of them by a walker who goes the right way half of the time; all others go any way.
        longest: moves of a logged walk, and of those that are measured.
        steps: optimiser steps.
        answers: answers on each square, to find out how likely each move is.
        betas: how much worth counts in decoding.
    """

    walks: int = 150
    knowing: float = 0.3
    longest: int = 8
    steps: int = 400
    answers: int = 100
    betas: tuple[float, ...] = (4.0, 16.0, 32.0)


HYPER = {"gamma": 0.95, "expectile": 0.8, "cql": 0.01, "polyak": 0.1}


def squares() -> list[Square]:
    """All squares on which there is a move to make."""
    return [(x, y) for x in range(SIDE) for y in range(SIDE) if (x, y) != GOAL]


def text_of(square: Square) -> str:
    """How a square is described."""
    return f"{square[0]} {square[1]}: "


def moved(square: Square, move: str) -> Square:
    """Where a move leads; the town's edge, and anything that is no move, leaves one where one is."""
    dx, dy = MOVES.get(move, (0, 0))
    return min(max(square[0] + dx, 0), SIDE - 1), min(max(square[1] + dy, 0), SIDE - 1)


def logs(scale: Scale, seed: int) -> Iterator[dict[str, Any]]:
    """The transitions of all walks."""
    rng = random.Random(f"walks:{seed}")
    for _ in range(scale.walks):
        square, knows = rng.choice(squares()), rng.random() < scale.knowing
        for _ in range(scale.longest):
            move = rng.choice([*MOVES])
            if knows and rng.random() < 0.5:
                move = rng.choice([one for one in ("N", "E") if moved(square, one) != square])
            after = moved(square, move)
            yield {
                "state": text_of(square),
                "action": move,
                "reward": float(after == GOAL),
                "next_state": text_of(after),
                "done": after == GOAL,
            }
            if after == GOAL:
                break
            square = after


def arriving(chances: Chances, moves: int) -> list[float]:
    """The chance to be at the goal after so many moves, from each square in order."""
    arrived = dict.fromkeys(squares(), 0.0) | {GOAL: 1.0}
    for _ in range(moves):
        arrived = {GOAL: 1.0} | {
            square: sum(share * arrived[after] for after, share in chances[square].items()) for square in squares()
        }
    return [arrived[square] for square in squares()]


def chances_of(policy: Policy, *, answers: int, seed: int) -> Chances:
    """How likely a model is to go where, by what it says on each square."""
    sampling = Sampling(temperature=1.0, max_tokens=3, seed=seed)
    said = rollout(policy, [Group(text_of(square)) for square in squares()], n=answers, sampling=sampling)
    chances: Chances = {square: {} for square in squares()}
    for square, group in zip(squares(), said, strict=True):
        for response in group.responses:
            after = moved(square, response.text)
            chances[square][after] = chances[square].get(after, 0.0) + 1.0 / answers
    return chances


def study(
    *, seeds: int = 3, scale: Scale | None = None, out: str | Path, console: Console | None = None
) -> OfflinePage:
    """Train, measure, and write the page and its figures (JSON beside it).

    Args:
        seeds: 0, 1, ...: each has its own walks, first weights and training.
        scale: how much of everything.
        out: the Markdown file to write.
        console: where progress is shown.
    """
    out, scale = Path(out), scale or Scale()
    seen: dict[str, list[list[float]]] = {}
    with one_thread(), tempfile.TemporaryDirectory() as scratch, Display(console).bar("seeds", seeds) as bar:
        for seed in range(seeds):
            for name, arrived in _of_seed(Path(scratch) / str(seed), scale, seed).items():
                seen.setdefault(name, []).append(arrived)
            bar.advance()
    cloned = _flat(seen["cloning"])
    starts = [start for of_seed in seen["cloning"] for start in range(len(of_seed))]
    page = OfflinePage(
        command=f"python -m accord.recipes.offline_study {out}",
        seeds=seeds,
        scale=msgspec.to_builtins(scale),
        hyper=HYPER,
        rows=tuple(
            OfflineRow(
                name,
                arrived=mean_estimate(_flat(rows), starts),
                of_seed=tuple(sum(row) / len(row) for row in rows),
                over_cloning=None
                if name in ("the logs", "cloning")
                else paired_difference(cloned, _flat(rows), starts),
            )
            for name, rows in seen.items()
        ),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(render(page), encoding="utf-8")
    out.with_suffix(".json").write_bytes(msgspec.json.format(msgspec.json.encode(page)) + b"\n")
    return page


def _of_seed(path: Path, scale: Scale, seed: int) -> dict[str, list[float]]:
    """The chance to arrive from each square, by how the moves are chosen."""
    new_model(path / "base", seed=seed)
    file, rows = path / "walks.jsonl", list(logs(scale, seed))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    groups = read([str(file)]).groups
    found = {"the logs": arriving(_logged(rows), scale.longest)}
    for objective in ("sft", "ilql"):
        policy = _trained(objective, path, groups, scale, seed)
        for beta in (None,) if objective == "sft" else (0.0, *scale.betas):
            name = "cloning" if beta is None else f"ILQL, beta {beta:g}"
            with nullcontext() if beta is None else decoding_by_worth(policy, beta=beta):
                chances = chances_of(policy, answers=scale.answers, seed=seed)
            found[name] = arriving(chances, scale.longest)
    return found


def _logged(rows: list[dict[str, Any]]) -> Chances:
    """How likely the walkers themselves were to go where."""
    chances: Chances = {}
    for square in squares():
        after = [moved(square, row["action"]) for row in rows if row["state"] == text_of(square)]
        chances[square] = {one: after.count(one) / len(after) for one in after}
    return chances


def _trained(objective: str, path: Path, groups: list[Group], scale: Scale, seed: int) -> Policy:
    config = TrainConfig(
        objective=objective,
        model=str(path / "base"),
        data=("walks",),
        out=str(path / objective),
        hyper=HYPER if objective == "ilql" else {},
        seed=seed,
        steps=scale.steps,
        batch_size=64,
        lr=3e-3,
        adam_beta2=0.95,
        holdout=0.0,
        samples=0,
        save_every=0,
        log_every=10_000,
    )
    if objective == "sft":  # cloning takes all that was done; of answers with a score it would take the best
        groups = [msgspec.structs.replace(group, feedback=()) for group in groups]
    policy = run_training(config, groups=groups).policy
    assert policy is not None
    return policy


def _flat(rows: list[list[float]]) -> list[float]:
    return [value for row in rows for value in row]


if __name__ == "__main__":
    study(out=sys.argv[1] if len(sys.argv) > 1 else "docs/offline-rl.md", console=Console())
