"""`accord constitution train`: constitutional AI from end to end (Bai et al. 2022, arXiv:2212.08073).

SL-CAI: the model answers prompts, its answers are revised by the constitution, and it imitates what was kept, mixed
with helpful answers. RL-CAI: the model so tuned answers the prompts several times, a judge compares the answers by the
constitution in both orders, and the model learns from the soft labels: by DPO, or by a reward model and online
reinforcement learning against it. Human preferences, for helpfulness, may be mixed with the judge's.

A judge that reasons first (`template` "reasoned") has its probabilities kept between 0.4 and 0.6, as in the paper.
Every stage is kept in the directory as it ends: the same call goes on where it was stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec.structs import replace
from rich.console import Console

from accord.chat.types import Request
from accord.errors import ConfigError, DataError
from accord.feedback.constitution.data import Imitate, demonstrations
from accord.feedback.constitution.trace import Revised, Rules
from accord.feedback.judge.groups import Inconsistent, Labels
from accord.feedback.spec import parse
from accord.policy.load import load_policy
from accord.policy.sample import Sampling
from accord.recipes.align import align
from accord.recipes.asking import Cost, asking
from accord.recipes.constitution import revise_groups, write_revised
from accord.recipes.constitution_cast import Cast, Panel
from accord.recipes.judge import Judged, judge_groups, write_judged
from accord.recipes.online import train_online
from accord.record import Group, Response, read_groups, write_groups
from accord.rollout import progress_bar, rollout
from accord.train.config import TrainConfig

Learn = Literal["dpo", "reward"]

_OWN = ("objective", "model", "data", "out", "reward", "judge")
"""Settings of a training that the recipe gives."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is trained, and how.

    Attributes:
        model: that answers first and is trained.
        out: directory of everything.
        learn: from the judge's labels directly, or from a reward model that was fitted to them.
        imitate: every kept answer, or those alone that keep every principle by the critics.
        answers: of the tuned model to each prompt, which the judge compares.
        pairs: of the answers to one prompt that are compared at most; all if `None`.
        labels, inconsistent: what becomes of the judgements, as for `judged_groups`.
        temperature: of these answers.
        max_tokens: longest of them.
        seed: of all that is drawn.
        supervised, preferences, online: settings of `TrainConfig` for the fine-tuning, for DPO or the reward model, and
            for the reinforcement learning, which a reward model alone has.
        method: the policy-gradient method of the reinforcement learning.
    """

    model: str
    out: str
    learn: Learn = "dpo"
    imitate: Imitate = "kept"
    answers: int = 2
    pairs: int | None = None
    labels: Labels = "soft"
    inconsistent: Inconsistent = "keep"
    temperature: float = 1.0
    max_tokens: int = 512
    seed: int = 0
    supervised: dict[str, Any] = {}
    preferences: dict[str, Any] = {}
    online: dict[str, Any] = {}
    method: str = "grpo"

    def __post_init__(self) -> None:
        if self.answers < 2:
            raise ConfigError("one answer has none to be compared with", where="--answers", mend="Give 2 or more.")
        for stage in ("supervised", "preferences", "online"):
            for key in _OWN:
                if key in getattr(self, stage):
                    mend = "Take it out of the settings of the stage."
                    raise ConfigError(f"{key} is given by the recipe", where=f"--{stage}", mend=mend)
        if self.online and self.learn == "dpo":
            raise ConfigError("has no effect without a reward model", where="--online", mend="Add --learn reward.")

    def config(self, stage: str, objective: str, model: str, data: Path, out: Path, **given: Any) -> TrainConfig:
        """The settings of a stage."""
        settings = {"seed": self.seed, **getattr(self, stage), **given}
        return TrainConfig(objective=objective, model=model, data=(str(data),), out=str(out), **settings)


@dataclass(frozen=True)
class Trained:
    """What training by a constitution left.

    Attributes:
        revised: the revisions.
        judged: the tuned model's answers, compared, with the audit of the judge.
        supervised: the model after SL-CAI.
        aligned: the model after RL-CAI.
    """

    revised: Revised
    judged: Judged
    supervised: Path
    aligned: Path


def train_constitutional(
    groups: Sequence[Group],
    plan: Plan,
    panel: Panel,
    *,
    judge: str,
    cast: Cast | None = None,
    helpful: Sequence[Group] = (),
    preferred: Sequence[Group] = (),
    cost: Cost = lambda: None,
    console: Console | None = None,
) -> Trained:
    """SL-CAI, then RL-CAI.

    Args:
        groups: prompts whose answers are revised: those that bring out what the constitution forbids, above all.
        plan: what is trained, and how.
        panel: who revises, by what.
        judge: who compares the tuned model's answers, by the words of a command line, or `CRITICS` for the panel's
            critics, by their scores.
        cast: the models that take part; opened as they are needed if not given.
        helpful: prompts whose answers are imitated unrevised: their own, or the model's where they have none.
        preferred: preferences of others, learned from beside the judge's.
        cost: what the models' answers have cost so far.
        console: where progress is shown.

    Raises:
        AccordError: a setting, the data or a model is wrong.
    """
    cast, out = cast or Cast(), Path(plan.out)
    revised = revise_groups(groups, panel, cast=cast, answerer=plan.model, cost=cost, console=console)
    write_revised(out / "revision", revised, panel.constitution, imitate=plan.imitate)
    imitated = demonstrations(revised, imitate=plan.imitate)
    if not imitated:
        raise DataError("no answer is left to imitate", mend="Revise more prompts, or imitate every kept answer.")
    taught = out / "demonstrations.jsonl"
    write_groups(taught, [*imitated, *_helpful(helpful, plan, panel.rules, cast, cost, console)])
    align(plan.config("supervised", "sft", plan.model, taught, out / "sl"), console=console)
    supervised = out / "sl" / "model"
    judged = judge_groups(
        _answers([*groups, *helpful], supervised, plan, console),
        cast.comparing(judge, panel),
        labels=plan.labels,
        inconsistent=plan.inconsistent,
        most_pairs=plan.pairs,
        seed=plan.seed,
        cost=cost,
        console=console,
    )
    write_judged(out / "judged.jsonl", judged)
    labelled = [group for group in judged.groups if any(True for _ in group.preferences())]
    write_groups(out / "preferences.jsonl", [*labelled, *preferred])
    return Trained(revised, judged, supervised, _reinforced(plan, supervised, out, console))


def _helpful(
    groups: Sequence[Group], plan: Plan, rules: Rules, cast: Cast, cost: Cost, console: Console | None
) -> list[Group]:
    """The prompts with their answers, or the model's own; what it did not finish is left out."""
    bare = [group for group in groups if not group.responses]
    requests = [
        Request(
            group.messages(),
            temperature=rules.answer_temperature,
            max_tokens=rules.max_tokens,
            seed=plan.seed,
        )
        for group in bare
    ]
    with asking(console, cost) as told:
        model = cast.chat(plan.model, "--model")
        replies = model(requests, progress=lambda done, total: told("helpful answers", done, total))
    own = {id(group): reply for group, reply in zip(bare, replies, strict=True)}
    answered = []
    for group in groups:
        if id(group) not in own:
            answered.append(replace(group, feedback=()))
        elif own[id(group)].finished and own[id(group)].text.strip():
            answered.append(replace(group, responses=(Response(own[id(group)].text),), feedback=()))
    return answered


