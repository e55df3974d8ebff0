"""The wider family: first steps, limits in which one method is another, and what sets it apart."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from accord.objectives import OBJECTIVES, signature_of
from accord.objectives.primitives import EXPONENT_LIMIT, bounded_expm1, win_share

Tensors = dict[str, Tensor]
RandomBatch = Callable[..., Tensors]

LOG_TWO = math.log(2.0)


def batch_of(name: str, random_batch: RandomBatch, **sizes: int) -> Tensors:
    return random_batch(signature_of(OBJECTIVES[name]).needs, **sizes)


@pytest.mark.parametrize(
    ("name", "hyper", "first"),
    [
        ("robust_dpo", {"flip_rate": 0.3}, LOG_TWO),
        ("gpo", {"link": "logistic"}, LOG_TWO),
        ("gpo", {"link": "savage"}, 0.25),
        *(("gpo", {"link": link}, 1.0) for link in ("squared", "hinge", "exponential", "truncated_quadratic")),
        *(("f_dpo", {"divergence": divergence}, LOG_TWO) for divergence in ("forward_kl", "js", "alpha")),
        ("exo", {"flip_rate": 0.25}, -LOG_TWO - 0.5 * math.log(0.25 * 0.75)),
        ("nca", {}, 2.0 * LOG_TWO),
        ("apo", {"anchor": "zero"}, 1.0),
        ("apo", {"anchor": "down"}, 1.0),
        ("apo_unpaired", {}, 0.5),
        ("discopop", {}, 0.5 * LOG_TWO + 0.5),
        ("ld_dpo", {}, LOG_TWO),
        ("sppo", {"beta": 0.1}, 25.0),
    ],
)
def test_the_first_loss_is_known(name: str, hyper: dict[str, Any], first: float, random_batch: RandomBatch) -> None:
    tensors = batch_of(name, random_batch, responses=2)
    tensors |= {"reference": tensors["policy"].detach().clone()}
    if "prefer" in tensors:
        tensors["prefer"] = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]]).expand(4, 2, 2)
    value = OBJECTIVES[name](**tensors, **hyper).value()
    assert value.item() == pytest.approx(first)


@pytest.mark.parametrize(
    ("name", "hyper"),
    [
        ("robust_dpo", {"flip_rate": 0.0}),
        ("gpo", {"link": "logistic"}),
        ("ld_dpo", {"alpha": 1.0}),
        ("r_dpo", {"alpha": 0.0}),
        ("shaped_dpo", {"shaping": 0.0}),
        ("modpo", {"weight": 1.0}),
        ("f_dpo", {"divergence": "alpha", "alpha": 1e-9}),
    ],
)
def test_limits_are_dpo(name: str, hyper: dict[str, Any], random_batch: RandomBatch) -> None:
    tensors = batch_of(name, random_batch)
    if "scored" in tensors:
        tensors["scored"] = torch.ones_like(tensors["scored"])
    plain = {key: tensors[key] for key in ("policy", "reference", "mask", "prefer")}
    torch.testing.assert_close(OBJECTIVES[name](**tensors, **hyper).value(), OBJECTIVES["dpo"](**plain).value())


def test_lists_of_two_are_dpo(random_batch: RandomBatch) -> None:
    tensors = batch_of("dpo", random_batch, responses=2)
    dpo = OBJECTIVES["dpo"](**tensors).value()
    torch.testing.assert_close(OBJECTIVES["plackett_luce"](**tensors).value(), dpo)
    tensors["prefer"] = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]], dtype=torch.float64).expand(4, 2, 2)
    weighted = OBJECTIVES["lipo"](**tensors).value()
    torch.testing.assert_close(weighted, (1.0 - 1.0 / math.log2(3.0)) * OBJECTIVES["dpo"](**tensors).value())


def test_alpha_divergence_ends_at_the_forward_kl(random_batch: RandomBatch) -> None:
    tensors = batch_of("f_dpo", random_batch)
    near = OBJECTIVES["f_dpo"](**tensors, divergence="alpha", alpha=1.0 - 1e-12).value()
    torch.testing.assert_close(near, OBJECTIVES["f_dpo"](**tensors, divergence="forward_kl").value())


def test_robust_dpo_is_unbiased_under_its_flips(random_batch: RandomBatch) -> None:
    tensors = batch_of("robust_dpo", random_batch)
    noisy = 0.8 * tensors["prefer"] + 0.2 * tensors["prefer"].mT
    value = OBJECTIVES["robust_dpo"](**tensors | {"prefer": noisy}, flip_rate=0.2).value()
    torch.testing.assert_close(value, OBJECTIVES["dpo"](**tensors).value())


@pytest.mark.parametrize("link", ["hinge", "truncated_quadratic"])
def test_a_satisfied_pair_has_no_gradient(link: str) -> None:
    policy = torch.tensor([[[15.0], [0.0]]], requires_grad=True)
    prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    terms = OBJECTIVES["gpo"](policy, torch.zeros(1, 2, 1), torch.ones(1, 2, 1), prefer, link=link)
    (gradient,) = torch.autograd.grad(terms.value(), policy)
    assert not gradient.any()


def test_exo_is_least_at_its_target() -> None:
    prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]], dtype=torch.float64)
    policy = torch.tensor([[[10.0 * math.log(0.9 / 0.1)], [0.0]]], dtype=torch.float64, requires_grad=True)
    zeros, ones = torch.zeros(1, 2, 1), torch.ones(1, 2, 1)
    value = OBJECTIVES["exo"](policy, zeros, ones, prefer, flip_rate=0.1).value()
    (gradient,) = torch.autograd.grad(value, policy)
    assert value.item() == pytest.approx(0.0, abs=1e-12)
    assert gradient.abs().max() < 1e-12


def test_nca_brings_the_preferred_reward_to_log_two() -> None:
    prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]], dtype=torch.float64)
    policy = torch.tensor([[[10.0 * LOG_TWO], [0.0]]], dtype=torch.float64, requires_grad=True)
    terms = OBJECTIVES["nca"](policy, torch.zeros(1, 2, 1), torch.ones(1, 2, 1), prefer)
    (gradient,) = torch.autograd.grad(terms.value(), policy)
    assert abs(gradient[0, 0, 0]) < 1e-12
    assert gradient[0, 1, 0] > 0


def test_apo_down_lowers_both(random_batch: RandomBatch) -> None:
    tensors = batch_of("apo", random_batch, responses=2)
    tensors["prefer"] = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]], dtype=torch.float64).expand(4, 2, 2)
    start = tensors["policy"].detach() + 2.0 * tensors["mask"]  # the preferred one has gained already
    moved = tensors | {"reference": tensors["policy"].detach(), "policy": start.requires_grad_()}
    (gradient,) = torch.autograd.grad(OBJECTIVES["apo"](**moved, anchor="down").value(), start)
    assert (gradient[:, 1][tensors["mask"][:, 1] > 0] > 0).all()


def test_apo_without_pairs_is_kto_at_a_reference_point_of_zero(random_batch: RandomBatch) -> None:
    tensors = batch_of("kto", random_batch) | {"mismatched_kl": torch.tensor(0.0)}
    kto = OBJECTIVES["kto"](**tensors, desirable_weight=1.3).value()
    del tensors["mismatched_kl"]
    torch.testing.assert_close(OBJECTIVES["apo_unpaired"](**tensors, desirable_weight=1.3).value(), kto)


def test_discopop_rises_where_its_docstring_says() -> None:
    margins = torch.linspace(-0.3, 0.3, 6001, dtype=torch.float64)
    policy = torch.stack([margins / 0.1, torch.zeros_like(margins)], 1).unsqueeze(-1)
    prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]], dtype=torch.float64).expand(6001, 2, 2)
    loss = OBJECTIVES["discopop"](policy, torch.zeros_like(policy), torch.ones_like(policy), prefer).loss[:, 0, 1]
    rising = margins[1:][loss.diff() > 0]
    assert rising.min().item() / 0.05 == pytest.approx(-2.37, abs=0.01)
    assert rising.max().item() / 0.05 == pytest.approx(1.44, abs=0.01)


def test_soft_labels_of_self_play_give_the_gradient_of_sampled_ones(random_batch: RandomBatch) -> None:
    """Targets from win rates are the mean of the targets that single comparisons give."""
    tensors = batch_of("sppo", random_batch, groups=2, responses=4)
    (soft,) = torch.autograd.grad(OBJECTIVES["sppo"](**tensors, beta=0.1).value(), tensors["policy"])
    rows = tensors["prefer"].nonzero().tolist()
    single: Tensors = {
        key: torch.stack([tensors[key][group, [better, worse]] for group, better, worse in rows])
        for key in ("policy", "reference", "mask")
    }
    single["prefer"] = torch.zeros(len(rows), 2, 2, dtype=torch.float64)
    single["prefer"][:, 0, 1] = torch.stack([tensors["prefer"][tuple(row)] for row in rows])
    (sampled,) = torch.autograd.grad(OBJECTIVES["sppo"](**single, beta=0.1).value(), tensors["policy"])
    torch.testing.assert_close(soft, sampled)


def test_plackett_luce_leaves_ties_alone() -> None:
    """The first beats two equals; they do not compete with each other."""
    prefer = torch.tensor([[[0.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])
    policy = torch.tensor([[[0.5], [0.1], [-0.3]]])
    ones = torch.ones_like(policy)
    value = OBJECTIVES["plackett_luce"](policy, torch.zeros_like(policy), ones, prefer, beta=1.0).value()
    torch.testing.assert_close(value, -torch.log_softmax(policy.flatten(), 0)[0])


def test_list_weights_repeat_a_prompt(random_batch: RandomBatch) -> None:
    tensors = batch_of("plackett_luce", random_batch, groups=2)
    twice = {key: value[[0, 0, 1]] for key, value in tensors.items()}
    tensors["prefer"] = tensors["prefer"] * torch.tensor([2.0, 1.0], dtype=torch.float64).reshape(2, 1, 1)
    whole, repeated = (OBJECTIVES["plackett_luce"](**batch).value() for batch in (tensors, twice))
    torch.testing.assert_close(whole, repeated)


def test_lipo_weighs_a_mistake_at_the_top_most() -> None:
    prefer = torch.tensor([[[0.0, 1.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]], dtype=torch.float64)
    zeros, ones = torch.zeros(1, 3, 1), torch.ones(1, 3, 1)
    values = []
    for ratios in ([2.0, 3.0, 1.0], [3.0, 1.0, 2.0]):  # the first two exchanged, the last two exchanged
        policy = torch.tensor(ratios, dtype=torch.float64).reshape(1, 3, 1)
        values.append(OBJECTIVES["lipo"](policy, zeros, ones, prefer, beta=1.0).value())
    assert values[0] > values[1]


def test_lipo_learns_from_a_policy_that_is_its_reference(random_batch: RandomBatch) -> None:
    tensors = batch_of("lipo", random_batch)
    tensors["reference"] = tensors["policy"].detach().clone()
    (gradient,) = torch.autograd.grad(OBJECTIVES["lipo"](**tensors).value(), tensors["policy"])
    assert gradient.any()


def test_soft_lists_end_at_the_entropy_of_their_target() -> None:
    target = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64)
    policy = (10.0 * target.log()).unsqueeze(-1).requires_grad_()
    zeros, ones = torch.zeros(1, 3, 1), torch.ones(1, 3, 1)
    value = OBJECTIVES["soft_listwise"](policy, zeros, ones, target, torch.ones(1, 3)).value()
    (gradient,) = torch.autograd.grad(value, policy)
    torch.testing.assert_close(value, -(target * target.log()).sum())
    assert gradient.abs().max() < 1e-12


def test_offsets_use_only_scored_pairs(random_batch: RandomBatch) -> None:
    tensors = batch_of("odpo", random_batch, groups=1, responses=3)
    tensors["prefer"] = torch.ones(1, 3, 3, dtype=torch.float64) - torch.eye(3)
    tensors["score"] = torch.tensor([[2.0, 1.0, 0.0]], dtype=torch.float64)
    tensors["scored"] = torch.tensor([[1.0, 1.0, 0.0]], dtype=torch.float64)
    only_higher = OBJECTIVES["odpo"](**tensors).weight
    assert only_higher.nonzero().tolist() == [[0, 0, 1]]
    both_ways = OBJECTIVES["shaped_dpo"](**tensors).weight
    assert both_ways.nonzero().tolist() == [[0, 0, 1], [0, 1, 0]]


def test_length_regularisation_learns_less_from_a_longer_winner() -> None:
    policy = torch.zeros(1, 2, 4, requires_grad=True)
    prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    lengths = torch.tensor([[4, 1], [1, 4]])
    slopes = []
    for length in lengths:
        mask = (torch.arange(4) < length.unsqueeze(-1)).float().unsqueeze(0)
        value = OBJECTIVES["r_dpo"](policy, torch.zeros_like(policy), mask, prefer, alpha=0.3).value()
        (gradient,) = torch.autograd.grad(value, policy)
        slopes.append(-gradient[0, 0, 0].item())
    assert 0 < slopes[0] < slopes[1]


def test_length_desensitised_dpo_skips_turns_of_context() -> None:
    """The shared length counts trained tokens, wherever they stand."""
    policy = torch.tensor([[[1.0, 7.0, 2.0, 4.0], [0.0, 0.0, 0.0, 0.0]]])
    mask = torch.tensor([[[1.0, 0.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0]]])
    prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    value = OBJECTIVES["ld_dpo"](policy, torch.zeros_like(policy), mask, prefer, beta=1.0, alpha=0.25).value()
    assert value.item() == pytest.approx(math.log1p(math.exp(-(1.0 + 2.0 + 0.25 * 4.0))))


def test_simpo_reward_shapes_approach_simpo(random_batch: RandomBatch) -> None:
    tensors = batch_of("simpo", random_batch)
    plain = OBJECTIVES["simpo"](**tensors).value()
    for alpha in (1e-8, -1e-8):
        torch.testing.assert_close(OBJECTIVES["simpo"](**tensors, alpha=alpha).value(), plain)


def test_prompts_count_the_same_in_a_k_wise_reward_model(random_batch: RandomBatch) -> None:
    tensors = batch_of("bradley_terry", random_batch, groups=2, responses=4)
    tensors["prefer"][1] = 0.0
    tensors["prefer"][1, 0, 1] = 3.0
    each = [
        OBJECTIVES["bradley_terry"](**{key: value[[group]] for key, value in tensors.items()}).value()
        for group in range(2)
    ]
    whole = OBJECTIVES["bradley_terry"](**tensors, average="prompts").value()
    torch.testing.assert_close(whole, (each[0] + each[1]) / 2.0)


def test_an_unlabelled_response_is_only_ranked(random_batch: RandomBatch) -> None:
    tensors = batch_of("cost_model", random_batch)
    tensors["label"] = torch.zeros_like(tensors["label"])
    ranked = OBJECTIVES["bradley_terry"](tensors["reward"], tensors["prefer"]).value()
    torch.testing.assert_close(OBJECTIVES["cost_model"](**tensors).value(), ranked)


def test_uniform_scores_make_weighted_likelihoods_the_mean(random_batch: RandomBatch) -> None:
    tensors = batch_of("rwr", random_batch)
    tensors["score"] = torch.full_like(tensors["score"], 0.7) * tensors["scored"]
    mean = -(tensors["policy"].sum(-1) * tensors["scored"]).sum() / tensors["scored"].sum()
    torch.testing.assert_close(OBJECTIVES["rwr"](**tensors).value(), mean)
    torch.testing.assert_close(OBJECTIVES["awr"](**tensors).value(), mean)


def test_a_small_temperature_imitates_the_best(random_batch: RandomBatch) -> None:
    tensors = batch_of("rwr", random_batch, groups=1)
    tensors["scored"] = torch.ones_like(tensors["scored"])
    tensors["score"] = torch.tensor([[0.1, 0.9, 0.3]], dtype=torch.float64)
    value = OBJECTIVES["rwr"](**tensors, temperature=0.05).value()
    torch.testing.assert_close(value, -tensors["policy"][0, 1].sum(), rtol=1e-4, atol=0)


def test_huge_scores_stay_finite(random_batch: RandomBatch) -> None:
    for name in ("rwr", "awr"):
        tensors = batch_of(name, random_batch)
        tensors["score"] = tensors["score"] * 1e6
        value = OBJECTIVES[name](**{key: value.detach().float() for key, value in tensors.items()}).value()
        assert value.isfinite()


def test_bounded_exponential_is_smooth_at_its_limit() -> None:
    at = torch.tensor([EXPONENT_LIMIT - 1e-6, EXPONENT_LIMIT + 1e-6], dtype=torch.float64, requires_grad=True)
    values = bounded_expm1(at)
    (slopes,) = torch.autograd.grad(values.sum(), at)
    torch.testing.assert_close(slopes, torch.full_like(slopes, math.exp(EXPONENT_LIMIT)), rtol=1e-5, atol=0)
    assert values[1] > values[0]


def test_win_shares_of_a_compared_pair_sum_to_one() -> None:
    share, compared = win_share(torch.tensor([[[0.0, 3.0], [1.0, 0.0]]]))
    assert share.tolist() == [[0.75, 0.25]]
    assert compared.tolist() == [[4.0, 4.0]]
