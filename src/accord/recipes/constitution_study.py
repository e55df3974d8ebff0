"""`accord world constitution`: the shipped base aligned by a constitution alone, with no human label and no gold.

For each seed the base answers prompts, criticises and revises its answers by the town's constitution, and imitates what
is kept (SL-CAI); the model so tuned answers twice, and learns by DPO from soft labels (RL-CAI). The base is answerer,
critic, reviser and judge. Arms differ in which revisions are kept and in who labels. The oracle only measures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

import msgspec
from msgspec.structs import replace
from rich.console import Console

from accord.errors import ConfigError
from accord.evaluate.statistics import mean_estimate, paired_difference
from accord.feedback.constitution.constitution import Constitution, load_constitution
from accord.feedback.constitution.trace import Revised, Rules
from accord.feedback.judge.pair import PairJudge
from accord.policy.load import load_policy
from accord.recipes.comparison_start import LIKELIHOOD_RATE, PREFERENCE_RATE
from accord.recipes.constitution import principles_kept
from accord.recipes.constitution_arms import (
    ARMS,
    AXES,
    MARGIN,
    STAGES,
    THE_BASE,
    Arm,
    ArmFound,
    ConstitutionStudy,
    Scale,
    Stage,
)
from accord.recipes.constitution_cast import CRITICS, Cast, Panel
from accord.recipes.constitution_compare import ConstitutionComparison, compare_constitutions
from accord.recipes.constitution_page import render
from accord.recipes.constitution_train import Plan, Trained, train_constitutional
from accord.recipes.threads import one_thread
from accord.recipes.world_evaluation import LONGEST_ANSWER, answer, scores
from accord.record import Estimate, Group, Response
from accord.train.progress import Display
from accord.world.base import BASE
from accord.world.cases import cases, distinct_cases
from accord.world.oracle import judge as by_oracle
from accord.world.town import draw_town

SAID = "said.sqlite"
"""Where a seed keeps what models said."""


def study_constitution(
    *,
    seeds: int = 3,
    scale: Scale | None = None,
    out: str | Path = "docs/constitutional-ai.md",
    work: str | Path = "runs/world-constitution",
    console: Console | None = None,
) -> ConstitutionStudy:
    """Revise, train, measure; write the page, and its figures (JSON) beside it.

    What models said and what was trained is kept: the same call goes on where it was stopped.

    Args:
        seeds: 0, 1, ...: each has its own prompts, answers and order of training.
        scale: how much of everything.
        out: the Markdown file.
        work: directory of the models.
        console: where progress is shown.

    Raises:
        ConfigError: no seed, or a name for the page that does not end in `.md`.
    """
    out, scale = Path(out), scale or Scale()
    if seeds < 1 or out.suffix != ".md":
        flag = "--seeds" if seeds < 1 else "--out"
        raise ConfigError("cannot be used", where=flag, mend="Give 1 seed at least, and a page that ends in .md.")
    told = hashlib.blake2b(msgspec.json.encode(scale), digest_size=4).hexdigest()  # another scale, another start
    runs: dict[str, list[_Run]] = {name: [] for name in ARMS}
    with one_thread(), Display(console).bar("models", seeds * len(ARMS)) as bar:
        for seed in range(seeds):
            one = _Seed(seed, scale, Path(work) / f"{told}-seed-{seed}")
            for name, arm in ARMS.items():
                runs[name].append(one.run(name, arm))
                bar.advance(numbers=f"{name}, seed {seed}")
    base = [run.answers["base"] for run in runs["critics label"]]
    study = ConstitutionStudy(
        f"accord world constitution --seeds {seeds} --out {out}",
        seeds,
        scale,
        MARGIN,
        _axes(base),
        {name: _found(ARMS[name], runs[name]) for name in ARMS},
        _edit(runs["critics label"][0].compared, Path(work) / f"{told}-seed-0" / SAID),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(render(study), encoding="utf-8")
    out.with_suffix(".json").write_bytes(msgspec.json.format(msgspec.json.encode(study)) + b"\n")
    return study


@dataclass(frozen=True)
class _Run:
    """One arm of one seed: the revisions, the tuned model's answers that were compared, and judged answers of every
    stage to the held-out prompts."""

    revised: Revised
    compared: list[Group]
    answers: dict[str, list[Group]]


class _Seed:
    """One seed: its prompts, and the models that take part."""

    def __init__(self, seed: int, scale: Scale, path: Path) -> None:
        self.seed, self.scale, self.path = seed, scale, path
        town = draw_town(0)
        self.held_out = distinct_cases(town, "test", scale.held_out, seed=0)
        self.prompts = [case.group() for case in islice(cases(town, "align", seed=seed + 1), scale.prompts)]
        self.cast = Cast(cache=path / SAID)
        self.base = answer(load_policy(BASE), self.held_out, seed=seed)

    def run(self, name: str, arm: Arm) -> _Run:
        trained = self._trained(self.path / name.replace(" ", "-"), arm)
        stages = (trained.supervised, trained.aligned)
        later = [answer(load_policy(str(model)), self.held_out, seed=self.seed) for model in stages]
        return _Run(trained.revised, trained.judged.groups, dict(zip(STAGES, (self.base, *later), strict=True)))

    def _trained(self, out: Path, arm: Arm) -> Trained:
        rules = Rules(
            answer_temperature=1.0,
            critique_temperature=0.0,
            revision_temperature=0.0,
            max_tokens=LONGEST_ANSWER,
            seed=self.seed,
            **arm.rules,
        )
        shared = {
            "epochs": self.scale.epochs,
            "schedule": "linear",
            "adam_beta2": 0.95,
            "holdout": 0.0,
            "samples": 0,
            "log_every": 1000,
            "save_every": 0,
        }
        plan = Plan(
            model=str(BASE),
            out=str(out),
            max_tokens=LONGEST_ANSWER,
            seed=self.seed,
            supervised={"batch_size": 16, "lr": LIKELIHOOD_RATE, **shared},
            preferences={"batch_size": 32, "lr": PREFERENCE_RATE, **shared},
        )
        panel = Panel(
            _constitution(arm.helpful),
            [str(BASE)],
            accept=str(BASE) if arm.accept else None,
            template="tidewater",
            rules=rules,
        )
        judge = str(BASE) if arm.judge == THE_BASE else arm.judge
        return train_constitutional(self.prompts, plan, panel, judge=judge, cast=self.cast)


def _constitution(helpful: float) -> Constitution:
    """The town's, with a weight for the principle that refusals break."""
    town = load_constitution("tidewater")
    weighted = [replace(one, weight=helpful) if one.name == "helpful" else one for one in town.principles]
    return replace(town, principles=tuple(weighted))


