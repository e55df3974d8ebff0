"""`accord reward`: score the responses of Groups with reward models, and say what that tells.

What is said: how the scores are distributed, how often they agree with preferences that the Groups carry and whether
the models are as sure as they are right, how far an ensemble disagrees, what choosing the best of n would gain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from msgspec.structs import replace
from rich.console import Console

from accord.data.select import best_of_n_divergence
from accord.errors import ConfigError, DataError
from accord.evaluate.statistics import mean_estimate
from accord.feedback.calibration import Calibration, calibration, preference_margins
from accord.feedback.ensemble import UNCERTAINTY, Combine, Ensemble
from accord.feedback.process_model import ProcessRewardModel, Solution
from accord.feedback.reward import Row
from accord.feedback.reward_model import Loading, RewardModel, load_reward_model, members_in
from accord.feedback.score import score
from accord.record import Estimate, Feedback, Group
from accord.train.progress import Display

CHUNK = 64
"""Groups scored between two moves of the progress bar."""

Model = RewardModel | ProcessRewardModel


@dataclass(frozen=True)
class Judges:
    """What scores: one reward model, or the members of an ensemble.

    Attributes:
        members: one at least, all of responses or all of steps.
        ensemble: the members as one, where there are several.
    """

    members: Sequence[Model]
    ensemble: Ensemble | None = None

    @property
    def name(self) -> str:
        """The name of the score."""
        return self.members[0].name if self.ensemble is None else self.ensemble.name


@dataclass(frozen=True)
class BestOf:
    """What choosing the best of n responses by the score would give.

    Attributes:
        n: how many are chosen from.
        score: mean score of the best of n, over all choices of n among a prompt's responses.
        divergence: how far, in nats, the choice is from the policy that sampled, at most.
    """

    n: int
    score: Estimate
    divergence: float


@dataclass(frozen=True)
class Summary:
    """What scoring a file came to.

    Attributes:
        groups: with their scores.
        scores: the mean score, clustered by Group.
        spread: standard deviation of the scores around the mean of their Group.
        cut: responses that did not fit into a model and were scored by what fits.
        best_of: by n, as far as the smallest Group with several responses goes.
        accuracy: share of the preferences in the data that the scores agree with, if there are any.
        calibration: of the same preferences; `None` for solution scores, whose differences are no log-odds.
        step_accuracy: share of labelled steps on the right side of one half, if there are any.
        disagreement: mean standard deviation between members, for an ensemble.
        contested: share of Groups whose best response the members do not agree on.
    """

    groups: list[Group]
    scores: Estimate
    spread: float
    cut: int = 0
    best_of: list[BestOf] = field(default_factory=list)
    accuracy: Estimate | None = None
    calibration: Calibration | None = None
    step_accuracy: Estimate | None = None
    disagreement: Estimate | None = None
    contested: Estimate | None = None


def load_judges(
    models: Sequence[str],
    *,
    weights: dict[str, float] | None = None,
    combine: Combine = "mean",
    k: float = 1.0,
    solution: Solution = "min",
    reference: Sequence[Group] = (),
    loading: Loading | None = None,
    console: Console | None = None,
) -> Judges:
    """Load the reward models, several of them as an ensemble.

    Args:
        models: directories, hub ids or run directories; a directory of members stands for all of them.
        weights: of named values in the score.
        combine, k: how an ensemble makes one score of several.
        solution: how a process reward model makes one score of several steps.
        reference: Groups whose responses score 0 on average, by every member.
        loading: how to load and run the models.
        console: where progress is shown.

    Raises:
        ModelError: one is no reward model, or cannot be loaded.
        ConfigError: models of responses and of steps are mixed; a setting has no effect on such models.
    """
    directories = [one for given in models for one in members_in(given)]
    members: list[Model] = []
    with Display(console).bar("loading", len(directories)) as bar:
        for directory in directories:
            members.append(load_reward_model(directory, weights=weights, solution=solution, loading=loading))
            bar.advance()
    if len({type(member) for member in members}) > 1:
        mend = "Score with them one after the other."
        raise ConfigError("some judge responses and some judge steps", where="--model", mend=mend)
    if isinstance(members[0], ProcessRewardModel) and (weights or reference):
        flag = "--weights" if weights else "--reference"
        raise ConfigError("has no effect on a process reward model", where=flag, mend="Leave it out.")
    if reference:
        members = [member.normalised(reference) for member in members if isinstance(member, RewardModel)]
    return Judges(members, Ensemble(members, combine=combine, k=k) if len(members) > 1 else None)


def score_groups(groups: Sequence[Group], judges: Judges, *, console: Console | None = None) -> Summary:
    """Score Groups under a progress bar.

    The score becomes "overall", in place of an earlier one. Beside it stand the values of a model of several as
    `model/value`, the probabilities of a process reward model's steps, and an ensemble's "uncertainty".

    Raises:
        DataError: there is no response to score, or a prompt does not fit into a model.
    """
    if not any(group.responses for group in groups):
        mend = "Sample some first: accord sample --model M --data PROMPTS --n 4 --out FILE."
        raise DataError("the data have prompts but no responses", mend=mend)
    groups = [_unscored(group, judges.name) for group in groups]
    scored: list[Group] = []
    each: list[list[Row]] = [[] for _ in judges.members]
    with Display(console).bar("scoring", len(groups)) as bar:
        for start in range(0, len(groups), CHUNK):
            chunk = groups[start : start + CHUNK]
            marked, rows = _score_chunk(chunk, judges)
            scored += marked
            for known, new in zip(each, rows, strict=True):
                known += new
            bar.advance(len(chunk))
    return _summary(groups, scored, judges, each)


def _unscored(group: Group, name: str) -> Group:
    """The Group without what a reward model of this name said before."""
    kept = tuple(one for one in group.feedback if (one.source, one.name) != ("reward_model", name))
    return replace(group, feedback=kept)


@dataclass(frozen=True)
class _Known:
    """Scores that are there already, as a reward."""

    name: str
    rows: list[Row]
    source = "reward_model"

    def __call__(self, groups: Sequence[Group]) -> list[Row]:
        return self.rows


def _score_chunk(groups: Sequence[Group], judges: Judges) -> tuple[list[Group], list[list[Row]]]:
    """The Groups with every Feedback, and what each member said."""
    first = judges.members[0]
    beside: list[Feedback | None] = [None] * len(groups)
    if judges.ensemble is not None:
        each = judges.ensemble.each(groups)
        rows = judges.ensemble.combined(each)
        beside = [*judges.ensemble.feedback(each)]
    elif isinstance(first, ProcessRewardModel):
        groups = first.judged(groups)
        each = [first.scores([group.feedback[-1].step_scores or () for group in groups])]
        rows = each[0]
    else:
        values = first.values(groups)
        each = [first.scores(values)]
        rows = each[0]
        if len(first.names) > 1:
            by_name = first.by_name(values)
            beside = [
                Feedback(
                    first.source, first.name, scores={f"{first.name}/{name}": of[i] for name, of in by_name.items()}
                )
                for i in range(len(groups))
            ]
    scored = score(groups, [_Known(judges.name, rows)])
    return [
        group if more is None else replace(group, feedback=(*group.feedback, more))
        for group, more in zip(scored, beside, strict=True)
    ], each


def _summary(given: list[Group], scored: list[Group], judges: Judges, each: list[list[Row]]) -> Summary:
    rows = [group.scores() or () for group in scored]
    values, clusters = _flat(rows)
    margins, prompts = preference_margins(given, rows)
    of_steps = isinstance(judges.members[0], ProcessRewardModel)
    right = _step_accuracy(given, scored, judges.name) if of_steps else []
    spreads, _ = _flat([group.scores(UNCERTAINTY) or () for group in scored]) if judges.ensemble else ([], [])
    contested = [_contested([of[i] for of in each]) for i, row in enumerate(rows) if len(row) > 1]
    return Summary(
        groups=scored,
        scores=mean_estimate(values, clusters),
        spread=float(np.std(np.concatenate([_around_mean(row) for row in rows if row]))),
        cut=max(member.cut for member in judges.members),
        best_of=_best_of(rows),
        accuracy=mean_estimate([(m > 0) + 0.5 * (m == 0) for m in margins], prompts) if margins else None,
        calibration=calibration(margins) if margins and not of_steps else None,
        step_accuracy=mean_estimate(right) if right else None,
        disagreement=mean_estimate(spreads, clusters) if spreads else None,
        contested=mean_estimate(contested) if contested and judges.ensemble else None,
    )


def _flat(rows: Sequence[Row]) -> tuple[list[float], list[int]]:
    """All scores with the number of their Group."""
    pairs = [(value, index) for index, row in enumerate(rows) for value in row if value is not None]
    return [value for value, _ in pairs], [index for _, index in pairs]


def _around_mean(row: Row) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The scores of a Group around their mean."""
    values = np.asarray(row, dtype=np.float64).reshape(len(row))
    return values - float(values.mean())


