"""Episodes: token ids in and out, observations as context, rewards a turn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace

from accord.errors import ConfigError, NumericsError
from accord.policy.load import load_policy
from accord.policy.policy import Policy
from accord.policy.sample import Sampling
from accord.record import Group, Message, Origin, Prompt
from accord.rollout import TextGenerationEnvironment, Turn, rollout, rollout_episodes, sampler_gap
from accord.rollout.text_environment import environment_reward, literal_environment_reward
from accord.testing import ChatStyle, tiny_model

PROMPTS = [Group("What is tin?"), Group((Message("system", "Be brief."), Message("user", "Why?")), id="why")]


LETTERS = "aeioumnst"


class Echo:
    """Says what was said, and ends when an answer holds one of some letters; a reward a turn."""

    def __init__(self, letters: str = LETTERS, first: str = "") -> None:
        self.letters, self.first, self.turn = letters, first, 0

    def reset(self, prompt: Prompt) -> Prompt:
        return self.first + prompt if isinstance(prompt, str) else prompt

    def step(self, response: str) -> Turn:
        self.turn += 1
        return Turn(
            f"You said <|im_end|> {response}",
            float(self.turn),
            any(one in response for one in self.letters),
            {"turn": self.turn},
        )


@pytest.fixture(scope="module", params=["chatml", "llama3", None])
def policy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Policy:
    style: ChatStyle | None = request.param
    return load_policy(tiny_model(tmp_path_factory.mktemp("policy"), "llama", chat_template=style))


def run(policy: Policy, groups: list[Group] = PROMPTS, **settings: Any) -> list[Group]:
    arguments: dict[str, Any] = {"n": 3, "max_turns": 3, "sampling": Sampling(max_tokens=7, seed=4)} | settings
    return rollout_episodes(policy, groups, arguments.pop("environment", lambda group: Echo()), **arguments)


def test_the_trainer_reads_the_episode_as_it_was_sampled(policy: Policy) -> None:
    groups = run(policy)
    lengths = set()
    for group in groups:
        encoded = policy.renderer.encode(group)
        for response, ids in zip(group.responses, encoded.responses, strict=True):
            assert (ids.tokens, ids.trained) == (response.tokens, response.trained)
            assert response.meta["turns"] == 1 + sum(turn.role == "user" for turn in response.context)
            lengths.add(response.meta["turns"])
            own = [token for token, trained in zip(ids.tokens, ids.trained, strict=True) if trained]
            assert len(own) <= 7 * response.meta["turns"]
    assert len(lengths) > 1, "episodes must end at different turns for this test to say anything"
    gap = sampler_gap(policy, groups)
    assert gap.largest <= 2e-5
    assert gap.tokens == sum(sum(one.trained or ()) for group in groups for one in group.responses)


def test_the_context_is_the_conversation_as_the_template_writes_it(tmp_path: Path) -> None:
    """A conversation that was sampled reads like the same conversation recorded, and text stays text in it."""
    policy = load_policy(tiny_model(tmp_path, "llama"))
    for group in run(policy, max_turns=2, environment=lambda group: Echo("")):
        recorded = replace(
            group, responses=tuple(replace(one, tokens=None, logprobs=None, trained=None) for one in group.responses)
        )
        for sampled, anew in zip(
            policy.renderer.encode(group).responses, policy.renderer.encode(recorded).responses, strict=True
        ):
            written = [policy.renderer.decode(one.tokens) for one in (sampled, anew)]
            before, after = (text.split("You said")[1].partition("assistant\n")[0] for text in written)
            assert before == after
            marker = policy.renderer.stop_ids[0]
            context = [t for t, trained in zip(sampled.tokens, sampled.trained, strict=True) if not trained]
            assert context.count(marker) == 1 + (not _ended(sampled.tokens, sampled.trained, marker))


def _ended(tokens: tuple[int, ...], trained: tuple[bool, ...], marker: int) -> bool:
    """Whether the first answer ended its own turn."""
    return tokens[trained.index(False) - 1] == marker


def test_the_first_turn_is_that_of_a_rollout(policy: Policy) -> None:
    sampling = Sampling(max_tokens=7, seed=4)
    once = run(policy, max_turns=1)
    for episode, answer in zip(once, rollout(policy, PROMPTS, n=3, sampling=sampling), strict=True):
        assert [one.tokens for one in episode.responses] == [one.tokens for one in answer.responses]


def test_an_episode_does_not_depend_on_the_others(policy: Policy) -> None:
    together, alone = run(policy), run(policy, n=1)
    for many, one in zip(together, alone, strict=True):
        first, alike = many.responses[0], one.responses[0]
        assert (first.tokens, first.trained, first.meta) == (alike.tokens, alike.trained, alike.meta)
    assert run(policy) == together


def test_returns_and_rewards(policy: Policy) -> None:
    for group in run(policy, discount=0.5):
        (feedback,) = group.feedback
        for index, response in enumerate(group.responses):
            turns = response.meta["turns"]
            assert feedback.meta["rewards"][index] == [1.0, 2.0, 3.0][:turns]
            assert feedback.scores["overall"][index] == sum([1.0, 1.0, 0.75][:turns])
            assert response.meta["info"] == [{"turn": turn + 1} for turn in range(turns)]
            assert response.meta["done"] == any(letter in response.text for letter in LETTERS)


def test_an_episode_ends_where_there_is_no_more_room(tmp_path: Path) -> None:
    policy = load_policy(tiny_model(tmp_path, "gpt2", n_positions=90))
    (group,) = run(policy, PROMPTS[:1], environment=lambda group: Echo(""), max_turns=9)
    for response in group.responses:
        assert response.meta["turns"] < 9
        assert not response.meta["done"]
        encoded = policy.renderer.encode(group)
        assert len(encoded.prompt) + len(response.tokens or ()) <= 90
    with torch.no_grad():
        assert torch.isfinite(policy.logprobs([encoded])).all()


def test_progress_counts_episodes(policy: Policy) -> None:
    seen: list[tuple[int, int]] = []
    run(policy, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (6, 6)


def test_what_cannot_work_is_named(policy: Policy) -> None:
    worlds = iter(range(9))
    with pytest.raises(ConfigError, match=r"^rows\.jsonl:2: the environment shows one prompt in different ways"):
        run(
            policy,
            [Group("x", origin=Origin("rows.jsonl", 2))],
            environment=lambda group: Echo(first=str(next(worlds))),
        )
    with pytest.raises(ConfigError, match="max_turns 0"):
        run(policy, max_turns=0)

    class Broken(Echo):
        def step(self, response: str) -> Turn:
            return Turn("", float("nan"), True, {})

    with pytest.raises(NumericsError, match=r"^why: the environment's reward is nan"):
        run(policy, PROMPTS[1:], environment=lambda group: Broken())


def test_the_text_environment(policy: Policy) -> None:
    world = TextGenerationEnvironment(max_turns=2)
    assert world.reset("Keep it simple.") == "Keep it simple."
    assert world.step("a simple one") == ("Go on.", -0.5, False, {})
    assert world.step("b c").done
    assert world.state == "Keep it simple. a simple one b c"
    (group,) = run(policy, PROMPTS[:1], environment=lambda group: TextGenerationEnvironment(), max_turns=9)
    assert [one.meta["turns"] for one in group.responses] == [5, 5, 5]


def test_literal_reward_golden() -> None:
    cases = json.loads((Path(__file__).parents[1] / "golden.json").read_text())
    (case,) = [case for case in cases if case["method"] == "seed004.environment_reward"]
    given, expected = case["inputs"], case["expected"]["rewards"]
    assert [literal_environment_reward(given["prompt"], text) for text in given["responses"]] == expected
    # Repaired: "skill" is not "kill", and the length still counts against it.
    assert [environment_reward(given["prompt"], text) for text in given["responses"]] == [1.5, -1.0, -1.0]
    assert environment_reward("Keep it simple.", "Be simple") == -0.5
    assert environment_reward("", "i am 100% sure of all of it") == -1.0
    assert literal_environment_reward("", "word " * 201) == environment_reward("", "word " * 201) == -1.0
