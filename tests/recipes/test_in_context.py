"""In-context DPO: worked scores, which demonstrations are found, and what the command shows and writes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from accord.cli.app import main
from accord.errors import ConfigError, DataError
from accord.policy.load import load_policy
from accord.policy.policy import Policy
from accord.policy.sample import Sampling
from accord.recipes.in_context import Demonstrations, answer_in_context, contrastive_scores
from accord.record import Group, Message, Response, read_groups, write_groups
from accord.testing import tiny_model

SAMPLING = Sampling(temperature=1.0, max_tokens=6, seed=1)
GOOD = [
    Group("How do I wash a pot?", (Response("Take a sponge."),)),
    Group("Who paints the old bridge?", (Response("Ann paints it."),)),
    Group("How do I wash a lamp?", (Response("Take a cloth."),)),
]
BAD = [Group("How do I wash a cat?", (Response("Go away."),))]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny"), "llama")


@pytest.fixture
def policy(model: Path) -> Policy:
    return load_policy(model, chat="on")


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("icdpo_published.contrastive_score", "logp_with_demos", "logp_without"),
        ("icdpo_published.two_demo_score", "logp_good_demos", "logp_bad_demos"),
    ],
)
def test_the_published_scores(name: str, first: str, second: str) -> None:
    cases = json.loads((Path(__file__).parents[1] / "golden.json").read_text())
    (case,) = [one for one in cases if one["method"] == name]
    scores = contrastive_scores(case["inputs"][first], case["inputs"][second])
    assert scores == pytest.approx(case["expected"]["scores"], rel=1e-12)
    assert max(range(len(scores)), key=scores.__getitem__) == case["expected"]["argmax"]


def test_the_nearest_demonstrations_share_words_and_stand_last(policy: Policy) -> None:
    demonstrations = Demonstrations(GOOD, policy)
    nearest = demonstrations.nearest(Group("How do I wash a lamp?"), 2)
    assert nearest[-1].prompt == "How do I wash a pot?"
    assert [one.prompt for one in demonstrations.nearest(GOOD[0], 3)].count(GOOD[0].prompt) == 0
    assert len(demonstrations.nearest(Group("zzz"), 2)) == 2


def log_probability(policy: Policy, prompt: Any, response: Response) -> float:
    (encoded,) = (policy.renderer.encode(Group(prompt, (response,))),)
    with torch.inference_mode():
        return float(policy.logprobs([encoded]).sum())


@pytest.mark.parametrize("contrast", [False, True])
def test_a_score_is_what_the_demonstration_adds(policy: Policy, contrast: bool) -> None:
    demonstrations, against = Demonstrations(GOOD[:1], policy), Demonstrations(BAD, policy)
    question = Group("How do I wash a lamp?", meta={"kept": 1})
    (answered,) = answer_in_context(
        policy,
        [question],
        demonstrations,
        against=against if contrast else None,
        shots=1,
        candidates=3,
        sampling=SAMPLING,
    )
    assert (answered.prompt, answered.meta) == (question.prompt, question.meta)
    assert len(answered.responses) == 3
    scores = answered.scores()
    assert scores is not None
    for response, score in zip(answered.responses, scores, strict=True):
        assert response.tokens
        assert response.logprobs is None
        behind = [
            (*one.messages(), Message("assistant", one.responses[0].text), *question.messages())
            for one in (GOOD[0], BAD[0])
        ]
        plain = behind[1] if contrast else question.prompt
        expected = log_probability(policy, behind[0], response) - log_probability(policy, plain, response)
        assert score == pytest.approx(expected, abs=1e-3)


def test_demonstrations_that_leave_no_room_are_fewer_and_then_refused(policy: Policy) -> None:
    limit = policy.max_positions
    assert limit is not None
    long = [Group(f"{one.prompt}", (Response("word " * (limit // 8)),)) for one in GOOD]
    answered = answer_in_context(
        policy, [Group("How?")], Demonstrations(long, policy), shots=3, candidates=1, sampling=SAMPLING
    )
    assert len(answered[0].responses) == 1
    longer = [Group("How do I?", (Response("word " * limit),))]
    with pytest.raises(ConfigError, match="no demonstration fits between a prompt and an answer of 6 tokens"):
        answer_in_context(
            policy, [Group("How?")], Demonstrations(longer, policy), shots=1, candidates=1, sampling=SAMPLING
        )


def test_demonstrations_need_answers(policy: Policy) -> None:
    with pytest.raises(DataError, match="without a response"):
        Demonstrations([Group("p")], policy)
    with pytest.raises(DataError, match="no demonstrations"):
        Demonstrations([], policy)


def test_the_command(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, out = tmp_path / "good.jsonl", tmp_path / "answers.jsonl"
    write_groups(good, GOOD)
    words = ["in-context", "How do I wash a lamp?", "--model", str(model), "--demonstrations", str(good)]
    words += ["--max-tokens", "6", "--candidates", "2", "--chat", "on"]
    assert main(words) == 0
    assert "nats]" in capsys.readouterr().out
    assert main([*words, "--out", str(out)]) == 0
    (group,) = read_groups(out)
    assert len(group.scores() or ()) == 2
    assert main([*words, "--shots", "0"]) == 2
    assert "--shots: must be 1 or more" in capsys.readouterr().err
