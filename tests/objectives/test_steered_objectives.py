"""Objectives whose weights or strength follow the policy, the annotators or a budget: worked numbers and limits."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from accord.objectives import OBJECTIVES, Terms, signature_of

Golden = dict[str, dict[str, Any]]
Tensors = dict[str, Tensor]
RandomBatch = Callable[..., Tensors]
OfStep = Callable[[Tensors], Tensor]


def close(actual: Tensor | float | list[float], expected: Any) -> None:
    torch.testing.assert_close(
        torch.as_tensor(actual, dtype=torch.float64).detach(),
        torch.as_tensor(expected, dtype=torch.float64),
        rtol=1e-6,
        atol=1e-9,
    )


def plain(tensors: Tensors) -> Tensors:
    return {name: tensors[name] for name in ("policy", "reference", "mask", "prefer")}


def batch_of(name: str, random_batch: RandomBatch, **sizes: int) -> Tensors:
    tensors = random_batch(signature_of(OBJECTIVES[name]).needs, **sizes)
    return {key: tensors[key] for key in tensors}


def next_state(terms: Terms) -> Tensors:
    """What the loop would hand to the next step, if this batch were a whole one."""
    carried = {name: pair for part in terms.components() for name, pair in part.state.items()}
    return {name: (value * weight).sum() / weight.sum() for name, (value, weight) in carried.items() if weight.any()}


def gradient(terms: Terms, tensors: Tensors) -> Tensor:
    return torch.autograd.grad(terms.value(), tensors["policy"])[0]


def test_the_controller_follows_the_divergence(random_batch: RandomBatch, golden: Golden) -> None:
    case = golden["adaptive_dpo.kl_target"]
    inputs = case["inputs"]
    terms = OBJECTIVES["adaptive_dpo"](
        **batch_of("adaptive_dpo", random_batch),
        state={"beta": torch.tensor(inputs["beta"], dtype=torch.float64), "kl": torch.tensor(inputs["kl"])},
        kl_target=inputs["target"],
        rate=inputs["n"] / inputs["horizon"],
    )
    close(terms.metrics["beta"][0][0, 0, 1], case["expected"]["beta_next"])


def test_a_controller_at_rest_is_dpo(random_batch: RandomBatch) -> None:
    tensors = batch_of("adaptive_dpo", random_batch)
    first = OBJECTIVES["adaptive_dpo"](**tensors, state={}, rate=1.0)
    close(first.value(), OBJECTIVES["dpo"](**tensors).value())
    state = next_state(first)
    expected = 0.5 * ((tensors["policy"] - tensors["reference"]) * tensors["mask"]).square().sum(-1)
    compared = (tensors["prefer"] + tensors["prefer"].mT).sum(-1)
    close(state["kl"], (expected * compared).sum() / compared.sum())
    still = OBJECTIVES["adaptive_dpo"](**tensors, state=state, rate=0.0)
    close(still.value(), OBJECTIVES["dpo"](**tensors).value())


def test_preferences_redrawn_at_the_price_of_a_cost(golden: Golden) -> None:
    case = golden["constrained_dpo.cdpo_lagrangian"]
    inputs, wins = case["inputs"], case["expected"]["p_lambda"]
    policy = torch.tensor([[[0.7], [-0.3]]], dtype=torch.float64)
    ones = torch.ones(1, 2, dtype=torch.float64)
    terms = OBJECTIVES["cost_dpo"](
        policy,
        torch.zeros_like(policy),
        torch.ones_like(policy),
        torch.tensor([[inputs["r_w"], inputs["r_l"]]], dtype=torch.float64),
        ones,
        torch.tensor([[inputs["c_w"], inputs["c_l"]]], dtype=torch.float64),
        {"multiplier": torch.tensor(inputs["lambda"], dtype=torch.float64)},
        beta=1.0,
    )
    softplus = torch.nn.functional.softplus
    expected = wins * softplus(torch.tensor(-1.0).double()) + (1.0 - wins) * softplus(torch.tensor(1.0).double())
    close(terms.value(), expected)
    assert (wins < 0.5) == (case["expected"]["relabelled_winner"] == "l")


def test_the_price_of_a_cost_rises_above_its_budget_and_falls_to_zero_below(random_batch: RandomBatch) -> None:
    tensors = batch_of("cost_dpo", random_batch)
    tensors["cost"] = torch.where(tensors["scored"] > 0, 0.5, 0.0)
    for limit, expected in ((0.3, [1.0, 1.2, 1.4]), (1.5, [1.0, 0.0, 0.0])):
        state: Tensors = {}
        seen = []
        for _ in expected:
            terms = OBJECTIVES["cost_dpo"](**tensors, state=state, cost_limit=limit, dual_rate=1.0)
            seen.append(terms.metrics["multiplier"][0].max().item())
            state = next_state(terms)
        assert seen == pytest.approx(expected)


def test_the_expected_cost_moves_with_the_policy(random_batch: RandomBatch) -> None:
    """Where the policy is the reference it is the mean; where it says one response only, that one's cost."""
    tensors = batch_of("cost_dpo", random_batch, groups=1, responses=2, tokens=1)
    tensors |= {"scored": torch.ones(1, 2), "cost": torch.tensor([[1.0, 0.0]]), "mask": torch.ones(1, 2, 1)}
    for lead, expected in ((0.0, 0.5), (50.0, 1.0)):
        moved = tensors["reference"] + torch.tensor([[[lead], [0.0]]])
        terms = OBJECTIVES["cost_dpo"](**(tensors | {"policy": moved}), state={})
        assert terms.metrics["expected_cost"][0].item() == pytest.approx(expected)


