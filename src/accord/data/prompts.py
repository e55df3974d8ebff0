"""Prompts to sample answers to, from Groups of any kind."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from msgspec.structs import replace

from accord.data.problems import Problem, problem_at
from accord.data.read import Dataset
from accord.data.report import DataReport, counted, findings_of, spread_of
from accord.errors import DataError
from accord.record import Encoder, Group


@dataclass(frozen=True)
class Prompts:
    """Groups whose prompts fit, each prompt once, and what was found on the way.

    Groups keep their responses and feedback: rounds that learn from demonstrations or compare with them need both.
    """

    groups: list[Group]
    tokens: list[tuple[int, ...]]
    report: DataReport


def prepare_prompts(dataset: Dataset, *, encoder: Encoder, max_length: int, room: int) -> Prompts:
    """Prompts that leave `room` tokens for an answer; doubles, and prompts that do not fit, are left out and counted.

    Args:
        dataset: what was read.
        encoder: tokenizes.
        max_length: longest prompt plus response in tokens.
        room: longest answer in tokens.

    Raises:
        DataError: no prompt is left.
    """
    found: dict[tuple[int, ...], Group] = {}
    problems: list[Problem] = []
    lengths: list[int] = []
    kinds: Counter[str] = Counter()
    for group in dataset.groups:
        kinds["verifiable prompts" if group.answer is not None else "prompts"] += 1
        try:
            ids = encoder.encode(replace(group, responses=(), feedback=())).prompt
        except DataError as error:
            problems.append(problem_at(group.origin, "cannot be encoded", "error", error.what, lost=True))
            continue
        lengths.append(len(ids))
        if len(ids) + room > max_length:
            message = f"the prompt has {len(ids)} tokens, {max(0, max_length - room)} leave room for an answer"
            problems.append(problem_at(group.origin, "overlong prompt", "warning", message, lost=True))
        elif ids in found:
            problems.append(problem_at(group.origin, "duplicate prompt", "info", "seen before", lost=True))
        else:
            found[ids] = group
    report = DataReport(
        formats=tuple(dataset.formats),
        rows=len(dataset.groups) + sum(problem.lost for problem in dataset.problems),
        kept=len(found),
        dropped=counted(problem.kind for problem in (*dataset.problems, *problems) if problem.lost),
        responses_removed={},
        responses_cut=0,
        kinds=dict(kinds),
        lengths={"prompt tokens": spread_of(lengths)} if lengths else {},
        length_bias=None,
        findings=findings_of([*dataset.problems, *problems]),
        encoder=encoder.describe(),
        example=(),
        trained_tokens=None,
        max_length=max_length,
        overlong="drop",
        notes=tuple(dataset.notes),
    )
    if not found:
        reasons = ", ".join(f"{count} {reason}" for reason, count in report.dropped.items()) or "there is none"
        raise DataError(f"no prompt is left to answer ({reasons})", mend="Raise --max-length or lower --max-tokens.")
    return Prompts(list(found.values()), list(found), report)
