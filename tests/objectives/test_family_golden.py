"""Every worked number of the wider family, in float64."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from accord.objectives import OBJECTIVES
from accord.objectives.distill import distill

Golden = dict[str, dict[str, Any]]
Tensors = dict[str, Tensor]

LINKS = ("logistic", "squared", "hinge", "exponential", "truncated_quadratic", "savage")


def close(actual: Tensor | float, expected: Any) -> None:
    torch.testing.assert_close(
        torch.as_tensor(actual, dtype=torch.float64).detach(),
        torch.as_tensor(expected, dtype=torch.float64),
        rtol=1e-6,
        atol=1e-9,
    )


def matrix(rows: list[list[float]]) -> Tensor:
    """`prefer` of one group."""
    return torch.tensor([rows], dtype=torch.float64)


def vector(values: list[float]) -> Tensor:
    """One number for each response of one group."""
    return torch.tensor([values], dtype=torch.float64)


def of_ratios(ratios: list[float]) -> Tensors:
    """One group of single-token responses with these log-ratios."""
    policy = torch.tensor(ratios, dtype=torch.float64).reshape(1, -1, 1)
    return {"policy": policy, "reference": torch.zeros_like(policy), "mask": torch.ones_like(policy)}


def pair(delta: float, score: list[float] | None = None) -> Tensors:
    """One pair with this log-ratio margin, perhaps with a score for each response."""
    tensors = of_ratios([delta, 0.0]) | {"prefer": matrix([[0, 1], [0, 0]])}
    return tensors if score is None else tensors | {"score": vector(score), "scored": vector([1.0, 1.0])}


def ranking(best_first: list[int]) -> Tensor:
    prefer = torch.zeros(1, len(best_first), len(best_first), dtype=torch.float64)
    for place, better in enumerate(best_first):
        prefer[0, better, best_first[place + 1 :]] = 1.0
    return prefer


def without_reference(toy: Tensors) -> Tensors:
    return {name: toy[name] for name in ("policy", "mask", "prefer")}


@pytest.mark.parametrize(
    ("case", "name", "hyper"),
    [
        ("dpo.hinge", "gpo", {"link": "hinge"}),
        ("dpo.robust", "robust_dpo", {"flip_rate": 0.1}),
        *((f"gpo_generalized.{link}", "gpo", {"link": link, "beta": 0.5}) for link in LINKS),
        ("fdpo.forward_kl", "f_dpo", {"divergence": "forward_kl"}),
        ("fdpo.js", "f_dpo", {"divergence": "js"}),
        ("spin.published", "dpo", {"beta": 0.1}),
    ],
)
def test_pairs_with_a_reference(case: str, name: str, hyper: dict[str, Any], toy: Tensors, golden: Golden) -> None:
    terms = OBJECTIVES[name](**toy, **hyper)
    close(terms.loss[:, 0, 1], golden[case]["expected"]["per_pair"])
    close(terms.value(), golden[case]["expected"]["loss"])


def test_ipo_is_the_squared_member_of_the_family(golden: Golden) -> None:
    case = golden["gpo_generalized.ipo_identity"]
    delta, tau = case["inputs"]["delta"], case["inputs"]["tau"]
    squared = OBJECTIVES["gpo"](**pair(delta), link="squared", beta=2.0 * tau).value()
    close(squared / (2.0 * tau) ** 2, case["expected"]["ipo"])
    close(OBJECTIVES["ipo"](**pair(delta), tau=tau, length="sum").value(), case["expected"]["ipo"])


def test_simpo_with_a_hinge(golden: Golden) -> None:
    case = golden["simpo.hinge"]
    means = torch.tensor([case["inputs"]["avg_chosen"], case["inputs"]["avg_rejected"]], dtype=torch.float64).T
    beta, ratio = case["inputs"]["beta"], case["inputs"]["gamma_beta_ratio"]
    prefer = matrix([[0, 1], [0, 0]]).expand(2, 2, 2)
    policy, mask = means.unsqueeze(-1), torch.ones(2, 2, 1)
    terms = OBJECTIVES["simpo"](policy, mask, prefer, beta=beta, gamma=beta * ratio, link="hinge")
    close(terms.loss[:, 0, 1], case["expected"]["per_pair"])
    close(terms.value(), case["expected"]["loss"])


def test_contrastive_preference_optimisation(toy: Tensors, golden: Golden) -> None:
    case = golden["cpo_contrastive.published"]
    terms = OBJECTIVES["cpo"](**without_reference(toy), beta=case["inputs"]["beta"], nll=case["inputs"]["alpha"])
    preference, likelihood = terms.components()
    close(preference.loss[:, 0, 1], case["expected"]["per_pair_pref"])
    close(likelihood.value(), case["inputs"]["nll_chosen_token_mean"] * case["inputs"]["alpha"])
    close(terms.value(), case["expected"]["loss"])


def test_dpo_without_beta_and_reference_is_contrastive(golden: Golden) -> None:
    case = golden["seed000.dpo_literal"]
    policy = of_ratios([case["inputs"]["logp_w"], case["inputs"]["logp_l"]])["policy"]
    value = OBJECTIVES["cpo"](policy, torch.ones_like(policy), matrix([[0, 1], [0, 0]]), beta=1.0, nll=0.0).value()
    close(value, case["expected"]["loss"])


def test_sequence_likelihood_calibration(toy: Tensors, golden: Golden) -> None:
    case = golden["slic.calibration"]
    terms = OBJECTIVES["slic"](**without_reference(toy), delta=case["inputs"]["delta"], nll=0.0)
    close(terms.loss[:, 0, 1], case["expected"]["per_pair"])
    close(terms.value(), case["expected"]["loss"])


def test_self_play_with_certain_wins(golden: Golden) -> None:
    case = golden["sppo.hard"]
    inputs = case["inputs"]
    tensors = of_ratios([inputs["logratio_w"], inputs["logratio_l"]]) | {"prefer": matrix([[0, 1], [0, 0]])}
    close(OBJECTIVES["sppo"](**tensors, beta=inputs["beta"]).value(), case["expected"]["loss_half_sum"])


def test_self_play_with_estimated_win_rates(golden: Golden) -> None:
    """A third response gives the first two the win rates 0.9 and 0.2."""
    case = golden["sppo.soft"]
    inputs = case["inputs"]
    prefer = matrix([[0.0, 0.8, 1.0], [0.2, 0.0, 0.2], [0.0, 0.8, 0.0]])
    tensors = of_ratios([inputs["logratio_w"], inputs["logratio_l"], 0.0]) | {"prefer": prefer}
    terms = OBJECTIVES["sppo"](**tensors, beta=inputs["beta"])
    close(terms.loss[0, :2].mean(), case["expected"]["loss_half_sum"])
    assert (terms.weight == 2.0).all()


def test_plackett_luce(golden: Golden) -> None:
    case = golden["dpo.plackett_luce"]
    inputs, expected = case["inputs"], case["expected"]
    tensors, prefer = of_ratios(inputs["log_ratios"]), ranking(inputs["ranking_best_first"])
    close(OBJECTIVES["plackett_luce"](**tensors, prefer=prefer, beta=inputs["beta"]).value(), expected["loss"])
    two = of_ratios(inputs["log_ratios"][:2]) | {"prefer": ranking([0, 1])}
    for name in ("plackett_luce", "dpo"):
        close(OBJECTIVES[name](**two, beta=inputs["beta"]).value(), expected["loss_k2_equals_dpo"])


def test_the_probabilities_of_all_rankings_sum_to_one(golden: Golden) -> None:
    case = golden["dpo.plackett_luce.normalisation"]
    tensors, beta = of_ratios(case["inputs"]["log_ratios"]), case["inputs"]["beta"]
    orders = itertools.permutations(range(3))
    values = [OBJECTIVES["plackett_luce"](**tensors, prefer=ranking(list(o)), beta=beta).value() for o in orders]
    close(sum(math.exp(-value) for value in values), case["expected"]["sum_of_probabilities_over_all_rankings"])


def test_soft_lists(golden: Golden) -> None:
    case = golden["sdpo.seed_soft_listwise"]
    inputs = case["inputs"]
    target = vector(inputs["target_probs"])
    value = OBJECTIVES["soft_listwise"](
        **of_ratios(inputs["log_ratios"]), distribution=target, valid=torch.ones(1, 3), beta=inputs["beta"]
    ).value()
    close(value, case["expected"]["loss_ce"])
    close(value + (target * target.log()).sum(), case["expected"]["loss_kl"])


def test_a_soft_list_of_two_is_conservative_dpo(golden: Golden) -> None:
    case = golden["sdpo.seed_identity_k2"]
    inputs = case["inputs"]
    tensors = of_ratios(inputs["log_ratios"])
    target = vector(inputs["target"])
    soft = OBJECTIVES["soft_listwise"](**tensors, distribution=target, valid=torch.ones(1, 2), beta=inputs["beta"])
    smoothed = OBJECTIVES["dpo"](**tensors, prefer=ranking([0, 1]), beta=inputs["beta"], label_smoothing=0.1)
    close(soft.value(), case["expected"]["listwise"])
    close(smoothed.value(), case["expected"]["cdpo"])


def test_stepwise_dpo_starts_each_step_anew(golden: Golden) -> None:
    case = golden["sdpo.published_stepwise"]
    inputs, expected = case["inputs"], case["expected"]
    states = [
        torch.tensor([[inputs[name]["w"]], [inputs[name]["l"]]], dtype=torch.float64).unsqueeze(0)
        for name in ("logps_sft", "logps_step1", "logps_step2")
    ]

    def loss(policy: int, reference: int) -> Tensor:
        terms = OBJECTIVES["dpo"](
            states[policy], states[reference], torch.ones(1, 2, 1), ranking([0, 1]), beta=inputs["beta"]
        )
        return terms.value()

    close(loss(1, 0), expected["step1_loss_ref_sft"])
    close(loss(1, 1), expected["step2_initial_loss_ref_step1"])
    close(loss(2, 1), expected["step2_final_loss_ref_step1"])
    close(loss(2, 0), expected["plain_dpo_loss_ref_sft"])


def test_shaped_margin(golden: Golden) -> None:
    case = golden["rsdpo.seed_shaped_margin"]
    inputs = case["inputs"]
    tensors = pair(inputs["delta"], [inputs["shape_w"], inputs["shape_l"]])
    tensors["policy"].requires_grad_()
    value = OBJECTIVES["shaped_dpo"](**tensors, beta=inputs["beta"], shaping=inputs["lambda"]).value()
    close(value, case["expected"]["loss"])
    (gradient,) = torch.autograd.grad(value, tensors["policy"])
    close(gradient[0, 0, 0], case["expected"]["grad_factor"])


def test_length_regularised_margin(golden: Golden) -> None:
    case = golden["rsdpo.length_regularised"]
    inputs = case["inputs"]
    policy = torch.zeros(1, 2, 3, dtype=torch.float64)
    policy[0, 0, 0] = inputs["delta"]
    mask = torch.ones_like(policy)
    mask[0, 1, inputs["len_l"] :] = 0.0
    assert mask[0, 0].sum() == inputs["len_w"]
    value = OBJECTIVES["r_dpo"](
        policy, torch.zeros_like(policy), mask, ranking([0, 1]), beta=inputs["beta"], alpha=inputs["alpha"]
    ).value()
    close(value, case["expected"]["loss"])


def test_offset_by_the_score_gap(golden: Golden) -> None:
    case = golden["rsdpo.odpo"]
    inputs = case["inputs"]
    tensors = pair(inputs["delta"], [inputs["score_w"], inputs["score_l"]])
    close(OBJECTIVES["odpo"](**tensors, beta=inputs["beta"], alpha=inputs["alpha"]).value(), case["expected"]["loss"])


def test_two_objectives(golden: Golden) -> None:
    case = golden["modpo"]
    inputs = case["inputs"]
    margin = inputs["logratio_w"] - inputs["logratio_l"]
    tensors = pair(margin, [inputs["margin_reward_w"], inputs["margin_reward_l"]])
    close(OBJECTIVES["modpo"](**tensors, beta=inputs["beta"], weight=inputs["w"][0]).value(), case["expected"]["loss"])


def test_cost_model(golden: Golden) -> None:
    case = golden["safe_rlhf.cost_model_loss"]
    inputs = case["inputs"]
    reward = vector([-inputs["cost_safer"], -inputs["cost_unsafer"]])
    label = vector([-inputs["sign_safer"], -inputs["sign_unsafer"]])
    close(OBJECTIVES["cost_model"](reward, ranking([0, 1]), label).value(), case["expected"]["loss"])


def test_k_wise_reward_model(golden: Golden) -> None:
    case = golden["rm.k_wise_instructgpt"]
    prefer = ranking(case["inputs"]["ranking_best_first"])
    terms = OBJECTIVES["bradley_terry"](vector(case["inputs"]["rewards"]), prefer, average="prompts")
    close(terms.value(), case["expected"]["loss"])
    close(terms.weight.sum(), 1.0)


def test_reward_weighted_likelihood(golden: Golden) -> None:
    case = golden["rwr.reward_weighted_nll"]
    inputs, expected = case["inputs"], case["expected"]
    policy = -vector(inputs["seq_nll"]).unsqueeze(-1)
    tensors = {
        "policy": policy,
        "mask": torch.ones_like(policy),
        "score": vector(inputs["feedback"]),
        "scored": vector([1.0, 1.0]),
    }
    for weighting, name in (("linear", "linear"), ("exponential", "exp_normalised")):
        value = OBJECTIVES["rwr"](**tensors, weighting=weighting, temperature=inputs["beta"]).value()
        close(value, expected[name])


def test_advantage_weighted_likelihood(golden: Golden) -> None:
    case = golden["awac.weighted_bc"]
    inputs = case["inputs"]
    policy = -vector([inputs["nll"], inputs["nll"]]).unsqueeze(-1)
    score = vector([1.0 + inputs["advantage"], 1.0 - inputs["advantage"]])
    terms = OBJECTIVES["awr"](policy, torch.ones_like(policy), score, torch.ones(1, 2), temperature=inputs["beta"])
    close(terms.loss[0, 0], case["expected"]["loss"])


def test_beta_follows_the_margin(toy: Tensors, golden: Golden) -> None:
    case = golden["adaptive_dpo.beta_dpo"]
    inputs, expected = case["inputs"], case["expected"]
    sums = [(toy[name].detach() * toy["mask"]).sum(-1) for name in ("policy", "reference")]
    margins = [total[:, 0] - total[:, 1] for total in sums]
    terms = OBJECTIVES["beta_dpo"](
        **toy,
        step_pairs=torch.stack([torch.ones_like(margins[0]), *margins], -1),
        state={"threshold": torch.tensor(inputs["ema_init"])},
        beta=inputs["beta0"],
        alpha=inputs["alpha"],
        momentum=inputs["ema_momentum"],
    )
    close(terms.metrics["beta"][0][0, 0, 1], expected["beta_batch"])
    close(terms.state["threshold"][0][0, 0, 1], expected["ema_mean"])
    close(terms.value(), expected["loss"])


def test_constrained_dpo(golden: Golden) -> None:
    """Six tokens with the worked example's divergence on average, in two responses with its margin."""
    case = golden["constrained_dpo.kl"]
    inputs, expected = case["inputs"], case["expected"]

    def ratios(spread: float) -> Tensor:
        step = inputs["delta"] / 6.0
        return torch.tensor([[[step + spread, step - spread, step], [-step] * 3]], dtype=torch.float64)

    def divergence(spread: float) -> float:
        return float(0.5 * ratios(spread).square().mean())

    low, high = 0.0, 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if divergence(middle) < expected["kl"] else (low, middle)
    policy = ratios(low)
    terms = OBJECTIVES["constrained_dpo"](
        policy,
        torch.zeros_like(policy),
        torch.ones_like(policy),
        ranking([0, 1]),
        {"multiplier": torch.tensor(inputs["dual"])},
        beta=inputs["beta"],
        kl_limit=inputs["kl_limit"],
        dual_rate=inputs["dual_lr"],
    )
    close(terms.value(), expected["loss"])
    carried, weight = terms.state["multiplier"]
    close((carried * weight).sum() / weight.sum(), expected["dual_next"])
    penalty = OBJECTIVES["constrained_dpo"](
        policy,
        torch.zeros_like(policy),
        torch.ones_like(policy),
        ranking([0, 1]),
        {},
        beta=inputs["beta"],
        kl_limit=0.0,
        multiplier=inputs["dual"],
    )
    close(penalty.value(), expected["penalty_form_loss"])