def two_groups(first: list[float], second: list[float]) -> Tensors:
    """One pair a margin, of the first and of the second annotator group."""
    margins = torch.tensor([*first, *second], dtype=torch.float64)
    policy = torch.stack([margins, torch.zeros_like(margins)], -1).unsqueeze(-1).requires_grad_()
    shares = torch.eye(3, dtype=torch.float64)[[0] * len(first) + [1] * len(second)]
    prefer = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]], dtype=torch.float64).expand(len(margins), 2, 2)
    return {
        "policy": policy,
        "reference": torch.zeros_like(policy),
        "mask": torch.ones_like(policy),
        "prefer": prefer,
        "annotator": shares[..., None, None].expand(-1, 3, 2, 2),
    }


def test_weights_of_annotator_groups(golden: Golden) -> None:
    """The hinge of margins 0.3 and 0.7 gives the losses of the worked example."""
    case = golden["robust.group_dro_weights"]
    losses, expected = case["inputs"]["group_losses"], case["expected"]
    tensors = two_groups([1.0 - losses[0]], [1.0 - losses[1]])
    settings = {"beta": 1.0, "link": "hinge", "step_size": case["inputs"]["step"]}
    terms = OBJECTIVES["group_dpo"](**tensors, state={}, **settings)
    close(terms.value(), sum(q * loss for q, loss in zip(case["inputs"]["q"], losses, strict=True)))
    moved = OBJECTIVES["group_dpo"](**tensors, state=next_state(terms), **settings)
    close([part.scale for part in moved.components()], expected["q_next"])
    close(moved.value(), expected["robust_loss_with_next"])


def test_small_groups_count_as_much_as_large_ones() -> None:
    tensors = two_groups([0.5] * 9, [-2.0])
    terms = OBJECTIVES["group_dpo"](**tensors, state={}, beta=1.0, step_size=0.0)
    softplus = torch.nn.functional.softplus(torch.tensor([-0.5, 2.0], dtype=torch.float64))
    close(terms.value(), softplus.mean())
    state = next_state(OBJECTIVES["group_dpo"](**tensors, state={}, beta=1.0, step_size=1.0))
    assert state["log_weight_1"] > state["log_weight_0"]


def test_a_group_that_is_absent_keeps_its_weight() -> None:
    terms = OBJECTIVES["group_dpo"](**two_groups([0.5], []), state={"log_weight_1": torch.tensor(2.0)})
    assert set(next_state(terms)) == {"log_weight_0"}
    assert terms.value().item() == pytest.approx(math.log1p(math.exp(-0.05)) / (1.0 + math.exp(2.0)))


def test_groups_that_are_not_trained_on_are_measured_only() -> None:
    tensors = two_groups([0.5], [-1.0])
    tensors["annotator"] = tensors["annotator"][:, [0, 2, 1]]
    terms = OBJECTIVES["group_dpo"](**tensors, state={})
    assert not gradient(terms, tensors)[1].any()
    right, weight = terms.metrics["accuracy_unseen"]
    assert (right * weight).sum() == 0.0
    assert weight.sum() == 1.0


