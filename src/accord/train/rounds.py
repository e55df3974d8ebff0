"""Online training: rounds of sampling, scoring and credit, each followed by one or more optimiser steps.

What samples and scores is brought by the caller as an `Actor`: the ring policy -> rollout -> feedback -> train closes
in a recipe. A round depends on the settings, its number and the weights alone, so a run that is taken up after a whole
round goes on as if it had never stopped.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np
import torch
from msgspec.structs import replace
from torch import Tensor

from accord.errors import DataError, NumericsError
from accord.objectives.policy_gradient import BoundCredit, should_stop
from accord.policy.moving import MovingReference
from accord.policy.sharding import is_sharded
from accord.record import Encoded, Group, read_groups, write_groups
from accord.record.adapt import adapt
from accord.train import distributed
from accord.train.actor import Actor, PromptOrder, parts_of_pass, rounds_in, steps_a_round
from accord.train.ahead import Ahead
from accord.train.collate import Example, feedback_tensors, given_tensors, make_examples
from accord.train.config import TrainConfig
from accord.train.directory import RunDirectory
from accord.train.off_policy import OWN, weighed
from accord.train.plan import micro_batches
from accord.train.source import Step
from accord.train.step import StepResult, Task
from accord.train.values import step_tensors

DIVERGENCE = "policy_kl"
"""The metric by which a round is ended early: divergence from the policy that sampled, in nats a token."""

SHOWN = 2
"""Groups of each round that are kept in `rollouts.jsonl`."""

ROUND_TENSORS = ("reference", "divergence", "old_value", "old_cost_value")
"""What is computed once a round, before its updates, where it is needed."""


class Rounds:
    """The source of an online run's examples.

    Args:
        task: objective, policy and critic.
        credit: what a response's score says about its tokens; `None` for objectives that learn from scores,
            preferences or labels themselves.
        actor: samples and scores.
        prompts: which prompts a round answers.
        config: the settings, resolved.
        kept: texts to keep likely beside what is learned; each goes with one prompt, in turn.
        mixed: whether others than the policy have a say in what is sampled.
        apart: whether what samples has not the weights that learn, or is another program.
    """

    def __init__(
        self,
        task: Task,
        credit: BoundCredit | None,
        actor: Actor,
        prompts: PromptOrder,
        config: TrainConfig,
        kept: Sequence[Encoded] = (),
        *,
        mixed: bool = False,
        apart: bool = False,
    ) -> None:
        self._task, self._credit, self._actor, self._prompts = task, credit, actor, prompts
        self._config, self._kept, self._mixed, self._apart = config, kept, mixed, apart
        self._parts = parts_of_pass(config)
        self._ended = False
        self._notes: dict[str, float] = {}

    @property
    def steps_a_round(self) -> int:
        """Optimiser steps that follow one round of sampling."""
        return steps_a_round(self._config)

    @property
    def rounds(self) -> int:
        """Rounds of the whole run."""
        return rounds_in(self._config, len(self._prompts.groups))

    @property
    def total(self) -> int:
        """Optimiser steps of the whole run, those included that an early end of a round leaves out."""
        return self._config.steps or self.rounds * self.steps_a_round

    def resumable(self, taken: int) -> bool:
        """After whole rounds, and at the end."""
        return taken % self.steps_a_round == 0 or taken == self.total

    def settle(self) -> None:
        """Wait for answers that are being drawn ahead."""
        if isinstance(self._actor, Ahead):
            self._actor.settle()

    def epoch(self, taken: int) -> float:
        """How often each prompt has been answered, on average."""
        return taken / self.steps_a_round * self._prompts.a_round / len(self._prompts.groups)

    def steps(self, first: int) -> Iterator[Step]:
        """Sample, score and credit a round, then yield its steps; each round sees the newest weights."""
        for number in range(first // self.steps_a_round, self.rounds):
            examples = self._examples(number)
            self._ended = False
            order = np.random.default_rng([self._config.seed, 13, number])
            for index in range(self.steps_a_round):
                if index % self._parts == 0:
                    places = order.permutation(len(examples)) if self._parts > 1 else np.arange(len(examples))
                    parts = np.array_split(places, self._parts)
                part = [examples[place] for place in parts[index % self._parts].tolist()]
                step = number * self.steps_a_round + index
                if part and not self._ended and step < self.total:
                    yield step, part

    def observe(self, taken: int, result: StepResult) -> Mapping[str, float]:
        """The round's notes at its first step; a divergence beyond the limit ends the round."""
        total, count = result.metrics.get(DIVERGENCE, (0.0, 0.0))
        if count and should_stop(total / count, target_kl=self._config.target_kl):
            self._ended = True
        notes, self._notes = self._notes, {}
        return notes

    def _examples(self, number: int) -> list[Example]:
        """The round's examples with everything that its updates take as given."""
        begun = time.monotonic()
        collected = self._actor.collect(self._task.policy, self._prompts, number)
        self._notes = {**collected.notes, "seconds/collect": round(time.monotonic() - begun, 3)}
        self._task.state.update(collected.state)
        groups = [group for group in map(_sound, collected.groups) if group.responses]
        if distributed.rank() == 0:
            self._show(number, groups)
        groups = [*groups, *self._replayed(number, groups)]
        begun = time.monotonic()
        examples = self._with_kept(number, self._encoded(groups))
        if examples:
            examples = self._before_updates(examples)
            if self._credit is not None:
                examples = self._credited(examples, self._credit)
                if self._apart:
                    examples = self._weighed(examples)
        self._notes["seconds/credit"] = round(time.monotonic() - begun, 3)
        self._notes["round"] = number
        self._notes["round/groups"] = len(examples)
        return examples

    def _show(self, number: int, groups: Sequence[Group]) -> None:
        """Keep the first Groups of the round to look at, with the first step that learns from them."""
        step = number * self.steps_a_round + 1
        shown = [{"step": step, "round": number, "group": _readable(group)} for group in groups[:SHOWN]]
        with open(RunDirectory(self._config.out).rollouts, "ab") as file:
            file.writelines(msgspec.json.encode(line) + b"\n" for line in shown)

    def _replayed(self, number: int, groups: Sequence[Group]) -> list[Group]:
        """The Groups of earlier rounds that are trained on again; this round's are kept for later ones."""
        replay, directory = self._config.replay, RunDirectory(self._config.out)
        if not replay:
            return []
        if distributed.rank() == 0:
            write_groups(directory.round_file(number), groups)
        distributed.barrier()
        earlier = range(max(0, number - replay), number)
        return [group for round_ in earlier for group in read_groups(directory.round_file(round_))]

    def _encoded(self, groups: list[Group]) -> list[Example]:
        policy, needs = self._task.policy, self._task.needs
        if self._credit is None:
            usable = adapt(groups, needs).groups
            mismatch = "mismatched_kl" in needs
            others = [policy.renderer.encode(group) for group in groups] if mismatch else []
            encoded = [policy.renderer.encode(group) for group in usable]
            return make_examples(usable, encoded, mismatch=mismatch, others=others)
        encoded = [policy.renderer.encode(group) for group in groups]
        return [
            Example(group, ids, given={"behaviour": _behaviour(group, ids), **step_tensors(group, ids)})
            for group, ids in zip(groups, encoded, strict=True)
        ]

    def _with_kept(self, number: int, examples: list[Example]) -> list[Example]:
        if not self._kept:
            return examples
        first = number * self._prompts.a_round
        return [
            dataclasses.replace(example, kept=self._kept[(first + index) % len(self._kept)])
            for index, example in enumerate(examples)
        ]

    def _before_updates(self, examples: list[Example]) -> list[Example]:
        """The examples with the reference's log-probs and the critic's estimates, where anything needs them."""
        needs = {*self._task.needs, *(self._credit.needs if self._credit is not None else ())}
        names = [name for name in ROUND_TENSORS if name in needs]
        if self._credit is not None and (self._apart or (self._mixed and "behaviour" in self._credit.needs)):
            names.append(OWN)
        if not names:
            return examples
        indices = {id(example): index for index, example in enumerate(examples)}
        computed: dict[int, dict[str, Tensor]] = {}
        limit, cost = self._config.micro_batch_tokens, self._task.policy.cost
        parts = micro_batches(examples, limit, cost)
        with torch.no_grad():
            for part in distributed.share(parts):
                folded = self._folded([example.encoded for example in part], names)
                for b, example in enumerate(part):
                    n, t = len(example.encoded.responses), _longest(example.encoded)
                    computed[indices[id(example)]] = {name: x[b, :n, :t].cpu() for name, x in folded.items()}
            for part in distributed.idle(parts) if is_sharded(self._task.policy.model) else ():
                self._folded([example.encoded for example in part], names)
        everywhere = {index: given for of_rank in distributed.gather(computed) for index, given in of_rank.items()}
        return [
            dataclasses.replace(example, given={**example.given, **everywhere[index]})
            for index, example in enumerate(examples)
        ]

    def _folded(self, batch: list[Encoded], names: Sequence[str]) -> dict[str, Tensor]:
        task, rows = self._task, self._task.policy.rows(batch)
        folded = {}
        if isinstance(task.reference, MovingReference):
            with task.reference.in_place() as reference:
                folded["reference"] = reference.logprobs(rows, temperature=task.temperature)
            if "divergence" in names:
                past = task.reference.past
                folded["divergence"] = task.policy.divergences(rows, past, _forward_kl, temperature=task.temperature)
        if OWN in names:
            folded[OWN] = task.policy.logprobs(rows, temperature=task.temperature)
        if task.critic is not None:
            folded |= {f"old_{name}": value for name, value in task.critic.values(rows).items()}
        return {name: folded[name] for name in names}

    def _credited(self, examples: list[Example], credit: BoundCredit) -> list[Example]:
        """Advantages (and the critic's targets) from the whole round at once."""
        tensors = _round_tensors(examples, credit.needs)
        # What is credited is the policy, so its own divergence is priced, not that of what sampled.
        own = given_tensors(examples, tensors["mask"].shape, (OWN,))
        if own:
            tensors["behaviour"] = own[OWN]
        state = {name: torch.tensor(value) for name, value in self._task.state.items()}
        with torch.no_grad():
            found = credit({**tensors, "state": state})
        targets = {
            "advantage": found.advantage,
            "returns": found.returns,
            "cost_returns": found.cost_returns,
            "cost_advantage": found.cost_advantage,
        }
        self._notes |= {name: float(total / count) for name, (total, count) in found.metrics.items() if float(count)}
        self._task.state.update({name: float(value) for name, value in found.state.items()})
        return [
            dataclasses.replace(example, given={**example.given, **_of_group(targets, b, example)})
            for b, example in enumerate(examples)
        ]

    def _weighed(self, examples: list[Example]) -> list[Example]:
        """The examples with advantages that are right for the policy as it is now."""
        config = self._config
        found, notes = weighed(
            examples, version=self._task.policy.version, cap=config.off_policy_cap, of=config.off_policy
        )
        self._notes |= notes
        return found


