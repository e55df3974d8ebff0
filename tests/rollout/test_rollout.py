"""From prompts to Groups of sampled responses, and back to the same token ids."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from rich.console import Console

from accord.errors import AccordError
from accord.policy.load import load_policy
from accord.policy.policy import Policy
from accord.policy.sample import Sampling
from accord.record import Feedback, Group, Message, Origin, Preference, Response, read_groups, write_groups
from accord.rollout import progress, progress_bar, rollout
from accord.testing import preference_groups, tiny_model


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return load_policy(tiny_model(tmp_path_factory.mktemp("policy"), "llama"))


def test_responses_are_replaced_and_the_rest_stays(policy: Policy) -> None:
    group = Group(
        (Message("system", "Be brief."), Message("user", "What is 2 plus 2?")),
        (Response("5"), Response("4")),
        (Feedback("dataset", preferences=(Preference(1, 0),)),),
        id="sum",
        answer=4,
        origin=Origin("sums.jsonl", 1),
        meta={"level": 1},
    )
    (answered,) = rollout(policy, [group], n=3, sampling=Sampling(max_tokens=6))
    assert (answered.prompt, answered.id, answered.answer, answered.origin, answered.meta) == (
        group.prompt,
        "sum",
        4,
        group.origin,
        {"level": 1},
    )
    assert answered.feedback == ()
    assert len(answered.responses) == 3
    for response in answered.responses:
        assert response.tokens is not None
        assert response.logprobs is not None
        assert 1 <= len(response.tokens) == len(response.logprobs) <= 6
        assert response.finished == (response.tokens[-1] in policy.renderer.stop_ids)
        assert response.version == policy.version


def test_training_sees_the_sampled_tokens_and_their_logprobs(policy: Policy, tmp_path: Path) -> None:
    drawn = rollout(policy, preference_groups(3), n=2, sampling=Sampling(max_tokens=8, seed=1))
    write_groups(tmp_path / "drawn.jsonl", drawn)
    for group in read_groups(tmp_path / "drawn.jsonl"):
        encoded = policy.renderer.encode(group)
        logprobs = policy.logprobs([encoded]).detach()[0]
        for index, response in enumerate(group.responses):
            assert encoded.responses[index].tokens == response.tokens
            assert response.logprobs is not None
            found = logprobs[index, : len(response.logprobs)]
            torch.testing.assert_close(found, torch.tensor(response.logprobs), atol=1e-4, rtol=0)


def test_the_same_seed_answers_the_same(policy: Policy) -> None:
    groups = preference_groups(2)
    first, same, other = (rollout(policy, groups, n=2, sampling=Sampling(max_tokens=8, seed=s)) for s in (1, 1, 2))
    assert first == same != other


def test_a_share_of_the_prompts_draws_what_all_of_them_draw(policy: Policy) -> None:
    groups, sampling = preference_groups(4), Sampling(max_tokens=8, seed=3)
    texts = [[one.text for one in group.responses] for group in rollout(policy, groups, n=2, sampling=sampling)]
    share = rollout(policy, groups[1::2], n=2, sampling=sampling, places=range(1, 4, 2))
    assert [[one.text for one in group.responses] for group in share] == texts[1::2]


def test_a_prompt_without_room_names_its_row(policy: Policy) -> None:
    group = Group("x" * 600, origin=Origin("long.jsonl", 9))
    with pytest.raises(AccordError, match=r"^long\.jsonl:9: .*no room"):
        rollout(policy, [group], n=1, sampling=Sampling())


def test_the_bar_appears_for_long_work_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def shown() -> str:
        console = Console(file=io.StringIO(), force_terminal=True, width=80)
        with progress_bar("Sampling", console) as report:
            report(1, 4)
            report(2, 4)
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue()

    assert shown() == ""
    monkeypatch.setattr(progress, "SHOWN_AFTER", 0.0)
    assert "Sampling" in shown()
    assert "50%" in shown()
