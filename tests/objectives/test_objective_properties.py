"""What holds for every objective in the registry, whatever its formula."""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor

from accord.objectives import OBJECTIVES, Terms, signature_of

Tensors = dict[str, Tensor]
RandomBatch = Callable[..., Tensors]

# Settings that switch on every component, so that each of them is held to the properties.
EXTRA: list[tuple[str, dict[str, Any]]] = [
    ("rwr", {"weighting": "linear"}),
    ("awr", {"most": 1.1}),
    ("dpo", {"label_smoothing": 0.1, "nll": 0.5}),
    ("dpo", {"length": "token_mean"}),
    ("ipo", {"length": "sum"}),
    *(("gpo", {"link": link}) for link in ("logistic", "squared", "exponential", "truncated_quadratic", "savage")),
    *(("f_dpo", {"divergence": divergence}) for divergence in ("forward_kl", "alpha")),
    ("apo", {"anchor": "down"}),
    ("wpo", {"label_smoothing": 0.1}),
    ("group_dpo", {"link": "squared", "step_size": 0.0}),
    ("beta_dpo", {"drop": 0.3}),
    ("aot_unpaired", {"label_smoothing": 0.1}),
    ("ld_dpo", {"alpha": 0.0}),
    ("simpo", {"alpha": 0.3, "nll": 0.5}),
    ("simpo", {"alpha": -0.3, "link": "hinge"}),
    ("kto", {"desirable_weight": 1.3, "undesirable_weight": 0.7}),
    ("apo_unpaired", {"desirable_weight": 1.3, "undesirable_weight": 0.7}),
    ("ilql", {"expectile": 0.9, "cql": 0.0}),
    ("bradley_terry", {"margin": 0.2, "centre": 0.01}),
    ("bradley_terry", {"centre": 0.01, "average": "prompts"}),
]
# A teacher is a function: `test_distill` has the properties of what names one.
OF_TENSORS = [name for name in OBJECTIVES if "teacher" not in signature_of(OBJECTIVES[name]).needs]
CASES: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in OF_TENSORS] + EXTRA


def identifier(name: str, hyper: dict[str, Any]) -> str:
    return "-".join([name, *(f"{key}={value}" for key, value in hyper.items())])


every_objective = pytest.mark.parametrize(("name", "hyper"), CASES, ids=[identifier(*case) for case in CASES])
PAIRED = [(name, hyper) for name, hyper in CASES if "prefer" in signature_of(OBJECTIVES[name]).needs]
# These look at all comparisons of a group together, so a group is more than its pairs.
GROUPWISE = {"sppo", "plackett_luce", "lipo", "xpo", "nash_md"}
BY_PAIRS = [
    (name, hyper) for name, hyper in PAIRED if name not in GROUPWISE and hyper.get("average", "pairs") == "pairs"
]
# DiscoPOP's loss rises around a margin of zero; it does not favour the preferred there, and its docstring says so.
# The losses of two samplers go by whose the responses are as well.
FAVOURING = [name for name, hyper in PAIRED if not hyper and name not in ("discopop", "xpo", "nash_md")]


# What objectives with a memory find there; all others are given none.
STATES: dict[str, dict[str, Tensor]] = {
    "bco": {"desirable": torch.tensor(0.3), "undesirable": torch.tensor(-0.2)},
    "beta_dpo": {"threshold": torch.tensor(0.4)},
    "constrained_dpo": {"multiplier": torch.tensor(0.7)},
    "cost_dpo": {"multiplier": torch.tensor(0.7)},
    "adaptive_dpo": {"beta": torch.tensor(0.2), "kl": torch.tensor(7.0)},
    "group_dpo": {"log_weight_0": torch.tensor(0.4), "log_weight_1": torch.tensor(-0.3)},
}
# Tensors that describe the whole optimiser step, whichever part of it a batch is.
OF_THE_STEP = {"mismatched_kl", "step_pairs", "step_ratios"}
# Their weights come from the policy without a gradient, so that the loss is not what it descends; tested by themselves.
DETACHED = [("wpo", {}), ("wpo", {"label_smoothing": 0.1}), ("beta_dpo", {"drop": 0.3}), ("nash_md", {})]
DIFFERENTIABLE = [case for case in CASES if case not in DETACHED]
# Tensors of every two responses.
OF_PAIRS = ("prefer", "annotator", "named_prefer")
# What models give.
FROM_MODELS: tuple[str, ...] = ("policy", "reference", "reward", "collision", "named_rewards", "step_reward", "value")
FROM_MODELS += ("target_q", "first_q", "second_q", "first_q_logprob", "second_q_logprob")
# Tensors whose last dimension is a named value of a response.
OF_VALUES = ("named_rewards", "ratings", "rated")


