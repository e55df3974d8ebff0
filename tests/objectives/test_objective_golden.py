"""Every worked number of these methods, in float64."""

from typing import Any

import pytest
import torch
from torch import Tensor

from accord.objectives import OBJECTIVES
from accord.objectives.primitives import log1mexp, pairwise, seq_mean, seq_sum

sft, dpo, ipo, simpo, orpo, kto, bradley_terry = (
    OBJECTIVES[name] for name in ("sft", "dpo", "ipo", "simpo", "orpo", "kto", "bradley_terry")
)

Golden = dict[str, dict[str, Any]]
Tensors = dict[str, Tensor]


def close(actual: Tensor | float, expected: Any) -> None:
    torch.testing.assert_close(
        torch.as_tensor(actual, dtype=torch.float64).detach(),
        torch.as_tensor(expected, dtype=torch.float64),
        rtol=1e-6,
        atol=1e-9,
    )


def without_reference(toy: Tensors) -> Tensors:
    return {name: toy[name] for name in ("policy", "mask", "prefer")}


def single_tokens(values: list[float]) -> Tensor:
    """One group of responses whose summed log-ratios are `values`."""
    return torch.tensor(values, dtype=torch.float64).reshape(1, -1, 1)


def ranking(best_first: list[int]) -> Tensor:
    prefer = torch.zeros(1, len(best_first), len(best_first), dtype=torch.float64)
    for place, better in enumerate(best_first):
        prefer[0, better, best_first[place + 1 :]] = 1.0
    return prefer


def test_token_sums(toy: Tensors, golden: Golden) -> None:
    expected = golden["toy.pairs"]["expected"]
    close(seq_sum(toy["policy"], toy["mask"])[:, 0], expected["policy_chosen_logps"])
    close(seq_sum(toy["reference"], toy["mask"])[:, 1], expected["ref_rejected_logps"])
    ratio = seq_sum(toy["policy"] - toy["reference"], toy["mask"])
    close(pairwise(ratio)[:, 0, 1], expected["delta"])


def test_sft(golden: Golden) -> None:
    case = golden["sft.nll"]
    rows = case["inputs"]["token_nll_response_only"]
    policy = torch.zeros(2, 1, 5, dtype=torch.float64)
    mask = torch.zeros_like(policy)
    for index, row in enumerate(rows):
        policy[index, 0, : len(row)] = -torch.tensor(row, dtype=torch.float64)
        mask[index, 0, : len(row)] = 1.0
    close(sft(policy, mask).value(), case["expected"]["token_mean"])


def test_dpo(toy: Tensors, golden: Golden) -> None:
    expected = golden["dpo.sigmoid"]["expected"]
    terms = dpo(**toy, beta=0.1)
    close(terms.loss[:, 0, 1], expected["per_pair"])
    close(terms.value(), expected["loss"])
    (gradient,) = torch.autograd.grad(terms.value(), toy["policy"])
    for index, name in enumerate(("dloss_dpolicy_chosen", "dloss_dpolicy_rejected")):
        per_response = torch.tensor(expected[name], dtype=torch.float64)
        close(gradient[:, index], per_response[:, None] * toy["mask"][:, index])


def test_conservative_dpo(toy: Tensors, golden: Golden) -> None:
    expected = golden["dpo.cdpo"]["expected"]
    terms = dpo(**toy, beta=0.1, label_smoothing=0.1)
    close(terms.loss[:, 0, 1], expected["per_pair"])
    close(terms.value(), expected["loss"])
    softened = toy | {"prefer": 0.9 * toy["prefer"] + 0.1 * toy["prefer"].mT}
    close(dpo(**softened, beta=0.1).value(), expected["loss"])


def test_dpo_with_added_likelihood(golden: Golden) -> None:
    case = golden["ipo_iterative.dpo_plus_nll"]["inputs"]
    policy = torch.full((1, 2, 2), case["avg_logp_chosen"], dtype=torch.float64)
    reference = policy.clone()
    reference[0, 0, 0] -= case["delta"]
    mask = torch.ones_like(policy)
    prefer = ranking([0, 1])
    value = dpo(policy, reference, mask, prefer, beta=case["beta"], nll=case["alpha"]).value()
    close(value, golden["ipo_iterative.dpo_plus_nll"]["expected"]["loss"])


def test_dpo_over_all_pairs_of_a_ranking(golden: Golden) -> None:
    case = golden["dpo.all_pairs"]
    ratio = single_tokens(case["inputs"]["log_ratios"])
    terms = dpo(
        ratio,
        torch.zeros_like(ratio),
        torch.ones_like(ratio),
        ranking(case["inputs"]["ranking_best_first"]),
        beta=case["inputs"]["beta"],
    )
    close(terms.value(), case["expected"]["loss"])


def test_ipo(toy: Tensors, golden: Golden) -> None:
    expected = golden["ipo.token_mean"]["expected"]
    terms = ipo(**toy, tau=0.1)
    close(terms.loss[:, 0, 1], expected["per_pair"])
    close(terms.value(), expected["loss"])


