"""One step: a global division, whatever the micro-batches; identities of the first step; loud failures."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable

import pytest
import torch
from msgspec.structs import replace
from torch import Tensor

from accord.errors import DataError, NumericsError
from accord.objectives import OBJECTIVES, signature_of
from accord.objectives.terms import Terms
from accord.record import Feedback, Group, Preference, Response
from accord.testing import demonstrations, labelled_groups, preference_groups
from accord.train.collate import SAMPLER, Example, make_examples
from accord.train.loop import learning_rate_schedule, make_optimizer, optimise
from accord.train.step import Task, run_step

MakeTask = Callable[..., tuple[Task, list[Example]]]


def judged_groups(count: int, scores: tuple[float, float] = (0.7, 0.2)) -> list[Group]:
    """Pairs with everything that any objective asks for, of each response and of its two steps."""
    judgement = {
        "scores": {"overall": scores, "wit": (None, 1.5)},
        "distribution": (0.8, 0.2),
        "step_scores": ((1.0, 0.7), (0.0, None)),
    }
    return [
        replace(
            group,
            responses=tuple(replace(one, steps=(one.text.index(" "), len(one.text))) for one in group.responses),
            feedback=tuple(replace(one, **judgement) for one in group.feedback),
        )
        for group in preference_groups(count)
    ]


def against_a_mixture(group: Group) -> Group:
    """The Group with its second response sampled by another than the policy."""
    own, other = group.responses
    return replace(group, responses=(own, replace(other, meta={SAMPLER: "mixture"})))


# What the step does depends on the tensors that an objective names; one stands for all that name the same.
ONE_OF_EACH_NEED = {signature_of(OBJECTIVES[name]).needs: name for name in reversed([*OBJECTIVES])}.values()
GROUPS = {name: judged_groups(9) for name in OBJECTIVES}
GROUPS |= {
    "sft": demonstrations(9),
    "kto": labelled_groups(9),
    "apo_unpaired": labelled_groups(9),
    "bco": labelled_groups(9),
    "aot_unpaired": labelled_groups(9),
    "inverse_constraint": labelled_groups(9),
    "nash_md": [against_a_mixture(group) for group in judged_groups(9)],
    # With a clear difference in reward, so that there is something to learn.
    "cost_dpo": judged_groups(9, scores=(6.0, 0.0)),
}
FIRST_LOSS = {
    "dpo": math.log(2),
    "ipo": (1 / 0.2) ** 2,
    "kto": 0.5,
    "plackett_luce": math.log(2),
    "soft_listwise": math.log(2),
    "bradley_terry": math.log(2),
}


def gradients(task: Task) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in task.policy.trainable().items() if p.grad is not None}


def move(task: Task) -> None:
    """Leave the starting point, so that margins are not all zero."""
    with torch.no_grad():
        torch.manual_seed(1)
        for p in task.policy.trainable().values():
            p.add_(0.02 * torch.randn_like(p))


@pytest.mark.parametrize("name", ONE_OF_EACH_NEED)
def test_the_micro_batch_size_changes_nothing(name: str, make_task: MakeTask) -> None:
    task, examples = make_task(name, GROUPS[name])
    move(task)
    seen = []
    for tokens in (10_000, 150, 1):
        for p in task.trainable().values():
            p.grad = None
        result = run_step(task, examples, micro_batch_tokens=tokens, backward=True)
        seen.append((result, gradients(task)))
    whole, whole_gradients = seen[0]
    for result, split_gradients in seen[1:]:
        assert result.loss == pytest.approx(whole.loss, rel=1e-5)
        assert result.tokens == whole.tokens
        assert set(result.metrics) == set(whole.metrics)
        for metric, (total, count) in whole.metrics.items():
            assert result.metrics[metric] == pytest.approx((total, count), rel=1e-4, abs=1e-4)
        for parameter, gradient in whole_gradients.items():
            torch.testing.assert_close(split_gradients[parameter], gradient, rtol=1e-3, atol=2e-5)


def test_the_graph_of_a_micro_batch_ends_before_the_next(make_task: MakeTask, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of a graph lies between the activations of the next, which then need more room."""
    task, examples = make_task("dpo", GROUPS["dpo"])
    found: list[weakref.ref[Tensor]] = []
    terms = type(task).terms

    def watched(task: Task, tensors: dict[str, Tensor]) -> Terms:
        assert not any(reference() is not None for reference in found)
        result = terms(task, tensors)
        if tensors["policy"].requires_grad:
            found.append(weakref.ref(tensors["policy"]))
        return result

    monkeypatch.setattr(type(task), "terms", watched)
    run_step(task, examples, micro_batch_tokens=1, backward=True)
    assert len(found) > 1


