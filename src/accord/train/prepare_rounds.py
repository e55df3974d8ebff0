"""From settings to everything an online run needs: policy, reference, critic, prompts, the rounds."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec
import numpy as np

from accord.data import Dataset, prepare, read
from accord.data.prompts import Prompts, prepare_prompts
from accord.errors import ConfigError
from accord.objectives import resolve
from accord.objectives.policy_gradient import METHODS, Method
from accord.objectives.policy_gradient.guidance import corrected
from accord.objectives.policy_gradient.method import Rollout
from accord.objectives.vocabulary import signature_of
from accord.policy.blend import require_same_vocabulary
from accord.policy.critic import VALUES, Critic
from accord.policy.heads import RewardHead, find_head
from accord.policy.moving import MovingReference
from accord.policy.policy import Policy
from accord.policy.sample import BATCH_TOKENS
from accord.policy.sharding import is_sharded
from accord.policy.start import starting_weights
from accord.record import Encoded, Group
from accord.train import distributed
from accord.train.actor import Accompanied, Actor, PromptOrder, rounds_in, steps_a_round
from accord.train.ahead import Ahead, Elsewhere
from accord.train.config import TrainConfig
from accord.train.directory import RunDirectory
from accord.train.measure import Measurement, measure_rewards
from accord.train.memory import MemoryEstimate, estimate_memory, ways_out
from accord.train.models import OTHER_VOCABULARY, load, load_teachers, moving_reference
from accord.train.prepare import MAX_HELD_OUT, Run, resolved
from accord.train.progress import Display
from accord.train.rounds import Rounds
from accord.train.step import Task

_COMPARED = Rollout(n=4, least=1)
"""How objectives that compare given answers get theirs."""


def prepare_rounds(
    config: TrainConfig,
    actor: Actor,
    *,
    groups: Sequence[Group] | None,
    eval_groups: Sequence[Group] | None,
    display: Display,
) -> Run:
    """Load the models, read the prompts, and arrange the rounds.

    Args:
        config: the settings; the objective is a method of `METHODS`, or any that learns from scores or preferences.
        actor: samples and scores.
        groups: prompts, instead of reading `config.data`.
        eval_groups: held-out prompts, instead of `config.eval_data` or a held-out share.
        display: where notes are shown.
    """
    config = with_rollout(config)
    method = METHODS.get(config.objective)
    accompanied = actor if isinstance(actor, Accompanied) else None
    mixed = accompanied is not None and accompanied.mixes
    if config.ahead and (accompanied is not None or config.self_play):
        mend = "Leave it out."
        raise ConfigError("other policies take part in each round", where="--ahead", mend=mend)
    if mixed and method is not None:
        method = corrected(method)
    objective = resolve(config.objective) if method is None else method.objective(config.hyper)
    credit = None if method is None else method.credit(config.hyper)
    needs = {*signature_of(objective).needs, *(credit.needs if credit is not None else ())}
    if "reward" in needs:
        raise ConfigError(f"{config.objective} trains a reward model, which has no answers to sample", where="--reward")
    policy = load(config, reward=False)
    config = resolved(config, policy, ("reference", *signature_of(objective).needs))
    training, held_out = _prompts(config, policy, groups, eval_groups, display)
    critic = _critic(config, tuple(name for name in VALUES if name in needs or f"old_{name}" in needs))
    task = Task(
        objective,
        _own_hyper(config, method),
        policy,
        _reference(config, policy, needs),
        critic=critic,
        teachers=_teachers(config, policy, needs, accompanied),
        temperature=config.sample_temperature,
    )
    order = PromptOrder(training.groups, config.prompts, config.seed)
    if config.ahead:
        directory = RunDirectory(config.out)
        actor = Ahead(
            actor,
            directory,
            rounds=rounds_in(config, len(training.groups)),
            steps_a_round=steps_a_round(config),
        )
    apart = bool(config.ahead) or isinstance(actor, Elsewhere)
    display.say(f"log-probs: {policy.engine.note}")
    _tell_memory(config, task, training, display, samples=not isinstance(actor, Elsewhere))
    examined: list[Group] = []

    def measure() -> Measurement:
        examined[:] = actor.examine(policy, held_out)
        return measure_rewards(examined)

    return Run(
        config=config,
        task=task,
        source=Rounds(task, credit, actor, order, config, _kept(config, policy, needs), mixed=mixed, apart=apart),
        scored=[],
        measure=measure,
        prompts=held_out[: config.samples],
        fingerprint=_fingerprint(policy, training),
        findings=msgspec.to_builtins(training.report) | {"held_out_groups": len(held_out)},
        start=lambda: starting_weights(policy, lambda: load(config, reward=False, lora=False)),
        examined=examined,
    )


def _teachers(
    config: TrainConfig, policy: Policy, needs: set[str], accompanied: Accompanied | None
) -> tuple[Policy, ...]:
    """The policies that the objective finds as `teacher`, where it names one."""
    if accompanied is None:
        teachers = load_teachers(config, policy, needs)
    else:
        teachers = accompanied.others
        for other in teachers:
            require_same_vocabulary(policy, other, mend=OTHER_VOCABULARY)
    if "teacher" in needs and not teachers and accompanied is None:
        mend = "Leave it at 0, or give --guide MODEL."
        raise ConfigError("there is no guide and no other policy", where="--guide-kl, --diversity-bonus", mend=mend)
    return teachers if "teacher" in needs else ()


def _own_hyper(config: TrainConfig, method: Method | None) -> dict[str, object]:
    """What the objective itself takes: a method's objective has its hyperparameters bound already."""
    return dict(config.hyper) if method is None else {}


