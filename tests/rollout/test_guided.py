"""Value-guided decoding against what can be enumerated: nothing without beta, the tilted distribution, the best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from accord.errors import ConfigError, DataError
from accord.policy.load import load_policy
from accord.policy.policy import Policy
from accord.policy.sample import Sampling
from accord.record import Group, Response
from accord.rollout import Guide, guided_rollout, rollout
from accord.rollout.guided import tilted
from accord.testing import tiny_model

PROMPTS = [Group(prompt="Say a word"), Group(prompt="And another, longer one"), Group(prompt="No")]


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return load_policy(tiny_model(tmp_path_factory.mktemp("model")))


def high_letters(groups: Sequence[Group]) -> list[tuple[float, ...]]:
    """A value that is easy to compute: how far down the alphabet the letters are, on average."""
    return [tuple(_height(response.text) for response in group.responses) for group in groups]


def _height(text: str) -> float:
    return sum(ord(letter) % 32 for letter in text) / (16 * len(text)) if text else 0.0


def texts(groups: Sequence[Group]) -> list[list[str]]:
    return [[response.text for response in group.responses] for group in groups]


def next_token(policy: Policy, group: Group) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the first token, `[V]`, and the value of an answer of that token alone, `[V]`."""
    prompt = policy.renderer.encode_prompt(group.prompt)
    with torch.no_grad():
        logits = policy.model(torch.tensor([prompt])).logits[0, -1].double()
    answers = tuple(Response(policy.renderer.text_of((token,), prompt=group.prompt)) for token in range(len(logits)))
    (row,) = high_letters([Group(prompt=group.prompt, responses=answers)])
    return logits.log_softmax(-1), torch.tensor(row, dtype=torch.float64)


def test_without_beta_tokens_are_those_of_the_plain_sampler(policy: Policy) -> None:
    sampling = Sampling(max_tokens=7, temperature=0.8)
    for candidates, top_k in ((100_000, None), (5, 5)):
        guide = Guide(by="tokens", beta=0.0, candidates=candidates)
        guided = guided_rollout(policy, PROMPTS, high_letters, n=2, sampling=sampling, guide=guide)
        plain = rollout(policy, PROMPTS, n=2, sampling=Sampling(max_tokens=7, temperature=0.8, top_k=top_k))
        assert [[r.tokens for r in g.responses] for g in guided] == [[r.tokens for r in g.responses] for g in plain]


@pytest.mark.parametrize("beta", [0.5, 4.0])
def test_tokens_come_from_the_tilted_distribution(policy: Policy, beta: float) -> None:
    """What is written down for a token is exactly log p e^(beta V) over all tokens."""
    logprobs, values = next_token(policy, PROMPTS[0])
    expected = (logprobs + beta * values).log_softmax(-1)
    guide = Guide(by="tokens", beta=beta, candidates=100_000)
    (group,) = guided_rollout(policy, PROMPTS[:1], high_letters, n=12, sampling=Sampling(max_tokens=1), guide=guide)
    for response in group.responses:
        assert response.tokens is not None
        assert response.logprobs is not None
        assert response.logprobs[0] == pytest.approx(float(expected[response.tokens[0]]), abs=1e-4)


def test_an_infinite_beta_takes_the_best_token_of_the_likeliest(policy: Policy) -> None:
    logprobs, values = next_token(policy, PROMPTS[0])
    likeliest = logprobs.topk(6).indices
    best = values[likeliest].max()
    guide = Guide(by="tokens", beta=inf, candidates=6)
    (group,) = guided_rollout(policy, PROMPTS[:1], high_letters, n=5, sampling=Sampling(max_tokens=1), guide=guide)
    for response in group.responses:
        assert response.tokens is not None
        assert response.tokens[0] in likeliest
        assert values[response.tokens[0]] == best


@pytest.mark.parametrize("beta", [0.0, 3.0])
def test_blocks_are_kept_in_proportion(policy: Policy, beta: float) -> None:
    r"""With two candidates of one token, P(v) = p(v) sum_u p(u) 2 sigma(beta (V(v) - V(u))); without beta it is p."""
    logprobs, values = next_token(policy, PROMPTS[2])
    p = logprobs.exp()
    expected = p * (2 * torch.sigmoid(beta * (values[:, None] - values[None, :])) @ p)
    assert float(expected.sum()) == pytest.approx(1.0, abs=1e-6)
    guide = Guide(beta=beta, candidates=2, block=1)
    (group,) = guided_rollout(policy, PROMPTS[2:], high_letters, n=3000, sampling=Sampling(max_tokens=1), guide=guide)
    counts = Counter(response.tokens[0] for response in group.responses if response.tokens)
    seen = np.array([counts[token] for token in range(len(p))], dtype=float)
    likely = (3000 * expected.numpy()) > 8
    bins = [[*values_[likely], values_[~likely].sum()] for values_ in (seen, 3000 * expected.numpy())]
    assert stats.chisquare(bins[0], np.asarray(bins[1]) * 3000 / sum(bins[1])).pvalue > 0.001


