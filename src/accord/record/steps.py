"""Steps of a response: text from steps, and steps found in text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

from msgspec.structs import replace

from accord.record.types import Group, Response


def response_of_steps(steps: Sequence[str], *, separator: str = "\n") -> Response:
    """A response whose text is the steps, with a separator after every one but the last.

    A step that ends with the separator gets no second one. The separator belongs to the step that it ends.

    >>> response_of_steps(["2 + 3 = 5", "5 + 1 = 6"])
    Response(text='2 + 3 = 5\\n5 + 1 = 6', steps=(10, 19))
    """
    last = len(steps) - 1
    pieces = [step if i == last or step.endswith(separator) else step + separator for i, step in enumerate(steps)]
    return Response("".join(pieces), steps=tuple(accumulate(map(len, pieces))))


def step_texts(response: Response) -> list[str]:
    """The steps of a response, each with the separator that ends it."""
    return [response.text[start:end] for start, end in pairwise((0, *response.steps))]


def line_ends(text: str) -> tuple[int, ...]:
    """Where the steps of a text end if each line is one; empty lines belong to the step before them.

    >>> line_ends("2 + 3 = 5\\n\\n5 + 1 = 6")
    (11, 20)
    """
    ends: list[int] = []
    position = 0
    for line in text.splitlines(keepends=True):
        position += len(line)
        if line.strip() or not ends:
            ends.append(position)
        else:
            ends[-1] = position
    return tuple(ends)


def with_steps(group: Group) -> Group:
    """The Group with the lines of each response as its steps, where it has none of its own."""
    if all(response.steps for response in group.responses):
        return group
    return replace(
        group,
        responses=tuple(
            response if response.steps else replace(response, steps=line_ends(response.text))
            for response in group.responses
        ),
    )
