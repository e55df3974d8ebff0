"""From settings to everything the loop needs: policy, examples, held-out examples, the plan, the reference."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np
import torch

from accord.data import Dataset, Prepared, prepare, read
from accord.errors import ConfigError, NumericsError
from accord.objectives import resolve
from accord.objectives.policy_gradient import METHODS
from accord.objectives.registry import validate
from accord.objectives.vocabulary import signature_of
from accord.policy.action_values import POLYAK, ActionValues
from accord.policy.budget import within_budget
from accord.policy.engine.precision import bf16_gain
from accord.policy.fingerprint import data_fingerprint
from accord.policy.load import attach_head
from accord.policy.moving import MovingReference
from accord.policy.policy import Policy
from accord.policy.reference import LogprobCache, Reference
from accord.policy.rows import shared_tokens
from accord.policy.sharding import is_sharded
from accord.policy.start import starting_weights
from accord.record import Encoded, Group
from accord.train import distributed
from accord.train.annotators import annotator_groups, describe
from accord.train.collate import Example, make_examples
from accord.train.config import TrainConfig
from accord.train.measure import Measurement, measure_held_out
from accord.train.measure_reward_model import measure_reward_model
from accord.train.memory import chosen_micro_batch, estimate_memory, require_memory
from accord.train.models import load, load_teachers, moving_reference
from accord.train.next_states import with_next_states
from accord.train.plan import micro_batches, plan_steps
from accord.train.progress import Display
from accord.train.source import Planned, Source
from accord.train.step import Task
from accord.train.values import reward_head

MAX_LENGTH = 4096
MAX_HELD_OUT = 512
_RATES = {"preferences": 1e-6, "likelihood": 1e-5}
_LORA_FACTOR = 10.0


@dataclass(frozen=True)
class Run:
    """A training, ready to start.

    Attributes:
        config: the settings, resolved: nothing is left to a default that depends on the model.
        task: objective, policy and reference.
        source: what is trained on, step by step.
        scored: every example whose log-probs the cached reference must know.
        measure: what is measured besides the fixed prompts.
        prompts: Groups whose prompts are answered at every measurement.
        fingerprint: of data, weights and plan; a resume must agree.
        findings: the doctor's report, for `data.json`.
        start: opens a policy with the starting weights.
        examined: the scored answers of the last measurement, in rounds.
    """

    config: TrainConfig
    task: Task
    source: Source
    scored: list[Example]
    measure: Callable[[], Measurement]
    prompts: list[Group]
    fingerprint: str
    findings: dict[str, Any]
    start: Callable[[], AbstractContextManager[Policy]]
    examined: list[Group] = field(default_factory=list)


def checked(config: TrainConfig) -> TrainConfig:
    """The settings with all of the objective's hyperparameters, checked before anything loads.

    Raises:
        ConfigError: a value of the wrong type or out of range; names the flag.
    """
    try:
        config = msgspec.convert(msgspec.to_builtins(config), TrainConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(f"a setting cannot be used: {error}", where="TrainConfig") from error
    needs = signature_of(resolve(config.objective)).needs
    if config.reference_every and "reference" not in needs and config.objective not in METHODS:
        mend = "Leave it out, or train an objective that has a reference, such as dpo."
        raise ConfigError(f"has no effect on {config.objective}", where="--reference-every", mend=mend)
    if "teacher" in needs and config.teacher is None:
        mend = "Name the model that teaches."
        raise ConfigError("is required, and not given", where="--teacher", mend=mend)
    return msgspec.structs.replace(config, hyper=validate(config.objective, config.hyper))


def prepare_run(
    config: TrainConfig,
    *,
    groups: Sequence[Group] | None,
    eval_groups: Sequence[Group] | None,
    display: Display,
) -> Run:
    """Load the model, read and check the data, plan the steps, and compute the reference."""
    objective = resolve(config.objective)
    needs = signature_of(objective).needs
    if "own_sample" in needs:
        mend = "Add --reward: what scores the answers of the policy and of its opponent."
        raise ConfigError(f"{config.objective} compares samples of two policies", where="--reward", mend=mend)
    if config.teacher is not None and "teacher" not in needs:
        mend = "Name the model that teaches, with accord train distill."
        raise ConfigError(f"has no effect on {config.objective}", where="--teacher", mend=mend)
    policy = load(config, reward=False)
    config = resolved(config, policy, needs)
    data, held_out_data = _read(config, needs, policy, groups, eval_groups, display)
    for note in data.report.lines():
        display.say(note)
    head = reward_head(policy, needs, data.groups)
    if head is not None:
        attach_head(policy, head)
    if "target_q" in needs:
        polyak = config.hyper.get("polyak", POLYAK)
        heads = ActionValues.on(policy.model, policy.source, polyak=polyak, seed=config.seed)
        policy.action_values = heads.to(policy.device)
    mismatch = "mismatched_kl" in needs
    aside = held_out_data.encoded if held_out_data else []
    examples = make_examples(data.groups, data.encoded, mismatch=mismatch, others=aside)
    held_out = (
        make_examples(held_out_data.groups, aside, mismatch=mismatch, others=data.encoded) if held_out_data else []
    )
    if "next_value" in needs:
        examples, held_out = (
            with_next_states(part, policy, max_length=config.max_length) for part in (examples, held_out)
        )
    plan = plan_steps(
        [example.tokens for example in examples],
        seed=config.seed,
        epochs=config.epochs,
        steps=config.steps,
        tokens_per_step=config.tokens_per_step,
        batch_size=config.batch_size,
    )
    _check_memory(config, policy, examples, plan, display)
    findings = msgspec.to_builtins(data.report) | {"held_out_groups": len(held_out)}
    annotators: tuple[str, ...] = ()
    if "annotator" in needs:
        annotators = annotator_groups(data.groups)
        display.say(describe(data.groups, held_out_data.groups if held_out_data else []))
    reference = _reference(config, policy) if "reference" in needs or mismatch else None
    teachers = load_teachers(config, policy, needs)
    task = Task(objective, config.hyper, policy, reference, teachers=teachers, annotators=annotators)
    measured = measure_held_out if policy.reward_head is None else measure_reward_model
    return Run(
        config=config,
        task=task,
        source=Planned(examples, plan),
        scored=[*examples, *held_out],
        measure=lambda: measured(task, held_out, micro_batch_tokens=config.micro_batch_tokens),
        prompts=_fixed_prompts(held_out, config.samples) if policy.reward_head is None else [],
        fingerprint=_fingerprint(policy, [*examples, *held_out], plan),
        findings=findings,
        start=lambda: starting_weights(policy, lambda: load(config, reward=False, lora=False)),
    )


def _reference(config: TrainConfig, policy: Policy) -> Reference | MovingReference:
    if config.reference_every:
        return moving_reference(config, policy)
    return Reference(policy.fingerprint(), LogprobCache())


def compute_reference(run: Run, display: Display, *, policy_is_start: bool) -> None:
    """Bring the reference's log-probs of all examples into the cache; what is there already is not computed again."""
    reference = run.task.reference
    if not isinstance(reference, Reference):
        return
    batch = [example.encoded for example in run.scored]
    batch += [example.mismatched for example in run.scored if example.mismatched is not None]
    missing = _missing_anywhere(reference, batch)
    if missing:
        opened = run.start() if run.task.policy.adapted or not policy_is_start else None
        with display.bar("reference", len(missing)) as bar:
            if opened is None:
                _compute(reference, run.task.policy, missing, run.config, bar.advance)
            else:
                with opened as starting:
                    _compute(reference, starting, missing, run.config, bar.advance)


