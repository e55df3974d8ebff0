r"""MT-Bench: conversations of two turns, whose answers a judge rates from 1 to 10 or compares with a baseline's.

The second turn is asked after the model's own first answer. An item is one turn of one question, and the turns of a
question are a cluster. Every answer of the judge is at temperature 0.

- Ratings: `[[n]]`, 1 to 10; the score is the mean over all turns that have one. A reply that says none, or several, is
  unread and never a number.
- Pairs: the two answers are shown in both orders, and one wins only if it wins in both; everything else is a tie:
  :math:`(W + T/2)/N`.

Source: Zheng et al. 2023, "Judging LLM-as-a-judge" (arXiv:2306.05685). Deviation: FastChat takes a single pair of
brackets for a rating where there is no double one, and the first where there are several.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from accord.chat.types import Chat, Request
from accord.errors import DataError
from accord.evaluate.judging import (
    CONSISTENT,
    DEGENERATE,
    FIRST_SHOWN,
    LENGTH_SLOPE,
    LONGEST,
    UNREAD,
    judge_settings,
    with_length_slope,
)
from accord.evaluate.subject import Subject
from accord.evaluate.suites.mt_bench_files import (
    WITH_REFERENCE,
    JudgePrompt,
    Question,
    read_answers,
    read_prompts,
    read_questions,
)
from accord.evaluate.task import Ask, Score, Task, Values, axis
from accord.record import Group, Message, Response
from accord.record.measurement import Axis

_RATING = re.compile(r"\[\[(\d+(?:\.\d+)?)\]\]")
_VERDICT = re.compile(r"\[\[([ABC])\]\]")
_FIRST_WINS = {"A": 1.0, "B": 0.0, "C": 0.5}


def mt_bench(
    data: str,
    judge: Chat,
    *,
    reference: str | None = None,
    prompts: str | None = None,
    max_tokens: int = 1024,
    seed: int = 0,
) -> Task:
    """MT-Bench with ratings from 1 to 10.

    Args:
        data: `question.jsonl`, or a benchmark's directory with `reference_answer/` in it.
        judge: who rates.
        reference: file of right answers for mathematics, reasoning and programs.
        prompts: file of judge's prompts, as FastChat's; Accord's own if not given.
        max_tokens: longest answer.
        seed: of the sampling.

    Raises:
        DataError: a file cannot be used; names file and line.
    """
    questions, known = read_questions(data, reference), _complete(read_prompts(prompts), "single", prompts)

    def score(items: Sequence[Group]) -> list[Values]:
        asked = [_prompt(known, "single", item).messages(_shown(item, {"answer": _answers(item)})) for item in items]
        replies = judge([Request(messages, max_tokens=LONGEST) for messages in asked])
        ratings = [rating(reply.text) for reply in replies]
        return [{"score": one, "unread": one is None} for one in ratings]

    axes = (axis("score", unit="points", description="Mean rating of a turn's answer, from 1 to 10."), UNREAD)
    return _task("mt_bench", questions, _settings(judge, known, max_tokens, seed), score, axes)


def mt_bench_pairs(
    data: str,
    judge: Chat,
    *,
    baseline: str,
    reference: str | None = None,
    prompts: str | None = None,
    max_tokens: int = 1024,
    seed: int = 0,
) -> Task:
    """MT-Bench against a baseline's answers, each pair in both orders.

    Args:
        data: `question.jsonl`, or a benchmark's directory with `reference_answer/` in it.
        judge: who compares.
        baseline: file of the other model's answers, as FastChat's `model_answer/MODEL.jsonl`.
        reference: file of right answers for mathematics, reasoning and programs.
        prompts: file of judge's prompts, as FastChat's; Accord's own if not given.
        max_tokens: longest answer.
        seed: of the sampling.

    Raises:
        DataError: a file cannot be used, or the baseline has not answered a question; names file and line.
    """
    questions, known = read_questions(data, reference), _complete(read_prompts(prompts), "pair", prompts)
    theirs = read_answers(baseline)
    for question in questions:
        if len(theirs.get(question.id, ())) < len(question.turns):
            raise question.row.error(f"{baseline} has no answer to every turn of question {question.id}")

    def score(items: Sequence[Group]) -> list[Values]:
        requests = []
        for item in items:
            ours, other = _answers(item), theirs[item.meta["question"]][: item.meta["turn"]]
            for first, second in ((ours, other), (other, ours)):
                shown = _shown(item, {"answer_a": first, "answer_b": second})
                requests.append(Request(_prompt(known, "pair", item).messages(shown), max_tokens=LONGEST))
        said = [verdict(reply.text) for reply in judge(requests)]
        rows = [_compared(*said[2 * place : 2 * place + 2]) for place in range(len(items))]
        return with_length_slope(rows, [_longer(item, theirs) for item in items], "win_rate")

    axes = (
        axis("win_rate", description="Share of the turns won against the baseline in both orders, a tie for half."),
        axis("won", description="Share of the turns won in both orders."),
        axis("lost", higher_is_better=False, description="Share of the turns lost in both orders."),
        CONSISTENT,
        FIRST_SHOWN,
        LENGTH_SLOPE,
        UNREAD,
    )
    settings = {**_settings(judge, known, max_tokens, seed), "baseline": _digest(theirs)}
    return _task("mt_bench_pairs", questions, settings, score, axes)


def rating(said: str) -> float | None:
    """The rating `[[n]]` that a judge gives, from 1 to 10; `None` if it gives none, or several that differ.

    >>> rating("Helpful, but wrong in one point. Rating: [[7]]"), rating("Rating: 7"), rating("[[3]] or [[4]]")
    (7.0, None, None)
    """
    found = {float(number) for number in _RATING.findall(said)}
    return found.pop() if len(found) == 1 and 1 <= min(found) <= max(found) <= 10 else None


def verdict(said: str) -> float | None:
    """1 for `[[A]]`, 0 for `[[B]]`, one half for `[[C]]`, a tie; `None` if a text says none of them, or several."""
    found = set(_VERDICT.findall(said))
    return _FIRST_WINS[found.pop()] if len(found) == 1 else None


def won_in_both_orders(first_ab: float, first_ba: float) -> float:
    """What A gets against B: 1 if it wins in both orders, 0 if it loses in both, and one half for everything else.

    Args:
        first_ab: what the first shown gets, when A is shown first.
        first_ba: what the first shown gets, when B is.

    >>> won_in_both_orders(1.0, 0.0), won_in_both_orders(1.0, 1.0), won_in_both_orders(1.0, 0.5)
    (1.0, 0.5, 0.5)
    """
    return first_ab if first_ab == 1 - first_ba else 0.5


def _compared(first_ab: float | None, first_ba: float | None) -> Values:
    if first_ab is None or first_ba is None:
        return {"unread": 1.0}
    outcome = won_in_both_orders(first_ab, first_ba)
    return {
        "win_rate": outcome,
        "won": outcome == 1,
        "lost": outcome == 0,
        "consistent": first_ab == 1 - first_ba,
        "first_shown": (first_ab + first_ba) / 2,
        "unread": 0.0,
    }


def _task(
    name: str, questions: Sequence[Question], settings: Mapping[str, Any], score: Score, axes: Sequence[Axis]
) -> Task:
    without = sum(question.category in WITH_REFERENCE and not question.reference for question in questions)
    notes = [f"judged without a right answer: {without} of {', '.join(WITH_REFERENCE)}"] if without else []
    return Task(
        name,
        [_item(question, turn) for question in questions for turn in range(1, len(question.turns) + 1)],
        ask=_in_turns(settings["max_tokens"], settings["seed"]),
        score=score,
        axes=axes,
        cluster="question",
        slices=("category", "turn"),
        controls=DEGENERATE,
        settings=settings,
        notes=notes,
    )


def _settings(judge: Chat, prompts: Mapping[str, JudgePrompt], max_tokens: int, seed: int) -> dict[str, Any]:
    return {**judge_settings(judge, prompts), "max_tokens": max_tokens, "seed": seed}


def _item(question: Question, turn: int) -> Group:
    return Group(
        tuple(Message("user", said) for said in question.turns[:turn]),
        id=f"{question.id}, turn {turn}",
        answer=list(question.reference[:turn]) or None,
        origin=question.row.origin,
        meta={
            "question": question.id,
            "category": question.category,
            "turn": turn,
            "temperature": question.temperature,
        },
    )


def _in_turns(max_tokens: int, seed: int) -> Ask:
    """Asks each question turn by turn; an item's prompt becomes the conversation up to its own turn."""

    def ask(subject: Subject, items: Sequence[Group]) -> list[Group]:
        longest: dict[str, Group] = {}
        for item in items:
            name = item.meta["question"]
            if name not in longest or item.meta["turn"] > longest[name].meta["turn"]:
                longest[name] = item
        said: dict[str, list[Message]] = {name: [] for name in longest}
        for turn in range(1, max(item.meta["turn"] for item in items) + 1):
            going = {name: item for name, item in longest.items() if item.meta["turn"] >= turn}
            requests = []
            for name, item in going.items():
                said[name].append(item.messages()[turn - 1])
                temperature = item.meta["temperature"]
                requests.append(Request(tuple(said[name]), temperature=temperature, max_tokens=max_tokens, seed=seed))
            for name, reply in zip(going, subject.answering()(requests), strict=True):
                said[name].append(Message("assistant", reply.text))
        return [_asked(item, said[item.meta["question"]]) for item in items]

    return ask


