"""OpenAssistant: trees of messages, one message a row or one tree a row; sibling answers are ranked by people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from accord.data.formats.base import Item
from accord.data.problems import Problem
from accord.data.rows import Row
from accord.errors import DataError
from accord.record import Feedback, Group, Message, Response
from accord.record.convert import preferences_from_ranking

_ROLES = {"prompter": "user", "assistant": "assistant"}


@dataclass
class _Node:
    identifier: str
    parent: str | None
    message: Message
    rank: float | None
    language: str | None
    row: Row
    answers: list[_Node] = field(default_factory=list)


def is_tree(values: Mapping[str, Any]) -> bool:
    """Whether `prompt` is a message with its replies."""
    prompt = values["prompt"]
    return isinstance(prompt, dict) and "text" in prompt and "role" in prompt


def read_messages(rows: Iterable[Row]) -> Iterator[Item]:
    """One message a row, in any order."""
    nodes: list[_Node] = []
    for row in rows:
        try:
            if row.values.get("deleted") is not True:
                nodes.append(_node(row, row.values))
        except DataError as error:
            yield error
    yield from _groups(nodes)


def read_trees(rows: Iterable[Row]) -> Iterator[Item]:
    """One tree a row, its root in `prompt`, answers nested in `replies`."""
    for row in rows:
        try:
            nodes = _flatten(row)
        except DataError as error:
            yield error
        else:
            yield from _groups(nodes)


def _flatten(row: Row) -> list[_Node]:
    nodes: list[_Node] = []
    waiting: list[tuple[str | None, Any]] = [(None, row.value("prompt"))]
    while waiting:
        parent, values = waiting.pop()
        if not isinstance(values, dict):
            raise row.expected("replies", values, "a message")
        if values.get("deleted") is True:
            continue
        node = _node(row, {"message_id": str(len(nodes)), **values, "parent_id": parent})
        nodes.append(node)
        replies = values.get("replies") or []
        if not isinstance(replies, list):
            raise row.expected("replies", replies, "a list")
        waiting.extend((node.identifier, reply) for reply in reversed(replies))
    return nodes


def _node(row: Row, values: dict[str, Any]) -> _Node:
    message = Row(values, row.path, row.line)
    role = message.text("role")
    if role not in _ROLES:
        raise row.error(f"`role` is {role!r}, prompter or assistant is expected")
    return _Node(
        message.text("message_id"),
        message.optional_text("parent_id") or None,
        Message(_ROLES[role], message.text("text")),
        message.number("rank"),
        message.optional_text("lang") or None,
        row,
    )


def _groups(nodes: list[_Node]) -> Iterator[Item]:
    """A Group for every question that has answers; answers stand in the order of their ranks."""
    by_identifier = {node.identifier: node for node in nodes}
    for node in nodes:
        if node.parent in by_identifier and node.message.role == "assistant":
            by_identifier[node.parent].answers.append(node)
    for node in nodes:
        if node.message.role != "user" or not node.answers:
            continue
        path = _path(node, by_identifier)
        if path is None:
            message = f"a message before {node.identifier!r} is missing or deleted; its answers are left out"
            yield Problem("broken thread", "warning", message, node.row.path, node.row.line, lost=True)
            continue
        answers = sorted(node.answers, key=lambda answer: (answer.rank is None, answer.rank or 0.0))
        group = Group(
            path,
            tuple(Response(answer.message.content) for answer in answers),
            (Feedback("human"),),
            id=node.identifier,
            origin=node.row.origin,
            meta={} if node.language is None else {"language": node.language},
        )
        ranked = preferences_from_ranking(group, [answer.rank for answer in answers])
        yield Group(
            group.prompt, group.responses, ranked.feedback[1:], id=group.id, origin=group.origin, meta=group.meta
        )


def _path(node: _Node, by_identifier: dict[str, _Node]) -> tuple[Message, ...] | None:
    """The messages from the root to a node, or `None` when one is missing or the thread runs in a circle."""
    messages = [node.message]
    seen = {node.identifier}
    while node.parent is not None:
        if node.parent in seen or node.parent not in by_identifier:
            return None
        node = by_identifier[node.parent]
        seen.add(node.identifier)
        messages.append(node.message)
    return tuple(reversed(messages))
