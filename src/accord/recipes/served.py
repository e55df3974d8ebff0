"""Answers from a rollout server, which is handed the policy's weights whenever they are new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from accord.errors import ConfigError
from accord.policy.policy import Policy
from accord.policy.sample import Sampling
from accord.record import Group
from accord.rollout import RolloutServer, ServerError, VllmServer
from accord.train import distributed
from accord.train.actor import Actor, PromptOrder, Round


class ServedAnswers:
    """A server's answers with the weights of the policy that asks.

    The weights travel through a directory that both can see. Where several processes ask, the first hands them over.

    Args:
        server: answers prompts.
        directory: where the weights are written.
    """

    def __init__(self, server: RolloutServer, directory: Path) -> None:
        self._server, self._directory = server, directory

    def __call__(
        self, policy: Policy, groups: Sequence[Group], *, n: int, sampling: Sampling, places: Sequence[int]
    ) -> list[Group]:
        """The same prompts with `n` sampled responses each.

        Raises:
            ServerError: it does not take these weights, cannot answer, or answers with others.
        """
        self.hand_over(policy)
        answered = self._server.rollout(policy.renderer, groups, n=n, sampling=sampling, places=places)
        for version in {response.version for group in answered for response in group.responses}:
            if version != policy.version:
                raise ServerError(f"answered with the weights {version!r} for {policy.version!r}", where="--rollouts")
        return answered

    def hand_over(self, policy: Policy) -> None:
        """Have the server answer with these weights from now on; nothing happens where it has them already."""
        if self._server.version == policy.version:
            return
        policy.save(self._directory)
        if distributed.rank() == 0:
            self._server.load(self._directory, version=policy.version)
        distributed.barrier()
        self._server.version = policy.version


@dataclass(frozen=True)
class ServedActor:
    """An actor whose answers come from a server: it samples elsewhere.

    Attributes:
        inner: has the answers scored.
        answers: the server's.
    """

    inner: Actor
    answers: ServedAnswers

    def collect(self, policy: Policy, prompts: PromptOrder, number: int) -> Round:
        """See `Actor`."""
        return self.inner.collect(policy, prompts, number)

    def examine(self, policy: Policy, prompts: Sequence[Group]) -> list[Group]:
        """See `Actor`."""
        return self.inner.examine(policy, prompts)

    def hand_over(self, policy: Policy) -> None:
        """See `accord.train.ahead.Elsewhere`."""
        self.answers.hand_over(policy)


def served(spec: str, directory: Path) -> ServedAnswers:
    """The answers of a vLLM server, by the words of a command line: `http://HOST/v1`, or with `#MODEL`.

    Raises:
        ConfigError: it is no address.
        ServerError: nobody is there, or it is a server that cannot give what training needs.
    """
    url, _, model = spec.partition("#")
    if not url.startswith(("http://", "https://")):
        mend = "Write http://HOST:PORT/v1, or http://HOST:PORT/v1#MODEL."
        raise ConfigError(f"{spec!r} is no address of a server", where="--rollouts", mend=mend)
    server = VllmServer(url, model=model or None)
    server.check_version()
    return ServedAnswers(server, directory)
