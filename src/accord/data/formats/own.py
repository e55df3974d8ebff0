"""Accord's own Groups, as `accord sample` and `accord judge` write them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from accord.data.rows import Row
from accord.record import Group


def is_group(values: Mapping[str, Any]) -> bool:
    """Whether a row has the fields of a Group: its responses are objects with text."""
    responses = values["responses"]
    return isinstance(responses, list) and all(isinstance(one, dict) and "text" in one for one in responses)


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
        for name, values in feedback.scores.items():
            if len(values) != count:
                yield f"score {name!r} has {len(values)} values for {count} responses"
            if any(value is not None and not math.isfinite(value) for value in values):
                yield f"score {name!r} is NaN or infinite; write null where it is missing"