@pytest.mark.parametrize("name", ONE_OF_EACH_NEED)
def test_the_order_of_groups_changes_nothing(name: str, make_task: MakeTask) -> None:
    task, examples = make_task(name, GROUPS[name])
    move(task)
    forward = run_step(task, examples, micro_batch_tokens=300, backward=False)
    backward = run_step(task, examples[::-1], micro_batch_tokens=300, backward=False)
    assert backward.loss == pytest.approx(forward.loss, rel=1e-5)


def test_what_an_objective_carries_is_a_mean_over_the_step(make_task: MakeTask) -> None:
    task, examples = make_task("bco", GROUPS["bco"])
    move(task)
    task.state.update(desirable=0.5)
    whole, split = (run_step(task, examples, micro_batch_tokens=n, backward=False) for n in (10_000, 1))
    assert set(whole.state) == {"desirable", "undesirable"}
    assert split.state == pytest.approx(whole.state, rel=1e-5)
    reward = 0.1 * whole.metrics["chosen_reward"][0] / whole.metrics["chosen_reward"][1]
    assert whole.state["desirable"] == pytest.approx(0.9 * 0.5 + 0.1 * reward, rel=1e-4)
    assert not any(name.startswith("state") for name in whole.metrics)


def test_a_class_that_is_missing_from_a_step_keeps_its_state(make_task: MakeTask) -> None:
    desirable = [group for group in GROUPS["bco"] if max(group.labels()) > 0 and min(group.labels()) >= 0]
    task, examples = make_task("bco", desirable)
    assert set(run_step(task, examples, micro_batch_tokens=300, backward=False).state) == {"desirable"}


def test_the_pairs_of_the_step_are_all_pairs(make_task: MakeTask) -> None:
    """At the start the policy's margins are the reference's, so that transport compares each pair with itself."""
    task, examples = make_task("aot", GROUPS["aot"])
    assert run_step(task, examples, micro_batch_tokens=1, backward=False).loss == pytest.approx(math.log(2), abs=1e-5)
    carried, examples = make_task("beta_dpo", GROUPS["beta_dpo"])
    move(carried)
    result = run_step(carried, examples, micro_batch_tokens=1, backward=False)
    mean = result.metrics["margin"][0] / result.metrics["margin"][1]
    assert result.state["threshold"] == pytest.approx(0.1 * mean, rel=1e-4)


def test_the_loop_hands_state_to_the_next_step(make_task: MakeTask) -> None:
    task, examples = make_task("constrained_dpo", GROUPS["constrained_dpo"])
    optimizer = make_optimizer(task.policy.trainable(), weight_decay=0.0, betas=(0.9, 0.999))
    used, left = [], []
    for update in optimise(
        task,
        enumerate([examples] * 3),
        optimizer,
        learning_rate=lambda _: 1e-3,
        max_grad_norm=0.0,
        micro_batch_tokens=300,
    ):
        total, count = update.result.metrics["multiplier"]
        used.append(total / count)
        left.append(task.state["multiplier"])
    assert used[0] == pytest.approx(1.0)
    assert left[0] == pytest.approx(1.0 - 0.1 * 0.05, abs=1e-6)
    assert used[1:] == pytest.approx(left[:-1])


@pytest.mark.parametrize(("name", "loss"), FIRST_LOSS.items())
def test_the_first_loss_is_the_one_on_paper(name: str, loss: float, make_task: MakeTask) -> None:
    task, examples = make_task(name, GROUPS[name])
    assert run_step(task, examples, micro_batch_tokens=300, backward=False).loss == pytest.approx(loss, abs=1e-5)


@pytest.mark.parametrize("name", ["dpo", "kto"])
def test_adapters_start_at_the_reference(name: str, make_task: MakeTask) -> None:
    task, examples = make_task(name, GROUPS[name], lora_r=4)
    assert run_step(task, examples, micro_batch_tokens=300, backward=False).loss == pytest.approx(
        FIRST_LOSS[name], abs=1e-6
    )
    move(task)
    assert task.reference is not None
    with torch.no_grad(), task.policy.start():
        rows = task.policy.rows([examples[0].encoded])
        started = task.policy.logprobs(rows)
    torch.testing.assert_close(started, task.reference.logprobs([examples[0].encoded], rows), atol=1e-5, rtol=0)


