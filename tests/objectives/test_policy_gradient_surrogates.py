"""What each surrogate does to single tokens, and what rounds hand on to the next."""

import math

import pytest
import torch
from torch import Tensor

from accord.objectives.policy_gradient import METHODS
from accord.objectives.policy_gradient.mixture import diversity, mixture
from accord.objectives.policy_gradient.scalarise import hypervolume, scalarised
from accord.objectives.policy_gradient.shaping import clipped_score, missing_end, step_rewards
from accord.objectives.policy_gradient.surrogates import cispo, gspo_token, ppo_clip, reinforce, weighted_reinforce


def tokens(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).view(1, 1, -1)


def gradient(loss: Tensor, policy: Tensor) -> list[float]:
    found: list[float] = torch.autograd.grad(loss.sum(), policy)[0].flatten().tolist()
    return found


def test_cispo_bounds_weights_and_stops_no_gradient() -> None:
    policy = tokens(*(math.log(ratio) for ratio in (0.01, 1.0, 3.0, 100.0))).requires_grad_()
    zeros, ones = tokens(0.0, 0.0, 0.0, 0.0), tokens(1.0, 1.0, 1.0, 1.0)
    found = cispo(policy, zeros, ones, ones, clip_low=0.5, clip_high=4.0)
    assert gradient(found.loss, policy) == pytest.approx([-0.5, -1.0, -3.0, -5.0])
    assert found.clipped_low is not None
    assert found.clipped_high is not None
    assert found.clipped_low.flatten().tolist() == [1.0, 0.0, 0.0, 0.0]
    assert found.clipped_high.flatten().tolist() == [0.0, 0.0, 0.0, 1.0]


def test_the_clip_stops_what_has_moved_far_enough_and_never_the_way_back() -> None:
    policy = tokens(*(math.log(ratio) for ratio in (0.5, 2.0, 0.5, 2.0))).requires_grad_()
    advantage, ones = tokens(1.0, 1.0, -1.0, -1.0), tokens(1.0, 1.0, 1.0, 1.0)
    found = ppo_clip(policy, 0.0 * advantage, advantage, ones)
    assert gradient(found.loss, policy) == pytest.approx([-0.5, 0.0, 0.0, 2.0])


def test_a_dual_clip_stops_what_is_far_behind() -> None:
    policy = tokens(math.log(4.0), math.log(2.0)).requires_grad_()
    ones = tokens(1.0, 1.0)
    assert gradient(ppo_clip(policy, 0.0 * ones, -ones, ones, dual_clip=3.0).loss, policy) == pytest.approx([0.0, 2.0])


def test_a_capped_weight_on_another_policys_responses() -> None:
    policy = tokens(math.log(0.5), math.log(8.0)).requires_grad_()
    ones = tokens(1.0, 1.0)
    found = weighted_reinforce(policy, 0.0 * ones, ones, ones, importance_cap=2.0)
    assert gradient(found.loss, policy) == pytest.approx([-0.5, -2.0])
    own = weighted_reinforce(policy, policy.detach(), ones, ones)
    assert gradient(own.loss, policy) == gradient(reinforce(policy, ones, ones).loss, policy)


def test_gspo_by_token_gives_each_token_its_own_advantage() -> None:
    policy = tokens(0.2, -0.2).requires_grad_()
    ones = tokens(1.0, 1.0)
    found = gspo_token(policy, 0.0 * ones, tokens(1.0, 0.0), ones, clip_low=0.2, clip_high=0.2)
    assert gradient(found.loss, policy) == pytest.approx([-1.0, 0.0])


def a_round(scores: list[float], divergence: float) -> dict[str, Tensor]:
    """Responses of one token, that far from the reference."""
    score = torch.tensor([scores], dtype=torch.float64)
    ones = torch.ones_like(score)
    behaviour = divergence * ones.unsqueeze(-1)
    return {
        "score": score,
        "scored": ones,
        "valid": ones,
        "mask": ones.unsqueeze(-1),
        "behaviour": behaviour,
        "reference": 0.0 * behaviour,
    }


def test_an_adaptive_price_of_the_divergence_is_carried_on() -> None:
    credit = METHODS["rloo"].credit(
        {"kl_reward": 0.1, "kl_controller": "proportional", "kl_target": 1.0, "kl_horizon": 2.0}
    )
    assert "state" in credit.needs
    far = a_round([1.0, 0.0], divergence=3.0)
    first = credit(far)
    assert first.metrics["kl_coefficient"][0] == pytest.approx(0.1)
    assert first.state["kl_coefficient"] == pytest.approx(0.1 * 1.2)
    second = credit(far | {"state": first.state})
    assert second.metrics["kl_coefficient"][0] == pytest.approx(0.12)
    assert second.state["kl_coefficient"] == pytest.approx(0.12 * 1.2)
    near = credit(a_round([1.0, 0.0], divergence=0.0) | {"state": second.state})
    assert near.state["kl_coefficient"] == pytest.approx(0.144 * 0.8)
    assert METHODS["rloo"].credit({})(far).state == {}


