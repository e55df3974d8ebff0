"""Answer the prompts of Groups over several turns with an environment; token ids in and out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from msgspec.structs import replace

from accord.errors import ConfigError, NumericsError
from accord.policy.policy import Policy
from accord.policy.sample import Progress, Sampled, Sampling, sample
from accord.policy.sharding import whole_weights
from accord.record import Feedback, Group, Message, Response
from accord.rollout.environment import Environment, EnvironmentFactory, Observation


def rollout_episodes(
    policy: Policy,
    groups: Sequence[Group],
    environment: EnvironmentFactory,
    *,
    n: int,
    sampling: Sampling,
    max_turns: int,
    discount: float = 1.0,
    places: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> list[Group]:
    r"""The same prompts with `n` sampled episodes each, scored by their return :math:`\sum_t \gamma^t r_t`.

    A response is a whole episode: `tokens` holds the policy's own ids, trained, and between them the environment's
    turns as the chat template writes them, not trained; what was sampled is never tokenised again. `text` is the last
    answer and `context` the turns before it. The first turn draws what `rollout` draws with the same seed.

    The feedback's `overall` score is the return; its `meta` has `rewards`, those of each turn. A response's `meta` has
    `turns`, `done` (whether the environment ended it) and, where the environment gave any, `info` of each turn.

    Args:
        policy: what answers, in its own precision. Where it is sharded, every process must call, and holds all of its
            weights until it is done.
        groups: whose prompts to answer. The Group's prompt becomes what its environments show first.
        environment: makes one for each sample.
        n: episodes a prompt.
        sampling: how to draw; `max_tokens` is of a turn.
        max_turns: answers after which an episode ends in any case. It also ends where the model's longest sequence
            leaves no room for another.
        discount: :math:`\gamma`.
        places: a number for each Group, from which with the seed its random numbers follow; by default its index.
        progress: told how many episodes are finished, of how many.

    Raises:
        ConfigError: environments show a prompt differently; `max_turns` or `discount` is out of range.
        DataError: the chat template refuses a conversation; names its row.
        NumericsError: a reward or the model's logits are not finite numbers; names the prompt.
    """
    if max_turns < 1 or not 0 <= discount <= 1:
        raise ConfigError(f"max_turns {max_turns} is below 1 or discount {discount} outside of 0 to 1")
    episodes = []
    shown: list[Group] = []
    for number, group in zip(range(len(groups)) if places is None else places, groups, strict=True):
        worlds = [environment(group) for _ in range(n)]
        states = [world.reset(group.prompt) for world in worlds]
        if any(state != states[0] for state in states):
            raise ConfigError("the environment shows one prompt in different ways", where=_name(group, number))
        shown.append(replace(group, prompt=states[0] if states else group.prompt))
        ids = policy.renderer.encode_prompt(shown[-1].prompt, origin=group.origin)
        episodes += [_Episode(shown[-1], (number, sample), world, ids) for sample, world in enumerate(worlds)]
    going = episodes
    with whole_weights(policy.model):
        for turn in range(max_turns):
            if not going:
                break
            for episode, answer in zip(going, _answers(policy, going, turn, sampling), strict=True):
                episode.take(policy, answer, last=turn == max_turns - 1)
            going = [episode for episode in going if not episode.over]
            if progress is not None:
                progress(len(episodes) - len(going), len(episodes))
    return [_scored(group, episodes[i * n : (i + 1) * n], policy.version, discount) for i, group in enumerate(shown)]


@dataclass
class _Episode:
    """One sample in the making."""

    group: Group
    place: tuple[int, int]
    world: Environment
    prompt: tuple[int, ...]
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    trained: list[bool] = field(default_factory=list)
    turns: list[Message] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    infos: list[dict[str, Any]] = field(default_factory=list)
    finished: bool = True
    done: bool = False
    over: bool = False

    def take(self, policy: Policy, answer: Sampled, *, last: bool) -> None:
        """Let the environment answer, and make ready for the next turn."""
        renderer = policy.renderer
        self._append(answer.tokens, answer.logprobs, trained=True)
        self.finished = answer.finished
        text = renderer.text_of(answer.tokens, prompt=self.group.prompt)
        self.turns.append(Message("assistant", text))
        turn = self.world.step(text)
        if not math.isfinite(turn.reward):
            raise NumericsError(
                f"the environment's reward is {turn.reward} for {text[:200]!r}", where=_name(self.group, self.place[0])
            )
        self.rewards.append(float(turn.reward))
        self.infos.append(turn.info)
        self.done = turn.done
        if turn.done or last:
            self.over = True
            return
        heard = _messages(turn.observation)
        ended = answer.tokens[-1] in renderer.stop_ids
        ids = renderer.encode_turn(self.group.prompt, [*self.turns, *heard], ended=ended, origin=self.group.origin)
        limit = policy.max_positions
        if limit is not None and len(self.prompt) + len(self.tokens) + len(ids) >= limit:
            self.over = True
            return
        self.turns += heard
        self._append(ids, [0.0] * len(ids), trained=False)

    def response(self, version: str) -> Response:
        """The episode as one response."""
        meta: dict[str, Any] = {"turns": len(self.rewards), "done": self.done}
        if any(self.infos):
            meta["info"] = self.infos
        return Response(
            text=self.turns[-1].content,
            context=tuple(self.turns[:-1]),
            tokens=tuple(self.tokens),
            logprobs=tuple(self.logprobs),
            trained=tuple(self.trained),
            finished=self.finished,
            version=version,
            meta=meta,
        )

    def _append(self, tokens: Sequence[int], logprobs: Sequence[float], *, trained: bool) -> None:
        self.tokens += tokens
        self.logprobs += logprobs
        self.trained += [trained] * len(tokens)


def _answers(policy: Policy, going: Sequence[_Episode], turn: int, sampling: Sampling) -> list[Sampled]:
    """An answer to each episode; in the first turn, a prompt is read once for all of its episodes."""
    streams: list[tuple[int, ...]]
    if turn:
        prompts = [(*episode.prompt, *episode.tokens) for episode in going]
        streams = [(*episode.place, turn) for episode in going]
        count, of = 1, going
    else:
        of = [next(same) for _, same in groupby(going, key=lambda episode: episode.place[0])]
        prompts = [episode.prompt for episode in of]
        streams = [(episode.place[0],) for episode in of]
        count = len(going) // len(of)
    renderer = policy.renderer
    with policy.precision():
        drawn = sample(
            policy.model,
            prompts,
            n=count,
            sampling=sampling,
            stop_ids=renderer.stop_ids,
            pad_id=renderer.pad_id,
            decode=renderer.decode,
            streams=streams,
            name_of=lambda index: _name(of[index].group, of[index].place[0]),
        )
    return [answer for answers in drawn for answer in answers]


def _scored(group: Group, episodes: Sequence[_Episode], version: str, discount: float) -> Group:
    returns = tuple(sum(discount**t * reward for t, reward in enumerate(one.rewards)) for one in episodes)
    feedback = Feedback(
        "verifier",
        name=type(episodes[0].world).__name__ if episodes else None,
        scores={"overall": returns},
        meta={"rewards": [one.rewards for one in episodes]},
    )
    return replace(group, responses=tuple(one.response(version) for one in episodes), feedback=(feedback,))


def _messages(observation: Observation) -> list[Message]:
    return [Message("user", observation)] if isinstance(observation, str) else list(observation)


def _name(group: Group, index: int) -> str:
    return str(group.origin or group.id or f"prompt {index}")
