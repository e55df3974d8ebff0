"""Offline reinforcement learning: worked numbers, what gradients reach, and what a table of logs teaches."""

from typing import Any

import pytest
import torch
from torch import Tensor

from accord.objectives.ilql import expectile_loss, extracted, follow, ilql, squared_td_error
from accord.objectives.terms import Terms

Golden = dict[str, dict[str, Any]]
Tensors = dict[str, Tensor]


def close(actual: Tensor | float, expected: Any) -> None:
    torch.testing.assert_close(
        torch.as_tensor(actual, dtype=torch.float64).detach(),
        torch.as_tensor(expected, dtype=torch.float64),
        rtol=1e-6,
        atol=1e-9,
    )


def losses(tensors: Tensors, **hyper: float) -> Terms:
    given: dict[str, Any] = {**tensors, **hyper}
    return ilql(**given)


def by_name(terms: Terms) -> dict[str, Tensor]:
    return {part.name: (part.weight * part.loss).sum() / part.weight.sum() for part in terms.components()}


@pytest.fixture
def worked(golden: Golden) -> Tensors:
    """The worked episode of two tokens, folded; the second head is silent, and nothing is cloned."""
    inputs = golden["ilql.losses"]["inputs"]
    q, target = (torch.tensor(inputs[name], dtype=torch.float64) for name in ("q_logits", "target_q_logits"))
    taken = torch.tensor(inputs["actions"])[:, None]
    mask = torch.ones(1, 1, 2, dtype=torch.float64)
    after = torch.tensor(golden["ilql.losses"]["expected"]["q_target"], dtype=torch.float64)
    return {
        "policy": 0 * mask,
        "mask": mask,
        "score": torch.tensor([[inputs["rewards"][-1]]], dtype=torch.float64),
        "scored": torch.ones(1, 1, dtype=torch.float64),
        "value": torch.tensor(inputs["values"], dtype=torch.float64).view(1, 1, 2),
        "next_value": torch.tensor([[inputs["next_value_terminal"]]], dtype=torch.float64),
        "first_q": q.gather(1, taken).view(1, 1, 2),
        "second_q": after.view(1, 1, 2),
        "target_q": target.gather(1, taken).view(1, 1, 2),
        "first_q_logprob": q.log_softmax(-1).gather(1, taken).view(1, 1, 2),
        "second_q_logprob": 0 * mask,
    }


def test_the_worked_losses(golden: Golden, worked: Tensors) -> None:
    case = golden["ilql.losses"]
    settings = {"gamma": case["inputs"]["gamma"], "expectile": case["inputs"]["expectile_tau"]}
    terms = losses(worked, **settings, cql=case["inputs"]["cql_weight"])
    found = by_name(terms)
    close(found["q"], case["expected"]["loss_q"])
    close(found["value"], case["expected"]["loss_v"])
    close(found["cql"], case["expected"]["loss_cql"])
    close(terms.value(), case["expected"]["total"])


def test_the_conservative_term_is_the_log_sum_less_the_taken(golden: Golden) -> None:
    case = golden["cql.lse_form"]
    q, taken = torch.tensor(case["inputs"]["q"], dtype=torch.float64), case["inputs"]["a_data"]
    close(-q.log_softmax(-1)[taken], case["expected"]["penalty"])
    close(q.logsumexp(-1) - q[taken], case["expected"]["penalty"])


def test_the_worked_temporal_difference(golden: Golden) -> None:
    case = golden["orlpo.seed_td"]
    inputs = {name: torch.tensor(case["inputs"][name], dtype=torch.float64) for name in ("q_sa", "reward")}
    best = torch.tensor(case["inputs"]["max_q_next"], dtype=torch.float64)
    gamma = case["inputs"]["gamma"]
    close(squared_td_error(inputs["q_sa"], inputs["reward"], best, gamma=gamma), case["expected"]["loss"])
    close(squared_td_error(inputs["q_sa"], inputs["reward"], 0 * best, gamma=gamma), case["expected"]["loss_terminal"])


def test_the_worked_policy_and_the_worked_move(golden: Golden) -> None:
    case = golden["ilql.policy_extraction"]
    logits, q = (torch.tensor(case["inputs"][name], dtype=torch.float64) for name in ("logits_bc", "q"))
    value = torch.tensor(case["inputs"]["v"], dtype=torch.float64)
    close(extracted(logits.log_softmax(-1), q, value, beta=case["inputs"]["beta"]).exp(), case["expected"]["probs"])
    moved = golden["ilql.polyak"]
    target, online = (torch.tensor(moved["inputs"][name], dtype=torch.float64) for name in ("target", "online"))
    close(follow(target, online, polyak=moved["inputs"]["alpha"]), moved["expected"]["target_new"])