def test_a_block_as_long_as_the_answer_is_best_of_k(policy: Policy) -> None:
    asked: list[list[str]] = []

    def watched(groups: Sequence[Group]) -> list[tuple[float, ...]]:
        asked.extend(texts(groups))
        return high_letters(groups)

    guide = Guide(beta=inf, candidates=6, block=50)
    guided = guided_rollout(policy, PROMPTS, watched, n=1, sampling=Sampling(max_tokens=5), guide=guide)
    assert [len(candidates) for candidates in asked] == [6, 6, 6]
    for (kept,), candidates in zip(texts(guided), asked, strict=True):
        assert _height(kept) == max(map(_height, candidates))


def test_several_blocks_make_one_answer_and_higher_beta_a_better_one(policy: Policy) -> None:
    sampling, worth = Sampling(max_tokens=9), []
    for beta in (0.0, 20.0):
        guide = Guide(beta=beta, candidates=4, block=2)
        found = guided_rollout(policy, PROMPTS, high_letters, n=6, sampling=sampling, guide=guide)
        worth.append(sum(sum(row) for row in high_letters(found)) / 18)
        for response in (response for group in found for response in group.responses):
            assert response.tokens is not None
            assert len(response.tokens) <= 9
            assert response.finished == (response.tokens[-1] in policy.renderer.stop_ids)
            assert response.finished or len(response.tokens) == 9
            assert response.logprobs is None
    assert worth[1] > worth[0] + 0.05


@pytest.mark.parametrize("outlook", ["none", "greedy"])
def test_an_answer_ends_where_the_model_does(tmp_path: Path, outlook: Literal["none", "greedy"]) -> None:
    policy = load_policy(tiny_model(tmp_path))
    room = len(policy.renderer.encode_prompt(PROMPTS[1].prompt)) + 4
    policy = load_policy(tiny_model(tmp_path, max_position_embeddings=room))
    guide = Guide(beta=1.0, candidates=2, block=2, outlook=outlook)
    (group,) = guided_rollout(policy, PROMPTS[1:2], high_letters, n=4, sampling=Sampling(max_tokens=9), guide=guide)
    assert max(len(response.tokens or ()) for response in group.responses) == 4


def test_answers_do_not_depend_on_what_else_is_asked(policy: Policy) -> None:
    guide, sampling = Guide(beta=5.0, candidates=3, block=3), Sampling(max_tokens=7)
    together = guided_rollout(policy, PROMPTS, high_letters, n=2, sampling=sampling, guide=guide)
    alone = guided_rollout(policy, PROMPTS[:1], high_letters, n=2, sampling=sampling, guide=guide)
    assert texts(together)[0] == texts(alone)[0]


def test_a_greedy_outlook_judges_whole_answers(policy: Policy) -> None:
    lengths: list[int] = []

    def watched(groups: Sequence[Group]) -> list[tuple[float, ...]]:
        lengths.extend(len(response.text) for group in groups for response in group.responses)
        return high_letters(groups)

    sampling = Sampling(max_tokens=8)
    for outlook in ("none", "greedy"):
        lengths.clear()
        guide = Guide(beta=1.0, candidates=3, block=2, outlook=outlook)
        guided_rollout(policy, PROMPTS[:1], watched, n=1, sampling=sampling, guide=guide)
        if outlook == "none":
            assert max(lengths[:3]) <= 2
    assert max(lengths[:3]) > 2


def test_tilting_at_the_ends() -> None:
    logits, values = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([3.0, 3.0, 1.0])
    assert tilted(logits, values, beta=0.0).equal(logits)
    assert tilted(logits, values, beta=inf).tolist() == [0.0, 1.0, -inf]


def test_mistakes_are_named(policy: Policy) -> None:
    with pytest.raises(ConfigError, match="--guide-beta"):
        Guide(beta=-1.0)
    with pytest.raises(ConfigError, match="--guide-outlook"):
        Guide(by="tokens", outlook="greedy")
    for sampling, flag in ((Sampling(temperature=0.0), "--temperature"), (Sampling(stop=("x",)), "--stop")):
        with pytest.raises(ConfigError, match=flag):
            guided_rollout(policy, PROMPTS, high_letters, n=1, sampling=sampling, guide=Guide())
    with pytest.raises(DataError, match="has the value None"):
        guided_rollout(
            policy,
            PROMPTS,
            lambda groups: [(None,) * len(group.responses) for group in groups],
            n=1,
            sampling=Sampling(max_tokens=2),
            guide=Guide(),
        )