def _forward_kl(policy: Tensor, other: Tensor) -> Tensor:
    r"""Of log-softmax `[N,V]`: :math:`KL(\pi\|\pi_\text{ref})` of each distribution, `[N]`."""
    return (policy.exp() * (policy - other)).sum(-1)


def _sound(group: Group) -> Group:
    """The Group; a score that is not a number stops the run."""
    for name, values in ((name, row) for one in group.feedback for name, row in one.scores.items()):
        for value, response in zip(values, group.responses, strict=True):
            if value is not None and not np.isfinite(value):
                raise NumericsError(
                    f"the score {name!r} is {value} for {response.text[:200]!r}, "
                    f"an answer to {group.prompt_text()[:200]!r}",
                    where=str(group.origin) if group.origin else None,
                    mend="Mend the reward, or let it return None for what it cannot judge.",
                )
    return group


def _readable(group: Group) -> Group:
    """The Group without the numbers that only a trainer reads."""
    shown = (replace(one, tokens=None, logprobs=None, trained=None) for one in group.responses)
    return replace(group, responses=tuple(shown))


def _behaviour(group: Group, ids: Encoded) -> Tensor:
    """`[n,T]` log-probs under the policy that sampled, zero on padding."""
    behaviour = torch.zeros(len(ids.responses), _longest(ids))
    for j, response in enumerate(group.responses):
        if response.logprobs is None or response.tokens != ids.responses[j].tokens:
            raise DataError(
                "a sampled response has no token ids or no log-probabilities, but this method needs both",
                mend="Sample in the process, or from a server that returns them.",
            )
        behaviour[j, : len(response.logprobs)] = torch.tensor(response.logprobs)
    return behaviour


def _round_tensors(examples: Sequence[Example], names: Sequence[str]) -> dict[str, Tensor]:
    """The named tensors of a whole round, on the CPU."""
    width = max(len(example.encoded.responses) for example in examples)
    longest = max(_longest(example.encoded) for example in examples)
    mask = torch.zeros(len(examples), width, longest)
    for b, example in enumerate(examples):
        for j, response in enumerate(example.encoded.responses):
            mask[b, j, : len(response.trained)] = torch.tensor(response.trained, dtype=torch.float32)
    tensors: dict[str, Tensor] = {"mask": mask, "valid": (mask.sum(-1) > 0).float()}
    tensors |= feedback_tensors([example.group for example in examples], width, names)
    return tensors | given_tensors(examples, mask.shape, names)


def _of_group(folded: Mapping[str, Tensor | None], b: int, example: Example) -> dict[str, Tensor]:
    n, t = len(example.encoded.responses), _longest(example.encoded)
    return {name: value[b, :n, :t] for name, value in folded.items() if value is not None}


def _longest(encoded: Encoded) -> int:
    return max((len(response.tokens) for response in encoded.responses), default=0)
