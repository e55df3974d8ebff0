"""What holds for every policy-gradient row on random batches, whatever its formula."""

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor

from accord.objectives import Terms
from accord.objectives.policy_gradient import METHODS

Tensors = dict[str, Any]

# Settings that switch on every part, so that each is held to the properties.
EVERYTHING: dict[str, Any] = {"entropy_coefficient": 0.01, "ptx_coefficient": 0.5, "kl_loss": 0.1, "truncated": "skip"}
CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in METHODS),
    ("ppo", EVERYTHING | {"dual_clip": 3.0}),
    ("grpo", EVERYTHING | {"kl_estimator": "k3_ratio"}),
    ("reinforce", EVERYTHING | {"kl_estimator": "k1_ratio"}),
    ("gspo", {"clip_low": 0.2, "clip_high": 0.2, "kl_loss": 0.1, "kl_estimator": "k2"}),
]
every_row = pytest.mark.parametrize(("name", "hyper"), CASES, ids=[f"{name}-{len(hyper)}" for name, hyper in CASES])
every_method = pytest.mark.parametrize("name", METHODS)
# Where a weight is detached the loss is no antiderivative of its gradient; those have their own tests.
DETACHED = {"cispo", "gspo_token"}


def batch(*, groups: int = 4, responses: int = 3, tokens: int = 5) -> Tensors:
    """A ragged float64 round with every tensor that any row names."""
    generator = torch.Generator().manual_seed(17)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    shape = (groups, responses, tokens)
    lengths = torch.randint(1, tokens + 1, (groups, responses, 1), generator=generator)
    mask = (torch.arange(tokens) < lengths).double()
    behaviour = -2.0 * uniform(*shape) - 0.1
    tensors: Tensors = {
        "policy": (behaviour + 0.5 * (uniform(*shape) - 0.5)) * mask,
        "behaviour": behaviour * mask,
        "reference": (behaviour + uniform(*shape) - 0.5) * mask,
        "mask": mask,
        "score": 4.0 * uniform(groups, responses) - 2.0,
        "scored": torch.ones(groups, responses).double(),
        "valid": torch.ones(groups, responses).double(),
        "cost": 2.0 * uniform(groups, responses) - 1.0,
        "baseline": uniform(groups, 1).expand(groups, responses),
        "finished": (uniform(groups, responses) < 0.7).double(),
        "step_end": (uniform(*shape) < 0.5).double() * mask,
        "named_scores": uniform(groups, responses, 2),
        "named_weight": torch.tensor([1.0, 0.5]).double().expand(groups, responses, 2),
        "pretrain_mask": mask,
        "state": {},
    }
    tensors["step_score"] = uniform(*shape) * tensors["step_end"]
    for name in ("value", "old_value", "cost_value", "old_cost_value", "entropy", "divergence", "pretrain"):
        tensors[name] = (uniform(*shape) - (0.5 if "value" in name else 0.0)) * mask
    return tensors


def credited(name: str, tensors: Tensors, hyper: dict[str, Any]) -> Tensors:
    """The round with its credit, and gradients on what carries them."""
    method = METHODS[name]
    credit = method.credit(hyper)
    found = credit({key: tensors[key] for key in credit.needs})
    given = tensors | {"advantage": found.advantage, "returns": found.returns, "cost_returns": found.cost_returns}
    for key in ("policy", "value", "cost_value", "entropy", "pretrain"):
        given[key] = given[key].detach().clone().requires_grad_()
    return given


def loss(name: str, given: Tensors, hyper: dict[str, Any]) -> Terms:
    objective = METHODS[name].objective(hyper)
    return objective(*(given[key] for key in objective.signature.needs))


def divided_once(parts: Iterable[Terms]) -> Tensor:
    """The loop's reduction: sums over all parts, one division a component."""
    total = torch.zeros((), dtype=torch.float64)
    for components in zip(*(list(part.components()) for part in parts), strict=True):
        value = sum((part.weight.expand_as(part.loss) * part.loss).sum() for part in components)
        weight = sum(part.weight.expand_as(part.loss).sum() for part in components)
        total = total + components[0].scale * value / weight
    return total


@pytest.mark.parametrize(("name", "hyper"), [case for case in CASES if case[0] not in DETACHED])
def test_gradient_agrees_with_finite_differences(name: str, hyper: dict[str, Any]) -> None:
    given = credited(name, batch(groups=2), hyper)
    leaves = [key for key in METHODS[name].objective(hyper).signature.needs if getattr(given[key], "requires_grad", 0)]

    def value(*values: Tensor) -> Tensor:
        return loss(name, given | dict(zip(leaves, values, strict=True)), hyper).value()

    assert torch.autograd.gradcheck(value, tuple(given[key] for key in leaves), atol=1e-7)


