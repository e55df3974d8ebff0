"""`accord world reward`: what reward models learn of the oracle, and what an ensemble of them guards against.

For each seed a model is fine-tuned and answers prompts, and an annotator who sometimes slips compares its answers.
Reward models are trained on shares of those preferences. On held-out prompts the oracle says how often a model, and an
ensemble, ranks as it does; and how good the answer is that each picks from many, beside how good the model thought it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console

from accord.errors import ConfigError
from accord.evaluate.statistics import mean_estimate, paired_difference
from accord.feedback.calibration import Calibration, calibration, preference_margins
from accord.feedback.ensemble import Combine, Ensemble
from accord.feedback.reward import Row
from accord.feedback.reward_model import RewardModel
from accord.policy.sample import Sampling
from accord.recipes.comparison_start import LIKELIHOOD_RATE, Budget, Setting, Start
from accord.recipes.members import train_members
from accord.recipes.reward_study_page import Page, Pick, StepRow, render
from accord.recipes.step_study import StepOutcome, study_steps
from accord.recipes.threads import one_thread
from accord.recipes.world_evaluation import LONGEST_ANSWER
from accord.record import Estimate, Group
from accord.rollout import rollout
from accord.train.config import TrainConfig
from accord.train.progress import Display
from accord.world.annotators import Annotator
from accord.world.base import BASE
from accord.world.cases import distinct_cases
from accord.world.oracle import judge
from accord.world.town import draw_town

JUDGES: tuple[tuple[str, Combine | None], ...] = (
    ("one model", None),
    ("mean", "mean"),
    ("minimum", "min"),
    ("mean less one standard deviation", "lower"),
)


class Scale(msgspec.Struct, frozen=True, kw_only=True):
    """How much of everything.

    Attributes:
        members: reward models in an ensemble; one more, on a share of its own, is the independent judge.
        share: of the prompts, that each model sees.
        noise: share of the preferences that are recorded the wrong way round.
        prompts: that the annotator compares answers to.
        held_out: prompts of the test split.
        choices: answers to each of them, to pick from.
        epochs: passes of a reward model over its preferences.
        labelled: solutions whose steps a process reward model is taught.
    """

    members: int = 4
    share: float = 0.5
    noise: float = 0.2
    prompts: int = 500
    held_out: int = 150
    choices: int = 16
    epochs: int = 6
    labelled: int = 2000


class Seen:
    """One seed: every model's score of every answer to pick from and of every held-out pair, and the oracle's."""

    def __init__(self, path: Path, scale: Scale, seed: int) -> None:
        town = draw_town(0)
        budget = Budget(held_out=scale.held_out, prompts=scale.prompts)
        held_out = distinct_cases(town, "test", scale.held_out, seed=0)
        setting = Setting(str(BASE), Annotator(noise=scale.noise), budget, town, held_out)
        start = Start(path, setting, seed)
        config = _config(path, scale, 100 * seed)
        runs = train_members(config, members=scale.members + 1, share=scale.share, groups=start.pairs)
        sampling = Sampling(temperature=1.0, max_tokens=LONGEST_ANSWER, seed=seed + 7)
        prompts = [case.group() for case in held_out]
        answered = rollout(start.policy, prompts, n=scale.choices, sampling=sampling)
        self.gold = [group.scores("gold") or () for group in map(judge, answered)]
        self.pairs = start.held_out_pairs
        models = [RewardModel(run.policy, name=run.path.name) for run in runs if run.policy is not None]
        # All are known up to a constant; the same answers set it for all.
        models = [model.normalised(answered) for model in models]
        self.of_answers = [model(answered) for model in models]
        self.of_pairs = [model(self.pairs) for model in models]

    def scores(self, combine: Combine | None, each: Sequence[list[Row]]) -> list[Row]:
        """What one model, or the ensemble of all but the last, says."""
        return each[0] if combine is None else _ensemble(combine, len(each) - 1).combined(each[:-1])


def study_rewards(
    *, seeds: int = 3, scale: Scale | None = None, out: str | Path, console: Console | None = None
) -> Page:
    """Train, measure, and write the page and its figures (JSON beside it).

    Args:
        seeds: 0, 1, ...: each has its own start, preferences and models.
        scale: how much of everything.
        out: the Markdown file to write.
        console: where progress is shown.

    Raises:
        ConfigError: no seed, or a name for the page that does not end in `.md`.
    """
    out, scale = Path(out), scale or Scale()
    if seeds < 1:
        raise ConfigError(f"{seeds} is out of range", where="--seeds", mend="Give at least 1.")
    if out.suffix != ".md":
        raise ConfigError("the page is Markdown", where=f"--out {out}", mend="Give a name that ends in .md.")
    seen: list[Seen] = []
    steps: list[StepOutcome] = []
    with one_thread(), tempfile.TemporaryDirectory() as scratch, Display(console).bar("seeds", 2 * seeds) as bar:
        for seed in range(seeds):
            seen.append(Seen(Path(scratch) / f"world-{seed}", scale, seed))
            bar.advance()
            steps.append(study_steps(Path(scratch) / f"steps-{seed}", seed=seed, labelled=scale.labelled))
            bar.advance()
    page = Page(
        command=f"accord world reward --seeds {seeds} --out {out}",
        seeds=seeds,
        scale=msgspec.to_builtins(scale),
        accuracy={name: _accuracy(seen, combine) for name, combine in JUDGES[:2]},
        calibration={name: _calibration(seen, combine) for name, combine in JUDGES[:2]},
        picks=tuple(_pick(seen, name, combine) for name, combine in JUDGES),
        at_random=_clustered([[sum(map(_number, row)) / len(row) for row in one.gold] for one in seen]),
        steps=_steps(steps),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(render(page), encoding="utf-8")
    out.with_suffix(".json").write_bytes(msgspec.json.format(msgspec.json.encode(page)) + b"\n")
    return page


def _config(path: Path, scale: Scale, seed: int) -> TrainConfig:
    return TrainConfig(
        objective="bradley_terry",
        model=str(path / "sft" / "model"),
        data=("preferences",),
        out=str(path / "reward"),
        seed=seed,
        epochs=scale.epochs,
        batch_size=16,
        lr=LIKELIHOOD_RATE,
        schedule="linear",
        adam_beta2=0.95,
        holdout=0.0,
        samples=0,
        save_every=0,
        log_every=10_000,
    )


def _accuracy(seen: Sequence[Seen], combine: Combine | None) -> Estimate:
    margins, prompts = _margins(seen, combine)
    return mean_estimate([(margin > 0) + 0.5 * (margin == 0) for margin in margins], prompts)


def _calibration(seen: Sequence[Seen], combine: Combine | None) -> Calibration:
    return calibration(_margins(seen, combine)[0])


def _margins(seen: Sequence[Seen], combine: Combine | None) -> tuple[list[float], list[str]]:
    found = [preference_margins(one.pairs, one.scores(combine, one.of_pairs)) for one in seen]
    return [m for margins, _ in found for m in margins], [p for _, prompts in found for p in prompts]


def _pick(seen: Sequence[Seen], name: str, combine: Combine | None) -> Pick:
    """What the answers that a judge picks are worth to the oracle, to itself and to a model that did not pick."""
    gold, optimism, single = [], [], []
    for one in seen:
        own, alone, other = one.scores(combine, one.of_answers), one.of_answers[0], one.of_answers[-1]
        chosen = [_best(row) for row in own]
        gold.append([_number(row[i]) for row, i in zip(one.gold, chosen, strict=True)])
        single.append([_number(row[_best(of)]) for row, of in zip(one.gold, alone, strict=True)])
        optimism.append(
            [_number(mine[i]) - _number(judged[i]) for mine, judged, i in zip(own, other, chosen, strict=True)]
        )
    return Pick(
        judge=name,
        gold=_clustered(gold),
        optimism=_clustered(optimism),
        over_one=None if combine is None else paired_difference(_flat(single), _flat(gold), _prompt_numbers(gold)),
    )


def _steps(outcomes: Sequence[StepOutcome]) -> StepRow:
    right = [value for outcome in outcomes for value in outcome.right]
    problems = [(seed, place) for seed, outcome in enumerate(outcomes) for place in outcome.problems]
    return StepRow(
        accuracy=mean_estimate(right, problems),
        chosen={
            rule: mean_estimate([v for outcome in outcomes for v in outcome.chosen[rule]])
            for rule in outcomes[0].chosen
        },
    )


def _clustered(values: Sequence[Sequence[float]]) -> Estimate:
    """Mean over seeds and prompts; the same prompt under several seeds is one cluster."""
    return mean_estimate(_flat(values), _prompt_numbers(values))


def _flat(values: Sequence[Sequence[float]]) -> list[float]:
    return [value for of_seed in values for value in of_seed]


def _prompt_numbers(values: Sequence[Sequence[float]]) -> list[int]:
    return [place for of_seed in values for place in range(len(of_seed))]


def _best(row: Row) -> int:
    return max(range(len(row)), key=lambda index: _number(row[index]))


def _number(value: float | None) -> float:
    assert value is not None
    return value


class _Member(msgspec.Struct, frozen=True):
    """A place in an ensemble whose scores are known already."""

    name: str

    def __call__(self, groups: Sequence[Group]) -> list[Row]:
        return []


def _ensemble(combine: Combine, size: int) -> Ensemble:
    return Ensemble([_Member(str(index)) for index in range(size)], combine=combine)
