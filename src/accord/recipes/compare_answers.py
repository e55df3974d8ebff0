"""Answers of several models to the same prompts, compared pair by pair: wins, ratings, and who said so.

Who wins is what a judge says of the two answers, in both orders, or what the Groups' own feedback says. Everything else
is as for measurements: an item is a prompt (and, where models answered several times, the number of the answer), its
numbers are whether the model won and how many words it took.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from msgspec.structs import replace

from accord.chat.types import Progress
from accord.errors import ConfigError, DataError
from accord.evaluate.comparing import compare_measurements, judged_together
from accord.evaluate.contests import Contest
from accord.evaluate.findings import bounds_of
from accord.evaluate.ratings import ROUNDS, bootstrap_ratings
from accord.evaluate.statistics import mean_estimate
from accord.evaluate.style import FEATURES, more_style
from accord.evaluate.summary import summarise
from accord.feedback.judge.groups import gold_of
from accord.feedback.judge.pair import Judgement, Pair, PairJudge
from accord.feedback.judge.reward_judge import CONTROLS
from accord.feedback.judge.templates import answer_text
from accord.recipes.judge_audit import AUTHOR, audit, concerns
from accord.record import Estimate, Group
from accord.record.compared import Finding, ModelsComparison, PairComparison
from accord.record.measurement import Axis, Item, Measurement

TASK = "answers"
"""What comparing answers is called among tasks."""

WINS, WORDS = "wins", "words"
AXES = (
    Axis(WINS, description="Comparisons with the other model that it won; a tie is one half, a probability itself."),
    Axis(WORDS, higher_is_better=None, unit="words", description="Length of an answer."),
)
OWN_FEEDBACK = "the files' own feedback"
"""Who compares where no judge is named."""


@dataclass(frozen=True)
class Answers:
    """What several models said to the same prompts.

    Attributes:
        models: their names.
        groups: a Group a prompt, with the answers of all; each says under "model" in its meta whose it is.
    """

    models: tuple[str, ...]
    groups: list[Group] = field(repr=False)


@dataclass(frozen=True)
class _Meeting:
    """A prompt's pair of answers, and how far the first won."""

    pair: Pair
    models: tuple[str, str]
    number: int
    outcome: float | None

    @property
    def item(self) -> str:
        """The item's id: its prompt's, and the number of the answer if there are several."""
        return f"{self.pair.group.id}" if self.number == 0 else f"{self.pair.group.id} ({self.number + 1})"


def join_answers(files: Sequence[tuple[str, Sequence[Group]]]) -> Answers:
    """Answers from several files, by prompt: those with the same id, or the same text where there is none.

    Args:
        files: a name and its Groups; answers that do not say whose they are belong to the model of that name.

    Raises:
        DataError: an id is of different prompts, or fewer than two models answered.
    """
    joined: dict[str, Group] = {}
    models: dict[str, None] = {}
    for name, groups in files:
        for group in groups:
            key = group.id or group.prompt_text()
            own = tuple(replace(one, meta={AUTHOR: name, **one.meta}) for one in group.responses)
            models |= dict.fromkeys(str(one.meta[AUTHOR]) for one in own)
            there = joined.get(key)
            if there is not None and there.prompt != group.prompt:
                raise DataError(f"the id {group.id!r} is of another prompt elsewhere", path=str(group.origin or name))
            if there is None:
                joined[key] = replace(group, id=group.id or f"prompt {len(joined) + 1}", responses=own)
            else:
                # Feedback names responses by their place, which holds for what was first.
                joined[key] = replace(there, responses=(*there.responses, *own))
    if len(models) < 2:
        mend = f'Name a file a model, or say whose each answer is: "meta": {{"{AUTHOR}": NAME}}.'
        raise DataError(f"only {', '.join(models) or 'nobody'} answered", mend=mend)
    return Answers(tuple(models), list(joined.values()))


def compare_answers(
    answers: Answers,
    judge: PairJudge | None = None,
    *,
    seed: int = 0,
    rounds: int = ROUNDS,
    progress: Progress | None = None,
) -> ModelsComparison:
    """Each model against the first, and ratings of all.

    Args:
        answers: of the models.
        judge: who compares; without one, the feedback that came with the answers does.
        seed: of the ratings' bootstrap.
        rounds: of that bootstrap.
        progress: told how many pairs are judged.

    Raises:
        ConfigError: no judge, and no feedback between answers of different models.
        DataError: no prompt that two models answered, or groups of models that never met.
        ChatError: the judge cannot answer.
    """
    pairs = list(_pairs(answers))
    if not pairs:
        raise DataError("no prompt was answered by two models", mend="Have the same prompts answered by all.")
    judgements = None if judge is None else judge.compare([pair for pair, _, _ in pairs], progress=progress)
    outcomes = (
        [gold_of(pair, judge="") for pair, _, _ in pairs] if judgements is None else [one.p for one in judgements]
    )
    if all(outcome is None for outcome in outcomes):
        mend = (
            "Name who compares them with --judge." if judge is None else "Look at what it says: accord judge --audit."
        )
        raise ConfigError("nothing says which answer is better", where="--judge", mend=mend)
    meetings = [_Meeting(pair, models, number, p) for (pair, models, number), p in zip(pairs, outcomes, strict=True)]
    contests = [_contest(one, outcome) for one in meetings if (outcome := one.outcome) is not None]
    plain = [dataclasses.replace(one, style=()) for one in contests]
    said = _judge_facts([pair for pair, _, _ in pairs], judgements, judge)
    # Models that no chain of contests connects are an error here, before single pairs are looked at.
    ratings = bootstrap_ratings(plain, seed=seed, rounds=rounds)
    first, *others = answers.models
    met = {one.models for one in meetings if one.outcome is not None}
    apart = tuple(
        f"{first} and {other} were never compared with each other: only the ratings say how they stand."
        for other in others
        if (first, other) not in met
    )
    name = OWN_FEEDBACK if judge is None else judge.name
    return ModelsComparison(
        models=answers.models,
        identities=("",) * len(answers.models),
        tasks=(TASK,),
        pairs=judged_together(
            [_compared(answers, meetings, first, other, name) for other in others if (first, other) in met]
        ),
        ratings=ratings,
        style_ratings=bootstrap_ratings(contests, style=FEATURES, seed=seed, rounds=rounds),
        settings={TASK: {"judge": name}},
        judge=said[0],
        notes=(*said[1], *apart),
    )