def compute(name: str, tensors: Tensors, hyper: dict[str, Any]) -> Terms:
    memory = {"state": STATES.get(name, {})} if "state" in needs(name) else {}
    return OBJECTIVES[name](**tensors, **memory, **hyper)


def carried(terms: Terms) -> dict[str, tuple[Tensor, Tensor]]:
    """What all components carry to the next step."""
    return {name: pair for part in terms.components() for name, pair in part.state.items()}


def needs(name: str) -> tuple[str, ...]:
    return signature_of(OBJECTIVES[name]).needs


def slot_of(tensors: Tensors) -> str:
    """The name of what a model gives."""
    return next(name for name in ("policy", "reward", "named_rewards", "step_reward") if name in tensors)


def trained(tensors: Tensors) -> Tensor:
    """The tensor that carries gradients."""
    return tensors[slot_of(tensors)]


def divided_once(parts: Iterable[Terms]) -> Tensor:
    """The loop's reduction: sums over all parts, one division a component."""
    total = torch.zeros((), dtype=torch.float64)
    for components in zip(*(list(part.components()) for part in parts), strict=True):
        loss = sum((part.weight.expand_as(part.loss) * part.loss).sum() for part in components)
        weight = sum(part.weight.expand_as(part.loss).sum() for part in components)
        total = total + components[0].scale * loss / weight
    return total


def batched(tensors: Tensors, rows: Tensor | slice) -> Tensors:
    return {name: value if name in OF_THE_STEP else value[rows] for name, value in tensors.items()}


@pytest.mark.parametrize(("name", "hyper"), DIFFERENTIABLE, ids=[identifier(*case) for case in DIFFERENTIABLE])
def test_gradient_agrees_with_finite_differences(name: str, hyper: dict[str, Any], random_batch: RandomBatch) -> None:
    tensors = random_batch(needs(name), groups=2)
    slot = slot_of(tensors)
    assert torch.autograd.gradcheck(
        lambda values: compute(name, tensors | {slot: values}, hyper).value(), (tensors[slot],), atol=1e-7
    )


@every_objective
def test_padding_changes_nothing(name: str, hyper: dict[str, Any], random_batch: RandomBatch) -> None:
    tensors = random_batch(needs(name))
    padded = {}
    for key, value in tensors.items():
        if key in OF_THE_STEP:
            padded[key] = value
            continue
        amounts = (0, 2) if value.ndim == 2 else (0, 2, 0, 2) if key in OF_PAIRS else (0, 3, 0, 2)
        amounts = (0, 0, 0, 2) if key in OF_VALUES else amounts
        # What stands in the padding does not matter, not even when it is not a number.
        fill = float("nan") if key in FROM_MODELS else 0.0
        padded[key] = torch.nn.functional.pad(value.detach(), amounts, value=fill)
        if key in ("policy", "reference"):
            padded[key][..., : value.shape[-1]][:, : value.shape[1]].masked_fill_(tensors["mask"] == 0, fill)
    leaf = trained(padded).requires_grad_()
    plain, wide = compute(name, tensors, hyper), compute(name, padded, hyper)
    torch.testing.assert_close(wide.value(), plain.value(), rtol=1e-12, atol=0)
    (gradient,) = torch.autograd.grad(wide.value(), leaf)
    (original,) = torch.autograd.grad(plain.value(), trained(tensors))
    inside = tuple(slice(size) for size in original.shape)
    torch.testing.assert_close(gradient[inside], original, rtol=1e-12, atol=1e-15)
    assert gradient.abs().sum().item() == pytest.approx(original.abs().sum().item())


@every_objective
def test_order_of_groups_and_responses_changes_nothing(
    name: str, hyper: dict[str, Any], random_batch: RandomBatch
) -> None:
    tensors = random_batch(needs(name))
    shuffled = batched(tensors, torch.tensor([2, 0, 3, 1]))
    responses = torch.tensor([1, 2, 0])
    for key, value in shuffled.items():
        if key not in OF_THE_STEP:
            both = key in OF_PAIRS
            shuffled[key] = value[..., responses, :][..., responses] if both else value[:, responses]
    torch.testing.assert_close(
        compute(name, shuffled, hyper).value(), compute(name, tensors, hyper).value(), rtol=1e-12, atol=0
    )