def lagrangian(cost: float, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
    given = a_round([1.0, 0.5], divergence=0.0)
    zeros = torch.zeros_like(given["mask"])
    given |= {"cost": cost * given["scored"], "old_value": zeros, "old_cost_value": zeros}
    found = METHODS["ppo_lagrangian"].credit({"cost_limit": 0.2, "multiplier_most": 1.2})(given | {"state": state})
    return dict(found.state), found.advantage


def test_the_multiplier_follows_the_cost() -> None:
    state, advantage = lagrangian(1.2, {})
    assert state["multiplier"] == pytest.approx(math.exp(0.1))
    assert advantage[0, :, 0].tolist() == pytest.approx(
        [(score - math.exp(0.1) * 1.2) / (1.0 + math.exp(0.1)) for score in (1.0, 0.5)]
    )
    dearer, _ = lagrangian(1.2, state)
    assert dearer["multiplier"] == pytest.approx(1.2)
    cheaper, _ = lagrangian(0.0, dearer)
    assert cheaper["multiplier"] < 1.2


def test_shaping_of_the_score() -> None:
    score, ones = torch.tensor([[9.0, -9.0, 1.0]]), torch.ones(1, 3)
    clipped = clipped_score(score, ones, score_clip=5.0)
    assert clipped.values["score"].tolist() == [[5.0, -5.0, 1.0]]
    assert [float(part) for part in clipped.metrics["score_clipped"]] == [2.0, 3.0]
    ended = missing_end(score, torch.tensor([[1.0, 0.0, 1.0]]), missing_eos=10.0)
    assert ended.values["score"].tolist() == [[9.0, -19.0, 1.0]]


def test_a_scored_step_is_a_reward() -> None:
    ends = torch.tensor([[[0.0, 1.0]], [[0.0, 0.0]]])
    shaped = step_rewards(torch.zeros(2, 1, 2), torch.zeros(2, 1), 3.0 + ends, ends, step_weight=0.5)
    assert shaped.values["token_reward"].tolist() == [[[0.0, 2.0]], [[0.0, 0.0]]]
    assert shaped.values["scored"].tolist() == [[1.0], [0.0]]


def test_steps_are_paid_through_the_critics_credit() -> None:
    given = a_round([1.0], divergence=0.0)
    given |= {"step_end": given["mask"], "step_score": 2.0 * given["mask"], "old_value": 0.0 * given["mask"]}
    hyper = {"step_weight": 0.5, "kl_reward": 0.0, "whiten": "none"}
    assert METHODS["ppo"].credit(hyper)(given).advantage.item() == pytest.approx(2.0)


def test_metrics_of_a_round() -> None:
    given = a_round([1.0, 0.0], divergence=0.0)
    pair = {name: torch.cat([value, value]) for name, value in given.items()}
    pair["score"] = torch.tensor([[1.0, 0.0], [1.0, 1.0]]).double()
    pair["scored"] = torch.tensor([[1.0, 1.0], [1.0, 1.0]]).double()
    found = {name: float(value / count) for name, (value, count) in METHODS["dr_grpo"].credit({})(pair).metrics.items()}
    assert found["score"] == pytest.approx(0.75)
    assert found["zero_variance_groups"] == pytest.approx(0.5)
    assert found["advantage_mean"] == pytest.approx(0.0)
    assert found["advantage_std"] == pytest.approx(math.sqrt(0.125))
    assert found["unscored"] == 0.0


def test_a_perfect_critic_explains_everything() -> None:
    given = a_round([1.0, 0.0, 0.5], divergence=0.0)
    hyper = {"kl_reward": 0.0}
    for value, share in ((given["score"].unsqueeze(-1), 1.0), (0.0 * given["mask"], 0.0)):
        metrics = METHODS["ppo"].credit(hyper)(given | {"old_value": value}).metrics
        assert metrics["explained_variance"][0] / metrics["explained_variance"][1] == pytest.approx(share)


def test_a_guide_without_a_say_is_not_there() -> None:
    both = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.1, 0.9]], dtype=torch.float64).log()
    alone = torch.tensor([1.0, 0.0], dtype=torch.float64)
    assert torch.equal(mixture(both, alone).exp(), both[0].exp())
    torch.testing.assert_close(mixture(both, alone, mixing="geometric").exp(), both[0].exp())
    assert diversity(both[:1]).item() == pytest.approx(0.0)


def test_what_cannot_be_weighed_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        scalarised(torch.tensor([1.0, 0.0]), torch.ones(2), how="nash")
    with pytest.raises(ValueError, match="have no volume"):
        hypervolume(torch.ones(2, 3), torch.zeros(2))
