"""Verifiable instructions: how many of a prompt's constraints a response satisfies.

The families are those of IFEval (Zhou et al. 2023, arXiv 2311.07911), and its data are read as they are. The checks are
Accord's own and differ from IFEval's in places: words are parted by spaces, sentences are counted by their final signs,
numbered lists count as bullets. The language of a response is not checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from accord.feedback.verifiers import constraints as of
from accord.feedback.verifiers.extract import LONGEST

Grade = Literal["all", "share"]


def instructions(response: str, answer: Any, *, grade: Grade = "all") -> float | None:
    """Whether the response satisfies the constraints that its prompt's ground truth lists.

    The ground truth is a list of constraints, `[{"kind": "words", "most": 50}, {"kind": "without", "text": ","}]`, or
    IFEval's `{"instruction_id_list": [...], "kwargs": [...]}`; either may be text. One that names an unknown constraint
    is missing.

    Args:
        grade: 1 if all are satisfied and else 0, or the share of them that is satisfied.
    """
    constraints = read_constraints(answer)
    if not constraints:
        return None
    text = response[:LONGEST]
    held = [bool(text.strip()) and constraint.holds(text) for constraint in constraints]
    return float(all(held)) if grade == "all" else sum(held) / len(held)


def read_constraints(answer: Any) -> list[of.AnyConstraint] | None:
    """The constraints of a ground truth, or `None` if it cannot be read as such."""
    try:
        if isinstance(answer, str):
            answer = msgspec.json.decode(answer)
        if isinstance(answer, Mapping) and "instruction_id_list" in answer:
            return _from_ifeval(answer)
        return msgspec.convert(answer, list[of.AnyConstraint])
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError, RecursionError):
        return None


def _from_ifeval(answer: Mapping[str, Any]) -> list[of.AnyConstraint]:
    ids, arguments = answer["instruction_id_list"], answer["kwargs"]
    return [one for name, given in zip(ids, arguments, strict=True) for one in _IFEVAL[name](given or {})]


def _limits(given: Mapping[str, Any], number: str, relation: str = "relation") -> dict[str, int]:
    count = int(given[number])
    return {"least": 0, "most": count - 1} if given.get(relation) == "less than" else {"least": count}


def _paragraphs(given: Mapping[str, Any], separator: str) -> of.Paragraphs:
    count = int(given["num_paragraphs"])
    return of.Paragraphs(least=count, most=count, separator=separator)


_IFEVAL: Mapping[str, Callable[[Mapping[str, Any]], list[of.AnyConstraint]]] = {
    "keywords:existence": lambda given: [of.Keyword(word=word) for word in given["keywords"]],
    "keywords:frequency": lambda given: [of.Keyword(word=given["keyword"], **_limits(given, "frequency"))],
    "keywords:forbidden_words": lambda given: [of.Forbidden(tuple(given["forbidden_words"]))],
    "keywords:letter_frequency": lambda given: [
        of.Letter(letter=given["letter"], **_limits(given, "let_frequency", "let_relation"))
    ],
    "length_constraints:number_sentences": lambda given: [of.Sentences(**_limits(given, "num_sentences"))],
    "length_constraints:number_paragraphs": lambda given: [_paragraphs(given, "***")],
    "length_constraints:number_words": lambda given: [of.Words(**_limits(given, "num_words"))],
    "length_constraints:nth_paragraph_first_word": lambda given: [
        _paragraphs(given, "\n\n"),
        of.ParagraphStart(nth=int(given["nth_paragraph"]), word=given["first_word"]),
    ],
    "detectable_content:number_placeholders": lambda given: [of.Placeholders(least=int(given["num_placeholders"]))],
    "detectable_content:postscript": lambda given: [of.OneOf((given["postscript_marker"],))],
    "detectable_format:number_bullet_lists": lambda given: [
        of.Bullets(least=int(given["num_bullets"]), most=int(given["num_bullets"]))
    ],
    "detectable_format:constrained_response": lambda given: [
        of.OneOf(("My answer is yes.", "My answer is no.", "My answer is maybe."))
    ],
    "detectable_format:number_highlighted_sections": lambda given: [of.Highlights(least=int(given["num_highlights"]))],
    "detectable_format:multiple_sections": lambda given: [
        of.Sections(marker=given["section_spliter"], least=int(given["num_sections"]))
    ],
    "detectable_format:json_format": lambda given: [of.Json()],
    "detectable_format:title": lambda given: [of.Title()],
    "combination:two_responses": lambda given: [of.DifferentParts()],
    "combination:repeat_prompt": lambda given: [of.StartsWith(given["prompt_to_repeat"])],
    "startend:end_checker": lambda given: [of.EndsWith(given["end_phrase"])],
    "startend:quotation": lambda given: [of.Quoted()],
    "change_case:capital_word_frequency": lambda given: [
        of.CapitalWords(**_limits(given, "capital_frequency", "capital_relation"))
    ],
    "change_case:english_capital": lambda given: [of.Case("upper")],
    "change_case:english_lowercase": lambda given: [of.Case("lower")],
    "punctuation:no_comma": lambda given: [of.Without(",")],
}