def test_one_group_is_the_plain_loss(random_batch: RandomBatch) -> None:
    tensors = batch_of("group_dpo", random_batch)
    everything = torch.stack([torch.ones_like(tensors["prefer"]), torch.zeros_like(tensors["prefer"])], 1)
    for link in ("logistic", "exponential"):
        ours = OBJECTIVES["group_dpo"](**(tensors | {"annotator": everything}), state={}, link=link)
        close(ours.value(), OBJECTIVES["gpo"](**plain(tensors), link=link).value())


def test_the_weight_of_a_pair_scales_its_gradient(random_batch: RandomBatch) -> None:
    tensors = batch_of("wpo", random_batch, groups=1, responses=2)
    tensors["prefer"] = torch.tensor([[[0.0, 1.0], [0.0, 0.0]]], dtype=torch.float64)
    own = (((tensors["policy"] - tensors["collision"]) * tensors["mask"]).sum(-1) / tensors["mask"].sum(-1)).detach()
    ours = gradient(OBJECTIVES["wpo"](**tensors), tensors)
    close(ours, torch.exp(own.sum()) * gradient(OBJECTIVES["dpo"](**plain(tensors)), tensors))


def test_a_policys_own_words_weigh_one() -> None:
    """Under a uniform distribution over four tokens every response is as likely as a draw from the policy."""
    policy = torch.full((1, 2, 3), math.log(0.25), dtype=torch.float64, requires_grad=True)
    terms = OBJECTIVES["wpo"](
        policy, policy, torch.ones_like(policy), torch.tensor([[[0.0, 1.0], [0.0, 0.0]]]), policy.detach()
    )
    close(terms.metrics["pair_weight"][0], torch.ones(1, 2, 2))


def test_a_filter_of_nothing_is_no_filter(random_batch: RandomBatch) -> None:
    tensors = batch_of("beta_dpo", random_batch)
    close(
        OBJECTIVES["beta_dpo"](**tensors, state={}, drop=1e-6).value(),
        OBJECTIVES["beta_dpo"](**tensors, state={}).value(),
    )


def test_a_filter_keeps_its_share_and_drops_the_unusual_first(
    random_batch: RandomBatch, pairs_of_the_step: OfStep
) -> None:
    """With equal margins but one, that one loses more than its share; the chances add up to what is kept."""
    tensors = batch_of("beta_dpo", random_batch, groups=10, responses=2, tokens=1)
    policy = torch.tensor([[[0.1], [0.0]]] * 5 + [[[-0.1], [0.0]]] * 4 + [[[8.0], [0.0]]], dtype=torch.float64)
    tensors |= {"policy": policy.requires_grad_(), "reference": torch.zeros_like(policy)}
    tensors |= {"mask": torch.ones_like(policy), "prefer": first_wins(10)}
    tensors["step_pairs"] = pairs_of_the_step(tensors)
    settings = {"alpha": 0.0, "drop": 0.2}
    terms = OBJECTIVES["beta_dpo"](**tensors, state={}, **settings)
    whole = OBJECTIVES["dpo"](**plain(tensors)).loss[:, 0, 1]
    chances = (terms.loss[:, 0, 1] / whole).detach() * 0.8
    assert chances.sum().item() == pytest.approx(8.0)
    assert chances[-1] < 0.1
    assert chances[:9].min() > 0.8


def test_transport_without_pairs_compares_sorted_classes(random_batch: RandomBatch, ratios_of_the_step: OfStep) -> None:
    """The gradient is that of the paper's mean over quantiles, the value twice it."""
    tensors = batch_of("aot_unpaired", random_batch, groups=8, responses=2)
    tensors["label"] = torch.tensor([[1.0, -1.0]], dtype=torch.float64).expand(8, 2)
    ratio = ((tensors["policy"] - tensors["reference"]) * tensors["mask"]).sum(-1)
    lead = 0.1 * (ratio[:, 0].sort().values - ratio[:, 1].sort().values)
    expected = (0.8 * torch.nn.functional.softplus(-lead) + 0.2 * torch.nn.functional.softplus(lead)).mean()
    (wanted,) = torch.autograd.grad(expected, tensors["policy"])
    ratios = ratios_of_the_step(tensors)
    terms = OBJECTIVES["aot_unpaired"](**(tensors | {"step_ratios": ratios}), label_smoothing=0.2)
    close(terms.value(), 2.0 * expected)
    close(gradient(terms, tensors), wanted)


