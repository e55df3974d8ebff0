"""Accord's own Groups, as `accord sample` and `accord judge` write them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgspec

from accord.data.rows import Row
from accord.record import Group


def is_group(values: Mapping[str, Any]) -> bool:
    """Whether a row has the fields of a Group: its responses are objects with text."""
    responses = values["responses"]
    return isinstance(responses, list) and all(isinstance(one, dict) and "text" in one for one in responses)


def is_bare(values: Mapping[str, Any]) -> bool:
    """Whether a row is a Group without responses."""
    return set(values) <= set(Group.__struct_fields__) - {"responses"} and isinstance(values["meta"], dict)


def read(row: Row) -> Group:
    """A Group whose feedback fits its responses."""
    try:
        group = msgspec.convert(row.values, Group)
    except msgspec.ValidationError as error:
        raise row.error(f"not a Group: {error}") from error
    for fault in _faults(group):
        raise row.error(f"not a Group: {fault}")
    return msgspec.structs.replace(group, origin=group.origin or row.origin)


def _faults(group: Group) -> Iterator[str]:
    count = len(group.responses)
    for index, response in enumerate(group.responses):
        if response.logprobs is not None and len(response.logprobs) != len(response.tokens or ()):
            yield f"response {index} has {len(response.logprobs)} log-probabilities for its tokens"
        if response.trained is not None and len(response.trained) != len(response.tokens or ()):
            yield f"response {index} says of {len(response.trained)} tokens whether they are trained, not of its own"
        bounds = (0, *response.steps, len(response.text) + 1)
        if any(start >= end for start, end in pairwise(bounds)):
            yield f"the steps of response {index} end at {list(response.steps)}, not in order within its text"
    for feedback in group.feedback:
        for preference in feedback.preferences:
            if not (0 <= preference.better < count and 0 <= preference.worse < count):
                yield f"a preference names response {max(preference.better, preference.worse)} of {count}"
            if preference.better == preference.worse:
                yield f"a preference compares response {preference.better} with itself"
            if not (math.isfinite(preference.weight) and preference.weight >= 0):
                yield f"a preference has the weight {preference.weight}"
        if feedback.labels is not None and len(feedback.labels) != count:
            yield f"{len(feedback.labels)} labels for {count} responses"
        if feedback.distribution is not None and len(feedback.distribution) != count:
            yield f"{len(feedback.distribution)} probabilities for {count} responses"
        if feedback.step_scores is not None:
            yield from _step_faults(group, feedback.step_scores)
        for name, values in feedback.scores.items():
            if len(values) != count:
                yield f"score {name!r} has {len(values)} values for {count} responses"
            if any(value is not None and not math.isfinite(value) for value in values):
                yield f"score {name!r} is NaN or infinite; write null where it is missing"


def _step_faults(group: Group, rows: Sequence[Sequence[float | None]]) -> Iterator[str]:
    if len(rows) != len(group.responses):
        yield f"step scores of {len(rows)} responses, where there are {len(group.responses)}"
        return
    for index, (row, response) in enumerate(zip(rows, group.responses, strict=True)):
        # A response that a source does not judge has an empty row.
        if row and len(row) != len(response.steps):
            yield f"{len(row)} step scores for the {len(response.steps)} steps of response {index}"
        if any(value is not None and not math.isfinite(value) for value in row):
            yield f"a step score of response {index} is NaN or infinite; write null where it is missing"
