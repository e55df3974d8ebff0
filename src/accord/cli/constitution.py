"""`accord constitution`: revise answers by principles, compare two constitutions, train by one."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Literal

from accord.cli.models import Models, Source
from accord.cli.parameters import Several, Switch
from accord.cli.revising import Critics, Revising
from accord.cli.settings import read_settings
from accord.cli.terminal import console
from accord.errors import ConfigError

_REVISING, _CRITICS, _SOURCE, _MODELS = Revising(), Critics(), Source(), Models()


def revise(
    *,
    data: Several = (),
    out: str | None = None,
    answerer: str | None = None,
    judge: str | None = None,
    critics: Critics = _CRITICS,
    revising: Revising = _REVISING,
    source: Source = _SOURCE,
    models: Models = _MODELS,
) -> int:
    """Have answers criticised by principles and rewritten: demonstrations, preferences and a full trace.

    Answers of models are kept on disk: a job that was killed goes on where it was.

    Args:
        data: files, directories or hub ids with prompts; without an answerer, their responses are revised.
        out: directory for demonstrations.jsonl, preferences.jsonl, trace.jsonl, review.jsonl and summary.json.
        answerer: who gives the first answers: a model's directory or hub id, http://host/v1#model, module:function.
        judge: take a revision only where this one prefers it in both orders: a model, reward:SPEC or control:NAME.
    """
    from accord.recipes.constitution import revise_groups, summary_of, write_revised
    from accord.recipes.constitution_table import render

    if out is None:
        raise ConfigError("required, and not given", where="--out", mend="Say where to write.")
    panel = revising.panel(critics, accept=judge)
    cast, screen = models.cast(), console()
    groups, cost = source.groups(data), partial(models.cost, cast)
    revised = revise_groups(groups, panel, cast=cast, answerer=answerer, cost=cost, console=screen)
    for part in render(summary_of(revised, panel.constitution)):
        screen.print(part, soft_wrap=True)
    models.tell(cast, screen)
    for path, what in write_revised(out, revised, panel.constitution, imitate=revising.imitate):
        screen.print(f"{what}: {path}", soft_wrap=True)
    return 0


def compare(
    first: str,
    second: str,
    /,
    *,
    data: Several = (),
    judge: str | None = None,
    margin: float = 0.2,
    pairs: int | None = None,
    out: str | None = None,
    seed: int = 0,
    critics: Critics = _CRITICS,
    source: Source = _SOURCE,
    models: Models = _MODELS,
) -> int:
    """Judge the same pairs under two constitutions: which labels flip, what each principle does, where they conflict.

    Args:
        first: a constitution: default, tidewater, or a file.
        second: another one, such as the first after an edit.
        data: files, directories or hub ids with two or more responses to each prompt.
        judge: who compares: a model, by a template that takes principles, or critics for the critics by their scores.
        margin: distance from one half at which a principle clearly prefers one side.
        pairs: pairs of one prompt that are compared at most; all if not given.
        out: write everything that was found to this JSON file, with every pair that flipped.
        seed: of the draw of pairs.
    """
    from accord.feedback.constitution import Constitution, Rules, load_constitution
    from accord.feedback.judge.pair import PairJudge
    from accord.recipes.asking import asking
    from accord.recipes.constitution_cast import require_principles
    from accord.recipes.constitution_compare import compare_constitutions, write_comparison
    from accord.recipes.constitution_table import render_comparison

    if judge is None:
        raise ConfigError("required, and not given", where="--judge", mend="Name a model, or critics.")
    if pairs is not None and pairs < 1:
        raise ConfigError("must be 1 or more", where="--pairs")
    require_principles(judge, critics.template)
    constitutions = load_constitution(first), load_constitution(second)
    cast, screen, rules = models.cast(), console(), Rules(aggregate=critics.aggregate)

    def judge_of(constitution: Constitution) -> PairJudge:
        return cast.comparing(judge, critics.panel(constitution, rules=rules))

    groups = source.groups(data)
    with asking(screen, partial(models.cost, cast)) as told:
        found = compare_constitutions(
            groups,
            *constitutions,
            judge_of,
            margin=margin,
            most_pairs=pairs,
            seed=seed,
            progress=partial(told, "judging"),
        )
    for part in render_comparison(found):
        screen.print(part, soft_wrap=True)
    models.tell(cast, screen)
    if out is not None:
        screen.print(f"comparison: {write_comparison(out, found)}", soft_wrap=True)
    return 0


def train(
    *,
    model: str | None = None,
    data: Several = (),
    out: str | None = None,
    helpful: Several = (),
    preferences: Several = (),
    accept: str | None = None,
    judge: str | None = None,
    learn: Literal["dpo", "reward"] = "dpo",
    method: str = "grpo",
    answers: int = 2,
    hard: Switch = False,
    inconsistent: Literal["keep", "drop"] = "keep",
    supervised: str | None = None,
    preferred: str | None = None,
    online: str | None = None,
    critics: Critics = _CRITICS,
    revising: Revising = _REVISING,
    source: Source = _SOURCE,
    models: Models = _MODELS,
) -> int:
    """Constitutional AI from end to end: imitate revised answers, then learn from labels by the constitution.

    The same command goes on where it was stopped.

    Args:
        model: directory or hub id of the model that answers first and is trained; the only critic if none is named.
        data: files, directories or hub ids with prompts that bring out what the constitution forbids.
        out: directory of everything: revision, sl, judged.jsonl, rl and, with --learn reward, reward.
        helpful: prompts whose answers are imitated unrevised: their own, or the model's where they have none.
        preferences: preferences of people, learned from beside the judge's.
        accept: take a revision only where this judge prefers it in both orders.
        judge: who compares the tuned model's answers: a model, reward:SPEC, or critics for the critics by their scores;
            default the first critic.
        learn: from the labels by DPO, or from a reward model that is fitted to them.
        method: the policy-gradient method of --learn reward.
        answers: of the tuned model to each prompt, which are compared.
        hard: learn from the likelier side alone; without it, from probabilities.
        inconsistent: keep or drop pairs whose winner depends on the order.
        supervised: TOML or YAML file with settings of the fine-tuning, as for accord train --config.
        preferred: the same for DPO or the reward model.
        online: the same for the reinforcement learning of --learn reward.
    """
    from accord.recipes.constitution import summary_of
    from accord.recipes.constitution_table import render
    from accord.recipes.constitution_train import Plan, train_constitutional
    from accord.recipes.judge_table import render as render_judged

    if model is None or out is None:
        raise ConfigError("required, and not given", where="--model" if model is None else "--out")
    heard = replace(critics, critic=critics.critic or (model,))
    panel = revising.panel(heard, accept=accept)
    plan = Plan(
        model=model,
        out=out,
        learn=learn,
        imitate=revising.imitate,
        answers=answers,
        labels="hard" if hard else "soft",
        inconsistent=inconsistent,
        temperature=revising.temperature,
        max_tokens=revising.max_tokens,
        seed=revising.seed,
        supervised=_stage(supervised, "--supervised"),
        preferences=_stage(preferred, "--preferred"),
        online=_stage(online, "--online"),
        method=method,
    )
    cast, screen = models.cast(), console()
    trained = train_constitutional(
        source.groups(data),
        plan,
        panel,
        judge=judge or heard.critic[0],
        cast=cast,
        helpful=source.others(helpful),
        preferred=source.others(preferences),
        cost=partial(models.cost, cast),
        console=screen,
    )
    for part in (*render(summary_of(trained.revised, panel.constitution)), *render_judged(trained.judged)):
        screen.print(part, soft_wrap=True)
    models.tell(cast, screen)
    screen.print(f"after SL-CAI: {trained.supervised}\nafter RL-CAI: {trained.aligned}", soft_wrap=True)
    return 0


def _stage(path: str | None, flag: str) -> dict[str, Any]:
    """The settings of a stage from its file."""
    try:
        return {} if path is None else read_settings(path)
    except ConfigError as error:
        raise ConfigError(error.what, where=f"{flag} {path}", mend=error.mend) from error