def check_first_step(run: Run) -> None:
    """Before any update the policy must be its own reference, token by token, on the data it starts from.

    Raises:
        NumericsError: it is not; every margin would start from a wrong place.
    """
    reference, policy = run.task.reference, run.task.policy
    if reference is None or not run.scored:
        return
    _, examples = next(run.source.steps(0))
    first = micro_batches(examples, run.config.micro_batch_tokens, policy.cost)[0]
    batch = [example.encoded for example in first]
    rows = policy.rows(batch)
    with torch.no_grad():
        gap = float((policy.logprobs(rows) - reference.logprobs(batch, rows)).abs().max())
    tolerance = 1e-3 if policy.dtype == "fp32" else 0.25
    if not gap <= tolerance:
        raise NumericsError(
            f"policy and reference differ by {gap:.3g} nats on a token before the first step, where they must agree",
            where=policy.source,
            mend="The model may differ from call to call (dropout, quantisation, routing noise); try --dtype fp32.",
        )


def _compute(
    reference: Reference, starting: Policy, missing: list[Encoded], config: TrainConfig, advance: Callable[[int], None]
) -> None:
    parts = within_budget(missing, config.micro_batch_tokens, starting.cost, encoded=lambda encoded: encoded)
    idle = distributed.idle(parts) if is_sharded(starting.model) else []
    for part in [*distributed.share(parts), *idle]:
        reference.compute(starting, part, micro_batch_tokens=config.micro_batch_tokens, advance=advance)
    distributed.barrier()
    if reference.missing(missing):
        raise ConfigError(
            "the processes do not share one cache, so they miss each other's log-probs of the reference",
            where="ACCORD_CACHE",
            mend="Set it to a directory that all machines see.",
        )


def _missing_anywhere(reference: Reference, batch: Sequence[Encoded]) -> list[Encoded]:
    """What any rank's cache has not; the same on all ranks."""
    missing = {id(encoded) for encoded in reference.missing(batch)}
    places = distributed.gather([place for place, encoded in enumerate(batch) if id(encoded) in missing])
    return [batch[place] for place in sorted({place for of_rank in places for place in of_rank})]


