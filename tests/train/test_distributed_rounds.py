"""Rounds of sampling, teachers and moving references in shares: two gloo processes learn what one process learns."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch.distributed as dist
from numpy.typing import NDArray
from safetensors.numpy import load_file

from accord.errors import AccordError, Interrupted
from accord.feedback.reward import Row
from accord.policy.load import load_policy
from accord.policy.policy import Policy
from accord.recipes.answers import scored_for_all
from accord.recipes.episodic import Episodes
from accord.recipes.guided import GuidedActor
from accord.recipes.judged import JudgedActor
from accord.recipes.online import RewardedActor
from accord.recipes.opposed import OpposedActor
from accord.recipes.served import ServedActor, served
from accord.recipes.teach import TaughtActor
from accord.record import Group, Prompt, Response, write_groups
from accord.rollout import Turn
from accord.testing import preference_groups, tiny_model
from accord.testing.completions import StandIn
from accord.testing.processes import run_in_two_processes
from accord.train import distributed
from accord.train.actor import Actor
from accord.train.config import TrainConfig
from accord.train.prepare_rounds import with_rollout
from accord.train.run import run_training

STEPS, HALF = 3, 2
SAMPLED: dict[str, dict[str, Any]] = {
    "grpo": {"objective": "grpo", "passes": 2, "hyper": {"kl_loss": 0.1}},
    "ppo": {"objective": "ppo", "passes": 2},
    "dpo": {"objective": "dpo", "reference_every": 2, "reference_mix": 0.5},
    "lora": {"objective": "rloo", "lora_r": 4, "passes": 2, "hyper": {"kl_loss": 0.1}},
    "episodes": {"objective": "rloo", "environment": "echo", "max_turns": 2},
    "served": {"objective": "grpo", "ahead": 1, "rollouts": "stand-in"},
    "guided": {"objective": "grpo", "guide": "teacher", "hyper": {"guide_kl": 0.5}},
    "judged": {"objective": "dpo", "judge": "self", "n": 2},
    "opposed": {"objective": "xpo"},
    "own_answers": {"objective": "distill", "teacher": "teacher", "own_answers": 0.5},
}
GIVEN: dict[str, dict[str, Any]] = {
    "distill": {"objective": "distill", "teacher": "teacher"},
    "moving": {"objective": "dpo", "reference_every": 1, "reference_mix": 0.3},
    "adapters": {"objective": "kto", "reference_every": 2, "lora_r": 4, "gradient_checkpointing": True},
}
WHOLE = ("grpo", "ppo")
"""Cases that are also trained with whole weights in both processes."""

RESUMED = ("ppo", "dpo")
"""Cases that go on in another number of processes."""

CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
import test_distributed_rounds
test_distributed_rounds.learn_all(sys.stdin.buffer.read())
"""
"""Two such processes train one setting after the other; starting them takes longer than what they learn."""


class Spread:
    """A reward that is hardly ever the same for two texts; the first of several processes asks it for all."""

    name = "spread"

    def __call__(self, groups: Sequence[Group]) -> list[Row]:
        assert os.environ.get("RANK", "0") == "0"
        return [tuple(sum(map(ord, response.text)) % 97 / 97 for response in group.responses) for group in groups]


class Broken:
    """A reward that fails."""

    name = "broken"

    def __call__(self, groups: Sequence[Group]) -> list[Row]:
        return [(1 / 0,) for _ in groups]


class Echo:
    """An environment of as many turns as the answers make of it."""

    def reset(self, prompt: Prompt) -> Prompt:
        return prompt

    def step(self, response: str) -> Turn:
        return Turn("Go on.", len(set(response)) / 8, sum(map(ord, response)) % 2 == 0, {})


def actor_of(config: TrainConfig) -> Actor | None:
    rewarded = RewardedActor([Spread()], config)
    if config.environment is not None:
        return RewardedActor([Spread()], config, answer=Episodes(lambda group: Echo(), config.max_turns))
    if config.rollouts is not None:
        answers = served(config.rollouts, Path(config.out) / "served")
        return ServedActor(RewardedActor([Spread()], config, answer=answers), answers)
    if config.guide is not None:
        return GuidedActor(rewarded, config)
    if config.judge is not None:
        return JudgedActor(config, None)
    if config.objective == "xpo":
        return OpposedActor([Spread()], config)
    if config.own_answers:
        return TaughtActor(config)
    return rewarded if config.reward else None


def learn(config: TrainConfig) -> None:
    """One run; one whose name ends in `cut` is stopped half of the way when it is new."""

    def stop(policy: Policy, step: int) -> dict[str, float]:
        if step == HALF:
            os.kill(os.getpid(), signal.SIGTERM)
        return {}

    begins = config.out.endswith("cut") and not Path(config.out).exists()
    config = with_rollout(config) if config.reward else config
    try:
        run_training(config, actor=actor_of(config), probe=stop if begins else None)
    except Interrupted:
        assert begins


def learn_all(configs: bytes) -> None:
    for config in msgspec.json.decode(configs, type=list[TrainConfig]):
        learn(config)
    dist.destroy_process_group()