@every_objective
@pytest.mark.parametrize("sizes", [(1, 3), (3, 1), (1, 1, 1, 1)])
def test_micro_batches_add_up(
    name: str, hyper: dict[str, Any], sizes: tuple[int, ...], random_batch: RandomBatch
) -> None:
    tensors = random_batch(needs(name), groups=4)
    ends = list(itertools.accumulate(sizes))
    parts = [batched(tensors, slice(end - size, end)) for size, end in zip(sizes, ends, strict=True)]
    whole = compute(name, tensors, hyper).value()
    split = divided_once(compute(name, part, hyper) for part in parts)
    torch.testing.assert_close(split, whole, rtol=1e-12, atol=0)


@every_objective
def test_only_the_policy_learns(name: str, hyper: dict[str, Any], random_batch: RandomBatch) -> None:
    tensors = random_batch(needs(name))
    frozen = [key for key in ("reference", *OF_THE_STEP) if key in tensors]
    for key in frozen:
        tensors[key].requires_grad_()
    inputs = [trained(tensors), *(tensors[key] for key in frozen)]
    learnt, *rest = torch.autograd.grad(compute(name, tensors, hyper).value(), inputs, allow_unused=True)
    assert learnt.any()
    assert all(gradient is None for gradient in rest)


@every_objective
def test_weights_are_data(name: str, hyper: dict[str, Any], random_batch: RandomBatch) -> None:
    tensors = random_batch(needs(name))
    key = slot_of(tensors)
    elsewhere = tensors | {key: torch.zeros_like(tensors[key])}
    pairs = zip(compute(name, tensors, hyper).components(), compute(name, elsewhere, hyper).components(), strict=True)
    for here, there in pairs:
        torch.testing.assert_close(here.weight, there.weight)


@every_objective
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("extreme", [(-1e4, 0.0), (0.0, -1e4), (0.0, 0.0), (-1e4, -1e4)])
def test_extreme_margins_stay_finite(
    name: str, hyper: dict[str, Any], dtype: torch.dtype, extreme: tuple[float, float], random_batch: RandomBatch
) -> None:
    tensors = {key: value.detach().to(dtype) for key, value in random_batch(needs(name), groups=2, responses=2).items()}
    leaf = trained(tensors)
    leaf[:, 0], leaf[:, 1] = extreme
    leaf.requires_grad_()
    terms = compute(name, tensors, hyper)
    assert all(part.loss.isfinite().all() for part in terms.components())
    assert all(part.loss.dtype == torch.float32 for part in terms.components() if part.name != "nll" and name != "sft")
    (gradient,) = torch.autograd.grad(terms.value(), leaf)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("sizes", [(1, 3), (1, 1, 1, 1)])
def test_what_is_carried_over_adds_up(name: str, sizes: tuple[int, ...], random_batch: RandomBatch) -> None:
    """The next state is a mean over the step, whatever its micro-batches, without a gradient."""
    tensors = random_batch(needs(name), groups=4)
    ends = list(itertools.accumulate(sizes))
    parts = [
        carried(compute(name, batched(tensors, slice(end - size, end)), {}))
        for size, end in zip(sizes, ends, strict=True)
    ]
    whole = carried(compute(name, tensors, {}))
    assert set(whole) == set(STATES[name])
    for key, (values, weight) in whole.items():
        assert not values.requires_grad
        total = sum((part[key][0] * part[key][1]).sum() for part in parts)
        count = sum(part[key][1].sum() for part in parts)
        torch.testing.assert_close(total / count, (values * weight).sum() / weight.sum())


@every_objective
def test_single_precision_loses_nothing(name: str, hyper: dict[str, Any], random_batch: RandomBatch) -> None:
    """Gradients in float32 are those in float64, to float32's accuracy: no term cancels another."""
    gradients = []
    for dtype in (torch.float64, torch.float32):
        tensors = {key: value.detach().to(dtype) for key, value in random_batch(needs(name)).items()}
        leaf = trained(tensors).requires_grad_()
        gradients.append(torch.autograd.grad(compute(name, tensors, hyper).value(), leaf)[0].double())
    scale = gradients[0].abs().max().item()
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-5 * scale)


