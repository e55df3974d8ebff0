"""Policies, reward models and servers as what is measured: their numbers by hand, and opening them by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from accord.chat.cached import CachedChat
from accord.errors import ConfigError, DataError
from accord.evaluate.subject import Likelihood, Subject
from accord.evaluate.subjects import open_subject, policy_likelihoods, policy_subject
from accord.evaluate.windows import windows_of
from accord.policy.heads import RewardHead
from accord.policy.load import load_policy
from accord.policy.policy import Policy
from accord.policy.sample import Sampling
from accord.record import Group, Message, Response
from accord.rollout import rollout
from accord.testing import tiny_model


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return [tiny_model(tmp_path_factory.mktemp("tiny"), "llama", seed=seed) for seed in (0, 1)]


@pytest.fixture(scope="module")
def policies(models: list[Path]) -> list[Policy]:
    return [load_policy(model) for model in models]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCORD_CACHE", str(tmp_path / "cache"))


ITEMS = [
    Group("Hi", (Response("Hello."), Response("No", finished=False), Response(""))),
    Group((Message("system", "Be brief."), Message("user", "Name a river.")), (Response("Rhine"),)),
    Group("No responses"),
]


def logprob(policy: Policy, prompt: tuple[int, ...], tokens: tuple[int, ...]) -> float:
    """By the model itself, one sequence at a time."""
    ids = torch.tensor([[*prompt, *tokens]])
    logits = policy.model(input_ids=ids).logits[0, len(prompt) - 1 : -1]
    return float(logits.log_softmax(-1)[range(len(tokens)), list(tokens)].sum().detach())


def test_likelihoods_are_those_of_the_model(policies: list[Policy]) -> None:
    found = policy_likelihoods(policies[0])(ITEMS)
    for item, row in zip(ITEMS, found, strict=True):
        encoded = policies[0].renderer.encode(item)
        assert [one.tokens for one in row] == [len(one.tokens) for one in encoded.responses]
        expected = [logprob(policies[0], encoded.prompt, one.tokens) for one in encoded.responses]
        assert [one.total for one in row] == pytest.approx(expected, abs=1e-4)


def test_an_unfinished_response_is_scored_without_the_end_of_its_turn(policies: list[Policy]) -> None:
    ended, open_ = policy_likelihoods(policies[0])([Group("Hi", (Response("No"), Response("No", finished=False)))])[0]
    assert ended.tokens > open_.tokens
    assert ended.total < open_.total


def test_likelihoods_do_not_depend_on_what_else_is_scored(policies: list[Policy]) -> None:
    together = policy_likelihoods(policies[0])(ITEMS)
    alone = [policy_likelihoods(policies[0], tokens=8)([item])[0] for item in ITEMS]
    for row, own in zip(together, alone, strict=True):
        assert [one.total for one in row] == pytest.approx([one.total for one in own], abs=1e-4)


def test_a_long_text_is_read_in_windows_that_predict_every_token_once(policies: list[Policy]) -> None:
    text = "The harbour is quiet at night. " * 40
    windows = windows_of(policies[0], text)
    limit = policies[0].max_positions
    assert limit == 512
    assert len(windows) > 2
    assert all(len(one.prompt) + len(one.responses[0].tokens) <= limit for one in windows)
    assert all(len(one.prompt) >= limit // 2 for one in windows[1:])
    read = (*windows[0].prompt, *(token for one in windows for token in one.responses[0].tokens))
    assert policies[0].tokenizer.decode(read[1:]) == text
    assert read[0] == policies[0].tokenizer.eos_token_id  # it has no beginning-of-sequence token
    ((found,),) = policy_likelihoods(policies[0])([Group("", (Response(text),))])
    expected = sum(logprob(policies[0], one.prompt, one.responses[0].tokens) for one in windows)
    assert found.tokens == len(read) - 1
    assert found.total == pytest.approx(expected, rel=1e-5)


def test_an_empty_text_has_no_tokens(policies: list[Policy]) -> None:
    assert policy_likelihoods(policies[0])([Group("", (Response(""),))]) == [(Likelihood(0.0, 0, True),)]


def test_greedy_is_what_the_model_says_itself(policies: list[Policy]) -> None:
    for temperature in (0.0, 3.0):
        sampling = Sampling(max_tokens=4, temperature=temperature)
        said = rollout(policies[0], [Group("Hi"), Group("Ho")], n=2, sampling=sampling)
        found = policy_likelihoods(policies[0])(said)
        assert [one.greedy for row in found for one in row] == [temperature == 0] * 4


def test_an_item_that_does_not_fit_is_named(policies: list[Policy]) -> None:
    with pytest.raises(DataError, match=r"item long, 'Hi': has 6\d\d tokens, and the model reads 512"):
        policy_likelihoods(policies[0])([Group("Hi", (Response("x" * 600),), id="long")])


def test_implicit_rewards_are_the_log_ratio(policies: list[Policy]) -> None:
    subject = policy_subject(policies[0], reference=policies[1])
    rewards = subject.rewarding()(ITEMS)
    first, second = (policy_likelihoods(policy)(ITEMS) for policy in policies)
    for row, own, start in zip(rewards, first, second, strict=True):
        assert row == pytest.approx([one.total - other.total for one, other in zip(own, start, strict=True)])
    assert policy_subject(policies[0], reference=policies[0]).rewarding()(ITEMS)[0] == (0.0, 0.0, 0.0)
    assert policy_subject(policies[0]).rewards is None
    assert policy_subject(policies[0]).identity != subject.identity != policy_subject(policies[1]).identity


def test_opening_a_language_model_keeps_its_answers(models: list[Path], tmp_path: Path) -> None:
    subject = open_subject(str(models[0]), cache=tmp_path / "answers.sqlite")
    assert isinstance(subject.chat, CachedChat)
    assert subject.likelihoods is not None
    assert subject.chat.path.exists()
    assert open_subject(str(models[0])).identity == subject.identity != open_subject(str(models[1])).identity


def test_opening_a_reward_model(models: list[Path], tmp_path: Path) -> None:
    policy = load_policy(models[0], reward=True)
    policy.save(tmp_path / "reward")
    subject = open_subject(str(tmp_path / "reward"))
    assert (subject.chat, subject.likelihoods) == (None, None)
    encoded = policy.renderer.encode(ITEMS[1])
    assert subject.rewarding()([ITEMS[1]])[0] == pytest.approx(policy.rewards([encoded])[0].tolist(), abs=1e-5)
    assert isinstance(policy.reward_head, RewardHead)
    torch.nn.init.ones_(policy.reward_head.score.weight)
    policy.save(tmp_path / "other")
    assert open_subject(str(tmp_path / "other")).identity != subject.identity


def test_opening_a_rule_and_a_server() -> None:
    rule = open_subject("reward:repetition")
    assert rule.rewarding()([Group("Q", (Response("a b c"),))])[0][0] is not None
    server = open_subject("http://localhost:1/v1#none")
    assert isinstance(server, Subject)
    assert server.likelihoods is None
    for spec in ("reward:repetition", "http://localhost:1/v1#none"):
        with pytest.raises(ConfigError, match="--reference"):
            open_subject(spec, reference="somewhere")
