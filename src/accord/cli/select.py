"""`accord select`: from sampled and scored responses to the demonstrations or pairs that a training learns from."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Annotated

from cyclopts import Parameter

from accord.cli.terminal import console
from accord.data import read
from accord.data.select import best_of_n as best_of
from accord.data.select import best_of_n_divergence, certain_pairs, ranked, rejection_sampled, threshold_of
from accord.errors import ConfigError, DataError
from accord.record import Group, write_groups

Files = Annotated[tuple[str, ...], Parameter(consume_multiple=(1, None), negative="")]
"""A flag that takes one or more values, and is required."""


def best_of_n(*, data: Files, out: str, keep: int = 1, columns: str | None = None) -> int:
    """Keep the best responses to each prompt as demonstrations: train `sft` on them.

    Args:
        data: files of Groups with scores.
        out: write the selected Groups to this JSONL file.
        keep: responses to keep of each prompt.
        columns: where to find fields in a format that is not recognised, e.g. prompt=question.
    """
    _require("--keep", keep, keep >= 1, "at least 1")
    groups = _scored(data, columns)
    written = _select(groups, lambda group: best_of(group, keep=keep), out)
    answers = max(len(group.responses) for group in groups)
    distance = best_of_n_divergence(answers)
    console().print(f"the best of {answers} is at most {distance:.2f} nats from the policy that sampled them")
    return written


def raft(
    *,
    data: Files,
    out: str,
    share: float = 0.25,
    threshold: float | None = None,
    most: int = 4,
    columns: str | None = None,
) -> int:
    """Keep the best share of all responses, or all above a score, as demonstrations: train `sft` on them.

    Args:
        data: files of Groups with scores.
        out: write the selected Groups to this JSONL file.
        share: share of all different responses to keep, the best over all prompts.
        threshold: keep responses that score at least this, instead of a share: rejection-sampling fine-tuning.
        most: responses to keep of one prompt at most.
        columns: where to find fields in a format that is not recognised, e.g. prompt=question.
    """
    _require("--share", share, 0.0 < share <= 1.0, "more than 0 and at most 1")
    _require("--most", most, most >= 1, "at least 1")
    groups = _scored(data, columns)
    least = threshold if threshold is not None else threshold_of(groups, share)
    assert least is not None
    console().print(f"kept from a score of {least:g} on")
    return _select(groups, lambda group: rejection_sampled(group, threshold=least, most=most), out)


def rs_dpo(
    *,
    data: Files,
    out: str,
    certainty: float = 0.8,
    temperature: float = 1.0,
    most: int = 4,
    columns: str | None = None,
) -> int:
    """Pair the responses whose scores differ enough: train `dpo` on the pairs.

    Args:
        data: files of Groups with scores.
        out: write the selected Groups to this JSONL file.
        certainty: a pair is accepted when sigmoid(difference / temperature) is above this.
        temperature: score difference that is preferred with odds of e to one; 1 for Bradley-Terry rewards.
        most: pairs of one prompt at most, the most certain first.
        columns: where to find fields in a format that is not recognised, e.g. prompt=question.
    """
    _require("--certainty", certainty, 0.5 <= certainty < 1.0, "at least 0.5 and below 1")
    _require("--temperature", temperature, 0.0 < temperature < math.inf, "more than 0")
    _require("--most", most, most >= 1, "at least 1")

    def pairs(group: Group) -> Group | None:
        return certain_pairs(group, certainty=certainty, temperature=temperature, most=most)

    return _select(_scored(data, columns), pairs, out)


def _require(flag: str, value: float, fits: bool, allowed: str) -> None:
    if not fits:
        raise ConfigError(f"{value} is out of range", where=flag, mend=f"Give {allowed}.")


def _scored(data: Files, columns: str | None) -> list[Group]:
    """The Groups of the files, of which one at least must have a score."""
    groups = read(data, columns=columns).groups
    if not any(map(ranked, groups)):
        raise DataError(
            "no response has a score to select by", path=data[0], mend="Score the responses first: accord reward."
        )
    return groups


def _select(groups: Sequence[Group], choose: Callable[[Group], Group | None], out: str) -> int:
    """Write what is chosen, and say how much that is and what it scores."""
    chosen = [(group, kept) for group in groups if (kept := choose(group)) is not None]
    if not chosen:
        mend = "Ask for less: a lower threshold or certainty, or a lower temperature."
        raise DataError(f"nothing of {len(groups)} groups is selected", mend=mend)
    write_groups(out, [kept for _, kept in chosen])
    responses = sum(len(kept.responses) for _, kept in chosen)
    pairs = sum(1 for _, kept in chosen for _ in kept.preferences())
    what = f"{pairs} pair{'s'[: pairs - 1]} of {responses} responses" if pairs else f"{responses} responses"
    screen = console()
    screen.print(f"{what} to {len(chosen)} of {len(groups)} prompts: {out}", soft_wrap=True)
    if not pairs:
        everything = fmean(score for group in groups for score, _ in ranked(group))
        best = fmean(score for group, kept in chosen for score, _ in ranked(group)[: len(kept.responses)])
        screen.print(f"mean score {everything:.3g} of all different responses, {best:.3g} of those kept")
        screen.print("judge the result by something else than this score: selecting by it inflates it")
    return 0