def _best_of(rows: Sequence[Row]) -> list[BestOf]:
    """The expected best of 1, 2, 4, ... responses, over the Groups with several."""
    several = [np.sort(np.asarray(row, dtype=np.float64)) for row in rows if len(row) > 1]
    most = min(map(len, several), default=0)
    sizes = [n for n in (2**power for power in range(most.bit_length())) if n < most] + ([most] if most else [])
    return [
        BestOf(n, mean_estimate([float(row @ _chances(len(row), n)) for row in several]), best_of_n_divergence(n))
        for n in sizes
    ]


def _chances(count: int, n: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Chance of each of `count` responses, from worst to best, to be the best of n drawn without replacement."""
    from scipy.special import comb

    chances = np.asarray(comb(np.arange(count), n - 1) / comb(count, n), dtype=np.float64)
    return chances.reshape(count)


def _contested(rows: Sequence[Row]) -> float:
    """1 if the members do not all find the same response best."""
    return float(len({int(np.argmax(np.asarray(row, dtype=np.float64))) for row in rows}) > 1)


def _step_accuracy(given: Sequence[Group], scored: Sequence[Group], name: str) -> list[float]:
    """For each labelled step of the data, 1 if the model is on the right side of one half."""
    right = []
    for before, after in zip(given, scored, strict=True):
        judged = [one.step_scores for one in after.feedback if one.step_scores is not None and one.name == name]
        for labels, found in zip(before.step_scores() or (), judged[0] if judged else (), strict=False):
            right += [
                float((label > 0.5) == (probability > 0.5))
                for label, probability in zip(labels, found, strict=False)
                if label is not None and label != 0.5 and probability is not None
            ]
    return right