@pytest.mark.parametrize("case", ["ipo.sum", "ipo.sum.tau0.5"])
def test_ipo_as_printed(toy: Tensors, golden: Golden, case: str) -> None:
    expected = golden[case]["expected"]
    terms = ipo(**toy, tau=golden[case]["inputs"]["tau"], length="sum")
    close(terms.loss[:, 0, 1], expected["per_pair"])
    close(terms.value(), expected["loss"])


def test_simpo(toy: Tensors, golden: Golden) -> None:
    expected = golden["simpo.published"]["expected"]
    means = seq_mean(toy["policy"], toy["mask"])
    close(means[:, 0], expected["avg_chosen"])
    close(means[:, 1], expected["avg_rejected"])
    terms = simpo(**without_reference(toy), beta=2.0, gamma=0.5)
    close(terms.loss[:, 0, 1], expected["per_pair"])
    close(terms.value(), expected["loss"])


def test_orpo(toy: Tensors, golden: Golden) -> None:
    expected = golden["orpo.published"]["expected"]
    means = seq_mean(toy["policy"], toy["mask"])
    close(pairwise(means - log1mexp(means))[:, 0, 1], expected["log_odds_ratio"])
    nll, odds = orpo(**without_reference(toy), weight=0.1).components()
    close(nll.value(), expected["nll_token_mean"])
    close(odds.loss[:, 0, 1], expected["l_or_per_pair"])
    close(orpo(**without_reference(toy), weight=0.1).value(), expected["loss_token_mean_nll"])
    close(orpo(**without_reference(toy), weight=1.0).value(), 1.5477129131647351)


def kto_batch(inputs: dict[str, Any]) -> Tensors:
    signs = torch.tensor(inputs["is_desirable"], dtype=torch.float64) * 2.0 - 1.0
    policy, reference = (
        torch.tensor(inputs[name], dtype=torch.float64).reshape(-1, 1, 1) for name in ("policy_logps", "ref_logps")
    )
    mismatched = torch.tensor(inputs["policy_kl_logps"]) - torch.tensor(inputs["ref_kl_logps"])
    return {
        "policy": policy.requires_grad_(),
        "reference": reference,
        "mask": torch.ones_like(reference),
        "label": signs.reshape(-1, 1),
        "mismatched_kl": mismatched.double().mean(),
    }


def test_kto(golden: Golden) -> None:
    inputs, expected = golden["kto.published"]["inputs"], golden["kto.published"]["expected"]
    batch = kto_batch(inputs)
    terms = kto(
        **batch,
        beta=inputs["beta"],
        desirable_weight=inputs["lambda_D"],
        undesirable_weight=inputs["lambda_U"],
    )
    close(terms.loss.flatten(), expected["per_example"])
    close(terms.value(), expected["loss"])
    (gradient,) = torch.autograd.grad(terms.value(), batch["policy"])
    close(gradient.flatten(), expected["dloss_dpolicy_logp"])


def test_kto_reference_point_is_not_below_zero(golden: Golden) -> None:
    inputs, expected = golden["kto.negative_kl_is_clamped"]["inputs"], golden["kto.negative_kl_is_clamped"]["expected"]
    batch = kto_batch(inputs | {"is_desirable": [1], "policy_logps": [inputs["log_ratio"]], "ref_logps": [0.0]})
    assert batch["mismatched_kl"] < 0.0
    close(kto(**batch, beta=inputs["beta"]).value(), expected["loss_desirable"])


def test_bradley_terry(reward_pairs: Tensors, golden: Golden) -> None:
    expected = golden["rm.bradley_terry"]["expected"]
    terms = bradley_terry(**reward_pairs)
    close(terms.loss[:, 0, 1], expected["per_pair"])
    close(terms.value(), expected["loss"])


def test_bradley_terry_with_a_margin(reward_pairs: Tensors, golden: Golden) -> None:
    case = golden["rm.margin"]
    for pair, margin in enumerate(case["inputs"]["margin"]):
        terms = bradley_terry(**reward_pairs, margin=margin)
        close(terms.loss[pair, 0, 1], case["expected"]["per_pair"][pair])


def test_bradley_terry_centred(reward_pairs: Tensors, golden: Golden) -> None:
    case = golden["rm.centered"]
    close(bradley_terry(**reward_pairs, centre=case["inputs"]["eta"]).value(), case["expected"]["loss"])


def test_bradley_terry_over_a_ranking(golden: Golden) -> None:
    case = golden["rm.k_wise_instructgpt"]
    reward = torch.tensor([case["inputs"]["rewards"]], dtype=torch.float64)
    terms = bradley_terry(reward, ranking(case["inputs"]["ranking_best_first"]))
    close(terms.value(), case["expected"]["loss"])
    close(terms.weight.sum(), case["expected"]["n_pairs"])


def test_bradley_terry_with_a_soft_label(golden: Golden) -> None:
    inputs = golden["rm.soft_label"]["inputs"]
    reward = torch.tensor([[inputs["r_a"], inputs["r_b"]]], dtype=torch.float64)
    prefer = torch.tensor([[[0.0, inputs["p_a"]], [1.0 - inputs["p_a"], 0.0]]], dtype=torch.float64)
    close(bradley_terry(reward, prefer).value(), golden["rm.soft_label"]["expected"]["loss"])
