"""Reward models as rewards: any directory that was trained, batched, cut, normalised, of values and of steps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from accord.errors import ConfigError, DataError, ModelError
from accord.feedback.ensemble import Ensemble
from accord.feedback.process_model import ProcessRewardModel, solution_score
from accord.feedback.reward import Row
from accord.feedback.reward_model import RewardModel, load_reward_model, members_in, model_reward
from accord.feedback.score import score
from accord.feedback.spec import parse_one
from accord.policy.heads import Head, RewardHead, StepHead
from accord.policy.load import load_policy
from accord.record import Group, Response, write_groups
from accord.record.steps import response_of_steps
from accord.testing import scored_groups, tiny_model

NAMES = ("helpfulness", "honesty")
GROUPS = [*scored_groups(5, responses=3), Group("nothing yet"), *scored_groups(3, seed=1, responses=1)]
SOLVED = [
    Group("2 + 3 + 1?", (response_of_steps(["2 + 3 = 5", "5 + 1 = 6"]), Response("a\nb\nc"), Response(""))),
    Group("1?", (Response("1"),)),
]


def saved(path: Path, head: Head, seed: int = 0) -> Path:
    """A reward model with random weights, written as training writes it."""
    policy = load_policy(tiny_model(path / "base", "llama", seed=seed))
    torch.manual_seed(seed)
    for parameter in head.parameters():
        nn.init.normal_(parameter)
    policy.reward_head = head
    policy.save(path / "model")
    return path / "model"


@pytest.fixture(scope="module")
def scalar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("scalar"), RewardHead(32))


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("named"), RewardHead(32, NAMES), seed=1)


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("steps"), StepHead(32), seed=2)


def of_responses(path: Path) -> RewardModel:
    model = load_reward_model(path)
    assert isinstance(model, RewardModel)
    return model


def of_steps(path: Path) -> ProcessRewardModel:
    model = load_reward_model(path)
    assert isinstance(model, ProcessRewardModel)
    return model


def close(first: list[Row], second: list[Row]) -> None:
    assert [len(row) for row in first] == [len(row) for row in second]
    for one, other in zip(first, second, strict=True):
        assert one == pytest.approx(other, abs=1e-4)


def test_one_score_a_response_whatever_the_batches(scalar: Path) -> None:
    model = of_responses(scalar)
    whole = model(GROUPS)
    assert [len(row) for row in whole] == [len(group.responses) for group in GROUPS]
    close(RewardModel(model.policy, tokens=1)(GROUPS), whole)
    close([model([group])[0] for group in GROUPS], whole)
    close(model(GROUPS[::-1])[::-1], whole)


def test_a_run_directory_stands_for_its_model(scalar: Path) -> None:
    close(of_responses(scalar.parent)(GROUPS), of_responses(scalar)(GROUPS))


def test_named_values_and_their_weighted_sum(named: Path) -> None:
    model = of_responses(named)
    by_name = model.by_name(model.values(GROUPS))
    assert tuple(by_name) == NAMES
    mean = [tuple((a + b) / 2 for a, b in zip(*rows, strict=True)) for rows in zip(*by_name.values(), strict=True)]
    close(model(GROUPS), mean)
    close(model_reward(str(named), value="honesty")(GROUPS), by_name["honesty"])
    weighed = RewardModel(model.policy, weights={"helpfulness": 2.0, "honesty": -1.0})(GROUPS)
    close(
        weighed, [tuple(2 * a - b for a, b in zip(*rows, strict=True)) for rows in zip(*by_name.values(), strict=True)]
    )
    with pytest.raises(ConfigError, match=r"no value 'wit'\. It has helpfulness, honesty"):
        model_reward(str(named), value="wit")


def test_normalising_takes_the_mean_of_the_reference_off(scalar: Path, tmp_path: Path) -> None:
    model, reference = of_responses(scalar), scored_groups(4, seed=9)
    normal = model.normalised(reference)
    assert sum(sum(map(float, filter(None, row))) for row in normal(reference)) == pytest.approx(0.0, abs=1e-4)
    write_groups(tmp_path / "reference.jsonl", reference)
    close(model_reward(str(scalar), reference=str(tmp_path / "reference.jsonl"))(GROUPS), normal(GROUPS))
    with pytest.raises(DataError, match="the reference has no responses"):
        model.normalised([Group("a bare prompt")])


def test_a_response_that_does_not_fit_is_scored_by_what_fits(scalar: Path) -> None:
    model = of_responses(scalar)
    endless = Group("?", (Response("x" * 600), Response("x" * 700)))
    (row,) = model([endless])
    assert row[0] == pytest.approx(row[1], abs=1e-5)
    assert model.cut == 2
    with pytest.raises(DataError, match=r"the prompt has 6\d\d tokens, and the reward model reads 512 in all"):
        model([Group("x" * 600, (Response("?"),))])


def test_what_is_no_reward_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"a language model and no reward model.*accord train bradley_terry"):
        load_reward_model(tiny_model(tmp_path))
    with pytest.raises(ModelError, match="No such directory"):
        load_reward_model("./nowhere")


def test_it_scores_groups_like_any_reward(scalar: Path) -> None:
    scored = score(GROUPS[:2], [parse_one(f"model:{scalar},weight=0.5,name=taste")])
    taste, overall = scored[0].scores("taste"), scored[0].scores("overall")
    assert taste is not None
    assert overall == pytest.approx([0.5 * value for value in taste if value is not None])
    assert scored[0].feedback[-2].source == "reward_model"


def test_several_directories_are_an_ensemble(scalar: Path, named: Path) -> None:
    part = parse_one(f"model:{scalar},{named},combine=min")
    assert isinstance(part.reward, Ensemble)
    each = part.reward.each(GROUPS)
    close(each[0], of_responses(scalar)(GROUPS))
    close(each[1], of_responses(named)(GROUPS))
    close(part.reward(GROUPS), part.reward.combined(each))


def test_members_of_one_command(tmp_path: Path) -> None:
    for index in (1, 0):
        (tmp_path / f"member-{index}" / "model").mkdir(parents=True)
    assert members_in(str(tmp_path)) == [str(tmp_path / "member-0"), str(tmp_path / "member-1")]
    assert members_in("elsewhere") == ["elsewhere"]


def test_probabilities_of_steps(steps: Path) -> None:
    model = of_steps(steps)
    (first, second, empty), (single,) = model.steps(SOLVED)
    assert (len(first), len(second), empty, len(single)) == (2, 3, (), 1)
    assert all(0 < probability < 1 for probability in (*first, *second, *single))
    close(model(SOLVED), [(min(first), min(second), 0.0), single])
    close(model_reward(str(steps), solution="last")(SOLVED), [(first[-1], second[-1], 0.0), single])


def test_judged_steps_are_feedback(steps: Path) -> None:
    model = of_steps(steps)
    judged = model.judged(SOLVED)
    assert judged[0].responses[1].steps == (2, 4, 5)
    assert judged[0].step_scores() == model.steps(SOLVED)[0]
    assert judged[0].feedback[0].source == "reward_model"


@given(st.lists(st.floats(0.01, 0.99), min_size=1, max_size=6))
def test_all_steps_are_right_less_often_than_the_weakest(probabilities: list[float]) -> None:
    product, weakest, last = (solution_score(probabilities, how) for how in ("product", "min", "last"))
    assert product <= weakest <= last


def test_worked_solution_scores() -> None:
    steps = [0.710949502625004, 0.23147521650098238, 0.7310585786300049]
    assert solution_score(steps, "product") == pytest.approx(0.120308, abs=1e-6)
    assert solution_score(steps, "min") == pytest.approx(0.231475, abs=1e-6)