@every_row
def test_micro_batches_add_up(name: str, hyper: dict[str, Any]) -> None:
    given = credited(name, batch(), hyper)
    whole = loss(name, given, hyper)

    def rows(start: int, stop: int) -> Tensors:
        return {key: value[start:stop] if isinstance(value, Tensor) else value for key, value in given.items()}

    for cut in (1, 3):
        parts = [loss(name, rows(0, cut), hyper), loss(name, rows(cut, 4), hyper)]
        torch.testing.assert_close(divided_once(parts), whole.value(), rtol=1e-12, atol=1e-15)


@every_row
def test_weights_come_from_the_data(name: str, hyper: dict[str, Any]) -> None:
    given = credited(name, batch(), hyper)
    outputs = ("policy", "reference", "value", "cost_value", "entropy", "pretrain", "advantage", "returns")
    zeros = given | {key: torch.zeros_like(given["mask"]) for key in outputs}
    for part, other in zip(loss(name, given, hyper).components(), loss(name, zeros, hyper).components(), strict=True):
        assert part.name == other.name
        torch.testing.assert_close(part.weight.expand_as(part.loss), other.weight.expand_as(other.loss))


@every_row
def test_padding_changes_nothing(name: str, hyper: dict[str, Any]) -> None:
    tensors = batch()
    padded: Tensors = {"state": {}}
    outputs = ("policy", "behaviour", "reference", "value", "old_value", "cost_value", "old_cost_value", "entropy")
    for key, value in tensors.items():
        if key == "state":
            continue
        wide = value.ndim == 3 and not key.startswith("named")
        amounts = (0, 3, 0, 2) if wide else (0, 0, 0, 2) if value.ndim == 3 else (0, 2)
        # What stands in the padding does not matter, not even when it is not a number.
        fill = float("nan") if key in outputs else 0.0
        padded[key] = torch.nn.functional.pad(value, amounts, value=fill)
    plain, other = credited(name, tensors, hyper), credited(name, padded, hyper)
    torch.testing.assert_close(other["advantage"][:, :3, :5], plain["advantage"], rtol=1e-10, atol=1e-12)
    assert not other["advantage"][:, 3:].any()
    first, second = loss(name, plain, hyper).value(), loss(name, other, hyper).value()
    torch.testing.assert_close(second, first, rtol=1e-10, atol=1e-12)
    gradients = [torch.autograd.grad(value, given["policy"])[0] for value, given in ((first, plain), (second, other))]
    torch.testing.assert_close(gradients[1][:, :3, :5], gradients[0], rtol=1e-10, atol=1e-12)
    assert gradients[1].isfinite().all()


@every_row
def test_context_in_the_middle_of_a_response_changes_nothing(name: str, hyper: dict[str, Any]) -> None:
    """A turn of somebody else between two tokens is no time, no return and no loss."""
    tensors = batch()
    parted: Tensors = {"state": {}}
    for key, value in tensors.items():
        if key == "state" or value.ndim < 3 or key.startswith("named"):
            parted[key] = value
            continue
        gap = torch.zeros_like(value[..., :2]) - (0.0 if key in ("mask", "step_end", "step_score") else 3.0)
        gap = gap * (0.0 if key == "pretrain_mask" else 1.0)
        parted[key] = torch.cat([value[..., :1], gap, value[..., 1:]], -1)
    plain, other = credited(name, tensors, hyper), credited(name, parted, hyper)
    kept = [0, 3, 4, 5, 6]
    torch.testing.assert_close(other["advantage"][..., kept], plain["advantage"], rtol=1e-10, atol=1e-12)
    assert not other["advantage"][..., 1:3].any()
    torch.testing.assert_close(loss(name, other, hyper).value(), loss(name, plain, hyper).value())


@every_row
def test_extreme_ratios_stay_finite(name: str, hyper: dict[str, Any]) -> None:
    for size in (40.0, 1e4):
        tensors = batch()
        tensors["behaviour"] = tensors["behaviour"] - size * torch.tensor([1.0, -1.0, 0.0]).view(1, 3, 1)
        given = credited(name, tensors, hyper)
        terms = loss(name, given, hyper)
        assert terms.value().isfinite()
        assert torch.autograd.grad(terms.value(), given["policy"])[0].isfinite().all()
        assert all(value.isfinite().all() for value, _ in terms.metrics.values())


