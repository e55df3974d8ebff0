"""Sampling one round ahead of training: a round's answers are drawn with the weights of the round before.

The answers of round k + 1 are asked for before the updates of round k, so that whoever samples elsewhere, such as a
server, does so while the updates are computed. What was drawn is kept in the run directory until it has been trained
on: a run that is taken up goes on with the very same answers.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Protocol, runtime_checkable

import msgspec

from accord.errors import DataError
from accord.policy.policy import Policy
from accord.record import Group
from accord.train import checkpoint, distributed
from accord.train.actor import Actor, PromptOrder, Round
from accord.train.directory import RunDirectory


@runtime_checkable
class Elsewhere(Protocol):
    """What an actor has besides, where it samples with weights that are not those of this process."""

    def hand_over(self, policy: Policy) -> None:
        """Have what is asked for from now on sampled with the policy's weights as they are."""
        ...


class Ahead:
    """An actor whose rounds were drawn before the updates of the round before.

    Round 0 and round 1 are drawn with the starting weights, any later round with those that the last but one has left.
    Actors that sample elsewhere collect in a thread, one round at a time, which `settle` waits for: no reward is ever
    asked from two sides at once. With several processes, whose ranks have to meet, nothing runs beside the updates.

    Args:
        actor: samples and scores.
        directory: of the run.
        rounds: of the whole run.
        steps_a_round: optimiser steps that follow a round, by which its checkpoints are known.
    """

    def __init__(self, actor: Actor, directory: RunDirectory, *, rounds: int, steps_a_round: int) -> None:
        self._actor, self._directory = actor, directory
        self._rounds, self._steps_a_round = rounds, steps_a_round
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._under_way: tuple[int, Future[Round]] | None = None

    def collect(self, policy: Policy, prompts: PromptOrder, number: int) -> Round:
        """The round as it was drawn before; the next one is drawn with the policy as it is."""
        self.settle()
        if number == 0:
            self._keep(0, self._actor.collect(policy, prompts, 0))
        found = self._kept(number)
        if number + 1 < self._rounds:
            self._begin(policy, prompts, number + 1)
        self._forget(number)
        return replace(found, notes={**found.notes, "round/behind": float(min(number, 1))})

    def examine(self, policy: Policy, prompts: Sequence[Group]) -> list[Group]:
        """One scored answer to each held-out prompt, with the newest weights."""
        self.settle()
        return self._actor.examine(policy, prompts)

    def settle(self) -> None:
        """Wait for the round that is under way, and keep it."""
        if self._under_way is not None:
            (number, future), self._under_way = self._under_way, None
            self._keep(number, future.result())

    def _begin(self, policy: Policy, prompts: PromptOrder, number: int) -> None:
        if not isinstance(self._actor, Elsewhere) or distributed.world_size() > 1:
            self._keep(number, self._actor.collect(policy, prompts, number))
            return
        self._actor.hand_over(policy)
        # The version that sampled, whatever the updates make of the policy meanwhile.
        as_it_is = replace(policy)
        self._under_way = number, self._thread.submit(self._actor.collect, as_it_is, prompts, number)

    def _keep(self, number: int, collected: Round) -> None:
        """Write a round; it appears whole or not at all."""
        if distributed.rank() == 0:
            path = self._directory.ahead_file(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_name(f"{path.name}.partial")
            beside.write_bytes(msgspec.msgpack.encode(collected))
            os.replace(beside, path)
        distributed.barrier()

    def _kept(self, number: int) -> Round:
        """A round that was written: what is trained on is the same for a run that was taken up."""
        path = self._directory.ahead_file(number)
        try:
            return msgspec.msgpack.decode(path.read_bytes(), type=Round)
        except (OSError, msgspec.DecodeError) as error:
            mend = "Start again with --fresh."
            raise DataError(
                f"the answers that were drawn ahead cannot be read ({error})", path=path, mend=mend
            ) from error

    def _forget(self, number: int) -> None:
        """Delete rounds that no checkpoint goes on from."""
        if distributed.rank() == 0:
            steps = [checkpoint.load_state(path).step for path in checkpoint.checkpoints(self._directory.checkpoints)]
            needed = {step // self._steps_a_round for step in steps}
            for earlier, path in self._directory.ahead_files().items():
                if earlier < number and earlier not in needed:
                    path.unlink()
