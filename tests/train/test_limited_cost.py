"""Steps under a limited cost and refused answers, through the loop on a tiny policy."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from accord.errors import Interrupted
from accord.feedback.constraints import Constraint
from accord.feedback.reward import Part, Reward, Row
from accord.objectives.policy_gradient.limited_cost import limited_advantage
from accord.policy.policy import Policy
from accord.recipes.online import train_online
from accord.recipes.refusal import joined, permitted
from accord.record import Feedback, Group, Response
from accord.train.config import TrainConfig

PROMPTS = [Group(f"Say {word}.") for word in ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta")]


class Share:
    """A reward: the share of characters that `of` finds among five; a tiny policy writes any bytes."""

    def __init__(self, name: str, of: Callable[[int], bool]) -> None:
        self.name, self.of = name, of

    def __call__(self, groups: Sequence[Group]) -> list[Row]:
        return [tuple(sum(self.of(ord(c)) for c in r.text) / 5 for r in group.responses) for group in groups]


REWARD, COST = Share("thirds", lambda c: c % 3 == 0), Part(Share("odd", lambda c: c % 2 == 1), role="cost")


def settings(model: Path, out: Path, **more: Any) -> TrainConfig:
    given: dict[str, Any] = {"objective": "constrained_trpo", "steps": 3, "prompts": 4, "n": 2, "max_tokens": 5}
    given |= {"lr": 1e-3, "samples": 0, "holdout": 0.25, "schedule": "constant"}
    return TrainConfig(model=str(model), data=("prompts",), out=str(out), **(given | more))


def of_steps(out: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "loss" in line]


def test_above_the_limit_every_step_lowers_the_cost(tiny: Path, tmp_path: Path) -> None:
    """The limit is out of reach, so that all steps are recoveries."""
    hyper = {"cost_limit": -100.0, "kl_limit": 0.003, "kl_reward": 0.0, "iterations": 4}
    train_online(settings(tiny, tmp_path / "run", hyper=hyper), [REWARD, COST], groups=PROMPTS)
    lines = of_steps(tmp_path / "run")
    assert len(lines) == 3
    assert all(line["step_recovery"] == 1.0 and line["step_cost"] <= 0.0 for line in lines)
    assert any(line["step_share"] > 0.0 and line["step_cost"] < 0.0 for line in lines)
    assert all(0.0 <= line["step_kl"] <= 0.003 for line in lines)


def test_far_below_the_limit_the_cost_does_not_matter(tiny: Path, tmp_path: Path) -> None:
    hyper = {"kl_limit": 0.003, "kl_reward": 0.0, "iterations": 4}
    free = settings(tiny, tmp_path / "free", objective="trpo", steps=1, hyper=hyper)
    limited = settings(tiny, tmp_path / "limited", steps=1, hyper={**hyper, "cost_limit": 100.0})
    models = []
    for config in (free, limited):
        result = train_online(config, [REWARD, COST], groups=PROMPTS)
        assert result.policy is not None
        models.append(torch.cat([p.detach().flatten() for p in result.policy.model.parameters()]))
    torch.testing.assert_close(models[0], models[1], rtol=0, atol=1e-5)


def stopping(step: int) -> Callable[[Policy, int], dict[str, float]]:
    """A probe that ends the run as a signal would."""

    def probe(policy: Policy, reached: int) -> dict[str, float]:
        if reached == step:
            raise Interrupted(15, "stopped")
        return {}

    return probe


def test_a_stopped_run_goes_on_exactly(tiny: Path, tmp_path: Path) -> None:
    hyper = {"cost_limit": 0.1, "iterations": 3}
    whole = settings(tiny, tmp_path / "whole", hyper=hyper, save_every=1, eval_every=2)
    halved = settings(tiny, tmp_path / "halved", hyper=hyper, save_every=1, eval_every=2)
    rewards: list[Reward | Part] = [REWARD, COST]
    expected = train_online(whole, rewards, groups=PROMPTS, probe=stopping(-1)).policy
    with pytest.raises(Interrupted):
        train_online(halved, rewards, groups=PROMPTS, probe=stopping(2))
    found = train_online(halved, rewards, groups=PROMPTS, probe=stopping(-1)).policy
    assert expected is not None
    assert found is not None
    for one, other in zip(expected.model.parameters(), found.model.parameters(), strict=True):
        assert torch.equal(one, other)
    losses = [[line["loss"] for line in of_steps(tmp_path / name)] for name in ("whole", "halved")]
    assert losses[0] == losses[1]


def test_the_advantage_of_the_cost_keeps_its_units_and_the_excess_is_carried() -> None:
    ones = torch.ones(2, 1)
    mask = torch.tensor([[[1.0, 1.0, 0.0]], [[1.0, 1.0, 1.0]]])
    zeros = torch.zeros_like(mask)
    cost = torch.tensor([[3.0], [1.0]])
    credit = limited_advantage(
        ones, ones, ones, mask, zeros, cost, zeros, zeros, gae_lambda=1.0, whiten="none", cost_limit=0.5
    )
    assert float(credit.state["excess"]) == pytest.approx(1.5)
    assert credit.cost_returns is not None
    assert credit.cost_advantage is not None
    assert credit.cost_returns.tolist() == [[[3.0, 3.0, 0.0]], [[1.0, 1.0, 1.0]]]
    # Every token of a response has its whole cost, less the mean over all tokens, 9 / 5.
    torch.testing.assert_close(credit.cost_advantage[0, 0], torch.tensor([1.2, 1.2, 0.0]))
    torch.testing.assert_close(credit.cost_advantage[1, 0], torch.tensor([-0.8, -0.8, -0.8]))
    assert credit.advantage.tolist() == [[[1.0, 1.0, 0.0]], [[1.0, 1.0, 1.0]]]


def test_an_untrained_critic_hides_no_cost_from_early_tokens() -> None:
    """The reward's lambda leaves the cost alone; one of its own below 1 thins out what early tokens are told of it."""
    ones, mask = torch.ones(1, 1), torch.ones(1, 1, 3)
    zeros, cost = torch.zeros_like(mask), torch.tensor([[2.0]])

    def returned(*, gae_lambda: float = 0.95, cost_gae_lambda: float = 1.0) -> list[float]:
        credit = limited_advantage(
            ones,
            ones,
            ones,
            mask,
            zeros,
            cost,
            zeros,
            zeros,
            gae_lambda=gae_lambda,
            cost_gae_lambda=cost_gae_lambda,
        )
        assert credit.cost_returns is not None
        return credit.cost_returns[0, 0].tolist()

    assert returned(gae_lambda=0.5) == [2.0, 2.0, 2.0]
    assert returned(cost_gae_lambda=0.5) == [0.5, 1.0, 2.0]


