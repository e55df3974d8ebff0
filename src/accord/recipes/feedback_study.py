"""`accord world feedback`: the shipped base as a judge, and what is learned from its labels, soft and hard, and gold.

For each seed a model is fine-tuned and answers new prompts twice. The base model compares the two answers, in the form
that it has read comparisons in; the oracle knows which is better. From the same model and the same pairs, DPO learns
from the judge's probabilities, from its winners alone, from its winners where both orders agree, and from the oracle's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import msgspec
from rich.console import Console

from accord.chat.cached import CachedChat
from accord.chat.in_process import PolicyChat
from accord.errors import ConfigError
from accord.evaluate.statistics import mean_estimate, paired_difference
from accord.feedback.judge.groups import Inconsistent, Labels, judged_groups, pairs_in
from accord.feedback.judge.pair import Judgement, Pair
from accord.feedback.judge.spec import chat_judge
from accord.policy.load import load_policy
from accord.policy.sample import Sampling
from accord.recipes.comparison_start import PREFERENCE_RATE, Budget, Setting, Start, preference_config
from accord.recipes.feedback_page import render
from accord.recipes.judge import compared, cooled, labelled_temperature
from accord.recipes.judge_audit import JudgeAudit, audit
from accord.recipes.threads import one_thread
from accord.recipes.world_evaluation import LONGEST_ANSWER, answer, scores
from accord.record import Estimate, Group
from accord.rollout import rollout
from accord.train.progress import Display
from accord.train.run import run_training
from accord.world.annotators import Annotator, prefer
from accord.world.base import BASE
from accord.world.cases import cases, distinct_cases
from accord.world.oracle import judge as by_oracle
from accord.world.town import draw_town

AXES = ("gold", "helpful", "harmless", "honest", "over-refusal", "words")
JUDGE = "tidewater base"
GOLD = "gold"
CALIBRATED, HARD = "soft, calibrated", "hard"
LABELS: dict[str, tuple[Labels, Inconsistent]] = {
    "soft": ("soft", "keep"),
    CALIBRATED: ("soft", "keep"),
    HARD: ("hard", "keep"),
    "hard, same in both orders": ("hard", "drop"),
}
"""What is made of the judge's verdicts, by name."""


class Scale(msgspec.Struct, frozen=True, kw_only=True):
    """How much of everything; the defaults take some minutes of one core for three seeds.

    Attributes:
        held_out: prompts of the test split that every model answers.
        demonstrations: answers that the start is fine-tuned on.
        prompts: prompts that the start answers twice.
        labelled: further prompts, whose pairs carry gold labels to which the judge's temperature is fitted.
        epochs: passes over the pairs.
    """

    held_out: int = 300
    demonstrations: int = 100
    prompts: int = 500
    labelled: int = 100
    epochs: int = 2


class Learned(msgspec.Struct, frozen=True):
    """What was learned from one kind of labels.

    Attributes:
        labels: of which kind.
        pairs: that carry one, over the seeds.
        axes: mean of every axis over the held-out answers of all seeds, clustered by prompt.
        gain: in gold over the start.
        behind: in gold, less what gold labels gave.
        over_hard: in gold, less what the judge's winners alone gave.
    """

    labels: str
    pairs: int
    axes: dict[str, Estimate]
    gain: Estimate | None = None
    behind: Estimate | None = None
    over_hard: Estimate | None = None


class FeedbackStudy(msgspec.Struct, frozen=True):
    """What the study found.

    Attributes:
        seeds: how many.
        scale: how much of everything.
        audit: of the judge, over the pairs of all seeds.
        temperatures: that gold labels of other pairs ask for, one a seed.
        learned: the start, and from each kind of labels.
    """

    seeds: int
    scale: Scale
    audit: JudgeAudit
    temperatures: list[float]
    learned: list[Learned]


