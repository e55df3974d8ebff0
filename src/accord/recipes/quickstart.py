"""`accord quickstart`: the whole loop on the embedded world, measured before, between and after.

The base model imitates a flawed corpus. Fine-tuning on demonstrations, then DPO on pairs of the model's own answers,
judged by the oracle, align it; prompts that no stage has seen, answered at temperature 0.7, show by how much.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from accord.policy.load import load_policy
from accord.policy.policy import Policy
from accord.policy.sample import Sampling
from accord.recipes.align import conclude
from accord.recipes.threads import one_thread
from accord.recipes.world_evaluation import LAST_STEP, LONGEST_ANSWER, SUITE, answer, evaluate
from accord.record import Evaluation, Feedback, Group, Preference, write_groups
from accord.report import print_summary, write_report
from accord.rollout import rollout
from accord.rollout.progress import progress_bar
from accord.train.config import TrainConfig
from accord.train.run import run_training
from accord.world.annotators import Annotator, prefer
from accord.world.base import BASE
from accord.world.cases import cases, distinct_cases
from accord.world.corpus import demonstrations
from accord.world.oracle import AXES, judge
from accord.world.town import Town, draw_town


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How much of everything; the defaults take about a minute on two cores.

    Attributes:
        held_out: prompts of the test split that every stage is measured on.
        demonstrations: answers to imitate, a tenth of them by somebody bad.
        prompts: prompts that the fine-tuned model answers for the annotator.
        answers: answers to each.
        noise: share of preferences that the annotator records the wrong way round.
        swapped: record every preference the wrong way round, to see that the verdict notices.
        town: seed of the town that the base model knows.
    """

    held_out: int = 500
    demonstrations: int = 600
    prompts: int = 1500
    answers: int = 8
    noise: float = 0.0
    swapped: bool = False
    town: int = 0


@dataclass
class Quickstart:
    """What a quickstart left.

    Attributes:
        path: its directory, with the runs `sft` and `dpo`, `report.html` and `summary.json`.
        evaluation: every axis, base model against aligned model, the fine-tuned one between.
        seconds: by stage.
    """

    path: Path
    evaluation: Evaluation
    seconds: dict[str, float] = field(default_factory=dict)


def quickstart(
    out: str | Path = "runs/quickstart",
    *,
    seed: int = 0,
    base: str | Path = BASE,
    plan: Plan | None = None,
    console: Console | None = None,
) -> Quickstart:
    """Align the world's base model and say whether it worked.

    Args:
        out: directory for the runs, the data, the report and the summary; an earlier quickstart in it is replaced.
        seed: of demonstrations, prompts, sampling and the order of training. The held-out prompts are always the same.
        base: the model to start from.
        plan: how much of everything.
        console: where progress and the result are shown.

    Raises:
        AccordError: the base model cannot be loaded, or `out` holds something else.
    """
    with one_thread():
        return _run(Path(out), seed, str(base), plan or Plan(), console or Console(quiet=True))


def _run(out: Path, seed: int, base: str, plan: Plan, console: Console) -> Quickstart:
    town = draw_town(plan.town)
    held_out = distinct_cases(town, "test", plan.held_out, seed=0)
    clock = _Clock(console)
    with clock.stage("before", f"answering {len(held_out)} held-out prompts with the base model"):
        before = answer(load_policy(base), held_out, seed=seed)
    with clock.stage("sft", f"fine-tuning on {plan.demonstrations} demonstrations"):
        files = write_demonstrations(out / "data", town, plan.demonstrations, seed=seed)
        tuned = _train(sft_config(base, files, out / "sft", seed), console)
    with clock.stage("measure sft", "answering the held-out prompts again"):
        between = answer(tuned, held_out, seed=seed)
    with clock.stage("sample", f"answering {plan.prompts} new prompts {plan.answers} times each"):
        prompts = [case.group() for case in islice(cases(town, "align", seed=seed + 1), plan.prompts)]
        sampling = Sampling(temperature=1.0, max_tokens=LONGEST_ANSWER, seed=seed)
        with progress_bar("answers", console) as progress:
            answered = rollout(tuned, prompts, n=plan.answers, sampling=sampling, progress=progress)
    with clock.stage("judge", "judging the answers"):
        pairs = _write_pairs(out / "data" / "preferences.jsonl", answered, plan, seed)
    with clock.stage("dpo", "training on the preferences"):
        aligned = _train(_dpo_config(str(out / "sft" / "model"), pairs, out / "dpo", seed), console)
    with clock.stage("after", "answering the held-out prompts once more"):
        after = answer(aligned, held_out, seed=seed)
    with clock.stage("report", "writing the report"):
        evaluation = evaluate(held_out, before, after, between)
        conclude(out / "sft", evaluate(held_out, before, between))
        conclude(out / "dpo", evaluation)
        write_report([out / "dpo"], out / "report.html")
    result = Quickstart(out, evaluation, clock.seconds)
    (out / "summary.json").write_bytes(msgspec.json.format(msgspec.json.encode(summary(result, plan, seed))))
    print_summary(out / "dpo", console)
    console.print(f"report: {out / 'report.html'}    {sum(clock.seconds.values()):.0f} s in all")
    return result


