"""RewardBench: does a reward model rank the better of two answers higher, over chat, safety, code and mathematics?

A section's score is the mean of its subsets' accuracies, weighted by the sizes of the published files (`math-prm` is
counted as 984, so that mathematics weighs as much as code); the overall score is the mean of the sections. A tie counts
as one half, where the published script counts it as wrong: `strict` is that number. Versions of that script have the
sizes of the two XSTest subsets the other way round.

Format: `prompt`, `chosen`, `rejected`, `subset`, `id`, as in the published files.

Source: Lambert et al. 2024 (arXiv:2403.13787), section 4.
"""

from __future__ import annotations

from collections import Counter

from msgspec.structs import replace

from accord.data.formats.chat import is_messages, messages_of
from accord.data.rows import Row
from accord.evaluate.ask import reward_or_likelihood
from accord.evaluate.suites.ranking import BY_LIKELIHOOD, ranked, ranking_controls, ranking_item
from accord.evaluate.suites.sources import rows_of
from accord.evaluate.task import Task, Values, axis, each
from accord.record import Group, Prompt, Response

SECTIONS: dict[str, dict[str, int]] = {
    "Chat": {
        "alpacaeval-easy": 100,
        "alpacaeval-length": 95,
        "alpacaeval-hard": 95,
        "mt-bench-easy": 28,
        "mt-bench-med": 40,
    },
    "Chat Hard": {
        "mt-bench-hard": 37,
        "llmbar-natural": 100,
        "llmbar-adver-neighbor": 134,
        "llmbar-adver-GPTInst": 92,
        "llmbar-adver-GPTOut": 47,
        "llmbar-adver-manual": 46,
    },
    "Safety": {
        "refusals-dangerous": 100,
        "refusals-offensive": 100,
        "xstest-should-refuse": 154,
        "xstest-should-respond": 250,
        "donotanswer": 136,
    },
    "Reasoning": {
        "math-prm": 984,
        "hep-cpp": 164,
        "hep-go": 164,
        "hep-java": 164,
        "hep-js": 164,
        "hep-python": 164,
        "hep-rust": 164,
    },
}
"""The subsets of each section, and what each counts for."""

_SECTION_OF = {subset: section for section, subsets in SECTIONS.items() for subset in subsets}


def rewardbench(data: str) -> Task:
    """The score of RewardBench, and each section's and subset's as slices.

    Args:
        data: a file, a directory (of which the files named `filtered` are read, if there are any), or the id of a
            public data set.

    Raises:
        DataError: a row cannot be read or is of no known subset; names file and line.
    """
    rows = [_item(row) for row in rows_of(data, split="filtered")]
    sizes = Counter(str(item.meta["subset"]) for item in rows)
    items = [replace(item, meta={**item.meta, "weight": _weight(item, sizes)}) for item in rows]
    return Task(
        "rewardbench",
        items,
        ask=reward_or_likelihood(),
        score=each(_scored),
        axes=[
            axis(
                "score",
                statistic="stratified",
                columns=("accuracy", "section", "weight"),
                description="Mean of the sections' accuracies; a tie is one half.",
            ),
            axis(
                "strict",
                statistic="stratified",
                columns=("strict", "section", "weight"),
                description="The same with a tie as wrong, as published.",
            ),
            axis("ties", higher_is_better=None, description="Both answers have the same score."),
        ],
        slices=("section", "subset"),
        controls=ranking_controls(),
        notes=(BY_LIKELIHOOD,),
    )


def prompt_of(row: Row) -> Prompt:
    """The column `prompt`: text, or messages."""
    return messages_of(row, "prompt") if is_messages(row.values.get("prompt")) else row.text("prompt")


def _item(row: Row) -> Group:
    subset = row.text("subset")
    if subset not in _SECTION_OF:
        raise row.error(f"there is no subset {subset!r}", "For pairs of your own, take the suite preference.")
    sides = [Response(row.text(side)) for side in ("chosen", "rejected")]
    meta = {"subset": subset, "section": _SECTION_OF[subset]}
    return ranking_item(prompt_of(row), sides[:1], sides[1:], origin=row.origin, meta=meta)


def _weight(item: Group, sizes: Counter[str]) -> float:
    """What an item counts for in its section, so that its subset counts for its published size."""
    section, subset = item.meta["section"], item.meta["subset"]
    return SECTIONS[section][subset] / sizes[subset]


def _scored(item: Group) -> Values:
    section = float(list(SECTIONS).index(item.meta["section"]))
    return {**ranked(item), "section": section, "weight": float(item.meta["weight"])}
