"""Heads of action values: what they estimate, how their targets move, and decoding by them."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from accord.errors import ModelError
from accord.policy.action_values import FILE, ActionValues, decoding_by_worth
from accord.policy.load import load_policy
from accord.policy.logprobs import hidden_states
from accord.policy.policy import Policy
from accord.policy.sample import Sampled, Sampling, sample
from accord.record import Encoded, EncodedResponse
from accord.testing import tiny_model

BATCH = [
    Encoded((5, 6, 7), (EncodedResponse((8, 9, 10), (True, False, True)), EncodedResponse((11,), (True,)))),
    Encoded((5, 9), (EncodedResponse((12, 13), (True, True)),)),
]


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    loaded = load_policy(tiny_model(tmp_path_factory.mktemp("tiny"), "gemma2"))
    loaded.action_values = taught(ActionValues.on(loaded.model, loaded.source, polyak=0.5, seed=0))
    return loaded


def taught(heads: ActionValues) -> ActionValues:
    """Heads that have learned something."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in heads.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return heads


def drawn(policy: Policy, *, temperature: float = 1.0, n: int = 4) -> list[list[Sampled]]:
    sampling = Sampling(temperature=temperature, max_tokens=4, seed=3)
    return sample(policy.model, [(5, 6, 7), (5, 9)], n=n, sampling=sampling, stop_ids=(), pad_id=0)


def test_new_heads_find_nothing_worth_anything(policy: Policy) -> None:
    heads = ActionValues.on(policy.model, policy.source, polyak=0.5, seed=0)
    found = heads.estimates(policy.model, policy.rows(BATCH), policy.finish)
    assert not any(found[name].any() for name in ("value", "first_q", "second_q", "target_q"))
    assert not torch.equal(heads.q.get_parameter("0.hidden.weight"), heads.q.get_parameter("1.hidden.weight"))


def test_the_estimates_are_those_of_the_whole_vocabulary(policy: Policy) -> None:
    heads, rows = policy.action_values, policy.rows(BATCH)
    assert heads is not None
    found = policy.estimates(rows)
    states = hidden_states(policy.model, rows, rows.place)
    torch.testing.assert_close(found["policy"], policy.logprobs(rows))
    torch.testing.assert_close(found["value"], rows.fold(heads.value(states)[:, 0]))
    for name, head in zip(("first_q", "second_q"), heads.q, strict=True):
        whole, taken = head(states), rows.target[:, None]
        torch.testing.assert_close(found[name], rows.fold(whole.gather(1, taken)[:, 0]))
        torch.testing.assert_close(found[f"{name}_logprob"], rows.fold(whole.log_softmax(-1).gather(1, taken)[:, 0]))
    lesser = torch.minimum(*(head(states) for head in heads.targets))
    torch.testing.assert_close(found["target_q"], rows.fold(lesser.gather(1, rows.target[:, None])[:, 0]))
    assert not found["target_q"].requires_grad


def test_the_targets_follow_and_are_not_trained(policy: Policy) -> None:
    heads = taught(ActionValues(8, 20, polyak=0.25))
    before = {name: parameter.clone() for name, parameter in heads.targets.named_parameters()}
    heads.follow(1)
    for name, online in heads.q.named_parameters():
        moved = heads.targets.get_parameter(name)
        torch.testing.assert_close(moved.data, 0.75 * before[name] + 0.25 * online)
    assert set(heads.trainable()).isdisjoint(heads.named())
    assert len(heads.trainable()) + len(heads.named()) == len(dict(heads.named_parameters()))


def test_a_state_is_worth_the_same_wherever_it_stands(policy: Policy) -> None:
    assert policy.action_values is not None
    state = [Encoded((5, 6, 7), (EncodedResponse((7,), (True,)),))]
    value = policy.action_values.values(policy.model, policy.rows(state))
    torch.testing.assert_close(value[0, 0, 0], policy.estimates(BATCH)["value"][0, 0, 0].detach())


@pytest.mark.parametrize("n", [1, 4])
def test_decoding_goes_by_the_improved_policy(policy: Policy, n: int) -> None:
    heads = policy.action_values
    assert heads is not None
    with decoding_by_worth(policy, beta=3.0):
        answers = drawn(policy, n=n)
    for prompt, of_prompt in zip(((5, 6, 7), (5, 9)), answers, strict=True):
        for answer in of_prompt:
            rows = policy.rows([Encoded(prompt, (EncodedResponse(answer.tokens, (True,) * 4),))])
            with torch.no_grad():
                states = hidden_states(policy.model, rows, rows.place)
                ids = torch.tensor([[*prompt, *answer.tokens]])
                logits = policy.model(input_ids=ids).logits[0, len(prompt) - 1 : -1]
                improved = heads.improved(logits, states, beta=3.0)
            expected = improved.gather(1, rows.target[:, None])[:, 0]
            torch.testing.assert_close(torch.tensor(answer.logprobs), expected, rtol=1e-4, atol=1e-4)


def test_worth_that_counts_for_nothing_changes_nothing(policy: Policy) -> None:
    plain = drawn(policy)
    with decoding_by_worth(policy, beta=0.0):
        assert [[one.tokens for one in row] for row in drawn(policy)] == [[one.tokens for one in row] for row in plain]
    assert drawn(policy) == plain


def test_saved_heads_are_found_beside_the_weights(policy: Policy, tmp_path: Path) -> None:
    policy.save(tmp_path)
    again = load_policy(tmp_path)
    assert again.action_values is None
    with decoding_by_worth(policy, beta=3.0):
        expected = drawn(policy, temperature=0.0)
    with decoding_by_worth(again, beta=3.0):
        assert drawn(again, temperature=0.0) == expected
    other = load_policy(tiny_model(tmp_path / "other", "llama", hidden_size=16))
    (tmp_path / "other" / FILE).write_bytes((tmp_path / FILE).read_bytes())
    with pytest.raises(ModelError, match="do not fit"), decoding_by_worth(other, beta=1.0):
        pass


def test_a_model_without_heads_says_so(policy: Policy) -> None:
    bare = replace(policy, action_values=None)
    with pytest.raises(ModelError, match="accord train ilql"), decoding_by_worth(bare, beta=1.0):
        pass
    with pytest.raises(ModelError, match="accord train ilql"):
        bare.estimates(BATCH)
