r"""AlpacaEval: how often a judge prefers a model's answers to a baseline's, plainly and at equal lengths.

A preference is the probability of the judge's letter, a tie one half, and the win rate their mean. The
length-controlled win rate is that of `accord.evaluate.length_control`. The difficulty of instructions, which the
published table fits jointly over its models, is fitted to the comparisons of other models that the user names; without
them the number is marked as not comparable. Its interval comes from refitting on resampled instructions: the published
standard error is that of the fitted probabilities, and says nothing of the fit. The number is absent where nearly all
answers are longer, or shorter, than the baseline's by as much, and no gamed baselines are given.

Both orders are shown by default; `orders=random` shows one, drawn once an instruction, as published.

Sources: Li et al. 2023, AlpacaEval; Dubois et al. 2024 (arXiv:2404.04475). Deviation: judges are asked in our wording.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from msgspec.structs import replace

from accord.chat.types import Chat, Request
from accord.errors import ConfigError
from accord.evaluate.ask import generate
from accord.evaluate.judging import (
    CONSISTENT,
    DEGENERATE,
    FIRST_SHOWN,
    LENGTH_SLOPE,
    LONGEST,
    UNREAD,
    with_length_slope,
)
from accord.evaluate.length_control import lengths_overlap
from accord.evaluate.suites.alpaca_eval_files import (
    DIFFERENCE,
    PREFERENCE,
    Baseline,
    Compared,
    fitted_difficulty,
    read_all,
    read_baseline,
)
from accord.evaluate.task import Ask, Task, Values, axis
from accord.feedback.judge.chat_judge import ChatJudge
from accord.feedback.judge.pair import UNDECIDED, Judgement, Pair
from accord.feedback.judge.templates import PairTemplate, load_template
from accord.record import Group, Message, Response

Orders = Literal["both", "random"]
"""Each pair in both orders, or in one that is drawn once for each instruction."""

Compare = Callable[[Sequence[Pair]], list[Judgement]]
"""Judgements of pairs, in their order, such as the method `compare` of any judge of pairs."""

DIFFICULTY = "difficulty"

_INCOMPARABLE = "not comparable with the published table: the difficulty of the instructions is not fitted"
_OURS = "the difficulty of the instructions is fitted to the given models, not to those of the published table"


def alpaca_eval(
    data: str,
    judge: Chat,
    *,
    orders: Orders = "both",
    template: str = "plain",
    others: str = "",
    gamed: str = "",
    max_tokens: int = 2048,
    temperature: float = 0.0,
    seed: int = 0,
) -> Task:
    """Win rate and length-controlled win rate against a baseline's outputs.

    Args:
        data: the baseline's outputs, as `alpaca_eval_gpt4_baseline.json`.
        judge: who compares, by the probability of a letter.
        orders: both, or random: one for each instruction, as published.
        template: how the judge is asked: a template of `accord judge`, or a file of yours.
        others: file or directory of other models' comparisons with the same baseline, a file each: AlpacaEval's
            annotations, or measurements of Accord's. The difficulty of instructions is fitted to them.
        gamed: the same of the baseline's answers made longer or shorter on purpose.
        max_tokens: longest answer.
        temperature: of the model's sampling.
        seed: of the sampling, and of the drawn orders.

    Raises:
        ConfigError: the template cannot be used.
        DataError: a row cannot be used; names file and line.
    """
    asked = load_template(template)
    if not isinstance(asked, PairTemplate) or (orders == "random" and asked.conclusion):
        mend = "Name one that compares two answers; one that asks for a conclusion needs orders=both."
        raise ConfigError("cannot be used here", where=f"template {template}", mend=mend)
    pair_template = asked

    def one_order(pairs: Sequence[Pair]) -> list[Judgement]:
        return in_drawn_order(judge, pair_template, pairs, seed=seed)

    compare: Compare = one_order if orders == "random" else ChatJudge(judge, pair_template, max_tokens=LONGEST).compare
    settings = {
        "judge": {"identity": judge.identity, "prompt": pair_template.fingerprint, "orders": orders},
        "max_tokens": max_tokens,
        "temperature": temperature,
        "seed": seed,
    }
    ask = generate(max_tokens=max_tokens, temperature=temperature, seed=seed)
    return compared_with_baseline(data, compare, ask=ask, others=others, gamed=gamed, settings=settings)


def compared_with_baseline(
    data: str,
    compare: Compare,
    *,
    ask: Ask,
    others: str = "",
    gamed: str = "",
    settings: Mapping[str, Any] | None = None,
) -> Task:
    """The same with any judge of pairs: a reward model, a rule, several principles.

    Args:
        data: the baseline's outputs.
        compare: judges pairs; the model's answer is the first of each.
        ask: how the model is asked.
        others, gamed: as of `alpaca_eval`.
        settings: what else determines the numbers.

    Raises:
        DataError: a row cannot be used; names file and line.
    """
    baseline = read_baseline(data)
    instructions = [one.instruction for one in baseline]
    difficulty = fitted_difficulty(read_all(others), instructions) if others else dict.fromkeys(instructions, 0.0)
    controls = read_all(gamed) if gamed else []

    def score(items: Sequence[Group]) -> list[Values]:
        pairs = [Pair(replace(item, responses=(*item.responses, Response(item.answer))), 0, 1) for item in items]
        judged = compare(pairs)
        known = [_known(item, difficulty, controls) for item in items]
        rows = [{**_values(pair, one), **more} for pair, one, more in zip(pairs, judged, known, strict=True)]
        shorter_by = [float(row[DIFFERENCE] or 0.0) for row in rows]
        if not controls and not lengths_overlap(shorter_by):
            rows = [{**row, DIFFICULTY: None} for row in rows]
        return with_length_slope(rows, [-one for one in shorter_by], PREFERENCE)

    columns = [name for place in range(len(controls)) for name in _gamed_columns(place)]
    return Task(
        "alpaca_eval",
        [_item(one) for one in baseline],
        ask=ask,
        score=score,
        axes=(
            axis(
                "length_controlled",
                statistic="length_controlled",
                columns=(PREFERENCE, DIFFERENCE, DIFFICULTY, *columns),
                description=f"Win rate at equal lengths; {_OURS if others else _INCOMPARABLE}.",
            ),
            axis(PREFERENCE, description="Mean probability that the judge prefers the answer to the baseline's."),
            axis("length", higher_is_better=None, unit="characters", description="Length of an answer."),
            CONSISTENT,
            FIRST_SHOWN,
            LENGTH_SLOPE,
            UNREAD,
        ),
        slices=("dataset",),
        controls=DEGENERATE,
        settings=settings or {},
        notes=(f"length-controlled win rate: {_OURS if others else _INCOMPARABLE}",),
    )


def in_drawn_order(judge: Chat, template: PairTemplate, pairs: Sequence[Pair], *, seed: int) -> list[Judgement]:
    """Judgements of pairs that are shown in one order each, drawn from the seed and the prompt."""
    turned = [_turned(pair, seed) for pair in pairs]
    asked = [place for place, pair in enumerate(pairs) if not pair.same]
    requests = []
    for place in asked:
        first, second = reversed(pairs[place].responses) if turned[place] else pairs[place].responses
        messages: tuple[Message, ...] = template.messages(pairs[place].group, first, second, template.principle)
        choices = () if template.written else template.choices
        requests.append(Request(messages, choices=choices, max_tokens=LONGEST))
    judgements = [UNDECIDED] * len(pairs)
    for place, reply in zip(asked, judge(requests), strict=True):
        shown = template.verdict(reply.text) if reply.probabilities is None else reply.probabilities[0]
        if shown is None:
            judgements[place] = Judgement(None, asked=1, unread=1)
        else:
            p = 1 - shown if turned[place] else shown
            judgements[place] = Judgement(p, by_principle={"shown": (shown, None)}, mass=reply.mass, asked=1)
    return judgements


def _turned(pair: Pair, seed: int) -> bool:
    digest = hashlib.blake2b(f"{seed}\0{pair.group.prompt_text()}".encode(), digest_size=1).digest()
    return digest[0] % 2 == 1


def _item(one: Baseline) -> Group:
    name = hashlib.blake2b(one.instruction.encode(), digest_size=8).hexdigest()
    meta = {"dataset": one.dataset} if one.dataset else {}
    return Group(one.instruction, id=name, answer=one.output, origin=one.row.origin, meta=meta)


def _values(pair: Pair, one: Judgement) -> dict[str, float | bool | None]:
    ours, theirs = pair.responses
    shown = one.by_principle.get("shown", (None, None))[0]
    return {
        PREFERENCE: one.p,
        DIFFERENCE: float(len(theirs.text) - len(ours.text)),
        "length": float(len(ours.text)),
        "consistent": one.consistent,
        "first_shown": sum(one.orders) / 2 if one.orders is not None else shown,
        "unread": one.p is None,
    }


def _known(item: Group, difficulty: Mapping[str, float], gamed: Sequence[Mapping[str, Compared]]) -> Values:
    """What is known of an instruction before any model answers it; `None` where nothing is."""
    values: dict[str, float | None] = {DIFFICULTY: difficulty.get(item.prompt_text())}
    for place, baseline in enumerate(gamed):
        one = baseline.get(item.prompt_text())
        row = (None, None) if one is None else (one.preference, one.difference)
        values |= dict(zip(_gamed_columns(place), row, strict=True))
    return values


def _gamed_columns(place: int) -> tuple[str, str]:
    return f"gamed_{place}", f"gamed_{place}_shorter_by"