def _edit(compared: Sequence[Group], said: Path) -> ConstitutionComparison:
    """The critics' labels by the town's constitution and by even weights; the oracle's scores are gold."""
    cast = Cast(cache=said)
    gold = [by_oracle(replace(group, feedback=())) for group in compared]
    first, second = _constitution(3.0), replace(_constitution(1.0), name="even weights")

    def judge_of(constitution: Constitution) -> PairJudge:
        return cast.comparing(CRITICS, Panel(constitution, [str(BASE)]))

    found = compare_constitutions(gold, first, second, judge_of)
    return replace(found, flipped=found.flipped[:3], conflicts=found.conflicts[:5])


def _found(arm: Arm, runs: Sequence[_Run]) -> ArmFound:
    traces = [trace for run in runs for trace in run.revised.traces]
    together = replace(runs[0].revised, traces=traces)
    first = [[_judged(trace.group, trace.first) for trace in traces]]
    kept = [[_judged(trace.group, Response(trace.answer)) for trace in traces]]
    before, change = _axes(first), _changes(first, kept)
    stages = {stage: [run.answers[stage] for run in runs] for stage in STAGES}
    after = [
        Stage(
            _axes(stages[stage]),
            _changes(stages["base"], stages[stage]),
            _changes(stages[earlier], stages[stage]) if earlier != "base" else {},
        )
        for earlier, stage in pairwise(STAGES)
    ]
    by_seed = [_changes([run.answers["base"]], [run.answers["RL-CAI"]]) for run in runs]
    return ArmFound(
        arm,
        (len(traces), sum(trace.kept > 0 for trace in traces)),
        {str(outcome): count for outcome, count in together.outcomes().items()},
        {axis: (before[axis], change[axis]) for axis in AXES},
        principles_kept(together),
        after[0],
        after[1],
        [{axis: one.mean for axis, one in changes.items()} for changes in by_seed],
    )


def _judged(group: Group, response: Response) -> Group:
    return by_oracle(replace(group, responses=(response,), feedback=()))


def _axes(answers: Sequence[Sequence[Group]]) -> dict[str, Estimate]:
    """Every axis over the answers of all seeds, clustered by prompt."""
    return {axis: mean_estimate(_scores(answers, axis), _tested(answers, axis)) for axis in AXES}


def _changes(before: Sequence[Sequence[Group]], after: Sequence[Sequence[Group]]) -> dict[str, Estimate]:
    return {
        axis: paired_difference(_scores(before, axis), _scores(after, axis), _tested(before, axis)) for axis in AXES
    }


def _scores(answers: Sequence[Sequence[Group]], axis: str) -> list[float]:
    return [value for one in answers for value in scores(one, axis)]


def _tested(answers: Sequence[Sequence[Group]], axis: str) -> list[str]:
    """The prompts that test an axis, an entry an answer."""
    return [group.prompt_text() for one in answers for group in one if (group.scores(axis) or (None,))[0] is not None]
