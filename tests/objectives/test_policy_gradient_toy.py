"""A language of seven responses, where every expectation is a sum: which estimators are exact, and what they learn."""

import dataclasses
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from accord.objectives.policy_gradient import METHODS, Method
from accord.objectives.policy_gradient.denominators import sequence_mean, sequence_sum
from accord.objectives.policy_gradient.groups import leave_one_out
from accord.objectives.policy_gradient.guidance import corrected
from accord.objectives.policy_gradient.mixture import Mixing, mixture
from accord.objectives.policy_gradient.responses import standardised_scores
from accord.objectives.policy_gradient.surrogates import importance, reinforce, weighted_reinforce
from accord.objectives.policy_gradient.trust_region import TrustRegion, trust_region_update

# Token 0 ends a response; a response has at most two tokens.
RESPONSES = [(0,), *itertools.product((1, 2), (0, 1, 2))]
BETA = 0.4


def random(*shape: int, seed: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


MASK = torch.tensor([[1.0, float(len(response) > 1)] for response in RESPONSES], dtype=torch.float64)
REWARD = 2.0 * random(len(RESPONSES), seed=1) - 0.5
# Three rows of logits: at the start, after token 1, after token 2.
REFERENCE = (2.0 * random(3, 3, seed=2)).log_softmax(-1)


def start() -> Tensor:
    """Logits of a policy."""
    return (2.0 * random(3, 3, seed=3)).requires_grad_()


def logprobs(logits: Tensor) -> Tensor:
    """Of every token of every response, `[7,2]`."""
    rows = logits.log_softmax(-1)
    first = rows[0, [response[0] for response in RESPONSES]]
    second = torch.stack([rows[r[0], r[1]] if len(r) > 1 else rows[0, 0] * 0.0 for r in RESPONSES])
    return torch.stack([first, second], -1)


def probabilities(logits: Tensor) -> Tensor:
    return (logprobs(logits) * MASK).sum(-1).exp()


def objective_value(logits: Tensor, beta: float) -> Tensor:
    """Expected reward less beta times the divergence from the reference, exactly."""
    ratio = ((logprobs(logits) - logprobs(REFERENCE)) * MASK).sum(-1)
    return (probabilities(logits) * (REWARD - beta * ratio)).sum()


def true_gradient(logits: Tensor, beta: float) -> Tensor:
    return torch.autograd.grad(objective_value(logits, beta), logits)[0]


def exact_values(logits: Tensor, beta: float) -> Tensor:
    """The expected return before each token, `[7,2]`."""
    with torch.no_grad():
        ratio = (logprobs(logits) - logprobs(REFERENCE)) * MASK
        share = probabilities(logits)
        paid = REWARD - beta * ratio[:, 1]
        first = torch.tensor([response[0] for response in RESPONSES])
        after = [(share * paid)[first == token].sum() / share[first == token].sum() for token in range(3)]
        return torch.stack([objective_value(logits, beta).expand(7), torch.stack(after)[first]], -1) * MASK


def critic() -> Tensor:
    """Wrong estimates, `[7,2]`, that depend on what came before the token alone."""
    first = torch.tensor([response[0] for response in RESPONSES])
    return torch.stack([torch.full((7,), 0.3, dtype=torch.float64), random(3, seed=4)[first]], -1) * MASK


def all_groups(size: int) -> Tensor:
    """Every group of that size, `[7**size, size]`."""
    return torch.tensor(list(itertools.product(range(7), repeat=size)))


def round_of(groups: Tensor, behaviour: Tensor, values: Tensor) -> dict[str, Any]:
    """The tensors of a round that consists of these groups."""
    ones = torch.ones(groups.shape, dtype=torch.float64)
    return {
        "behaviour": behaviour.detach()[groups],
        "reference": logprobs(REFERENCE)[groups],
        "mask": MASK[groups],
        "score": REWARD[groups],
        "scored": ones,
        "valid": ones,
        "old_value": values[groups],
        "value": values[groups],
        "baseline": REWARD[2] * ones,
    }


def expected_loss(
    method: Method,
    logits: Tensor,
    *,
    hyper: dict[str, Any],
    size: int = 2,
    values: Tensor | None = None,
    behaviour: Tensor | None = None,
    apart: bool = False,
) -> Tensor:
    """The loss of a step on one group, averaged over every group by its probability under the behaviour.

    With `apart` a group is a round of its own: what looks at a whole round sees nothing else.
    """
    sampled_by = (logprobs(logits) if behaviour is None else behaviour).detach()
    groups = all_groups(size)
    tensors = round_of(groups, sampled_by, torch.zeros_like(MASK) if values is None else values)
    credit = method.credit(hyper)
    rounds = [each(tensors, place) for place in range(len(groups))] if apart else [tensors]
    advantages = torch.cat([credit(of_round).advantage for of_round in rounds])
    tensors |= {"policy": logprobs(logits)[groups], "advantage": advantages, "returns": tensors["value"]}
    objective = method.objective(hyper)
    terms = objective(*(tensors[name] for name in objective.signature.needs))
    share = (sampled_by * MASK).sum(-1).exp()[groups].prod(-1)
    total = torch.zeros((), dtype=torch.float64)
    for part in terms.components():
        weight = part.weight.expand_as(part.loss)
        of_group = (part.loss * weight).flatten(1).sum(-1) / weight.flatten(1).sum(-1)
        total = total + (share * of_group).sum()
    return total


def each(tensors: dict[str, Any], place: int) -> dict[str, Any]:
    return {name: value[place : place + 1] for name, value in tensors.items()}


def gradient(method: Method, **settings: Any) -> Tensor:
    logits = start()
    return -torch.autograd.grad(expected_loss(method, logits, **settings), logits)[0]


def row(name: str, **changes: Any) -> Method:
    """A row with sums over responses, the reduction in which estimators are exact."""
    return dataclasses.replace(METHODS[name], **{"denominator": sequence_sum} | changes)


NO_VALUE: dict[str, Any] = {"value_coefficient": 0.0, "entropy_coefficient": 0.0}
TO_THE_END = NO_VALUE | {"gae_lambda": 1.0, "whiten": "none"}

EXACT: list[tuple[str, Method, dict[str, Any]]] = [
    ("reinforce", row("reinforce"), {}),
    ("rloo", row("rloo", denominator=sequence_mean), {}),
    ("rloo-tokens", row("rloo", surrogate=reinforce), {}),
    ("remax", row("remax"), {"gamma": 1.0, "horizon": "to_go"}),
    ("ppo", row("ppo"), TO_THE_END),
    ("trpo", row("trpo"), TO_THE_END),
    ("a2c-to-the-end", row("a2c"), TO_THE_END),
    ("cispo", row("cispo", estimator=leave_one_out), {}),
]
exact = pytest.mark.parametrize(("method", "hyper"), [case[1:] for case in EXACT], ids=[case[0] for case in EXACT])


@exact
@pytest.mark.parametrize("beta", [0.0, BETA])
def test_the_expected_gradient_is_the_true_one(method: Method, hyper: dict[str, Any], beta: float) -> None:
    """Where differences are summed to the end, any critic will do that knows what came before the token and no more."""
    found = gradient(method, hyper=hyper | {"kl_reward": beta}, values=critic())
    torch.testing.assert_close(found, true_gradient(start(), beta), rtol=1e-6, atol=1e-9)


def test_one_step_errors_are_exact_with_an_exact_critic() -> None:
    values = exact_values(start(), BETA)
    hyper = NO_VALUE | {"kl_reward": BETA, "gae_lambda": 0.0, "whiten": "none"}
    found = gradient(row("a2c"), hyper=hyper, values=values)
    torch.testing.assert_close(found, true_gradient(start(), BETA), rtol=1e-6, atol=1e-9)
    wrong = gradient(row("a2c"), hyper=hyper, values=values + 0.3 * random(7, 2, seed=5))
    assert (wrong - true_gradient(start(), BETA)).abs().max() > 1e-3


@pytest.mark.parametrize("size", [2, 3])
def test_the_group_mean_shortens_the_gradient_by_a_known_factor(size: int) -> None:
    """A response is in its own baseline: (K - 1) / K of the true gradient."""
    found = gradient(row("dr_grpo"), hyper={"kl_reward": BETA}, size=size)
    torch.testing.assert_close(found, (size - 1.0) / size * true_gradient(start(), BETA), rtol=1e-6, atol=1e-9)


def off_direction(found: Tensor, true: Tensor) -> float:
    """How far a gradient is from every multiple of the true one, 0 to 1."""
    cosine = torch.cosine_similarity(found.flatten(), true.flatten(), dim=0)
    return float((1.0 - cosine.square()).clamp_min(0.0).sqrt())


@pytest.mark.parametrize(
    ("method", "hyper"),
    [
        (row("grpo"), {"kl_loss": 0.0}),
        (row("reinforce", estimator=standardised_scores), {}),
        (row("reinforce_pp", surrogate=reinforce), {"kl_reward": 0.0}),
        (row("ppo"), NO_VALUE | {"kl_reward": 0.0, "gae_lambda": 1.0}),
        (dataclasses.replace(METHODS["dr_grpo"], denominator=sequence_mean), {}),
    ],
    ids=["deviation", "standardised", "whitened-returns", "whitened-advantages", "by-length"],
)
def test_standardising_bends_the_gradient(method: Method, hyper: dict[str, Any]) -> None:
    assert off_direction(gradient(method, hyper=hyper, size=3, apart=True), true_gradient(start(), 0.0)) > 0.02


def test_the_price_of_one_token_alone_misses_what_follows() -> None:
    found = gradient(row("remax"), hyper={"kl_reward": BETA, "gamma": 1.0, "horizon": "one_step"})
    assert off_direction(found, true_gradient(start(), BETA)) > 0.01


def test_the_ratio_of_responses_corrects_for_another_policy() -> None:
    behaviour = logprobs(2.0 * random(3, 3, seed=6))
    wide = {"clip_low": 1.0, "clip_high": 1e6, "kl_reward": 0.0}
    found = gradient(row("rloo", denominator=sequence_mean), hyper=wide, behaviour=behaviour)
    torch.testing.assert_close(found, true_gradient(start(), 0.0), rtol=1e-6, atol=1e-9)
    uncorrected = gradient(row("rloo", surrogate=reinforce), hyper={"kl_reward": 0.0}, behaviour=behaviour)
    assert off_direction(uncorrected, true_gradient(start(), 0.0)) > 0.1


@pytest.mark.parametrize("surrogate", [importance, weighted_reinforce])
def test_the_ratio_of_tokens_corrects_the_last_token_of_a_guided_response(surrogate: Callable[..., Any]) -> None:
    """Where the guide has its say on one token only, the ratio to the mixture is all that is missing."""
    logits, guide = start(), 2.0 * random(3, 3, seed=7)
    both = torch.stack([logits.detach().log_softmax(-1), guide.log_softmax(-1)])
    mixed = mixture(both, torch.tensor([0.6, 0.4], dtype=torch.float64))
    behaviour = torch.cat([both[0, :1], mixed[1:]])
    method = row("reinforce", surrogate=surrogate)
    hyper = {"importance_cap": 1e6} if surrogate is weighted_reinforce else {}
    found = gradient(method, hyper=hyper, behaviour=logprobs(behaviour))
    # The first token's return was made by the mixture; the others' rows are exact.
    torch.testing.assert_close(found[1:], true_gradient(logits, 0.0)[1:], rtol=1e-6, atol=1e-9)
    plain = gradient(row("reinforce"), hyper={}, behaviour=logprobs(behaviour))
    assert off_direction(plain[1:], true_gradient(logits, 0.0)[1:]) > 0.05


@pytest.mark.parametrize("mixing", ["arithmetic", "geometric"])
@pytest.mark.parametrize("share", [0.2, 0.8])
def test_the_ratio_of_responses_corrects_for_a_guide_on_every_token(share: float, mixing: Mixing) -> None:
    logits, guide = start(), 2.0 * random(3, 3, seed=7)
    both = torch.stack([logits.detach().log_softmax(-1), guide.log_softmax(-1)])
    behaviour = logprobs(mixture(both, torch.tensor([1.0 - share, share], dtype=torch.float64), mixing=mixing))
    wide = {"clip_low": 1.0, "clip_high": 1e6, "kl_reward": 0.0}
    found = gradient(row("rloo", denominator=sequence_mean), hyper=wide, behaviour=behaviour)
    torch.testing.assert_close(found, true_gradient(logits, 0.0), rtol=1e-6, atol=1e-9)
    uncorrected = gradient(row("rloo", surrogate=reinforce), hyper={"kl_reward": 0.0}, behaviour=behaviour)
    assert off_direction(uncorrected, true_gradient(logits, 0.0)) > 0.01


def test_a_surrogate_without_a_ratio_gets_one() -> None:
    method = row("reinforce")
    torch.testing.assert_close(gradient(corrected(method), hyper={}), gradient(method, hyper={}))
    assert corrected(method).surrogate is importance
    assert corrected(row("rloo")) == row("rloo")


def best() -> Tensor:
    """The reference times exp(reward / beta), normalised."""
    weight = (logprobs(REFERENCE) * MASK).sum(-1).exp() * (REWARD / BETA).exp()
    return weight / weight.sum()


def learn(method: Method, hyper: dict[str, Any]) -> Tensor:
    """What expected gradients lead to, by quasi-Newton steps."""
    logits = start()
    optimizer = torch.optim.LBFGS([logits], lr=0.5, max_iter=1)

    def closure() -> Tensor:
        optimizer.zero_grad()
        values = exact_values(logits, BETA) if "old_value" in method.credit(hyper).needs else None
        loss = expected_loss(method, logits, hyper=hyper, values=values)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    for _ in range(150):
        optimizer.step(closure)  # type: ignore[no-untyped-call]
        if true_gradient(logits, BETA).abs().max() < 1e-5:
            break
    return probabilities(logits).detach()


LEARNERS = [
    *((name, method, hyper | {"kl_reward": BETA}) for name, method, hyper in EXACT if name != "trpo"),
    ("a2c", row("a2c"), NO_VALUE | {"kl_reward": BETA}),
]


@pytest.mark.parametrize(("method", "hyper"), [case[1:] for case in LEARNERS], ids=[case[0] for case in LEARNERS])
def test_an_exact_method_reaches_the_closed_form(method: Method, hyper: dict[str, Any]) -> None:
    torch.testing.assert_close(learn(method, hyper), best(), rtol=0.0, atol=1e-4)


def test_steps_in_a_trust_region_reach_the_closed_form() -> None:
    """The region shrinks from round to round: a step fills it, however near the best policy is."""
    logits = start()
    method, hyper = row("trpo"), TO_THE_END | {"kl_reward": BETA}
    for place in range(50):
        settings = TrustRegion(kl_limit=0.05 * 0.75**place, damping=1e-6, iterations=12, backtrack=0.5, backtracks=9)
        update = trust_region_update([logits], *closures(method, hyper, logits), settings=settings)
        assert update.after.divergence <= settings.kl_limit
        assert update.after.objective >= update.before.objective
    torch.testing.assert_close(probabilities(logits).detach(), best(), rtol=0.0, atol=1e-3)


def closures(
    method: Method, hyper: dict[str, Any], logits: Tensor
) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """What a step is to raise, and its divergence from the policy as it is now."""
    old = logits.detach().clone()
    behaviour, critic = logprobs(old), exact_values(old, BETA)

    def surrogate() -> Tensor:
        return -expected_loss(method, logits, hyper=hyper, values=critic, behaviour=behaviour)

    def divergence() -> Tensor:
        return (probabilities(old) * ((behaviour - logprobs(logits)) * MASK).sum(-1)).sum()

    return surrogate, divergence


def test_the_closed_form_of_a_bandit() -> None:
    cases = json.loads((Path(__file__).parents[1] / "golden.json").read_text())
    case = next(case for case in cases if case["method"] == "reference.pi_star_closed_form")
    reference = torch.tensor(case["inputs"]["p_ref"], dtype=torch.float64).log()
    reward = torch.tensor(case["inputs"]["reward"], dtype=torch.float64)
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], lr=0.5, max_iter=1, tolerance_grad=0.0, tolerance_change=0.0)
    method, ones = METHODS["reinforce"], torch.ones(3, 1, dtype=torch.float64)

    def closure() -> Tensor:
        optimizer.zero_grad()
        policy = logits.log_softmax(-1).view(3, 1, 1)
        tensors = {"behaviour": policy.detach(), "reference": reference.view(3, 1, 1), "mask": ones.unsqueeze(-1)}
        tensors |= {"score": reward.view(3, 1), "scored": ones, "valid": ones}
        advantage = method.credit({"kl_reward": case["inputs"]["beta"]})(tensors).advantage
        loss = (policy.detach().exp().flatten() * method(policy, tensors["mask"], advantage).loss.flatten()).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    for _ in range(60):
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    wanted = torch.tensor(case["expected"]["p_star"], dtype=torch.float64)
    torch.testing.assert_close(logits.detach().softmax(-1), wanted, rtol=1e-6, atol=1e-9)