def test_the_value_after_the_response_is_bootstrapped_only_there(worked: Tensors) -> None:
    going_on = worked | {"next_value": torch.full((1, 1), 0.5, dtype=torch.float64)}
    here, there = losses(worked, gamma=0.9).loss, losses(going_on, gamma=0.9).loss
    close(here[..., 0], there[..., 0])
    expected = (worked["first_q"][..., 1] - 1.45).square() + (worked["second_q"][..., 1] - 1.45).square()
    close(there[..., 1], expected)


def test_no_gradient_reaches_what_is_a_target(worked: Tensors) -> None:
    leaves = {name: value.clone().requires_grad_() for name, value in worked.items() if name not in ("mask", "scored")}
    parts = {part.name: part for part in losses(worked | leaves, awac=1.0).components()}
    reached = {
        "q": {"first_q", "second_q"},
        "value": {"value"},
        "cql": {"first_q_logprob", "second_q_logprob"},
        "cloning": {"policy"},
    }
    for name, part in parts.items():
        inputs = [leaves[key] for key in leaves if key not in ("score", "next_value")]
        gradients = torch.autograd.grad(part.loss.sum(), inputs, allow_unused=True, retain_graph=True)
        keys = [key for key in leaves if key not in ("score", "next_value")]
        assert {key for key, found in zip(keys, gradients, strict=True) if found is not None} == reached[name]


def test_better_tokens_are_cloned_more(worked: Tensors) -> None:
    terms = losses(worked | {"policy": -torch.ones(1, 1, 2, dtype=torch.float64)}, awac=2.0)
    cloning = next(part.loss for part in terms.components() if part.name == "cloning")
    close(cloning, torch.exp(2.0 * (worked["target_q"] - worked["value"])))


def test_the_expectile_is_between_the_mean_and_the_best() -> None:
    seen = torch.tensor([0.0, 0.0, 0.0, 1.0])
    found = []
    for expectile in (0.5, 0.9, 0.99):
        value = torch.zeros((), requires_grad=True)
        optimizer = torch.optim.SGD([value], lr=0.5)
        for _ in range(400):
            optimizer.zero_grad()
            expectile_loss(seen - value, expectile=expectile).mean().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        found.append(float(value.detach()))
    assert found[0] == pytest.approx(0.25, abs=1e-3)
    assert found == sorted(found)
    assert found[2] == pytest.approx(0.99 / (0.99 + 3 * 0.01), abs=1e-2)


def test_two_halves_of_a_good_answer_are_joined_although_no_log_has_both() -> None:
    """Stitching: the second state is the same after either first token, and token 1 is the better one there.

    The logs return 0.6 on average after the first token 0 and nothing after token 1. V of the second state says that
    what followed was to blame, so Q does not tell the first tokens apart.
    """
    logs = [((0, 0), 0.2), ((1, 0), 0.0), ((0, 1), 1.0)]
    q = torch.zeros(2, 2, 2, requires_grad=True)  # head, state, token
    value = torch.zeros(2, requires_grad=True)
    targets = torch.zeros(2, 2, 2)
    optimizer = torch.optim.Adam([q, value], lr=0.05)
    tokens = torch.tensor([log for log, _ in logs])
    mask, states = torch.ones(3, 1, 2), torch.arange(2)
    for _ in range(600):
        first, second = ((one[states, tokens]).unsqueeze(1) for one in q)
        first_logprob, second_logprob = (one.log_softmax(-1)[states, tokens].unsqueeze(1) for one in q)
        terms = ilql(
            -mask,
            mask,
            torch.tensor([[score] for _, score in logs]),
            torch.ones(3, 1),
            value.expand(3, 2).unsqueeze(1),
            torch.zeros(3, 1),
            first,
            second,
            targets.amin(0)[states, tokens].unsqueeze(1),
            first_logprob,
            second_logprob,
            gamma=1.0,
            expectile=0.95,
            cql=0.0,
        )
        optimizer.zero_grad()
        terms.value().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        targets = follow(targets, q.detach(), polyak=0.1)
    learned = q.detach().amin(0)
    assert learned[1, 1] - learned[1, 0] > 0.5
    assert float(learned[0, 0] - learned[0, 1]) == pytest.approx(0.0, abs=0.02)
    decoded = extracted(torch.full((2, 2), 0.5).log(), learned, value.detach(), beta=8.0).exp()
    assert decoded[1, 1] > 0.95
