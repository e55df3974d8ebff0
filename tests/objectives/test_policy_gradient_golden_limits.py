"""Every worked number of trust regions, limited costs, several scores and several policies, in float64."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from accord.objectives.policy_gradient.lagrangian import combined, dual_step, lagrangian_advantage
from accord.objectives.policy_gradient.mixture import divergence, diversity, mixture, mutual_divergence
from accord.objectives.policy_gradient.scalarise import hypervolume, pareto_front, scalarised
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
