"""What is measured: cells of model, objective and lengths, who is measured on them, and what is aimed at.

An aim is the least ratio of TRL's time to Accord's, or the greatest multiple of the floor or share of TRL's memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.engine import MEDIUM, WIDE
from benchmarks.measurement import Dtype, Library
from benchmarks.workload import ModelSpec, Shape


@dataclass(frozen=True)
class Contender:
    """A library with a way to run it; the fields are those of `Job`."""

    name: str
    library: Library
    precompute: bool = False
    at_once: int = 0
    label_rows: bool = False


ACCORD = Contender("accord", "accord")
EVERY_STEP = Contender("trl, reference in every step", "trl")
AHEAD = Contender("trl, reference ahead, whole batch", "trl", precompute=True)
ONE_BY_ONE = Contender("trl, reference ahead, one by one", "trl", precompute=True, at_once=1)
LABELS = Contender("trl, label rows only", "trl", precompute=True, at_once=1, label_rows=True)
PLAIN = Contender("trl", "trl")
WHOLE = Contender("trl, whole batch", "trl")
TWO_BY_TWO = Contender("trl, two by two", "trl", at_once=2)
GROUP_LABELS = Contender("trl, label rows only", "trl", at_once=2, label_rows=True)
BEST = frozenset({AHEAD.name, ONE_BY_ONE.name, WHOLE.name, TWO_BY_TWO.name})
"""TRL at its best is the faster of these, cell by cell."""

PAIRS = (ACCORD, EVERY_STEP, AHEAD, ONE_BY_ONE, LABELS)
ONE_PAIR = (ACCORD, EVERY_STEP, AHEAD, LABELS)
GROUPS = (ACCORD, WHOLE, TWO_BY_TWO, GROUP_LABELS)


@dataclass(frozen=True)
class Cell:
    """A model, an objective and a shape, and how it is measured.

    Attributes:
        model: its sizes.
        objective: Accord's name of it.
        hyper: its hyperparameters.
        shape: of an optimiser step.
        contenders: who is measured, Accord first.
        aims: by `every step`, `best`, `update`, `memory whole` (TRL's whole batch) and `memory one` (one by one).
        steps: of a run; the first of them warms up and is not counted.
        rounds: how often each contender is run, in turn with the others.
        dtype: precision of the computation.
        small: whether it is among those that `make bench` measures.
    """

    model: ModelSpec
    objective: str
    hyper: Mapping[str, Any]
    shape: Shape
    contenders: Sequence[Contender]
    aims: Mapping[str, float] = field(default_factory=dict)
    steps: int = 3
    rounds: int = 2
    dtype: Dtype = "fp32"
    small: bool = False

    @property
    def key(self) -> str:
        """Its name in the results."""
        precision = "" if self.dtype == "fp32" else f" {self.dtype}"
        return f"{self.model.name} {self.objective} {self.shape}{precision}"


SMALL = ModelSpec("S16", "llama", hidden=256, layers=4, intermediate=704, heads=4, kv_heads=4, vocabulary=16384)
FLOOR_AIM = 1.15
MEMORY_ONE = {"memory one": 0.5}
MEMORY_WHOLE = {"memory whole": 0.15}
DPO = {"beta": 0.1}
GRPO = {"kl_loss": 0.0}
RAGGED = Shape("pairs", prompt=256, response=128, batch=4, spread=0.6)


def _pairs(model: ModelSpec, shape: Shape, best: float, every_step: float, **settings: Any) -> Cell:
    contenders = PAIRS if shape.batch > 1 else ONE_PAIR
    aims = {"best": best, "every step": every_step} | (MEMORY_ONE if shape.batch > 1 else {})
    return Cell(model, "dpo", DPO, shape, contenders, aims, **settings)


def _groups(model: ModelSpec, prompt: int, response: int, aims: Mapping[str, float], **lengths: Any) -> Cell:
    shape = Shape("groups", prompt, response, **({"batch": 1, "samples": 8} | lengths))
    return Cell(model, "grpo", GRPO, shape, GROUPS, aims, steps=2)  # they take long


def _small(objective: str, hyper: Mapping[str, Any], shape: Shape, contenders: Sequence[Contender]) -> Cell:
    return Cell(SMALL, objective, hyper, shape, contenders, small=True)


CELLS: tuple[Cell, ...] = (
    _small("dpo", DPO, Shape("pairs", prompt=256, response=64, batch=4), PAIRS),
    _small("dpo", DPO, Shape("pairs", prompt=64, response=128, batch=4), PAIRS),
    _small("dpo", DPO, Shape("pairs", prompt=128, response=64, batch=4, spread=0.6), PAIRS),
    _small("sft", {}, Shape("demonstrations", prompt=128, response=128, batch=8), (ACCORD, PLAIN)),
    _small("grpo", GRPO, Shape("groups", prompt=256, response=64, batch=1, samples=8), GROUPS),
    _pairs(MEDIUM, Shape("pairs", 512, 128, batch=2), best=3.5, every_step=4.5),
    _groups(MEDIUM, 512, 128, {"best": 4.5, "update": 6.0}),
    _pairs(MEDIUM, RAGGED, best=3.0, every_step=6.0),
    _pairs(WIDE, Shape("pairs", 512, 128, batch=1), best=7.0, every_step=8.0),
    _pairs(MEDIUM, Shape("pairs", 512, 128, batch=2), best=3.5, every_step=4.5, dtype="bf16"),
    _pairs(MEDIUM, Shape("pairs", 256, 256, batch=2), best=2.5, every_step=3.2),
    _pairs(MEDIUM, Shape("pairs", 64, 512, batch=2), best=1.7, every_step=2.2),
    _groups(MEDIUM, 256, 256, {"best": 6.0}, batch=2, ending=1 / 128),
    _pairs(WIDE, Shape("pairs", 256, 256, batch=1), best=3.6, every_step=4.5),
    _pairs(WIDE, Shape("pairs", 64, 512, batch=1), best=2.3, every_step=3.0),
    _groups(WIDE, 512, 128, {}),
    replace(
        _pairs(MEDIUM, Shape("pairs", 256, 256, batch=8), best=2.5, every_step=3.2, rounds=1),
        contenders=(ACCORD, AHEAD, ONE_BY_ONE),
        aims=MEMORY_ONE | MEMORY_WHOLE,
    ),
    _groups(MEDIUM, 256, 256, {}),
    _groups(MEDIUM, 64, 512, {}),
    _pairs(WIDE, replace(RAGGED, batch=2), best=3.0, every_step=6.0),
    _groups(WIDE, 256, 256, {}),
    _groups(WIDE, 64, 512, {}),
    _groups(WIDE, 256, 256, {}, ending=1 / 128),
)
"""In the order of what is asked first; a part can be measured by its key."""
