"""Group preference optimisation: its likelihood, what a prediction may depend on, and that it learns from context."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from accord.errors import DataError
from accord.feedback.group_network import GroupPredictor, group_likelihood, shares
from accord.feedback.group_preference import (
    Answers,
    agrees,
    answers_of,
    mean_of_groups,
    meta_train,
    nearest_group,
    predict,
    predict_logits,
    similarity,
)
from accord.feedback.group_reward import GroupReward, policy_embedder
from accord.feedback.score import score
from accord.policy.load import load_policy
from accord.record import Feedback, Group, Response
from accord.testing import tiny_model


def network(size: int = 3, *, width: int = 32, seed: int = 0) -> GroupPredictor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GroupPredictor(size, width=width, layers=2, heads=2, embedder_layers=2)


def population(groups: int, questions: Tensor, *, seed: int) -> list[Answers]:
    """Groups that weigh the three features of an option each in their own way."""
    weights = 3 * torch.randn(groups, 3, generator=torch.Generator().manual_seed(seed))
    valid = torch.ones(questions.shape[:2], dtype=torch.bool)
    return [Answers(questions, valid, (questions @ own).softmax(-1)) for own in weights]


def questions(count: int, *, seed: int) -> Tensor:
    return torch.randn(count, 3, 3, generator=torch.Generator().manual_seed(seed))


def test_likelihood_is_the_worked_number() -> None:
    cases = json.loads((Path(__file__).parents[1] / "golden.json").read_text())
    (case,) = (case for case in cases if case["method"] == "gpo_group.likelihood")
    preference, logit, log_std = (
        torch.tensor(case["inputs"][name], dtype=torch.float64) for name in ("target_prefs", "mean_logits", "log_std")
    )
    valid = torch.ones(3, dtype=torch.bool)
    expected = torch.tensor(case["expected"]["mean"], dtype=torch.float64)
    torch.testing.assert_close(shares(logit, valid), expected, rtol=1e-6, atol=1e-9)
    terms = group_likelihood(logit, log_std, preference, valid)
    assert terms.loss.sum().item() == pytest.approx(case["expected"]["loss"], rel=1e-6)


def test_options_that_are_not_there_count_nothing() -> None:
    valid = torch.tensor([[True, True, False]])
    logit = torch.tensor([[1.0, 0.0, 1e4]], requires_grad=True)
    terms = group_likelihood(logit, torch.zeros(1, 3), torch.tensor([[0.7, 0.3, 0.0]]), valid)
    value = terms.value()
    value.backward()  # type: ignore[no-untyped-call]
    assert bool(value.isfinite())
    assert logit.grad is not None
    assert logit.grad[0, 2] == 0
    assert bool(logit.grad.isfinite().all())


def test_a_prediction_depends_on_context_and_its_option_alone() -> None:
    predictor, asked = network(), questions(6, seed=1)
    (group,) = population(1, questions(5, seed=0), seed=0)
    valid = torch.ones(6, 3, dtype=torch.bool)
    logits = predict_logits(predictor, group, asked, valid)
    shuffled = group[torch.tensor([3, 0, 4, 2, 1])]
    torch.testing.assert_close(predict_logits(predictor, shuffled, asked, valid), logits)
    torch.testing.assert_close(predict_logits(predictor, group, asked[2:3], valid[2:3]), logits[2:3])
    fewer = valid.clone()
    fewer[:, 2] = False
    torch.testing.assert_close(predict_logits(predictor, group, asked, fewer)[:, :2], logits[:, :2])
    other = Answers(group.embedding, group.valid, group.preference.flip(-1))
    assert not torch.allclose(predict_logits(predictor, other, asked, valid), logits)


def test_shares_of_targets_are_never_read() -> None:
    predictor, points = network(), torch.randn(1, 6, 3, generator=torch.Generator().manual_seed(0))
    context = torch.tensor([[True, True, False, False, False, False]])
    first, second = torch.full((1, 6), 0.5), torch.full((1, 6), 0.5)
    second[0, 2:] = 0.9
    torch.testing.assert_close(predictor(points, first, context), predictor(points, second, context))


@pytest.mark.learning
def test_held_out_groups_are_told_apart_from_a_few_answers() -> None:
    asked = questions(60, seed=0)
    known, held_out = population(80, asked, seed=1), population(20, asked, seed=2)
    predictor = network()
    generator = torch.Generator().manual_seed(0)
    losses = meta_train(
        predictor, known, generator=generator, steps=500, questions=14, longest_context=10, batch_size=16, lr=3e-3
    )
    assert sum(losses[-20:]) < sum(losses[:20])
    ours, mean = [], []
    for group in held_out:
        context, target = group[:10], group[10:]
        ours.append(agreement(predict(predictor, context, target.embedding, target.valid), target))
        mean.append(agreement(mean_of_groups([other[10:] for other in known]), target))
    assert sum(ours) / 20 > sum(mean) / 20 + 0.15


def agreement(predicted: Tensor, target: Answers) -> float:
    return agrees(predicted, target.preference).mean().item()


def test_similarity_is_one_less_the_distance() -> None:
    shares_ = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])
    assert similarity(shares_, shares_).tolist() == pytest.approx([1.0, 1.0])
    assert similarity(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])).item() == pytest.approx(0.0)


def test_agreement_accepts_any_of_equals() -> None:
    preference = torch.tensor([[0.4, 0.4, 0.2], [0.4, 0.4, 0.2]])
    predicted = torch.tensor([[0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
    assert agrees(predicted, preference).tolist() == [1.0, 0.0]


def test_the_nearest_group_is_the_one_that_answered_alike() -> None:
    groups = population(5, questions(8, seed=0), seed=0)
    assert nearest_group(groups, groups[3][:4], [group[:4] for group in groups]) is groups[3]


def survey() -> list[Group]:
    """Two questions; group a answers both, group b the second, which has an option more."""
    first = Group(
        "Which?",
        (Response("this"), Response("that")),
        (Feedback("human", "a", distribution=(0.25, 0.75)), Feedback("judge", scores={"overall": (1.0, 2.0)})),
    )
    answers = tuple(Feedback("human", name, distribution=(0.5, 0.25, 0.25)) for name in ("a", "b"))
    return [first, Group("And now?", (Response("x"), Response("yes"), Response("not so fast")), answers)]


def test_answers_are_read_from_feedback() -> None:
    embedding, valid = torch.randn(2, 3, 4), torch.tensor([[True, True, False], [True, True, True]])
    answers = answers_of(survey(), embedding, valid)
    assert {name: len(own) for name, own in answers.items()} == {"a": 2, "b": 1}
    assert answers["a"].preference.tolist() == [[0.25, 0.75, 0.0], [0.5, 0.25, 0.25]]
    torch.testing.assert_close(answers["b"].embedding, embedding[1:])
    with pytest.raises(DataError, match="no annotator group"):
        answers_of([Group("Which?", (Response("this"),))], embedding[:1], valid[:1])


@pytest.mark.parametrize(("asked", "context"), [(9, 5), (4, 4), (4, 0)])
def test_a_split_must_fit_the_answers(asked: int, context: int) -> None:
    groups = population(2, questions(8, seed=0), seed=0)
    with pytest.raises(DataError, match="cannot split"):
        meta_train(network(), groups, generator=torch.Generator(), questions=asked, longest_context=context)


def test_no_context_is_a_mistake() -> None:
    (group,) = population(1, questions(3, seed=0), seed=0)
    with pytest.raises(DataError, match="Give at least one"):
        predict(network(), group[:0], group.embedding, group.valid)


def test_it_is_a_reward_over_any_policy(tmp_path: Path) -> None:
    embed = policy_embedder(load_policy(str(tiny_model(tmp_path / "model"))), batch_size=1)
    groups = survey()
    embedding, valid = embed(groups)
    assert valid.tolist() == [[True, True, False], [True, True, True]]
    whole, _ = policy_embedder(load_policy(str(tmp_path / "model")), batch_size=8)(groups)
    torch.testing.assert_close(embedding, whole, atol=1e-5, rtol=1e-4)
    context = answers_of(groups, embedding, valid)["a"]
    reward = GroupReward("a", network(embedding.shape[-1]), context, embed)
    rows = reward(groups)
    assert list(map(len, rows)) == [2, 3]
    assert [row.index(max(_given(row))) for row in rows] == reward.best(groups)
    scored = score(groups, [reward])
    assert scored[0].scores("a") == pytest.approx(rows[0])


def _given(row: Sequence[float | None]) -> list[float]:
    return [value for value in row if value is not None]