def _answers(prompts: Sequence[Group], model: Path, plan: Plan, console: Console | None) -> list[Group]:
    """The tuned model's answers; those that it has given already are read from their file."""
    policy = load_policy(str(model))
    policy.version = policy.fingerprint()
    file = model.parents[1] / "answers.jsonl"
    if file.exists():
        known = list(read_groups(file))
        asked = [(group.prompt, plan.answers, policy.version) for group in prompts]
        if asked == [(group.prompt, len(group.responses), group.responses[0].version) for group in known]:
            return known
    sampling = Sampling(temperature=plan.temperature, max_tokens=plan.max_tokens, seed=plan.seed)
    bare = [replace(group, responses=(), feedback=()) for group in prompts]
    with progress_bar("answers to compare", console or Console(quiet=True)) as progress:
        answered = rollout(policy, bare, n=plan.answers, sampling=sampling, progress=progress)
    write_groups(file, answered)
    return answered


def _reinforced(plan: Plan, supervised: Path, out: Path, console: Console | None) -> Path:
    """The model that has learned from the labels."""
    data, model = out / "preferences.jsonl", str(supervised)
    if plan.learn == "dpo":
        align(plan.config("preferences", "dpo", model, data, out / "rl"), console=console)
        return out / "rl" / "model"
    align(plan.config("preferences", "bradley_terry", model, data, out / "reward"), console=console)
    rewards = (f"model:{out / 'reward' / 'model'}",)
    config = plan.config("online", plan.method, model, out / "answers.jsonl", out / "rl", reward=rewards)
    train_online(config, parse(rewards), console=console)
    return out / "rl" / "model"
