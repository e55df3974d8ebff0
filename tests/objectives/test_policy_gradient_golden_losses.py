"""Every worked number of surrogates, denominators and critics, in float64."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from accord.objectives.policy_gradient import METHODS, Method
from accord.objectives.policy_gradient.critics import pretraining_loss, value_loss
from accord.objectives.policy_gradient.denominators import constant, sequence_mean, sequence_sum, token_mean
from accord.objectives.policy_gradient.kl import estimate
from accord.objectives.policy_gradient.surrogates import gspo, ppo_clip, sequence_clip

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


def test_leave_one_out_loss() -> None:
    given, wanted = inputs("rloo.loss"), expected("rloo.loss")
    policy, behaviour, advantage = (
        vector(given[name]).reshape(1, -1, 1) for name in ("seq_logps_new", "seq_logps_old", "advantages")
    )
    mask = torch.ones_like(policy)
    found = sequence_clip(policy, behaviour, advantage, mask, clip_low=given["clip"], clip_high=given["clip"])
    close(sequence_mean(found.loss, mask).value(), wanted["clipped_ratio_loss"])
    close(METHODS["reinforce"].objective({})(behaviour, mask, advantage).value(), wanted["reinforce_loss_value"])


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