def summary(result: Quickstart, plan: Plan, seed: int) -> dict[str, Any]:
    """The figures for programs: every axis at every stage, what DPO alone did, the verdict, and where time went."""
    axes = {axis: result.evaluation.comparison(axis) for axis in AXES}
    return {
        "suite": SUITE,
        "seed": seed,
        "plan": msgspec.to_builtins(plan),
        "before": {axis: msgspec.to_builtins(axes[axis].before) for axis in axes},
        "sft": {axis: msgspec.to_builtins(axes[axis].stages["sft"]) for axis in axes},
        "after": {axis: msgspec.to_builtins(axes[axis].after) for axis in axes},
        "difference": {axis: msgspec.to_builtins(axes[axis].difference) for axis in axes},
        "last_step": msgspec.to_builtins(result.evaluation.comparison(LAST_STEP)),
        "verdict": result.evaluation.verdict,
        "worse": [axis for axis in axes if axes[axis].verdict == "worse"],
        "seconds": {stage: round(seconds, 1) for stage, seconds in result.seconds.items()},
        "total_seconds": round(sum(result.seconds.values()), 1),
    }


class _Clock:
    """Seconds by stage, and a line on the console for each."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, what: str) -> Iterator[None]:
        self.console.rule(what, align="left")
        started = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - started


def write_demonstrations(directory: Path, town: Town, count: int, *, seed: int) -> tuple[Path, Path]:
    """Demonstrations to train on and to watch, as files."""
    taught, watched = directory / "demonstrations.jsonl", directory / "demonstrations-validation.jsonl"
    write_groups(taught, demonstrations(town, count, seed=seed))
    write_groups(watched, demonstrations(town, 64, seed=seed, split="validation", flawed=0.0))
    return taught, watched


def _write_pairs(path: Path, answered: Sequence[Group], plan: Plan, seed: int) -> Path:
    """Judge, let the annotator choose, and keep of every Group the two responses that were compared."""
    chosen = prefer(map(judge, answered), Annotator(noise=plan.noise), seed=seed)
    write_groups(path, map(_swapped, chosen) if plan.swapped else chosen)
    return path


def _swapped(group: Group) -> Group:
    """The Group with every preference the wrong way round."""

    def turned(feedback: Feedback) -> Feedback:
        preferences = tuple(Preference(p.worse, p.better, p.weight) for p in feedback.preferences)
        return msgspec.structs.replace(feedback, preferences=preferences)

    return msgspec.structs.replace(group, feedback=tuple(map(turned, group.feedback)))


def _train(config: TrainConfig, console: Console) -> Policy:
    policy = run_training(config, console=console, fresh=True).policy
    assert policy is not None
    return policy


def sft_config(base: str, files: tuple[Path, Path], out: Path, seed: int) -> TrainConfig:
    """Fine-tuning of the base model on the demonstrations that `write_demonstrations` left."""
    return TrainConfig(
        objective="sft",
        model=base,
        data=(str(files[0]),),
        eval_data=(str(files[1]),),
        out=str(out),
        seed=seed,
        epochs=2,
        batch_size=16,
        lr=1e-3,
        schedule="linear",
        adam_beta2=0.95,
        sample_tokens=LONGEST_ANSWER,
        log_every=1000,
    )


def _dpo_config(model: str, pairs: Path, out: Path, seed: int) -> TrainConfig:
    """DPO with a likelihood term, which keeps the chosen answers likely and refusals where they belong."""
    return TrainConfig(
        objective="dpo",
        model=model,
        data=(str(pairs),),
        out=str(out),
        hyper={"beta": 0.1, "nll": 1.0},
        seed=seed,
        epochs=2,
        batch_size=32,
        lr=3e-4,
        schedule="linear",
        adam_beta2=0.95,
        sample_tokens=LONGEST_ANSWER,
        log_every=1000,
    )