def _asked(item: Group, said: Sequence[Message]) -> Group:
    place = 2 * item.meta["turn"] - 1
    return replace(item, prompt=tuple(said[:place]), responses=(Response(said[place].content),))


def _answers(item: Group) -> tuple[str, ...]:
    """The model's answers, turn by turn."""
    before = tuple(message.content for message in item.messages() if message.role == "assistant")
    return (*before, item.responses[0].text)


def _longer(item: Group, theirs: Mapping[str, Sequence[str]]) -> float:
    """By how many characters the model's answer to an item's turn is longer than the baseline's."""
    other = theirs[item.meta["question"]][item.meta["turn"] - 1]
    return float(len(item.responses[0].text) - len(other))


def _prompt(prompts: Mapping[str, JudgePrompt], kind: str, item: Group) -> JudgePrompt:
    with_reference = item.meta["category"] in WITH_REFERENCE and item.answer is not None
    return prompts[_name(kind, with_reference=with_reference, turn=item.meta["turn"])]


def _name(kind: str, *, with_reference: bool, turn: int) -> str:
    """The name that FastChat gives a prompt."""
    form = "math-v1" if with_reference else {"single": "v1", "pair": "v2"}[kind]
    return f"{kind}-{form}" if turn == 1 else f"{kind}-{form}-multi-turn"


def _complete(prompts: dict[str, JudgePrompt], kind: str, path: str | None) -> dict[str, JudgePrompt]:
    """The prompts of a kind, all of them."""
    names = [_name(kind, with_reference=one, turn=turn) for one in (False, True) for turn in (1, 2)]
    missing = [name for name in names if name not in prompts]
    if missing:
        raise DataError(f"has no prompt named {missing[0]!r}", path=path, mend="Take FastChat's judge_prompts.jsonl.")
    return {name: prompts[name] for name in names}


def _shown(item: Group, sides: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """What fills a prompt's slots: numbered by turn in a conversation of several."""
    asked = [message.content for message in item.messages() if message.role == "user"]
    reference = {f"ref_answer_{turn}": text for turn, text in enumerate(item.answer or (), 1)}
    if item.meta["turn"] == 1:
        return {"question": asked[0], **reference, **{name: said[0] for name, said in sides.items()}}
    columns = {"question": asked, **sides}
    return reference | {f"{name}_{turn}": text for name, said in columns.items() for turn, text in enumerate(said, 1)}


def _digest(answers: Mapping[str, Sequence[str]]) -> str:
    return hashlib.blake2b(msgspec.json.encode(answers), digest_size=8).hexdigest()