def test_transport_without_pairs_takes_unequal_classes(random_batch: RandomBatch, ratios_of_the_step: OfStep) -> None:
    """Each undesirable response twice changes nothing for the desirable ones; one class alone teaches nothing."""
    tensors = batch_of("aot_unpaired", random_batch, groups=6, responses=2)
    tensors["label"] = torch.tensor([[1.0, -1.0]], dtype=torch.float64).expand(6, 2)
    ratios = ratios_of_the_step(tensors)
    once = OBJECTIVES["aot_unpaired"](**(tensors | {"step_ratios": ratios}))
    doubled = torch.cat([ratios, ratios[ratios[:, 0] < 0]])
    twice = OBJECTIVES["aot_unpaired"](**(tensors | {"step_ratios": doubled}))
    close(twice.loss[:, 0], once.loss[:, 0])
    alone = tensors | {"label": torch.ones(6, 2, dtype=torch.float64)}
    assert OBJECTIVES["aot_unpaired"](**(alone | {"step_ratios": ratios_of_the_step(alone)})).value() == 0.0


def test_the_optimum_of_reward_with_a_penalty_is_the_one_that_dpo_reaches(golden: Golden) -> None:
    """At the closed form, DPO on the reward's own preference probabilities has no gradient left."""
    case = golden["reference.pi_star_closed_form"]
    inputs, expected = case["inputs"], case["expected"]
    reference = torch.tensor(inputs["p_ref"], dtype=torch.float64).log()
    reward = torch.tensor(inputs["reward"], dtype=torch.float64)
    weights = reference + reward / inputs["beta"]
    close(weights.softmax(-1), expected["p_star"])
    close(weights.exp().sum(), expected["Z"])
    policy = torch.tensor(expected["p_star"], dtype=torch.float64).log().reshape(1, 3, 1).requires_grad_()
    prefer = torch.sigmoid(reward.unsqueeze(-1) - reward) * (1.0 - torch.eye(3, dtype=torch.float64))
    terms = OBJECTIVES["dpo"](
        policy, reference.reshape(1, 3, 1), torch.ones_like(policy), prefer.unsqueeze(0), beta=inputs["beta"]
    )
    assert gradient(terms, {"policy": policy}).abs().max() < 1e-12


def test_the_likelihoods_exponential_is_the_perplexity(golden: Golden) -> None:
    case = golden["sft.perplexity"]
    rows = [torch.tensor(row, dtype=torch.float64) for row in case["inputs"]["token_nll"]]
    policy = -torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).unsqueeze(1)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True).unsqueeze(1)
    close(OBJECTIVES["sft"](policy, mask).value().exp(), case["expected"]["ppl"])


def test_self_play_starts_at_log_two(toy: Tensors, golden: Golden) -> None:
    same = toy | {"reference": toy["policy"].detach()}
    close(OBJECTIVES["dpo"](**same).value(), golden["spin.first_step"]["expected"]["loss"])


@pytest.mark.parametrize("name", ["kto", "bco", "apo_unpaired"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_batch_of_one_class_of_labels_teaches_that_class(name: str, sign: float, random_batch: RandomBatch) -> None:
    tensors = batch_of(name, random_batch)
    tensors["label"] = torch.full_like(tensors["label"], sign)
    memory = {"state": {"desirable": torch.tensor(0.1)}} if name == "bco" else {}
    terms = OBJECTIVES[name](**tensors, **memory)
    slope = gradient(terms, tensors)
    assert slope.isfinite().all()
    assert (sign * slope <= 0).all()
    if name == "bco":
        assert set(next_state(terms)) == {"desirable" if sign > 0 else "undesirable"}


def first_wins(groups: int) -> Tensor:
    return torch.tensor([[[0.0, 1.0], [0.0, 0.0]]], dtype=torch.float64).expand(groups, 2, 2)
