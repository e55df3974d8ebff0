"""Which Groups make up which step."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.errors import DataError
from accord.policy.budget import Cost
from accord.policy.rows import longest_row
from accord.record import Encoded, EncodedResponse, Group
from accord.train.collate import Example
from accord.train.plan import micro_batches, plan_steps


def plan(tokens: list[int], **settings: object) -> list[list[int]]:
    defaults = {"seed": 0, "epochs": 1.0, "steps": None, "tokens_per_step": 100, "batch_size": None}
    return plan_steps(tokens, **(defaults | settings))  # type: ignore[arg-type]


@given(st.lists(st.integers(1, 200), min_size=1, max_size=50), st.integers(1, 300), st.integers(0, 5))
def test_an_epoch_sees_every_group_once_and_fills_every_step_but_the_last(
    tokens: list[int], budget: int, seed: int
) -> None:
    steps = plan(tokens, tokens_per_step=budget, seed=seed)
    assert sorted(index for step in steps for index in step) == list(range(len(tokens)))
    for step in steps[:-1]:
        assert sum(tokens[index] for index in step) >= budget
        assert sum(tokens[index] for index in step[:-1]) < budget


def test_epochs_differ_in_order_and_seeds_differ() -> None:
    steps = plan([10] * 40, epochs=2.0)
    assert len(steps) == 8
    assert steps[:4] != steps[4:]
    assert plan([10] * 40) != plan([10] * 40, seed=1)
    assert plan([10] * 40) == plan([10] * 40)


def test_fractions_of_epochs_and_a_number_of_steps() -> None:
    assert len(plan([10] * 40, epochs=0.5)) == 2
    assert len(plan([10] * 40, epochs=1.5)) == 6
    assert len(plan([10] * 40, steps=7, epochs=99.0)) == 7
    assert [len(step) for step in plan([10] * 10, batch_size=4)] == [4, 4, 2]


def test_a_longer_run_begins_like_a_shorter_one() -> None:
    assert plan([10] * 40, epochs=2.0)[:4] == plan([10] * 40, epochs=1.0)


def test_nothing_to_train_on() -> None:
    with pytest.raises(DataError, match="no Groups"):
        plan([])


def padded(responses: int, longest: int, shared: int) -> int:
    return responses * longest


def shared(responses: int, longest: int, shared: int) -> int:
    return shared


@pytest.mark.parametrize("cost", [padded, shared])
@given(
    st.lists(st.tuples(st.integers(1, 60), st.lists(st.integers(1, 40), min_size=1, max_size=4)), max_size=40),
    st.integers(1, 300),
)
def test_micro_batches_keep_every_example_and_stay_within_the_budget(
    cost: Cost, shapes: list[tuple[int, list[int]]], budget: int
) -> None:
    examples = [
        Example(
            Group(str(index)),
            Encoded((1,) * prompt, tuple(EncodedResponse((2,) * n, (True,) * n) for n in lengths)),
        )
        for index, (prompt, lengths) in enumerate(shapes)
    ]
    batches = micro_batches(examples, budget, cost)
    assert sorted(example.group.prompt for batch in batches for example in batch) == sorted(
        example.group.prompt for example in examples
    )
    for batch in batches:
        of = [example.encoded for example in batch]
        responses = sum(len(encoded.responses) for encoded in of)
        tokens = sum(len(encoded.prompt) + sum(len(r.tokens) for r in encoded.responses) for encoded in of)
        assert cost(responses, max(map(longest_row, of)), tokens) <= budget or len(batch) == 1
