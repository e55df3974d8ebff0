"""Online rounds: what is sampled, scored, credited and trained on, and that a round can be taken up again."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from msgspec.structs import replace
from rich.console import Console
from safetensors.torch import load_file

from accord.errors import ConfigError, NumericsError
from accord.feedback.reward import Row
from accord.policy.policy import Policy
from accord.recipes.online import RewardedActor, train_online
from accord.record import Feedback, Group, Response, write_groups
from accord.train.actor import PromptOrder, Round
from accord.train.config import TrainConfig
from accord.train.prepare_rounds import prepare_rounds, with_rollout
from accord.train.progress import Display
from accord.train.run import run_training
from accord.train.step import run_step

PROMPTS = [Group(f"Say {word}.") for word in ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta")]

CHILD = """
import sys, msgspec
from accord.errors import Interrupted
from accord.recipes.online import train_online
from accord.train.config import TrainConfig
from tests_rounds_rewards import Vowels, PROMPTS
try:
    train_online(msgspec.json.decode(sys.argv[1], type=TrainConfig), [Vowels()], groups=PROMPTS)
except Interrupted as stop:
    sys.exit(128 + stop.signal)
"""

REWARDS = """
from accord.policy.policy import Policy
from accord.recipes.online import RewardedActor, train_online
from accord.record import Feedback, Group, Response, write_groups
PROMPTS = [Group(f"Say {word}.") for word in ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta")]
class Vowels:
    name = "vowels"
    def __call__(self, groups):
        return [tuple(sum(c in "aeiou" for c in r.text) / 4 for r in group.responses) for group in groups]
"""


class Scored:
    """A reward made of a function of the response's text."""

    name = "scored"

    def __init__(self, of: Callable[[str], float | None]) -> None:
        self.of = of

    def __call__(self, groups: Sequence[Group]) -> list[Row]:
        return [tuple(self.of(response.text) for response in group.responses) for group in groups]


def spread(text: str) -> float:
    """Hardly ever the same for two texts."""
    return sum(map(ord, text)) % 97 / 97


def vowels(text: str) -> float:
    return sum(letter in "aeiou" for letter in text) / 4


def settings(model: Path, out: Path, **more: Any) -> TrainConfig:
    given: dict[str, Any] = {
        "objective": "grpo",
        "lr": 1e-3,
        "steps": 6,
        "prompts": 4,
        "n": 3,
        "max_tokens": 5,
        "samples": 1,
        "sample_tokens": 4,
        "holdout": 0.25,
        "save_every": 1,
        "schedule": "constant",
    }
    return TrainConfig(model=str(model), data=("prompts",), out=str(out), **(given | more))


def metrics(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def of_steps(out: Path) -> list[dict[str, Any]]:
    return [line for line in metrics(out) if "loss" in line]


def test_rounds_tell_what_they_may_take(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of answers as long as they may be, which they seldom are: it warns and trains."""

    def said(method: str) -> str:
        config, screen = settings(tiny, tmp_path / method, objective=method, steps=1), Console(file=StringIO())
        assert train_online(config, [Scored(spread)], groups=PROMPTS, console=screen).steps == 1
        assert isinstance(screen.file, StringIO)
        return " ".join(screen.file.getvalue().split())

    plenty = said("grpo")
    assert "memory, if answers are as long as they may be: weights" in plenty
    assert "sampling" in plenty
    assert "may not fit" not in plenty

    class Little:
        available = 1000
        total = 1000

    monkeypatch.setattr("accord.train.memory.psutil.virtual_memory", Little)
    with_critic = said("ppo")
    assert "warning: it may not fit into memory; try --max-tokens, --lora-r 16" in with_critic


@pytest.mark.parametrize("method", ["grpo", "rloo", "ppo", "dpo", "kto"])
def test_any_objective_learns_from_its_own_answers(method: str, tiny: Path, tmp_path: Path) -> None:
    config = settings(tiny, tmp_path / "run", objective=method, passes=1, prompts=6)
    result = train_online(config, [Scored(spread)], groups=PROMPTS)
    lines = of_steps(result.path)
    assert [line["step"] for line in lines] == list(range(1, 7))
    assert all(math.isfinite(line["loss"]) and line["grad_norm"] > 0 for line in lines)
    assert all(line["reward/scored"] >= 0 and line["round/groups"] > 0 for line in lines)
    evaluation = json.loads((result.path / "evaluation.json").read_text())
    assert evaluation["primary"] == "reward"
    shown = [json.loads(line) for line in (result.path / "rollouts.jsonl").read_text().splitlines()]
    assert {line["step"] for line in shown} == set(range(1, 7))
    assert all(len(line["group"]["responses"]) == 3 for line in shown)


def test_on_policy_the_first_update_of_a_round_has_ratio_one(tiny: Path, tmp_path: Path) -> None:
    train_online(settings(tiny, tmp_path / "run", passes=2), [Scored(vowels)], groups=PROMPTS)
    first, second = (of_steps(tmp_path / "run")[at] for at in (0, 1))
    assert first["ratio_max"] == pytest.approx(1.0, abs=1e-4)
    assert abs(second["ratio_max"] - 1.0) > 1e-4
    assert "reward/scored" in first
    assert "reward/scored" not in second


def test_the_temperature_of_sampling_is_that_of_training(tiny: Path, tmp_path: Path) -> None:
    train_online(settings(tiny, tmp_path / "run", sample_temperature=0.6, steps=1), [Scored(vowels)], groups=PROMPTS)
    (line,) = of_steps(tmp_path / "run")
    assert line["ratio_max"] == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("method", ["grpo", "ppo"])
def test_micro_batches_change_nothing(method: str, tiny: Path, tmp_path: Path) -> None:
    config = with_rollout(settings(tiny, tmp_path, objective=method))
    (tmp_path / "rollouts.jsonl").touch()
    run = prepare_rounds(
        config, RewardedActor([Scored(vowels)], config), groups=PROMPTS, eval_groups=None, display=Display(None)
    )
    _, examples = next(run.source.steps(0))
    found = []
    for budget in (1, 10_000):
        for parameter in run.task.trainable().values():
            parameter.grad = None
        result = run_step(run.task, examples, micro_batch_tokens=budget, backward=True)
        grads = torch.cat([p.grad.flatten() for p in run.task.trainable().values() if p.grad is not None])
        found.append((result.loss, grads))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-6)
    torch.testing.assert_close(found[0][1], found[1][1], atol=1e-6, rtol=1e-4)


def test_texts_to_keep_are_kept_likely(tiny: Path, tmp_path: Path) -> None:
    """With a reward that says nothing, the texts are all there is to learn."""
    texts = tmp_path / "texts.jsonl"
    write_groups(texts, [Group("Say it.", (Response("It is said."),))])
    config = settings(tiny, tmp_path / "run", hyper={"ptx_coefficient": 1.0, "kl_loss": 0.0}, ptx_data=(str(texts),))
    train_online(config, [Scored(lambda _: 1.0)], groups=PROMPTS)
    found = [line["loss/pretraining"] for line in of_steps(tmp_path / "run")]
    assert found[-1] < found[0] - 0.1
    alone = settings(tiny, tmp_path / "alone", hyper={"ptx_coefficient": 1.0})
    with pytest.raises(ConfigError, match="--ptx-data"):
        train_online(alone, [Scored(vowels)], groups=PROMPTS)


def test_scores_of_steps_reach_their_tokens(tiny: Path, tmp_path: Path) -> None:
    class Stepped(RewardedActor):
        def collect(self, policy: Policy, prompts: PromptOrder, number: int) -> Round:
            groups = super().collect(policy, prompts, number).groups
            return Round([judged(group) for group in groups])

    def judged(group: Group) -> Group:
        """Half of each response is a step; the first response's are good."""
        half = [max(1, len(response.text) // 2) for response in group.responses]
        steps = tuple(
            replace(one, steps=(at, max(at + 1, len(one.text)))) for one, at in zip(group.responses, half, strict=True)
        )
        scores = tuple((1.0, 0.5) if index == 0 else (0.0, 0.2) for index in range(len(steps)))
        return replace(group, responses=steps, feedback=(Feedback("reward_model", step_scores=scores),))

    config = with_rollout(settings(tiny, tmp_path / "run", objective="grpo_process", hyper={"kl_loss": 0.0}, steps=2))
    run_training(config, groups=PROMPTS, actor=Stepped([Scored(vowels)], config))
    assert all(line["grad_norm"] > 0 for line in of_steps(tmp_path / "run"))


def test_a_round_in_which_nothing_differs_teaches_nothing(tiny: Path, tmp_path: Path) -> None:
    result = train_online(
        settings(tiny, tmp_path / "run", hyper={"kl_loss": 0.0}), [Scored(lambda _: 1.0)], groups=PROMPTS
    )
    assert all(line["grad_norm"] == 0 and line["zero_variance_groups"] == 1 for line in of_steps(result.path))


def test_refilled_rounds_keep_only_prompts_whose_answers_differ(tiny: Path, tmp_path: Path) -> None:
    """With nothing to refill from, the round is empty, its step is left out, and the run still ends well."""
    config = settings(tiny, tmp_path / "run", refill=1)
    result = train_online(config, [Scored(lambda _: 1.0)], groups=PROMPTS)
    assert of_steps(result.path) == []
    assert (result.path / "model").is_dir()


def test_a_round_ends_early_when_the_policy_has_gone_far(tiny: Path, tmp_path: Path) -> None:
    config = settings(tiny, tmp_path / "run", passes=3, lr=3e-2, target_kl=1e-4, objective="ppo")
    result = train_online(config, [Scored(vowels)], groups=PROMPTS)
    taken = [line["step"] for line in of_steps(result.path)]
    assert {1, 4} <= set(taken)
    assert len(taken) < 6
    assert metrics(result.path)[-1]["step"] == 6


def test_a_score_that_is_no_number_stops_the_run_and_names_the_prompt(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(NumericsError, match="Say"):
        train_online(settings(tiny, tmp_path / "run"), [Scored(lambda _: float("nan"))], groups=PROMPTS)


def test_missing_scores_are_left_out(tiny: Path, tmp_path: Path) -> None:
    def sometimes(text: str) -> float | None:
        return None if len(text) % 2 else vowels(text)

    result = train_online(settings(tiny, tmp_path / "run"), [Scored(sometimes)], groups=PROMPTS)
    lines = of_steps(result.path)
    assert all(math.isfinite(line["loss"]) for line in lines)
    assert any(0 < line["unscored"] < 1 for line in lines)


def test_too_few_answers_are_refused_before_the_model_loads(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 2"):
        train_online(settings(tmp_path / "nowhere", tmp_path / "run", n=1), [Scored(vowels)], groups=PROMPTS)


def test_without_a_reward_nothing_starts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--reward"):
        train_online(settings(tmp_path / "nowhere", tmp_path / "run"), [], groups=PROMPTS)


@pytest.mark.parametrize(
    ("method", "hyper"), [("grpo", {}), ("ppo", {"kl_controller": "proportional", "kl_target": 0.01, "kl_horizon": 50})]
)
def test_a_run_killed_at_any_moment_goes_on_exactly(
    method: str, hyper: dict[str, Any], tiny: Path, tmp_path: Path
) -> None:
    (tmp_path / "tests_rounds_rewards.py").write_text(REWARDS)
    whole = settings(tiny, tmp_path / "whole", objective=method, hyper=hyper, passes=2, steps=8)
    killed = msgspec.structs.replace(whole, out=str(tmp_path / "killed"))
    assert start(whole, tmp_path).wait() == 0
    process = start(killed, tmp_path)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not any(line["step"] >= 3 for line in lines_so_far(Path(killed.out))):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert start(killed, tmp_path).wait() == 0
    expected, found = (load_file(Path(config.out) / "model" / "model.safetensors") for config in (whole, killed))
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    kept = [{key: line[key] for key in ("step", "loss", "grad_norm")} for line in of_steps(Path(killed.out))]
    assert kept == [{key: line[key] for key in ("step", "loss", "grad_norm")} for line in of_steps(Path(whole.out))]


def lines_so_far(out: Path) -> list[dict[str, Any]]:
    path = out / "metrics.jsonl"
    found = []
    for raw in path.read_bytes().splitlines() if path.exists() else ():
        try:
            found.append(json.loads(raw))
        except json.JSONDecodeError:
            break
    return found


def start(config: TrainConfig, modules: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, msgspec.json.encode(config).decode()],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{modules}:{os.environ.get('PYTHONPATH', '')}"},
        stdout=subprocess.DEVNULL,
    )


def test_a_second_run_needs_no_samples(tiny: Path, tmp_path: Path) -> None:
    config = settings(tiny, tmp_path / "run", steps=1)
    train_online(config, [Scored(vowels)], groups=PROMPTS)
    again = run_training(with_rollout(config), groups=PROMPTS, actor=RewardedActor([Scored(vowels)], config))
    assert again.policy is None
    assert again.steps == 1
