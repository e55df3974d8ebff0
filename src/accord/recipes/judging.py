"""A judge of answers opened for the length of a block, with a bar while it is asked and the cost told at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from accord.chat.spec import Opening
from accord.chat.types import Progress
from accord.chat.usage import Prices
from accord.feedback.judge.pair import PairJudge
from accord.feedback.judge.pointwise import PointwiseJudge
from accord.feedback.judge.principles import read_principles
from accord.feedback.judge.reward_judge import RewardJudge
from accord.feedback.judge.spec import parse_judge
from accord.recipes.asking import asking


@contextmanager
def open_judge(
    spec: str,
    *,
    template: str,
    principles: str | None,
    temperature: float,
    opening: Opening,
    cache: Path | None,
    prices: Prices,
    console: Console,
) -> Iterator[tuple[PairJudge, Progress]]:
    """The judge of pairs that a command line names, and what tells its progress.

    Raises:
        ConfigError: it cannot be read, found or used as it is written.
        ModelError: a model cannot be loaded.
    """
    standards = () if principles is None else read_principles(principles)
    judge, asked = parse_judge(
        spec, template=template, principles=standards, temperature=temperature, opening=opening, cache=cache
    )
    with asking(console, lambda: None if asked is None else asked.usage.cost(prices)) as told:
        pairwise = RewardJudge(judge) if isinstance(judge, PointwiseJudge) else judge
        yield pairwise, lambda done, total: told("judging", done, total)
    if asked is not None:
        console.print(asked.usage.told(prices), soft_wrap=True)