def test_a_token_mean_is_over_the_whole_step(make_task: MakeTask) -> None:
    task, examples = make_task("sft", GROUPS["sft"])
    result = run_step(task, examples, micro_batch_tokens=1, backward=False)
    with torch.no_grad():
        total = sum(float(task.policy.logprobs([example.encoded]).sum()) for example in examples)
    tokens = sum(sum(response.trained) for example in examples for response in example.encoded.responses)
    assert result.loss == pytest.approx(-total / tokens, rel=1e-5)


def test_the_order_of_components_and_their_divisions(make_task: MakeTask) -> None:
    task, examples = make_task("orpo", GROUPS["orpo"])
    result = run_step(task, examples, micro_batch_tokens=200, backward=False)
    assert len(result.components) == 2
    one = run_step(task, examples, micro_batch_tokens=10_000, backward=False)
    assert result.components == pytest.approx(one.components, rel=1e-5)


def test_a_loss_that_is_not_finite_names_the_prompt(make_task: MakeTask) -> None:
    task, examples = make_task("sft", GROUPS["sft"])

    def broken(policy: torch.Tensor, mask: torch.Tensor) -> Terms:
        loss = policy.sum((1, 2))
        return Terms(torch.where(torch.arange(len(loss)) == 1, loss * float("nan"), loss), torch.ones(len(loss)))

    bad = Task(broken, {}, task.policy)
    with pytest.raises(NumericsError, match="the loss is nan on the prompt 'Tell me about"):
        run_step(bad, examples, micro_batch_tokens=10_000, backward=True)


def test_mismatched_rows_never_repeat_the_prompt() -> None:
    pair = preference_groups(1)[0]
    groups = [pair, pair, Group("another prompt", (Response("yes"),))]
    from accord.record import Encoded, EncodedResponse

    answer = EncodedResponse((7, 8), (True, True))
    encoded = [Encoded((1,), (answer,)), Encoded((1,), (answer,)), Encoded((2,), (EncodedResponse((9,), (True,)),))]
    mismatched = [example.mismatched for example in make_examples(groups, encoded, mismatch=True)]
    assert [other.prompt for other in mismatched if other] == [(1,), (1,), (2,)]
    assert [other.responses[0].tokens for other in mismatched if other] == [(9,), (9,), (7, 8)]
    with pytest.raises(DataError, match="same prompt"):
        make_examples(groups[:2], encoded[:2], mismatch=True)


def test_one_kto_row_has_a_reference_point(make_task: MakeTask) -> None:
    task, examples = make_task("kto", GROUPS["kto"])
    move(task)
    lone = run_step(task, examples[:1], micro_batch_tokens=300, backward=False)
    assert math.isfinite(lone.loss)


@pytest.mark.parametrize("name", ONE_OF_EACH_NEED)
def test_thirty_steps_lower_the_loss(name: str, make_task: MakeTask) -> None:
    task, examples = make_task(name, GROUPS[name])
    optimizer = make_optimizer(task.policy.trainable(), weight_decay=0.0, betas=(0.9, 0.999))
    rate = learning_rate_schedule(3e-3, 30, schedule="constant", warmup=0)
    steps = [examples] * 30
    losses = [
        update.result.loss
        for update in optimise(
            task, enumerate(steps), optimizer, learning_rate=rate, max_grad_norm=1.0, micro_batch_tokens=10_000
        )
    ]
    assert losses[-1] < 0.8 * losses[0]


def test_swapped_preferences_learn_the_opposite(make_task: MakeTask) -> None:
    swapped = [
        Group(group.prompt, group.responses, (Feedback("dataset", preferences=(Preference(1, 0),)),))
        for group in GROUPS["dpo"]
    ]
    task, examples = make_task("dpo", GROUPS["dpo"])
    optimizer = make_optimizer(task.policy.trainable(), weight_decay=0.0, betas=(0.9, 0.999))
    rate = learning_rate_schedule(3e-3, 20, schedule="constant", warmup=0)
    backwards = make_examples(swapped, [example.encoded for example in examples], mismatch=False)
    steps = enumerate([backwards] * 20)
    list(optimise(task, steps, optimizer, learning_rate=rate, max_grad_norm=1.0, micro_batch_tokens=10_000))
    assert run_step(task, examples, micro_batch_tokens=10_000, backward=False).loss > math.log(2)
