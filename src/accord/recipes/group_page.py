"""The figures of predicted group preferences, and the Markdown page that shows them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from accord.record import Estimate

UNIFORM, PLAIN, NETWORK = "all options alike", "network, mean group's answers", "network, own answers"
MEAN, NEAREST = "mean of the groups \\*", "nearest group \\*"
AXES = ("similarity", "accuracy", "gain")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One way to predict.

    Attributes:
        known: answers of the group that it was given.
        way: its name.
        axes: every axis over the held-out groups.
        beside: the difference to the network with the mean group's answers, over the same groups.
    """

    known: int
    way: str
    axes: dict[str, Estimate]
    beside: dict[str, Estimate]


class GroupTable(msgspec.Struct, frozen=True, kw_only=True):
    """The whole study.

    Attributes:
        command: makes it again.
        seeds: how many.
        budget: how much of everything.
        rows: one a way and number of known answers.
        seconds: of processor time, a seed.
    """

    command: str
    seeds: int
    budget: dict[str, Any]
    rows: tuple[Row, ...]
    seconds: float


def render(table: GroupTable) -> str:
    """The page."""
    return "\n\n".join([_introduction(table), *_tables(table), _reading(table)]) + "\n"


def _introduction(table: GroupTable) -> str:
    budget, seeds = table.budget, "one seed" if table.seeds == 1 else f"{table.seeds} seeds"
    return f"""# What a group prefers, from a few of its answers

```bash
{table.command}
```

Group preference optimisation (Zhao, Dang and Grover 2023) learns over many groups of annotators to predict another one
from a few of its answers. On the embedded world, {budget["groups"]} groups that weigh brevity, warmth and caution each
in their own way divide their preference over {budget["options"]} answers of the base model to each of
{budget["questions"]} prompts. A small transformer of no positions, which reads the base model's hidden states, learns
from them. Held out are the groups ({budget["held_out"]} others and the world's three named annotators) *and*
{budget["asked"]} prompts about other things; {seeds}.

In Python, with a file of Groups whose Feedback names the annotator group and gives its `distribution`:

```python
from accord.feedback.group_network import GroupPredictor
from accord.feedback.group_preference import answers_of, meta_train
from accord.feedback.group_reward import GroupReward, policy_embedder

embed = policy_embedder(policy)
answers = answers_of(groups, *embed(groups))
network = GroupPredictor(next(iter(answers.values())).embedding.shape[-1])
meta_train(network, [own for name, own in answers.items() if name != "ours"], generator=generator)
reward = GroupReward("ours", network, answers["ours"], embed)  # a Reward; reward.best(groups) chooses answers
```"""


def _tables(table: GroupTable) -> list[str]:
    parts = []
    for known in dict.fromkeys(row.known for row in table.rows):
        head = ["way", "1 − JS distance", "accuracy", "gain", "similarity beside", "accuracy beside", "gain beside"]
        lines = [_line(row) for row in table.rows if row.known == known]
        parts.append(f"## {known} known {'answer' if known == 1 else 'answers'}\n\n{_table(head, lines)}")
    return parts


def _line(row: Row) -> list[str]:
    beside = ["", "", ""] if row.way == PLAIN else [_interval(row.beside[axis], "+.3f") for axis in AXES]
    return [row.way, *(f"{row.axes[axis].mean:.3f}" for axis in AXES), *beside]


def _reading(table: GroupTable) -> str:
    budget = table.budget
    return f"""## How to read it

- *1 − JS distance* is the similarity of predicted and true shares (Jensen-Shannon, base 2), *accuracy* the share of
  prompts where the option that is said to be preferred most is, *gain* what the option that is ranked first is worth to
  the group beyond an option at random, where gold goes from 0 to 1.
- *Beside* is the difference to the same network when it is given the mean group's answers instead of the group's own:
  what knowing the group is worth. Intervals are 95% over held-out groups of all seeds.
- \\* The mean of the groups and the nearest group are taken from what all groups that were learned from answered to
  *the asked prompts themselves*, which the network never saw: they need others' answers to every new prompt. The groups
  differ in three numbers only, so that among {budget["groups"]} of them there is a near twin.

A network {budget["width"]} wide with {budget["layers"]} layers took {budget["steps"]} steps at a learning rate of
{budget["learning_rate"]:g}. A group's shares are the softmax of what the answers are worth to it over
{budget["temperature"]:g}. {table.seconds:.0f} s of processor time a seed."""


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rule = ["---" if name == "way" or "beside" in name else "---:" for name in head]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *lines))


def _interval(estimate: Estimate, form: str) -> str:
    mean, low, high = (f"{value:{form}}".replace("-", "−") for value in (estimate.mean, estimate.low, estimate.high))
    return f"{mean} ({low} to {high})"