def with_rollout(config: TrainConfig) -> TrainConfig:
    """The settings with the method's own number of answers, passes and refills where none are given.

    Raises:
        ConfigError: fewer answers than the method can compare.
    """
    method = METHODS.get(config.objective)
    rollout = _COMPARED if method is None else method.rollout
    if config.replay and method is not None:
        mend = "Leave it out, or train an objective such as dpo or kto on its own answers."
        raise ConfigError(
            f"{config.objective} learns from the answers of its newest policy", where="--replay", mend=mend
        )
    n = config.n or rollout.n
    if n < rollout.least:
        mend = f"{config.objective} compares the answers to a prompt: give at least {rollout.least}."
        raise ConfigError(f"{n} is too few", where="--n", mend=mend)
    refill = rollout.refill if config.refill is None else config.refill
    return msgspec.structs.replace(config, n=n, passes=config.passes or rollout.passes, refill=refill)


def _prompts(
    config: TrainConfig,
    policy: Policy,
    groups: Sequence[Group] | None,
    eval_groups: Sequence[Group] | None,
    display: Display,
) -> tuple[Prompts, list[Group]]:
    """Prompts to train on, and held-out prompts to measure on; never the same on both sides."""
    assert config.max_length is not None
    room, max_length = config.max_tokens, config.max_length

    def prepared(dataset: Dataset) -> Prompts:
        return prepare_prompts(dataset, encoder=policy.renderer, max_length=max_length, room=room)

    def read_from(sources: Sequence[str], split: str) -> Dataset:
        return read(sources, columns=config.columns, split=split, template=config.template)

    training = prepared(read_from(config.data, "train") if groups is None else Dataset.of(groups))
    for note in training.report.lines():
        display.say(note)
    if eval_groups is not None or config.eval_data:
        aside = read_from(config.eval_data, "validation") if eval_groups is None else Dataset.of(eval_groups)
        return training, prepared(aside).groups
    count = min(MAX_HELD_OUT, round(config.holdout * len(training.groups)))
    places = np.random.default_rng([config.seed, 7]).permutation(len(training.groups)).tolist()
    held_out, kept = sorted(places[:count]), sorted(places[count:])
    parts = [[training.groups[place] for place in of_part] for of_part in (kept, held_out)]
    tokens = [training.tokens[place] for place in kept]
    return Prompts(parts[0], tokens, training.report), parts[1]


def _tell_memory(config: TrainConfig, task: Task, prompts: Prompts, display: Display, *, samples: bool) -> None:
    """Say what a round takes in which all answers are as long as they may be, and warn if that is too much.

    They seldom are, so nothing is refused.
    """
    assert config.n is not None
    policy, network = task.policy, None if task.critic is None else task.critic.network
    processes = distributed.world_size() if is_sharded(policy.model) else 1
    prompt = max(map(len, prompts.tokens), default=0)
    longest = policy.cost(config.n, prompt + config.max_tokens, prompt + config.n * config.max_tokens)
    groups = -(-config.prompts // distributed.world_size())

    def estimated(one: Policy, sampled: int) -> MemoryEstimate:
        return estimate_memory(
            one.model,
            dtype=one.dtype,
            processes=processes,
            tokens=max(longest, min(config.micro_batch_tokens, groups * longest)),
            checkpointing=config.gradient_checkpointing,
            sampled=sampled,
        )

    drawn = min(BATCH_TOKENS, groups * config.n * (prompt + config.max_tokens)) if samples else 0
    estimate = estimated(policy, drawn)
    if network is not None:
        estimate = estimate.beside(estimated(network, 0))
    display.say(f"memory, if answers are as long as they may be: {estimate}")
    if estimate.to_come > estimate.available:
        lora, again = config.lora_r > 0, config.gradient_checkpointing
        ways = ways_out(estimate, lora=lora, checkpointing=again, longest=longest)
        display.say(f"warning: it may not fit into memory; try --max-tokens, {ways}")


def _kept(config: TrainConfig, policy: Policy, needs: set[str]) -> list[Encoded]:
    """The texts to keep likely, from data of any format."""
    if ("pretrain" in needs) is not bool(config.ptx_data):
        mend = "Give --ptx-data with --ptx-coefficient 1, or neither."
        raise ConfigError("one of --ptx-coefficient and --ptx-data is there without the other", mend=mend)
    if not config.ptx_data:
        return []
    data = read(config.ptx_data, columns=config.columns, template=config.template)
    return prepare(data, needs=(), encoder=policy.renderer, max_length=config.max_length).encoded


def _critic(config: TrainConfig, names: tuple[str, ...]) -> Critic | None:
    if not names:
        return None
    source = config.critic or config.model
    network = load(msgspec.structs.replace(config, model=source, compile=False), reward=False)
    saved = find_head(network.model, source)
    return Critic.on(network, names, start=saved if isinstance(saved, RewardHead) else None)


def _reference(config: TrainConfig, policy: Policy, needs: set[str]) -> MovingReference | None:
    """The starting weights, kept beside the policy's where anything asks for them."""
    if not needs & {"reference", "divergence", "mismatched_kl"}:
        return None
    return moving_reference(config, policy)


def _fingerprint(policy: Policy, prompts: Prompts) -> str:
    digest = hashlib.blake2b(policy.fingerprint().encode(), digest_size=16)
    digest.update(repr(prompts.tokens).encode())
    digest.update(msgspec.json.encode([group.answer for group in prompts.groups]))
    return digest.hexdigest()
