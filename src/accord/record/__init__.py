"""The record: Prompt, Response, Feedback, Group, and the results of measuring. No torch."""

from accord.record.encoded import Encoded, EncodedResponse, Encoder
from accord.record.jsonl import group_from_json, group_to_json, read_groups, write_groups
from accord.record.results import Comparison, Estimate, Evaluation, Verdict
from accord.record.types import Feedback, Group, Message, Origin, Preference, Prompt, Response, SourceKind

__all__ = [
    "Comparison",
    "Encoded",
    "EncodedResponse",
    "Encoder",
    "Estimate",
    "Evaluation",
    "Feedback",
    "Group",
    "Message",
    "Origin",
    "Preference",
    "Prompt",
    "Response",
    "SourceKind",
    "Verdict",
    "group_from_json",
    "group_to_json",
    "read_groups",
    "write_groups",
]
