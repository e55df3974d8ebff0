"""Every worked number of rewards and credits, in float64."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from accord.objectives.policy_gradient import METHODS, informative, should_stop
from accord.objectives.policy_gradient.actor_critic import whitened
from accord.objectives.policy_gradient.groups import group_mean, group_standardised, leave_one_out
from accord.objectives.policy_gradient.kl import controlled, kl_in_reward
from accord.objectives.policy_gradient.responses import returns_to_go, standardised_scores
from accord.objectives.policy_gradient.several import standardised_names, standardised_steps
from accord.objectives.policy_gradient.shaping import length_price, overlong_price

CASES = {case["method"]: case for case in json.loads((Path(__file__).parents[1] / "golden.json").read_text())}


def inputs(name: str) -> dict[str, Any]:
    return dict(CASES[name]["inputs"])


def expected(name: str) -> dict[str, Any]:
    return dict(CASES[name]["expected"])


def close(actual: Tensor | float, wanted: Any) -> None:
    torch.testing.assert_close(
        torch.as_tensor(actual, dtype=torch.float64).detach(),
        torch.as_tensor(wanted, dtype=torch.float64),
        rtol=1e-6,
        atol=1e-9,
    )


def vector(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def ragged(rows: list[list[float]]) -> tuple[Tensor, Tensor]:
    """One group, `[1,n,T]`, and its mask."""
    longest = max(map(len, rows))
    values, mask = torch.zeros(1, len(rows), longest).double(), torch.zeros(1, len(rows), longest).double()
    for index, row in enumerate(rows):
        values[0, index, : len(row)] = vector(row)
        mask[0, index, : len(row)] = 1.0
    return values, mask


def one_response(values: list[float]) -> Tensor:
    return vector(values).reshape(1, 1, -1)


def scores(values: list[float]) -> dict[str, Any]:
    """A group of single-token responses with these scores."""
    ones = torch.ones(1, len(values)).double()
    return {
        "score": vector([values]),
        "scored": ones,
        "valid": ones,
        "mask": ones.unsqueeze(-1),
        "token_reward": torch.zeros(1, len(values), 1).double(),
    }


def test_the_price_of_the_divergence_on_tokens() -> None:
    given, wanted = inputs("ppo.kl_shaped_rewards"), expected("ppo.kl_shaped_rewards")
    behaviour = one_response(given["logp_old"])
    shaped = kl_in_reward(
        torch.zeros_like(behaviour),
        behaviour,
        one_response(given["ref_logp"]),
        torch.ones_like(behaviour),
        {},
        kl_reward=given["kl_coef"],
    )
    rewards = shaped.values["token_reward"].clone()
    rewards[..., -1] += given["score"]
    close(rewards.flatten(), wanted["rewards"])
    close(rewards.sum(), wanted["sum"])


def test_leave_one_out_with_the_divergence_in_the_reward() -> None:
    given = inputs("rloo.kl_in_reward")
    behaviour = one_response(given["logp"])
    ones = torch.ones(1, 1).double()
    tensors = {
        "behaviour": behaviour,
        "reference": one_response(given["ref"]),
        "mask": torch.ones_like(behaviour),
        "score": vector([[given["score"]]]),
        "scored": ones,
        "valid": ones,
    }
    row = dataclasses.replace(METHODS["rloo"], estimator=returns_to_go)
    credit = row.credit({"kl_reward": given["beta"]})(tensors)
    close(credit.advantage[0, 0, 0], expected("rloo.kl_in_reward")["reward"])


@pytest.mark.parametrize(
    ("case", "settings", "key"),
    [
        ("ppo.gae", {"whiten": "none"}, "advantages"),
        ("ppo.gae", {"whiten": "unbiased"}, "whitened_unbiased_var"),
        ("ppo.gae", {"whiten": "population"}, "whitened_population_var"),
        ("ppo.gae.lambda0_is_td_error", {"whiten": "none"}, "advantages"),
        ("ppo.gae.lambda1_is_montecarlo_minus_value", {"whiten": "none"}, "advantages"),
    ],
)
def test_generalised_advantage(case: str, settings: dict[str, Any], key: str) -> None:
    given, wanted = inputs(case), expected(case)
    ones = torch.ones(1, 1).double()
    paid = one_response(given["rewards"])
    credit = METHODS["ppo"].estimator(
        torch.zeros(1, 1).double(),
        ones,
        ones,
        torch.ones_like(paid),
        paid,
        one_response(given["values"]),
        gamma=given["gamma"],
        gae_lambda=given["lambda"],
        **settings,
    )
    close(credit.advantage.flatten(), wanted[key])
    if "returns" in wanted:
        assert credit.returns is not None
        close(credit.returns.flatten(), wanted["returns"])


@pytest.mark.parametrize("case", ["ppo.adaptive_kl", "ppo.adaptive_kl.below"])
def test_proportional_controller(case: str) -> None:
    given = inputs(case)
    start, seen = vector(given["kl_coef"]), vector(given["observed_kl"])
    found = controlled(start, seen, "proportional", given["target"], given["n_steps"], given["horizon"])
    close(found, expected(case)["next"])


def test_doubling_controller() -> None:
    given, wanted = inputs("ppo.adaptive_kl.schulman2017"), expected("ppo.adaptive_kl.schulman2017")
    start, target = vector(given["beta"]), given["d_targ"]
    close(controlled(start, vector(given["kl"]), "doubling", target, 1, 1.0), wanted["next_if_kl>1.5d"])
    close(controlled(start, vector(target / 2.0), "doubling", target, 1, 1.0), wanted["next_if_kl<d/1.5"])
    close(controlled(start, vector(target), "doubling", target, 1, 1.0), 1.0)


def test_early_stop() -> None:
    given, wanted = inputs("ppo.early_stop"), expected("ppo.early_stop")
    assert should_stop(given["policy_kl"], target_kl=given["target_kl"]) is wanted["stop"]
    assert not should_stop(wanted["threshold"], target_kl=given["target_kl"])


def test_policy_gradient_of_the_seed() -> None:
    given, wanted = inputs("reinforce.seed"), expected("reinforce.seed")
    policy, mask = ragged(given["token_logps"])
    rewards = scores(given["rewards"]) | {"mask": mask, "token_reward": torch.zeros_like(mask)}
    credit = standardised_scores(**rewards)
    close(credit.advantage[0, :, 0], wanted["normalised"])
    loss = METHODS["reinforce"].objective({})(policy, mask, credit.advantage).value()
    close(loss, wanted["loss_mean_over_samples"])
    close(4.0 * loss, wanted["loss_sum_over_samples"])
    row = dataclasses.replace(METHODS["reinforce"], estimator=standardised_scores)
    value, count = row.credit({})(rewards).metrics["score"]
    close(value / count, wanted["mean_raw_reward"])


def test_reinforce_without_a_baseline() -> None:
    given = inputs("reinforce.no_baseline")
    policy, mask = ragged(given["token_logps"])
    credit = returns_to_go(**scores(given["rewards"]) | {"mask": mask, "token_reward": torch.zeros_like(mask)})
    loss = METHODS["reinforce"].objective({})(policy, mask, credit.advantage).value()
    close(loss, expected("reinforce.no_baseline")["loss_mean"])


def test_discounted_returns() -> None:
    given = inputs("reinforce.discounted_returns")
    ones, paid = torch.ones(1, 1).double(), one_response(given["rewards"])
    credit = returns_to_go(0.0 * ones, ones, ones, torch.ones_like(paid), paid, gamma=given["gamma"])
    close(credit.advantage.flatten(), expected("reinforce.discounted_returns")["returns_to_go"])


def test_leave_one_out() -> None:
    wanted = expected("rloo.advantages")
    found = leave_one_out(**scores(inputs("rloo.advantages")["rewards"])).advantage.flatten()
    close(found, wanted["advantages"])
    close(found, wanted["equals_k_over_k_minus_1_centered"])


def test_greedy_baseline() -> None:
    given, wanted = inputs("remax.loss"), expected("remax.loss")
    policy = one_response(given["logps"])
    ones = torch.ones(1, 1).double()
    tensors = {
        "behaviour": policy,
        "reference": one_response(given["ref_logps"]),
        "mask": torch.ones_like(policy),
        "score": given["reward_sample"] * ones,
        "baseline": given["reward_greedy"] * ones,
        "scored": ones,
        "valid": ones,
    }
    remax = METHODS["remax"]
    credit = remax.credit({"kl_reward": given["kl_coef"], "gamma": given["gamma"]})(tensors)
    close(credit.advantage.flatten(), wanted["per_token_return"])
    loss = remax.objective({})(policy, tensors["mask"], credit.advantage)
    close(loss.value(), wanted["loss_token_mean"])
    close(3.0 * loss.value(), wanted["loss_token_sum"])
    free = remax.credit({"kl_reward": 0.0, "gamma": 1.0})(tensors).advantage
    close(3.0 * remax.objective({})(policy, tensors["mask"], free).value(), wanted["no_kl_loss_token_sum"])


def test_group_advantages() -> None:
    given, wanted = scores(inputs("grpo.advantages")["rewards"]), expected("grpo.advantages")
    close(group_standardised(**given, epsilon=1e-4).advantage.flatten(), wanted["sample_std_eps1e-4"])
    population = group_standardised(**given, epsilon=1e-8, deviation="population")
    close(population.advantage.flatten(), wanted["population_std_eps1e-8"])
    close(group_mean(**given).advantage.flatten(), wanted["dr_grpo_no_std"])


def test_price_of_length() -> None:
    given = inputs("dapo.soft_overlong")
    price = overlong_price(vector(given["lengths"]), given["max_len"], given["cache"])
    close(-price, expected("dapo.soft_overlong")["penalties"])
    given, wanted = inputs("reward.length_penalty"), expected("reward.length_penalty")
    mask, score = torch.ones(1, 1, given["length"]).double(), vector([[given["reward"]]])
    for free, key in ((0.0, "linear"), (given["target"], "excess_only")):
        shaped = length_price(score, mask, length_penalty=given["alpha"], free_tokens=free)
        close(shaped.values["score"].sum(), wanted[key])


def test_dynamic_sampling_keeps_what_differs() -> None:
    rewards = vector(inputs("dapo.dynamic_sampling")["group_rewards"])
    kept = informative(rewards, torch.ones_like(rewards), torch.ones_like(rewards)).nonzero().flatten().tolist()
    assert kept == expected("dapo.dynamic_sampling")["kept_groups"]


def test_process_supervision() -> None:
    given, wanted = inputs("grpo.process_supervision"), expected("grpo.process_supervision")
    step_score, step_end, mask = torch.zeros(3, 1, 2, 4).double().unbind()
    for index, (rewards, ends) in enumerate(zip(given["step_rewards"], given["step_end_token_index"], strict=True)):
        mask[0, index, : given["lengths"][index]] = 1.0
        for reward, end in zip(rewards, ends, strict=True):
            step_score[0, index, end], step_end[0, index, end] = reward, 1.0
    credit = standardised_steps(step_score, step_end, torch.ones(1, 2).double(), mask, epsilon=0.0)
    close(credit.advantage, ragged(wanted["token_advantages"])[0])


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "rloo"])
def test_a_group_that_agrees_teaches_nothing(name: str) -> None:
    given = scores(inputs("grpo.all_equal_group")["rewards"])
    close(METHODS[name].estimator(**given).advantage.flatten(), expected("grpo.all_equal_group")["advantages"])


def test_several_scores() -> None:
    given, wanted = inputs("multiobjective.normalise_then_sum"), expected("multiobjective.normalise_then_sum")
    named = torch.stack([vector(given["r1"]), vector(given["r2"])], -1).unsqueeze(0)
    ones = torch.ones(1, 4).double()
    found = standardised_names(named, torch.ones_like(named), ones, ones.unsqueeze(-1), rescale="none")
    close(found.advantage.flatten(), wanted["summed"])
    close(group_standardised(**scores(named.sum(-1)[0].tolist())).advantage.flatten(), wanted["sum_then_normalise"])


def test_verifiable_reward_less_the_divergence() -> None:
    """Ten points for a right answer, a price of 0.05 on 2 nats."""
    ones = torch.ones(1, 1).double()
    shaped = kl_in_reward(
        torch.zeros(1, 1, 1).double(), 2.0 * ones.unsqueeze(-1), 0.0 * ones.unsqueeze(-1), ones.unsqueeze(-1), {}
    )
    value = inputs("rlvr.reward")["alpha"] + shaped.values["token_reward"].sum()
    close(value, expected("rlvr.reward")["kl_regularised_value"])


def test_whitening_one_token_gives_zero() -> None:
    close(whitened(one_response([3.0]), one_response([1.0]), whiten="unbiased").sum(), 0.0)