def learn_in_two_processes(configs: list[TrainConfig]) -> None:
    run_in_two_processes(CHILD, str(Path(__file__).parent), msgspec.json.encode(configs))


@pytest.fixture(scope="module")
def stand_in(tiny: Path) -> Iterator[StandIn]:
    server = StandIn(load_policy(tiny))
    yield server
    server.close()


@pytest.fixture(scope="module")
def runs(tiny: Path, stand_in: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every case in one process and in two, and runs of which either did one half."""
    root = tmp_path_factory.mktemp("runs")
    write_groups(root / "pairs.jsonl", preference_groups(12))
    teacher = str(tiny_model(root / "teacher", "llama", seed=1))

    def config(case: str, out: str, shard: str) -> TrainConfig:
        given: dict[str, Any] = {
            "model": str(tiny),
            "data": (str(root / "pairs.jsonl"),),
            "out": str(root / out),
            "shard": shard,
            "lr": 1e-3,
            "steps": STEPS,
            "micro_batch_tokens": 120,
            "holdout": 0.2,
            "eval_every": HALF,
            "samples": 1,
            "sample_tokens": 4,
        }
        if case in SAMPLED:
            given |= {"reward": ("spread",), "prompts": 5, "n": 3, "max_tokens": 6} | SAMPLED[case]
        else:
            given |= {"batch_size": 5} | GIVEN[case]
        if "rollouts" in given:
            given["rollouts"] = f"{stand_in.url}#tiny"
        given |= {name: teacher for name in ("teacher", "guide") if name in given}
        return TrainConfig(**given)

    for case in (*SAMPLED, *GIVEN):
        learn(config(case, f"{case}-1", "none"))
    for case in RESUMED:
        learn(config(case, f"{case}-one-then-two-cut", "none"))
    together = [config(case, f"{case}-2-none", "none") for case in WHOLE]
    together += [config(case, f"{case}-2-full", "full") for case in (*SAMPLED, *GIVEN)]
    together += [config(case, f"{case}-one-then-two-cut", "full") for case in RESUMED]
    together += [config(case, f"{case}-two-then-one-cut", "full") for case in RESUMED]
    learn_in_two_processes(together)
    for case in RESUMED:
        learn(config(case, f"{case}-two-then-one-cut", "none"))
    return root


def lines(run: Path) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in (run / "metrics.jsonl").read_bytes().splitlines()]


def answers(run: Path) -> list[list[str]]:
    """The texts that were sampled, as far as they are shown."""
    path = run / "rollouts.jsonl"
    shown = [msgspec.json.decode(line)["group"] for line in (path.read_bytes().splitlines() if path.exists() else ())]
    return [[response["text"] for response in group["responses"]] for group in shown]


def weights(model: Path) -> dict[str, NDArray[np.float32]]:
    found: dict[str, NDArray[np.float32]] = load_file(model / "model.safetensors")
    return found


def require_equal(one: Path, other: Path, start: Path, *, tolerance: float = 1e-4) -> None:
    """The same answers, the same log and the same weights, to rounding.

    AdamW makes steps of one size of gradients of any size, also of what is nothing but rounding: weights are compared
    by how far they went, not one by one.
    """
    assert answers(one) == answers(other)
    for alone, together in zip(lines(one), lines(other), strict=True):
        assert set(alone) == set(together)
        for key, value in alone.items():
            if not key.startswith(("seconds", "tokens_per")) and isinstance(value, float):
                assert together[key] == pytest.approx(value, rel=1e-3, abs=1e-4), key
    learned, others, given = weights(one / "model"), weights(other / "model"), weights(start)
    assert set(learned) == set(others)
    gap, way = (
        sum(float(((learned[name] - than[name]) ** 2).sum()) for name in learned) ** 0.5 for than in (others, given)
    )
    assert gap < tolerance * way


@pytest.mark.slow
@pytest.mark.parametrize("case", WHOLE)
def test_two_processes_equal_one(case: str, tiny: Path, runs: Path) -> None:
    require_equal(runs / f"{case}-1", runs / f"{case}-2-none", tiny)


@pytest.mark.slow
@pytest.mark.parametrize("case", [*SAMPLED, *GIVEN])
def test_two_processes_with_shares_equal_one(case: str, tiny: Path, runs: Path) -> None:
    # A judge that is all but indifferent leaves little but rounding of a gradient.
    tolerance = 3e-3 if case == "judged" else 1e-4
    require_equal(runs / f"{case}-1", runs / f"{case}-2-full", tiny, tolerance=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("case", RESUMED)
@pytest.mark.parametrize("way", ["one-then-two", "two-then-one"])
def test_a_run_goes_on_with_another_number_of_processes(case: str, way: str, tiny: Path, runs: Path) -> None:
    require_equal(runs / f"{case}-1", runs / f"{case}-{way}-cut", tiny)


def test_a_reward_that_fails_in_the_first_process_ends_all(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []

    def from_first(value: Any) -> Any:
        told.append(value)
        return told[0]

    monkeypatch.setattr(distributed, "from_first", from_first)
    broken = Group("x", (Response("a"),))
    for rank in range(2):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        with pytest.raises(AccordError, match="raised ZeroDivisionError"):
            scored_for_all([broken], [Broken()], missing="stop")