def _pairs(answers: Answers) -> Iterator[tuple[Pair, tuple[str, str], int]]:
    """Each two models' answers to each prompt, the first with the first, the second with the second."""
    for group in answers.groups:
        places: dict[str, list[int]] = {}
        for place, response in enumerate(group.responses):
            places.setdefault(str(response.meta[AUTHOR]), []).append(place)
        for first, second in combinations([name for name in answers.models if name in places], 2):
            for number, (one, other) in enumerate(zip(places[first], places[second], strict=False)):
                yield Pair(group, one, other), (first, second), number


def _contest(meeting: _Meeting, outcome: float) -> Contest:
    first, second = (answer_text(one) for one in meeting.pair.responses)
    return Contest(*meeting.models, outcome, meeting.pair.group.id, style=more_style(first, second))


def _compared(answers: Answers, meetings: Sequence[_Meeting], first: str, other: str, judge: str) -> PairComparison:
    met = [one for one in meetings if one.models == (first, other)]
    before, after = (_measurement(answers, met, side, judge) for side in (0, 1))
    found = compare_measurements(before, after)
    unread = [one for one in met if one.outcome is None]
    if not unread:
        return found
    ids = {one.item for one in met}
    old, new = ([item for item in side.items if item.id in ids] for side in (before, after))
    findings = tuple(_with_unread(one, len(unread), old, new) for one in found.findings)
    note = f"{len(unread)} of {len(met)} comparisons have no verdict; the bounds say what they could do."
    return replace(found, findings=findings, notes=(*found.notes, note))


def _with_unread(finding: Finding, unread: int, before: Sequence[Item], after: Sequence[Item]) -> Finding:
    if finding.comparison.axis != WINS:
        return finding
    return replace(finding, missing=unread, bounds=bounds_of(AXES[0], before, after))


def _measurement(answers: Answers, met: Sequence[_Meeting], side: int, judge: str) -> Measurement:
    """One side of the meetings of two models as a measurement, with the prompts that only it answered."""
    items = [_item(one, side) for one in met]
    model = met[0].models[side]
    known = {id(one.pair.group) for one in met}
    alone = [
        Item(str(group.id), {}, str(group.id), prompt=group.prompt_text(), answers=texts)
        for group in answers.groups
        if id(group) not in known
        and (texts := tuple(answer_text(one) for one in group.responses if one.meta[AUTHOR] == model))
    ]
    estimates = {axis.name: one for axis in AXES if (one := summarise(axis, items)) is not None}
    return Measurement(
        TASK,
        model,
        f"answers of {model}",
        AXES,
        estimates,
        (*items, *alone),
        controls={"whoever writes longer wins": {WINS: _length_alone(met)}},
        settings={"judge": judge},
    )


def _item(meeting: _Meeting, side: int) -> Item:
    group, response = meeting.pair.group, meeting.pair.responses[side]
    won = meeting.outcome if meeting.outcome is None or side == 0 else 1 - meeting.outcome
    text = answer_text(response)
    return Item(
        meeting.item,
        {WINS: won, WORDS: float(len(text.split()))},
        str(group.id),
        slices={key: str(value) for key, value in group.meta.items() if key == "category" and value is not None},
        prompt=group.prompt_text(),
        answers=(text,),
    )


def _length_alone(met: Sequence[_Meeting]) -> Estimate:
    """What the second model would win if length alone decided."""
    said = CONTROLS["longest"].compare([one.pair for one in met])
    return mean_estimate([1 - (one.p or 0.0) for one in said], [one.pair.group.id for one in met])


def _judge_facts(
    pairs: Sequence[Pair], judgements: Sequence[Judgement] | None, judge: PairJudge | None
) -> tuple[dict[str, object], tuple[str, ...]]:
    """Who compared, with the audit, and what speaks against believing it."""
    if judge is None or judgements is None:
        return {"name": OWN_FEEDBACK}, ()
    found = audit(pairs, judgements, judge=judge.name)
    return {"name": judge.name, **found.brief()}, tuple(f"The judge: {said}." for said in concerns(found))