def group(*texts: str) -> Group:
    scores = tuple(float("!" in text) for text in texts)
    return Group("p", tuple(map(Response, texts)), (Feedback("verifier", "loud", scores={"loud": scores}),))


PARTS = [Part(Constraint(Share("x", bool), name="loud"), role="reject")]


def test_refused_answers_are_drawn_again_and_left_out_at_last() -> None:
    answers = iter([[group("c!"), group("d")], [group("e")], []])
    notes: dict[str, float] = {}
    kept = permitted([group("a", "b!"), group("x!")], PARTS, lambda asked, _: next(answers), attempts=3, notes=notes)
    assert [[one.text for one in g.responses] for g in kept] == [["a", "e"], ["d"]]
    assert [g.scores("loud") for g in kept] == [(0.0, 0.0), (0.0,)]
    assert notes == {"round/refused": pytest.approx(2 / 3), "round/left_out": 0.0}
    answers = iter([[group("y!")]])
    kept = permitted([group("x!")], PARTS, lambda asked, _: next(answers), attempts=1, notes=notes)
    assert kept[0].responses == ()
    assert notes["round/left_out"] == 1.0


def test_groups_are_joined_with_their_scores() -> None:
    both = joined(group("a"), group("b!"))
    assert (both.scores("loud"), len(both.responses)) == ((0.0, 1.0), 2)
    assert joined(Group("p"), group("b!")) == group("b!")


@pytest.mark.parametrize("method", ["ppo", "grpo"])
def test_a_round_of_refused_answers_takes_no_step(method: str, tiny: Path, tmp_path: Path) -> None:
    never = Part(Constraint(Share("never", lambda c: False)), role="reject")
    config = settings(tiny, tmp_path / "run", objective=method, resample=1)
    result = train_online(config, [REWARD, never], groups=PROMPTS)
    assert of_steps(result.path) == []
    assert (result.path / "model").is_dir()


def test_what_is_learned_from_is_permitted(tiny: Path, tmp_path: Path) -> None:
    some = Part(Constraint(Share("even", lambda c: c % 2 == 0), threshold=0.4), role="reject")
    config = settings(tiny, tmp_path / "run", objective="ppo", resample=2, passes=1)
    train_online(config, [REWARD, some], groups=PROMPTS)
    lines = of_steps(tmp_path / "run")
    assert any(line["round/refused"] > 0 for line in lines)
    assert all(math.isfinite(line["loss"]) and line["round/left_out"] <= line["round/refused"] for line in lines)
    shown = [json.loads(line)["group"] for line in (tmp_path / "run" / "rollouts.jsonl").read_text().splitlines()]
    scores = [row for one in shown for feedback in one["feedback"] for name, row in feedback["scores"].items()
              if name == "even_violation"]  # fmt: skip
    assert all(value == 0.0 for row in scores for value in row)
