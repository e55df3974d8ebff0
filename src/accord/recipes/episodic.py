"""Answers that are episodes: the policy takes turns with an environment, which rewards each of them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from accord.errors import AccordError, ConfigError
from accord.feedback.reward import Row, place
from accord.policy.policy import Policy
from accord.policy.sample import Sampling
from accord.record import Group, Prompt
from accord.rollout import Environment, EnvironmentFactory, Turn, rollout_episodes

Said = TypeVar("Said")


class EpisodeReturn:
    """The return of an episode, as the environment gave it, as a reward beside others."""

    name = "return"

    def __call__(self, groups: Sequence[Group]) -> list[Row]:
        """The return of each response."""
        return [group.scores() or (None,) * len(group.responses) for group in groups]


@dataclass(frozen=True)
class Episodes:
    """Episodes with an environment as a policy's answers.

    Attributes:
        environment: makes one for each sample.
        max_turns: answers after which an episode ends in any case.
    """

    environment: EnvironmentFactory
    max_turns: int

    def __call__(
        self, policy: Policy, groups: Sequence[Group], *, n: int, sampling: Sampling, places: Sequence[int]
    ) -> list[Group]:
        """The same prompts with `n` episodes each, scored by their return."""
        return rollout_episodes(
            policy, groups, self.environment, n=n, sampling=sampling, max_turns=self.max_turns, places=places
        )


def named_environment(spec: str) -> EnvironmentFactory:
    """A user's environment: `module:function`, from a Group to a new `Environment` for one sample.

    Raises:
        ConfigError: there is no such function.
    """
    module_name, colon, name = spec.partition(":")
    where = f"--environment {spec}"
    mend = "Write module:function, with the module in the working directory or installed."
    if not colon:
        raise ConfigError("names no function", where=where, mend=mend)
    if "" not in sys.path:
        sys.path.append("")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, SyntaxError, ValueError) as error:
        raise ConfigError(f"cannot import {module_name!r} ({error})", where=where, mend=mend) from error
    make = getattr(module, name, None)
    if not callable(make):
        raise ConfigError(f"{module_name} has no function {name!r}", where=where, mend=mend)
    return lambda group: _Watched(make, group, where)


class _Watched:
    """A user's environment, whose failures are told with the prompt that they happened on."""

    def __init__(self, make: Callable[[Group], Environment], group: Group, where: str) -> None:
        self._where = f"{where}, {place(group)}"
        self._world = self._asked(lambda: make(group))
        for name in ("reset", "step"):
            if not callable(getattr(self._world, name, None)):
                what = f"gave {type(self._world).__name__}, which has no {name}"
                mend = "An environment has reset(prompt) and step(response)."
                raise ConfigError(what, where=self._where, mend=mend)

    def reset(self, prompt: Prompt) -> Prompt:
        """See `Environment`."""
        return self._asked(lambda: self._world.reset(prompt))

    def step(self, response: str) -> Turn:
        """See `Environment`."""
        return self._asked(lambda: Turn(*self._world.step(response)))

    def _asked(self, ask: Callable[[], Said]) -> Said:
        try:
            return ask()
        except AccordError:
            raise
        except Exception as error:  # an environment is the user's code and may raise anything
            raise ConfigError(f"raised {type(error).__name__}: {error}", where=self._where, mend="Mend it.") from error