def study_feedback(
    *,
    seeds: int = 3,
    scale: Scale | None = None,
    out: str | Path = "docs/ai-feedback.md",
    work: str | Path = "runs/world-feedback",
    console: Console | None = None,
) -> FeedbackStudy:
    """Judge, audit, train and measure; write the page, and its figures (JSON) beside it.

    Verdicts and models are kept: the same call goes on where it was stopped.

    Args:
        seeds: 0, 1, ...: each has its own demonstrations, start, prompts and answers.
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
    parts: list[_Seed] = []
    with one_thread(), Display(console).bar("models", seeds * (len(LABELS) + 1)) as bar:
        for seed in range(seeds):
            one = _Seed(seed, scale, Path(work))
            for name in (GOLD, *LABELS):
                one.train(name)
                bar.advance(numbers=f"{name}, seed {seed}")
            parts.append(one)
    pairs = [pair for one in parts for pair in one.pairs]
    said = [judgement for one in parts for judgement in one.judgements]
    study = FeedbackStudy(
        seeds,
        scale,
        audit(pairs, said, judge=JUDGE),
        [one.temperature for one in parts],
        [_learned(name, parts) for name in ("start", GOLD, *LABELS)],
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(render(study), encoding="utf-8")
    out.with_suffix(".json").write_bytes(msgspec.json.format(msgspec.json.encode(study)) + b"\n")
    return study


class _Seed:
    """One seed: its start, the pairs with the judge's verdicts, and the answers of every model."""

    def __init__(self, seed: int, scale: Scale, work: Path) -> None:
        town = draw_town(0)
        self.held_out = distinct_cases(town, "test", scale.held_out, seed=0)
        budget = Budget(held_out=scale.held_out, demonstrations=scale.demonstrations, epochs=scale.epochs)
        setting = Setting(str(BASE), Annotator(), budget, town, self.held_out)
        told = hashlib.blake2b(msgspec.json.encode(scale), digest_size=4).hexdigest()  # another scale, another start
        self.start = Start(work / f"{told}-seed-{seed}", setting, seed)
        asked = [case.group() for case in islice(cases(town, "align", seed=seed + 1), scale.prompts + scale.labelled)]
        sampling = Sampling(temperature=1.0, max_tokens=LONGEST_ANSWER, seed=seed)
        answered = [by_oracle(group) for group in rollout(self.start.policy, asked, n=2, sampling=sampling)]
        different = [len({response.text for response in group.responses}) > 1 for group in answered]
        kept = [group for group, differs in zip(answered, different, strict=True) if differs]
        count = sum(different[: scale.prompts])
        self.groups = kept[:count]
        self.pairs: list[Pair] = pairs_in(self.groups)
        chat = CachedChat(PolicyChat(load_policy(BASE)), work / "verdicts.sqlite")
        judge = chat_judge(chat, template="tidewater", name=JUDGE)
        self.judgements: list[Judgement] = compared(judge, self.groups, self.pairs)[0]
        self.temperature = labelled_temperature(judge, kept[count:])
        self.counts = {"start": 0}
        self.answers: dict[str, list[Group]] = {"start": answer(self.start.policy, self.held_out, seed=seed)}

    def train(self, name: str) -> None:
        """Train on one kind of labels, and answer the held-out prompts."""
        labelled = self._labelled(name)
        config = preference_config(
            "dpo", self.start, self.start.path / name.replace(", ", "-").replace(" ", "-"), lr=PREFERENCE_RATE, hyper={}
        )
        result = run_training(config, groups=labelled)
        policy = result.policy or load_policy(result.path / "model")
        self.counts[name] = len(labelled)
        self.answers[name] = answer(policy, self.held_out, seed=self.start.seed)

    def _labelled(self, name: str) -> list[Group]:
        if name == GOLD:
            return list(prefer(self.groups, self.start.setting.annotator, seed=self.start.seed))
        labels, inconsistent = LABELS[name]
        said = [cooled(one, self.temperature) for one in self.judgements] if name == CALIBRATED else self.judgements
        judged = judged_groups(self.groups, self.pairs, said, name=JUDGE, labels=labels, inconsistent=inconsistent)
        return [group for group in judged if any(True for _ in group.preferences())]


def _learned(name: str, parts: Sequence[_Seed]) -> Learned:
    def every(of: str, axis: str) -> list[float]:
        return [value for one in parts for value in scores(one.answers[of], axis)]

    def tested(axis: str) -> list[str]:
        return [
            group.prompt_text()
            for one in parts
            for group in one.answers[name]
            if (group.scores(axis) or (None,))[0] is not None
        ]

    axes = {axis: mean_estimate(every(name, axis), tested(axis)) for axis in AXES}
    clusters = tested("gold")

    def against(other: str) -> Estimate:
        return paired_difference(every(other, "gold"), every(name, "gold"), clusters)

    return Learned(
        name,
        sum(one.counts[name] for one in parts),
        axes,
        gain=None if name == "start" else against("start"),
        behind=against(GOLD) if name in LABELS else None,
        over_hard=against(HARD) if name in LABELS and name != HARD else None,
    )