@every_method
def test_a_score_that_is_missing_is_in_no_baseline(name: str) -> None:
    """Whatever stands where a score is missing, the others' advantages are those of a round without the response."""
    tensors = batch()
    tensors["scored"][:, 2] = 0.0
    tensors["named_weight"] = tensors["named_weight"] * tensors["scored"].unsqueeze(-1)
    tensors["step_end"] = tensors["step_end"] * tensors["scored"].unsqueeze(-1)
    tensors["step_score"] = tensors["step_score"] * tensors["step_end"]
    wild = tensors | {"score": tensors["score"] + 1e3 * (1.0 - tensors["scored"])}
    kept: Tensors = {
        key: value[:, :2] if isinstance(value, Tensor) and key != "state" else value for key, value in tensors.items()
    }
    full, short = credited(name, wild, {}), credited(name, kept, {})
    assert not full["advantage"][:, 2].any()
    torch.testing.assert_close(full["advantage"][:, :2], short["advantage"], rtol=1e-10, atol=1e-12)


@every_method
def test_scores_that_agree_give_numbers(name: str) -> None:
    tensors = batch()
    flat = {"score": "scored", "named_scores": "named_weight", "step_score": "step_end"}
    tensors |= {key: 0.1 * torch.ones_like(tensors[key]) * (tensors[count] != 0) for key, count in flat.items()}
    given = credited(name, tensors, {"kl_reward": 0.0} if "kl_reward" in METHODS[name].settings({}) else {})
    assert given["advantage"].isfinite().all()
    if not {"old_value", "baseline"} & set(METHODS[name].credit({}).needs) and not name.startswith("reinforce"):
        assert not given["advantage"].any()


@every_method
def test_one_response_alone_gives_numbers(name: str) -> None:
    given = credited(name, batch(groups=1, responses=1, tokens=1), {})
    assert given["advantage"].isfinite().all()
    assert loss(name, given, {}).value().isfinite()


@every_method
def test_on_the_policys_own_responses_ratios_are_one(name: str) -> None:
    tensors = batch()
    tensors["policy"] = tensors["behaviour"]
    given = credited(name, tensors, {})
    metrics = {key: value.sum() / weight.sum() for key, (value, weight) in totals(loss(name, given, {})).items()}
    if "ratio_mean" in metrics:
        assert metrics["ratio_mean"] == pytest.approx(1.0)
        assert metrics["ratio_max"] == pytest.approx(1.0)
        assert metrics["policy_kl"] == pytest.approx(0.0)
    assert metrics.get("clip_low", 0.0) == metrics.get("clip_high", 0.0) == 0.0


def totals(terms: Terms) -> dict[str, tuple[Tensor, Tensor]]:
    return {name: (value * weight, weight.expand_as(value)) for name, (value, weight) in terms.metrics.items()}


@pytest.mark.parametrize("name", ["gspo", "gspo_token", "cispo", "dapo"])
def test_first_steps_are_grpos(name: str) -> None:
    """The gradient on the policy's own responses; DAPO and CISPO average over tokens, so a length must not differ."""
    tensors = batch()
    tensors["mask"] = torch.ones_like(tensors["mask"])
    tensors["policy"] = tensors["behaviour"]
    gradients = []
    for row in ("grpo", name):
        given = credited(row, tensors, {"kl_loss": 0.0})
        gradients.append(torch.autograd.grad(loss(row, given, {"kl_loss": 0.0}).value(), given["policy"])[0])
    torch.testing.assert_close(gradients[1], gradients[0])


def test_gspo_by_token_is_gspo_with_one_advantage_a_response() -> None:
    hyper = {"clip_low": 0.05, "clip_high": 0.05}
    given = credited("gspo", batch(), hyper)
    values = [loss(name, given, hyper).value() for name in ("gspo", "gspo_token")]
    torch.testing.assert_close(values[1], values[0])
    gradients = [torch.autograd.grad(value, given["policy"])[0] for value in values]
    torch.testing.assert_close(gradients[1], gradients[0])


def test_without_a_multiplier_ppo_lagrangian_is_ppo() -> None:
    common = {"kl_reward": 0.01, "whiten": "none", "value_clip": 5.0}
    found = credited("ppo_lagrangian", batch(), common | {"multiplier": 0.0, "score_clip": 0.0})
    plain = credited("ppo", batch(), common)
    torch.testing.assert_close(found["advantage"], plain["advantage"])
    torch.testing.assert_close(found["returns"], plain["returns"])


def test_dropped_responses_are_in_no_mean() -> None:
    given = credited("grpo", batch(), {})
    only = given | {"mask": given["mask"] * given["finished"].unsqueeze(-1)}
    skipped = loss("grpo", given, {"truncated": "skip"}).value()
    torch.testing.assert_close(skipped, loss("grpo", only, {}).value())