@pytest.mark.parametrize(
    ("hyper", "expected"),
    [
        ({"divergence": "forward_kl"}, "forward_kl"),
        ({"divergence": "reverse_kl"}, "reverse_kl"),
        ({"divergence": "jsd"}, "jsd_0.5"),
        ({"divergence": "jsd", "mix": 0.1}, "generalized_jsd_0.1"),
        ({"divergence": "forward_kl", "temperature": 2.0}, "forward_kl_T2"),
        ({"divergence": "forward_kl", "temperature": 2.0, "scale": "hinton"}, "hinton_kd_T2_scaled"),
    ],
)
def test_knowledge_transfer(hyper: dict[str, Any], expected: str, golden: Golden) -> None:
    case = golden["kto.seed_distill"]
    student, source = (
        torch.tensor(case["inputs"][f"{who}_logits"], dtype=torch.float64) for who in ("student", "teacher")
    )

    def teacher(measure: Callable[[Tensor, Tensor], Tensor], *, temperature: float) -> Tensor:
        return measure((student / temperature).log_softmax(-1), (source / temperature).log_softmax(-1)).view(1, 1, -1)

    terms = distill(teacher, torch.ones(1, 1, 2, dtype=torch.float64), **hyper)
    assert float(terms.value()) == pytest.approx(case["expected"][expected], rel=1e-6)
