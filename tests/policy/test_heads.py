"""Reward heads, and what plain transformers makes of their export: the same scores, whatever the pad token."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer

from accord.errors import ModelError
from accord.policy.classifiers import classifier_head, tokenizer_of_classifier
from accord.policy.heads import RewardHead, StepHead
from accord.policy.load import load_policy
from accord.policy.policy import Policy
from accord.record import Encoded, Group, Response
from accord.record.steps import response_of_steps
from accord.testing import Architecture, ChatStyle, byte_tokenizer, tiny_model

FAMILIES: tuple[Architecture, ...] = ("llama", "qwen3", "gpt2", "gemma2")
NAMES = ("correctness", "helpfulness", "verbosity")
GROUPS = [
    Group("How deep is it?", (Response("Deep."), Response("Nobody has ever measured it."))),
    Group("And the tide?", (Response("Low at noon, I think."), Response("", finished=False), Response("x" * 40))),
    Group("Cut off", (Response("This was not fini", finished=False),)),
]
SOLVED = [Group("2 + 3 + 1?", (response_of_steps(["2 + 3 = 5", "5 + 1 = 6"]), response_of_steps(["6"])))]


def reward_model(path: Path, architecture: Architecture, style: ChatStyle | None, names: tuple[str, ...]) -> Policy:
    policy = load_policy(tiny_model(path / "base", architecture, chat_template=style))
    policy.reward_head = RewardHead.for_model(policy.model, policy.source, names)
    nn.init.normal_(policy.reward_head.score.weight)
    return policy


def sequences(batch: Sequence[Encoded]) -> list[list[int]]:
    return [list(group.prompt + response.tokens) for group in batch for response in group.responses]


def plain_scores(directory: Path, rows: list[list[int]], side: str) -> Tensor:
    """Logits of the exported classifier on a padded batch, as anybody would ask for them."""
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForSequenceClassification.from_pretrained(directory)
    inputs = tokenizer.pad({"input_ids": rows}, return_tensors="pt", padding_side=side)
    with torch.no_grad():
        logits: Tensor = model.eval()(**inputs).logits
    return logits


def own_scores(policy: Policy, batch: Sequence[Encoded]) -> Tensor:
    with torch.no_grad():
        values = policy.named_rewards(batch)
    return torch.cat([values[b, : len(group.responses)] for b, group in enumerate(batch)])


@pytest.mark.parametrize("architecture", FAMILIES)
@pytest.mark.parametrize("names", [("overall",), NAMES])
def test_the_exported_classifier_scores_alike(
    architecture: Architecture, names: tuple[str, ...], tmp_path: Path
) -> None:
    policy = reward_model(tmp_path, architecture, "chatml", names)
    batch = [policy.renderer.encode(group) for group in GROUPS]
    policy.save(tmp_path / "saved")
    plain = plain_scores(tmp_path / "saved", sequences(batch), "right")
    torch.testing.assert_close(plain, own_scores(policy, batch), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma2"])
def test_left_padding_changes_nothing_where_positions_are_relative(architecture: Architecture, tmp_path: Path) -> None:
    policy = reward_model(tmp_path, architecture, "chatml", ("overall",))
    batch = [policy.renderer.encode(group) for group in GROUPS]
    policy.save(tmp_path / "saved")
    plain = plain_scores(tmp_path / "saved", sequences(batch), "left")
    torch.testing.assert_close(plain, own_scores(policy, batch), atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("style", get_args(ChatStyle))
def test_a_pad_token_that_ends_responses_is_replaced(style: ChatStyle, tmp_path: Path) -> None:
    policy = reward_model(tmp_path, "llama", style, ("overall",))
    policy.save(tmp_path / "saved")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert tokenizer.pad_token_id not in policy.renderer.stop_ids
    assert tokenizer.padding_side == "right"
    groups = [Group(group.messages(), group.responses) for group in GROUPS]
    batch = [policy.renderer.encode(group) for group in groups]
    plain = plain_scores(tmp_path / "saved", sequences(batch), "right")
    torch.testing.assert_close(plain, own_scores(policy, batch), atol=2e-5, rtol=1e-4)
    again = load_policy(tmp_path / "saved", reward=True)
    assert [again.renderer.encode(group) for group in groups] == batch


def test_without_another_special_token_an_ordinary_one_pads() -> None:
    tokenizer = byte_tokenizer(None, pad_is_eos=True)
    every: Any = list(tokenizer.added_tokens_decoder)
    saved = tokenizer_of_classifier(tokenizer, tuple(every))
    assert saved.pad_token_id not in every
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    assert saved("plain text").input_ids == tokenizer("plain text").input_ids


def test_named_values_come_back_by_name(tmp_path: Path) -> None:
    policy = reward_model(tmp_path, "llama", "chatml", NAMES)
    policy.save(tmp_path / "saved")
    labels = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved").config.id2label
    assert labels == dict(enumerate(NAMES))
    again = load_policy(tmp_path / "saved")
    assert isinstance(RewardHead.for_model(again.model, again.source, NAMES), RewardHead)
    again.reward_head = RewardHead.for_model(again.model, again.source, NAMES)
    batch = [policy.renderer.encode(group) for group in GROUPS]
    torch.testing.assert_close(again.named_rewards(batch), policy.named_rewards(batch))
    torch.testing.assert_close(policy.rewards(batch), policy.named_rewards(batch).mean(-1))
    assert not RewardHead.for_model(again.model, again.source).score.weight.any()  # other values: a new head


def test_overall_is_the_value_of_that_name() -> None:
    head = RewardHead(4, ("helpfulness", "overall"))
    torch.testing.assert_close(head.overall(torch.tensor([[1.0, 5.0]])), torch.tensor([5.0]))


@pytest.mark.parametrize("architecture", FAMILIES)
def test_the_exported_token_classifier_judges_steps_alike(architecture: Architecture, tmp_path: Path) -> None:
    policy = load_policy(tiny_model(tmp_path / "base", architecture))
    policy.reward_head = StepHead.for_model(policy.model, policy.source)
    nn.init.normal_(policy.reward_head.score.weight)
    nn.init.constant_(policy.reward_head.score.bias, 0.3)
    policy.save(tmp_path / "saved")
    batch = [policy.renderer.encode(group) for group in SOLVED]
    own = policy.step_rewards(batch)
    model = AutoModelForTokenClassification.from_pretrained(tmp_path / "saved").eval()
    assert model.config.id2label == {0: "bad", 1: "good"}
    for j, response in enumerate(batch[0].responses):
        ids = torch.tensor([batch[0].prompt + response.tokens])
        good = model(ids).logits[0].softmax(-1)[:, 1]
        for end in response.steps:
            torch.testing.assert_close(own[0, j, end].sigmoid(), good[len(batch[0].prompt) + end], atol=1e-5, rtol=1e-4)
    again = load_policy(tmp_path / "saved")
    again.reward_head = StepHead.for_model(again.model, again.source)
    torch.testing.assert_close(again.step_rewards(batch), own)


def test_steps_of_a_shared_row_are_those_of_padded_rows(tmp_path: Path) -> None:
    from accord.policy.rows import padded_rows

    policy = load_policy(tiny_model(tmp_path / "base", "llama"))
    policy.reward_head = StepHead.for_model(policy.model, policy.source)
    nn.init.normal_(policy.reward_head.score.weight)
    batch = [policy.renderer.encode(group) for group in [*SOLVED, *GROUPS]]
    padded = policy.step_rewards(padded_rows(batch, whole=True))
    torch.testing.assert_close(policy.step_rewards(batch), padded, atol=1e-5, rtol=0)
    assert (padded != 0).sum() == 3


def test_a_policy_reads_data_with_steps(tmp_path: Path) -> None:
    policy = load_policy(tiny_model(tmp_path / "base", "llama"))
    cut = [Group("?", (Response("a\nb", steps=(2, 3), finished=False),))]
    plain = [Group("?", (Response("a\nb", finished=False),))]
    first, second = (policy.logprobs([policy.renderer.encode(group) for group in groups]) for groups in (cut, plain))
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize("architecture", ["olmo2", "gemma3"])
def test_an_architecture_without_a_token_classifier_is_refused(architecture: Architecture, tmp_path: Path) -> None:
    policy = load_policy(tiny_model(tmp_path / "base", architecture))
    with pytest.raises(ModelError, match="has no token classifier"):
        StepHead.for_model(policy.model, policy.source)


def test_a_causal_model_has_no_head(tmp_path: Path) -> None:
    assert classifier_head(str(tiny_model(tmp_path / "base", "llama"))) is None