def resolved(config: TrainConfig, policy: Policy, needs: tuple[str, ...]) -> TrainConfig:
    """The settings with everything filled in that depends on the model and the objective."""
    limit = policy.max_positions
    if config.max_length is not None and limit is not None and config.max_length > limit:
        raise ConfigError(f"{config.max_length} is more than the {limit} positions the model has", where="--max-length")
    kind = "preferences" if "reference" in needs or ("prefer" in needs and "reward" not in needs) else "likelihood"
    rate = _RATES[kind] * (_LORA_FACTOR if config.lora_r else 1.0)
    return msgspec.structs.replace(
        config,
        lr=rate if config.lr is None else config.lr,
        lora_alpha=config.lora_alpha or (2.0 * config.lora_r if config.lora_r else None),
        max_length=config.max_length or min(limit or MAX_LENGTH, MAX_LENGTH),
        micro_batch_tokens=tokens_at_once(config, policy),
    )


def tokens_at_once(config: TrainConfig, policy: Policy) -> int:
    """Tokens that go through the model at once: those of the settings, or what suits it."""
    return config.micro_batch_tokens or chosen_micro_batch(
        policy.model, dtype=config.dtype, checkpointing=config.gradient_checkpointing
    )


def _read(
    config: TrainConfig,
    needs: tuple[str, ...],
    policy: Policy,
    groups: Sequence[Group] | None,
    eval_groups: Sequence[Group] | None,
    display: Display,
) -> tuple[Prepared, Prepared | None]:
    """Training and held-out data, prepared alike."""

    def prepared(dataset: Dataset) -> Prepared:
        with display.bar("encoding", len(dataset.groups)) as bar:
            return prepare(
                dataset,
                needs=needs,
                encoder=policy.renderer,
                max_length=config.max_length,
                overlong=config.overlong,
                axis=config.axis,
                progress=bar.advance,
            )

    def read_from(sources: Sequence[str], split: str) -> Dataset:
        return read(sources, columns=config.columns, split=split, template=config.template)

    data = prepared(read_from(config.data, "train") if groups is None else Dataset.of(groups))
    if eval_groups is not None:
        return data, prepared(Dataset.of(eval_groups))
    if config.eval_data:
        return data, prepared(read_from(config.eval_data, "validation"))
    return split_by_prompt(data, share=config.holdout, seed=config.seed)


def split_by_prompt(data: Prepared, *, share: float, seed: int) -> tuple[Prepared, Prepared | None]:
    """Set a share of the prompts aside, never the same prompt on both sides."""
    prompts = sorted({ids.prompt for ids in data.encoded})
    count = min(MAX_HELD_OUT, round(share * len(prompts)))
    if count == 0:
        return data, None
    chosen = np.random.default_rng([seed, 7]).permutation(len(prompts))[:count]
    aside = {prompts[index] for index in chosen.tolist()}
    return _where(data, aside, inside=False), _where(data, aside, inside=True)


def _where(data: Prepared, prompts: set[tuple[int, ...]], *, inside: bool) -> Prepared:
    kept = [index for index, ids in enumerate(data.encoded) if (ids.prompt in prompts) is inside]
    return replace(data, groups=[data.groups[index] for index in kept], encoded=[data.encoded[index] for index in kept])


def _fixed_prompts(held_out: Sequence[Example], count: int) -> list[Group]:
    """The first held-out Groups with different prompts."""
    by_prompt: dict[tuple[int, ...], Group] = {}
    for example in held_out:
        by_prompt.setdefault(example.encoded.prompt, example.group)
    return list(by_prompt.values())[:count]


def _check_memory(
    config: TrainConfig, policy: Policy, examples: Sequence[Example], plan: list[list[int]], display: Display
) -> None:
    costs = [policy.cost(example.rows, example.longest, shared_tokens(example.encoded)) for example in examples]
    largest_step = max(sum(costs[index] for index in step) for step in plan)
    estimate = estimate_memory(
        policy.model,
        dtype=policy.dtype,
        processes=distributed.world_size() if is_sharded(policy.model) else 1,
        tokens=max(max(costs), min(config.micro_batch_tokens, largest_step)),
        checkpointing=config.gradient_checkpointing,
    )
    display.say(f"log-probs: {policy.engine.note}")
    slower = 1 / bf16_gain(policy.device) if config.dtype == "bf16" and policy.device.type == "cpu" else 1.0
    if slower > 1.5:
        display.say(f"warning: this processor multiplies {slower:.0f} times as slowly in bf16; try --dtype fp32")
    display.say(f"memory: {estimate}")
    require_memory(estimate, lora=config.lora_r > 0, checkpointing=config.gradient_checkpointing, longest=max(costs))


def _fingerprint(policy: Policy, examples: Sequence[Example], plan: list[list[int]]) -> str:
    digest = hashlib.blake2b(policy.fingerprint().encode(), digest_size=16)
    digest.update(data_fingerprint(example.encoded for example in examples).encode())
    for example in examples:
        digest.update(msgspec.json.encode(example.group.feedback))
        if any(example.following):
            digest.update(msgspec.json.encode(example.following))
    digest.update(msgspec.json.encode(plan))
    return digest.hexdigest()
