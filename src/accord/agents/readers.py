"""The three kinds of batches: pairs, labelled rows, and scored samples of the policy."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from accord.agents.batches import Batch, Sequences, column_of, sequences, tensor_of
from accord.errors import DataError
from accord.record import Feedback, Group, Preference, Response
from accord.train.collate import Example, make_examples

_CHOSEN_FIRST = (Feedback("dataset", preferences=(Preference(better=0, worse=1),)),)


def read_pairs(batch: Batch) -> list[Example]:
    """`chosen_input_ids` and `rejected_input_ids`, row by row, with their masks.

    `reference_chosen_log_probs` and `reference_rejected_log_probs`, of tokens or summed, stand in for the reference.
    """
    chosen, rejected = sequences(batch, "chosen_"), sequences(batch, "rejected_")
    if len(chosen) != len(rejected):
        raise DataError(f"{len(chosen)} chosen rows and {len(rejected)} rejected ones are no pairs")
    both = Sequences(*(getattr(chosen, part) + getattr(rejected, part) for part in ("ids", "trained", "columns")))
    given = [_each(batch, f"reference_{side}_log_probs", len(chosen)) for side in ("chosen", "rejected")]
    if (given[0] is None) is not (given[1] is None):
        mend = "Give both, or neither: the agent's reference then says both."
        raise DataError("the reference's log-probabilities are given of one side alone", mend=mend)
    examples = []
    for row in range(len(chosen)):
        encoded = both.encoded((row, row + len(chosen)))
        example = Example(_group(row, 2, _CHOSEN_FIRST), encoded)
        if None not in given:
            sides = [
                of_side.unfolded(values, (row,), "reference_log_probs")
                for of_side, values in zip((chosen, rejected), given, strict=True)
                if values is not None
            ]
            example = Example(example.group, encoded, given={"reference": _aligned(example, sides)})
        examples.append(example)
    return examples


def read_labelled(batch: Batch) -> list[Example]:
    """`input_ids` with their masks, and `is_desirable`: 1 where a row is."""
    rows = sequences(batch)
    labels = column_of(batch, "is_desirable", len(rows))
    groups = [_group(row, 1, (Feedback("dataset", labels=(label > 0,)),)) for row, label in enumerate(labels)]
    return make_examples(groups, [rows.encoded((row,)) for row in range(len(rows))], mismatch=True)


def read_scored(batch: Batch, *, group_size: int, stop_ids: Sequence[int]) -> list[Example]:
    """Samples with `rewards` and `old_log_probs`, in groups of one prompt.

    Groups are told by `group_ids`, or are so many rows after one another. `greedy_rewards` are the scores of the greedy
    answers, one a row.

    Raises:
        DataError: rows that should share a prompt do not, or are not whole groups.
    """
    rows = sequences(batch)
    scores = {"overall": column_of(batch, "rewards", len(rows))}
    if "greedy_rewards" in batch:
        scores["baseline"] = column_of(batch, "greedy_rewards", len(rows))
    behaviour = tensor_of(batch, "old_log_probs")
    if behaviour.ndim != 2:
        mend = "Give them token by token, [N,L], as generate_samples does."
        raise DataError(f"'old_log_probs' has the shape {tuple(behaviour.shape)}", mend=mend)
    examples = []
    for number, members in enumerate(_members(batch, len(rows), group_size)):
        prompts = {tuple(rows.ids[row][: rows.start(row)]) for row in members}
        if len(prompts) > 1:
            mend = "Put the samples of a prompt after one another, or give 'group_ids'."
            raise DataError(f"rows {members} are one group but have different prompts", mend=mend)
        given: dict[str, tuple[float | None, ...]] = {
            name: tuple(values[row] for row in members) for name, values in scores.items()
        }
        finished = [not stop_ids or rows.ids[row][-1] in stop_ids for row in members]
        group = _group(number, len(members), (Feedback("dataset", scores=given),), finished)
        encoded = rows.encoded(members)
        examples.append(
            Example(group, encoded, given={"behaviour": rows.unfolded(behaviour, members, "old_log_probs")})
        )
    return examples


def _members(batch: Batch, count: int, group_size: int) -> list[list[int]]:
    if "group_ids" in batch:
        found: dict[float, list[int]] = {}
        for row, number in enumerate(column_of(batch, "group_ids", count)):
            found.setdefault(number, []).append(row)
        return list(found.values())
    if count % group_size:
        mend = "Set group_size (num_samples) to the samples of a prompt, or give 'group_ids'."
        raise DataError(f"{count} rows are no whole groups of {group_size}", mend=mend)
    return [list(range(first, first + group_size)) for first in range(0, count, group_size)]


def _group(number: int, count: int, feedback: tuple[Feedback, ...], finished: Sequence[bool] | None = None) -> Group:
    """A Group for tokens without text; what it is called in errors is its place in the batch."""
    ended = [True] * count if finished is None else finished
    return Group(f"row {number} of the batch", tuple(Response("", finished=one) for one in ended), feedback)


def _each(batch: Batch, name: str, count: int) -> Tensor | None:
    if name not in batch:
        return None
    values = tensor_of(batch, name)
    if len(values) != count:
        raise DataError(f"{name!r} has {len(values)} rows for {count} rows of ids")
    return values


def _aligned(example: Example, sides: Sequence[Tensor]) -> Tensor:
    """What is known of each response's own tokens, as `[n,T]`: aligned at their ends, since one prompt may be cut."""
    longest = max(len(response.tokens) for response in example.encoded.responses)
    folded = torch.zeros(len(sides), longest)
    for j, (values, response) in enumerate(zip(sides, example.encoded.responses, strict=True)):
        kept = min(values.shape[1], len(response.tokens))
        folded[j, len(response.tokens) - kept : len(response.tokens)] = values[0, values.shape[1] - kept :]
    return folded
