"""Every worked number of the policy-gradient family, in float64."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from accord.objectives.policy_gradient import METHODS, Method, informative, should_stop
from accord.objectives.policy_gradient.actor_critic import whitened
from accord.objectives.policy_gradient.critics import pretraining_loss, value_loss
from accord.objectives.policy_gradient.denominators import constant, sequence_mean, sequence_sum, token_mean
from accord.objectives.policy_gradient.groups import group_mean, group_standardised, leave_one_out
from accord.objectives.policy_gradient.kl import controlled, estimate, kl_in_reward
from accord.objectives.policy_gradient.lagrangian import combined, dual_step, lagrangian_advantage
from accord.objectives.policy_gradient.mixture import divergence, diversity, mixture, mutual_divergence
from accord.objectives.policy_gradient.responses import returns_to_go, standardised_scores
from accord.objectives.policy_gradient.scalarise import hypervolume, pareto_front, scalarised
from accord.objectives.policy_gradient.several import standardised_names, standardised_steps
from accord.objectives.policy_gradient.shaping import length_price, overlong_price
from accord.objectives.policy_gradient.surrogates import gspo, ppo_clip, sequence_clip
from accord.objectives.policy_gradient.trust_region import constrained_step, free_step

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


def group_loss(case: str, surrogate: Any, denominator: Any, **hyper: float) -> Tensor:
    given = inputs(case)
    policy, mask = ragged(given["logps_new"])
    behaviour, _ = ragged(given["logps_old"])
    advantage = vector(given["advantages"]).reshape(1, -1, 1) * mask
    loss: Tensor = denominator(surrogate(policy, behaviour, advantage, mask, **hyper).loss, mask).value()
    return loss


def whole_loss(method: Method, case: str, hyper: dict[str, float]) -> Tensor:
    given = inputs(case)
    policy, mask = ragged(given["logps_new"])
    tensors = {"policy": policy, "mask": mask, "behaviour": ragged(given["logps_old"])[0]}
    tensors["advantage"] = vector(given["advantages"]).reshape(1, -1, 1) * mask
    if "ref_logps" in given:
        tensors["reference"] = ragged(given["ref_logps"])[0]
    objective = method.objective(hyper)
    return objective(*(tensors[name] for name in objective.signature.needs)).value()


def test_divergence_estimators() -> None:
    given, wanted = inputs("kl.estimators"), expected("kl.estimators")
    difference = vector(given["logp"]) - vector(given["ref_logp"])
    close(estimate(difference, "k1"), wanted["k1"])
    close(estimate(difference, "k2"), wanted["k2"])
    close(estimate(difference, "k3"), wanted["k3"])


def test_the_gradients_of_the_estimators_as_losses() -> None:
    given, wanted = inputs("kl.k3_as_loss_gradient"), expected("kl.k3_as_loss_gradient")
    logits = vector(given["pi"]).log().requires_grad_()
    policy, reference = logits.log_softmax(-1), vector(given["ref"]).log()
    for estimator, key in (
        ("k3", "expected_grad_of_k3_wrt_logits"),
        ("k3", "grad_forward_kl_ref_pi"),
        ("k2", "expected_grad_of_k2"),
        ("k2", "grad_reverse_kl_pi_ref"),
    ):
        mean = (policy.detach().exp() * estimate(policy - reference, estimator)).sum()  # type: ignore[arg-type]
        close(torch.autograd.grad(mean, logits, retain_graph=True)[0], wanted[key])


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


def test_clipped_surrogate() -> None:
    given, wanted = inputs("ppo.clip_loss"), expected("ppo.clip_loss")
    policy, behaviour = one_response(given["logp_new"]), one_response(given["logp_old"])
    advantage, mask = one_response(given["advantages"]), torch.ones_like(policy)
    found = ppo_clip(policy, behaviour, advantage, mask, clip_low=given["clip"], clip_high=given["clip"])
    assert found.ratio is not None
    assert found.clipped_low is not None
    assert found.clipped_high is not None
    close(found.ratio.flatten(), wanted["ratios"])
    close(found.loss.flatten(), wanted["per_token"])
    close((found.clipped_low + found.clipped_high).mean(), wanted["clip_fraction"])
    close(token_mean(found.loss, mask).value(), wanted["policy_loss"])
    close(estimate(policy - behaviour, "k2").mean(), wanted["approx_kl_half_sq"])


def test_value_loss_and_the_whole_of_ppo() -> None:
    given, wanted = inputs("ppo.value_clip_loss"), expected("ppo.value_clip_loss")
    critic = {
        "value": one_response(given["values_new"]),
        "old_value": one_response(given["values_old"]),
        "returns": one_response(given["returns"]),
    }
    loss = value_loss(**critic, value_coefficient=1.0, value_clip=given["clip_value"])
    close(loss.mean(), wanted["vf_loss"])
    clip = inputs("ppo.clip_loss")
    tensors = critic | {
        "policy": one_response(clip["logp_new"]),
        "behaviour": one_response(clip["logp_old"]),
        "advantage": one_response(clip["advantages"]),
        "mask": torch.ones(1, 1, 4).double(),
    }
    objective = METHODS["ppo"].objective({"value_clip": given["clip_value"], "value_coefficient": given["vf_coef"]})
    close(objective(*(tensors[name] for name in objective.signature.needs)).value(), wanted["total_with_policy"])


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


def test_dual_clip() -> None:
    given, wanted = inputs("ppo.dual_clip"), expected("ppo.dual_clip")
    policy, zeros = one_response([math.log(given["ratio"])]), one_response([0.0])
    for limit, key in ((given["c"], "loss"), (0.0, "loss_without_dual_clip")):
        found = ppo_clip(policy, zeros, one_response([given["advantage"]]), torch.ones_like(zeros), dual_clip=limit)
        close(found.loss.sum(), wanted[key])


def test_pretraining_text() -> None:
    given = inputs("ppo.ptx")
    text = one_response([-given["pretrain_nll"]])
    close(
        given["ppo_loss"] + pretraining_loss(text, ptx_coefficient=given["gamma_ptx"]).mean(),
        expected("ppo.ptx")["loss"],
    )


def test_trpo_step() -> None:
    given, wanted = inputs("trpo.step"), expected("trpo.step")
    hessian = vector(given["H_diag"])
    step = free_step(vector(given["g"]), lambda x: hessian * x, kl_limit=given["delta"], iterations=10)
    close(step.vector, wanted["step"])
    close(0.5 * (step.vector * hessian * step.vector).sum(), wanted["quadratic_kl"])


@pytest.mark.parametrize("case", [name for name in CASES if name.startswith("cpo_achiam.lqclp.")])
def test_constrained_step(case: str) -> None:
    given, wanted = inputs(case), expected(case)
    hessian, gradient, cost = vector(given["H_diag"]), vector(given["g"]), vector(given["b"])
    step = constrained_step(
        gradient, cost, lambda x: hessian * x, excess=given["c"], kl_limit=given["delta"], iterations=10
    )
    close(step.vector, wanted["x"])
    close(step.multiplier, wanted["lambda"])
    close(step.cost_multiplier, wanted["nu"])
    close(gradient @ step.vector, wanted["objective"])
    close(given["c"] + cost @ step.vector, wanted["constraint_value"])
    names = {"both": "boundary", "infeasible:": "recovery", "trust-region": "free"}
    assert step.case == names[wanted["case"].split()[0]]


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


def test_leave_one_out_loss() -> None:
    given, wanted = inputs("rloo.loss"), expected("rloo.loss")
    policy, behaviour, advantage = (
        vector(given[name]).reshape(1, -1, 1) for name in ("seq_logps_new", "seq_logps_old", "advantages")
    )
    mask = torch.ones_like(policy)
    found = sequence_clip(policy, behaviour, advantage, mask, clip_low=given["clip"], clip_high=given["clip"])
    close(sequence_mean(found.loss, mask).value(), wanted["clipped_ratio_loss"])
    close(METHODS["reinforce"].objective({})(behaviour, mask, advantage).value(), wanted["reinforce_loss_value"])


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


def test_group_loss_under_each_denominator() -> None:
    given, wanted = inputs("grpo.loss"), expected("grpo.loss")
    hyper = {"kl_loss": given["beta"], "clip_low": given["clip"], "clip_high": given["clip"]}
    grpo = METHODS["grpo"]
    close(whole_loss(grpo, "grpo.loss", hyper), wanted["grpo_seq_mean_token_mean"])
    tokens = dataclasses.replace(grpo, denominator=token_mean)
    close(whole_loss(tokens, "grpo.loss", hyper), wanted["token_mean(bnpo/dapo)"])
    by_constant = dataclasses.replace(grpo, denominator=constant)
    close(whole_loss(by_constant, "grpo.loss", hyper | {"token_budget": 8.0}), wanted["dr_grpo_constant_8"])
    summed = dataclasses.replace(grpo, denominator=sequence_sum)
    close(whole_loss(summed, "grpo.loss", hyper), wanted["seq_mean_token_sum"])


def test_group_loss_token_by_token() -> None:
    given = inputs("grpo.loss")
    policy, mask = ragged(given["logps_new"])
    advantage = vector(given["advantages"]).reshape(1, -1, 1) * mask
    found = ppo_clip(policy, ragged(given["logps_old"])[0], advantage, mask).loss
    found = (found + given["beta"] * estimate(policy - ragged(given["ref_logps"])[0], "k3")) * mask
    close(found, ragged(expected("grpo.loss")["per_token"])[0])


@pytest.mark.parametrize("name", ["dr_grpo", "dapo"])
def test_variants_of_the_group_loss(name: str) -> None:
    case = f"{name}.loss"
    settings = {"dr_grpo": {"token_budget": 8.0}, "dapo": {}}[name]
    close(whole_loss(METHODS[name], case, settings), expected(case)["loss"])


def test_sequence_ratio() -> None:
    given, wanted = inputs("gspo.loss"), expected("gspo.loss")
    policy, mask = ragged(given["logps_new"])
    advantage = vector(given["advantages"]).reshape(1, -1, 1) * mask
    found = gspo(policy, ragged(given["logps_old"])[0], advantage, mask)
    assert found.ratio is not None
    close(found.ratio[0, :, 0], wanted["sequence_ratios"])
    close(found.loss[0, :, 0], wanted["per_sequence"])
    for name in ("gspo", "gspo_token"):
        close(whole_loss(METHODS[name], "gspo.loss", {}), wanted["loss"])


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


def test_ways_to_weigh_scores() -> None:
    given, wanted = inputs("multiobjective.scalarise"), expected("multiobjective.scalarise")
    values, weights, ideal = (vector(given[name]) for name in ("scores", "weights", "ideal"))
    close(scalarised(values, weights, how="linear"), wanted["linear"])
    close(-scalarised(values, weights, how="chebyshev", ideal=ideal), wanted["chebyshev_loss"])
    close(scalarised(values, weights, how="worst"), wanted["worst_case"])
    close(scalarised(values, weights, how="nash"), wanted["nash_log"])
    given, wanted = inputs("multiobjective.pareto"), expected("multiobjective.pareto")
    points = vector(given["points_max"])
    assert pareto_front(points).nonzero().flatten().tolist() == wanted["front_indices"]
    close(hypervolume(points, vector(given["reference"])), wanted["hypervolume"])


def test_lagrangian() -> None:
    given = inputs("ppo_lagrangian.advantage")
    found = combined(vector(given["adv_reward"]), vector(given["adv_cost"]), given["lambda"])
    close(found, expected("ppo_lagrangian.advantage")["combined"])
    given, wanted = inputs("ppo_lagrangian.log_lambda_update"), expected("ppo_lagrangian.log_lambda_update")
    start, violation = vector(given["log_lambda"]).exp(), vector(given["episode_cost_mean"] - given["threshold"])
    renewed = dual_step(start, violation, given["lr"], "log")
    close(renewed, wanted["lambda_next"])
    close(renewed.log(), wanted["log_lambda_next"])
    given = inputs("ppo_lagrangian.linear_update")
    renewed = dual_step(vector(given["lambda"]), vector(given["Jc"] - given["d"]), given["lr"], "linear")
    close(renewed, expected("ppo_lagrangian.linear_update")["lambda_next"])


def test_the_general_objective_under_limits() -> None:
    given, wanted = inputs("constrained.general_objective"), expected("constrained.general_objective")
    excess = vector(given["costs"]) - vector(given["limits"])
    close(given["value"] - (vector(given["lambdas"]) * excess).sum(), wanted["lagrangian"])
    assert bool((excess <= 0).all()) is wanted["feasible"]
    close(dual_step(vector(given["lambdas"]), excess, given["dual_lr"], "linear"), wanted["lambdas_next"])


def test_the_divergence_is_taken_off_rewards_and_added_to_costs() -> None:
    given, wanted = inputs("safe_rlhf.kl_split"), expected("safe_rlhf.kl_split")
    ones, zeros = torch.ones(1, 1).double(), torch.zeros(1, 1, 1).double()
    credit = lagrangian_advantage(
        given["reward"] * ones,
        ones,
        ones,
        ones.unsqueeze(-1),
        (-given["kl_coef"] * given["kl_sum"] * ones).unsqueeze(-1),
        given["cost"] * ones,
        zeros,
        zeros,
        {},
    )
    assert credit.returns is not None
    assert credit.cost_returns is not None
    close(credit.returns.sum(), wanted["reward_total"])
    close(credit.cost_returns.sum(), wanted["cost_total"])


def test_guide() -> None:
    given, wanted = inputs("gpo_seed.mixture"), expected("gpo_seed.mixture")
    both = vector([given["p_main"], given["p_guide"]]).log()
    weights = vector([given["alpha"], 1.0 - given["alpha"]])
    close(mixture(both, weights).exp(), wanted["arithmetic"])
    close(mixture(both, weights, mixing="geometric").exp(), wanted["geometric"])
    close((both[0] - mixture(both, weights)).exp(), wanted["is_weight_main_over_mix_arith"])
    given, wanted = inputs("gpo_seed.kickstart_kl"), expected("gpo_seed.kickstart_kl")
    main, guide = vector([given["p_main"], given["p_guide"]]).log()
    close(divergence(guide, main), wanted["kl_guide_main"])
    close(divergence(main, guide), wanted["kl_main_guide"])
    close(given["lambda"] * divergence(guide, main), wanted["penalty"])


def test_ensemble() -> None:
    given, wanted = inputs("simpo_seed.ensemble"), expected("simpo_seed.ensemble")
    policies = vector(given["policies"]).log()
    equal = torch.full((3,), 1.0 / 3.0).double()
    average = mixture(policies, equal)
    close(average.exp(), wanted["average"])
    close(mixture(policies, equal, mixing="geometric").exp(), wanted["geometric"])
    close(diversity(policies), wanted["jensen_shannon_diversity"])
    close((policies - average).exp()[:, 0], wanted["ratios_for_action_0"])
    close(mutual_divergence(policies)[0], wanted["mutual_kl_policy0"])


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
