"""What a critic knows before its first step."""

from __future__ import annotations

from pathlib import Path

import torch

from accord.feedback.function import FunctionReward
from accord.policy.load import load_policy
from accord.recipes.online import RewardedActor
from accord.record import Encoded, EncodedResponse, Group
from accord.train.config import TrainConfig
from accord.train.prepare import Run
from accord.train.prepare_rounds import prepare_rounds
from accord.train.progress import Display

PROMPTS = [Group(f"Say {word}.") for word in ("alpha", "beta", "gamma", "delta")]


def lengths(responses: list[str]) -> list[float]:
    return [float(len(response)) for response in responses]


def prepared(model: Path, out: Path, *, critic: Path | None = None) -> Run:
    out.mkdir()
    given = None if critic is None else str(critic)
    config = TrainConfig(objective="ppo", model=str(model), critic=given, data=("prompts",), out=str(out), steps=1, n=2)
    actor = RewardedActor([FunctionReward(lengths)], config)
    return prepare_rounds(config, actor, groups=PROMPTS, eval_groups=None, display=Display(None))


def test_a_critic_from_a_reward_model_begins_with_what_that_knows(tiny: Path, tmp_path: Path) -> None:
    judge = load_policy(tiny, reward=True)
    assert judge.reward_head is not None
    torch.nn.init.normal_(judge.reward_head.score.weight, generator=torch.Generator().manual_seed(0))
    judge.save(tmp_path / "judge")
    critic = prepared(tiny, tmp_path / "run", critic=tmp_path / "judge").task.critic
    assert critic is not None
    stopped, going = (Encoded((5, 6), (EncodedResponse(tokens, (True,) * len(tokens)),)) for tokens in ((7,), (7, 8)))
    # The value before the second token is that of stopping after the first.
    value = critic.values(critic.network.rows([going]))["value"][0, 0, 1]
    torch.testing.assert_close(value, judge.rewards([stopped])[0, 0])
    assert abs(float(value.detach())) > 0.1
    assert not any("reward_head" in name for name in critic.trainable())


def test_any_other_critic_begins_with_nothing(tiny: Path, tmp_path: Path) -> None:
    critic = prepared(tiny, tmp_path / "run").task.critic
    assert critic is not None
    values = critic.values(critic.network.rows([Encoded((5, 6), (EncodedResponse((7, 8), (True, True)),))]))
    assert not values["value"].any()