@every_objective
def test_no_feedback_is_worth_nothing(name: str, hyper: dict[str, Any], random_batch: RandomBatch) -> None:
    tensors = random_batch(needs(name), groups=1)
    for key in ("prefer", "label", "mask", "scored", "distribution", "rated", "named_prefer", "step_end"):
        if key in tensors:
            tensors[key] = torch.zeros_like(tensors[key])
    value = compute(name, tensors, hyper).value()
    (gradient,) = torch.autograd.grad(value, trained(tensors))
    assert value == 0.0
    assert not gradient.any()


@pytest.mark.parametrize(
    ("name", "hyper"),
    [case for case in CASES if "mask" in signature_of(OBJECTIVES[case[0]]).needs],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_an_empty_response_stays_finite(name: str, hyper: dict[str, Any], random_batch: RandomBatch) -> None:
    tensors = random_batch(needs(name), groups=2, responses=2)
    tensors["mask"][0, 1] = 0.0
    value = compute(name, tensors, hyper).value()
    (gradient,) = torch.autograd.grad(value, tensors["policy"])
    assert value.isfinite()
    assert gradient.isfinite().all()
    assert not gradient[0, 1].any()


@pytest.mark.parametrize(("name", "hyper"), BY_PAIRS, ids=[identifier(*case) for case in BY_PAIRS])
def test_pairs_inside_a_group_equal_groups_of_two(name: str, hyper: dict[str, Any], random_batch: RandomBatch) -> None:
    tensors = random_batch(needs(name), groups=2, responses=4)
    pairs = tensors["prefer"].nonzero().tolist()
    assert len(pairs) > 4
    separate: Tensors = {}
    for key, value in tensors.items():
        if key in OF_THE_STEP:
            separate[key] = value
        elif key in OF_PAIRS:
            kept = torch.stack([value[group, ..., better, worse] for group, better, worse in pairs])
            separate[key] = torch.zeros(*kept.shape, 2, 2, dtype=value.dtype)
            separate[key][..., 0, 1] = kept
        else:
            separate[key] = torch.stack([value[group, [better, worse]] for group, better, worse in pairs])
    torch.testing.assert_close(
        compute(name, separate, hyper).value(), compute(name, tensors, hyper).value(), rtol=1e-12, atol=0
    )


@pytest.mark.parametrize("name", [*FAVOURING, "kto", "apo_unpaired", "bco", "aot_unpaired", "cost_dpo"])
def test_descent_favours_the_preferred_and_swapping_them_raises_the_loss(
    name: str,
    random_batch: RandomBatch,
    pairs_of_the_step: Callable[[Tensors], Tensor],
    ratios_of_the_step: Callable[[Tensors], Tensor],
) -> None:
    tensors = random_batch(needs(name), groups=3, responses=2)
    feedback = {
        "label": torch.tensor([[1.0, -1.0]] * 3, dtype=torch.float64),
        "prefer": torch.tensor([[[0.0, 1.0], [0.0, 0.0]]] * 3, dtype=torch.float64),
        "score": torch.tensor([[0.4, 0.2]] * 3, dtype=torch.float64),
        "scored": torch.ones(3, 2, dtype=torch.float64),
        "cost": torch.zeros(3, 2, dtype=torch.float64),
    }
    tensors |= {key: value for key, value in feedback.items() if key in tensors}
    swap: dict[str, Callable[[Tensor], Tensor]] = {"label": torch.neg, "prefer": lambda prefer: prefer.mT}
    swap |= {"score": lambda score: score.flip(-1)}
    swapped = {key: change(tensors[key]) for key, change in swap.items() if key in tensors}
    # Both responses start alike, so that whatever sets them apart is the step.
    for key in ("policy", "reward", "mask"):
        if key in tensors:
            tensors[key] = tensors[key].detach()[:, [0, 0]]
    if "reference" in tensors:
        tensors["reference"] = tensors["policy"].clone()
    if "step_pairs" in tensors:
        tensors["step_pairs"] = pairs_of_the_step(tensors)
    if "step_ratios" in tensors:
        tensors["step_ratios"] = ratios_of_the_step(tensors)
    start = trained(tensors).requires_grad_()
    before = compute(name, tensors, {}).value()
    (gradient,) = torch.autograd.grad(before, start)
    assert (gradient[:, 0] <= 0).all()
    assert (gradient[:, 1] >= 0).all()
    slot = slot_of(tensors)
    stepped = tensors | {slot: start.detach() - 0.01 * gradient}
    after = compute(name, stepped, {}).value()
    assert after < before
    assert compute(name, stepped | swapped, {}).value() > after
