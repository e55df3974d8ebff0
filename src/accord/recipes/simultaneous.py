"""Simultaneous policies: several learn at once from one start, on answers of their average or each on its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec
import torch
from rich.console import Console

from accord.errors import ConfigError
from accord.feedback.reward import Part, Reward
from accord.policy.blend import acting_as_one
from accord.policy.load import load_policy
from accord.policy.policy import Policy
from accord.policy.soup import cook
from accord.recipes.guided import require_guidable
from accord.recipes.online import rewarded
from accord.record import Group
from accord.train.actor import Actor, PromptOrder, Round
from accord.train.config import TrainConfig
from accord.train.directory import RunDirectory, write_config
from accord.train.loop import Update, critic_factor, learning_rate_schedule, make_optimizer, optimise
from accord.train.measure import REWARD, measure_rewards
from accord.train.metrics import Log, numbers
from accord.train.prepare import Run, checked
from accord.train.prepare_rounds import prepare_rounds, with_rollout
from accord.train.progress import Display

Acting = Literal["average", "own"]


class Standing(msgspec.Struct, frozen=True):
    """What simultaneous policies came to on held-out prompts.

    Attributes:
        rewards: mean held-out reward of each policy, of their `ensemble` and of their `soup`; none without prompts.
        best: the policy with the highest; the first where nothing was measured.
        models: directories of the policies and of the soup.
    """

    rewards: dict[str, float]
    best: str
    models: dict[str, str]


@dataclass
class _Together:
    """What the policies share: who they are, and the round that was sampled last."""

    inner: Actor
    config: TrainConfig
    policies: list[Policy] = field(default_factory=list)
    held_out: Sequence[Group] = ()
    _number: int = -1
    _round: Round = field(default_factory=lambda: Round([]))

    def acting(self) -> Policy:
        """All of them as one, with equal shares."""
        shares = (1.0 / len(self.policies),) * len(self.policies)
        return acting_as_one(self.policies, shares, self.config.mixing, like=self.policies[0])

    def round(self, prompts: PromptOrder, number: int) -> Round:
        """The round, sampled when the first policy asks for it: all have then learned from the one before."""
        if number != self._number:
            self._number, self._round = number, self.inner.collect(self.acting(), prompts, number)
        return self._round


@dataclass
class _Member:
    """One policy's way to its rounds."""

    together: _Together
    inner: Actor
    mixes: bool
    others: tuple[Policy, ...] = ()

    def collect(self, policy: Policy, prompts: PromptOrder, number: int) -> Round:
        """The common round, or one of its own."""
        return self.together.round(prompts, number) if self.mixes else self.inner.collect(policy, prompts, number)

    def examine(self, policy: Policy, prompts: Sequence[Group]) -> list[Group]:
        """One scored answer to each held-out prompt."""
        self.together.held_out = prompts
        return self.together.inner.examine(policy, prompts)


def train_simultaneously(
    config: TrainConfig,
    rewards: Sequence[Reward | Part],
    *,
    policies: int,
    acting: Acting = "average",
    noise: float = 0.01,
    groups: Sequence[Group] | None = None,
    eval_groups: Sequence[Group] | None = None,
    console: Console | None = None,
) -> Standing:
    r"""Train several policies at once, and write each, their soup, and `standing.json`, into `config.out`.

    With `acting="average"` tokens are drawn from the mixture :math:`\mu = \frac1N\sum_i\pi_i`, and each policy learns
    from all answers with its own ratio :math:`\pi_i/\mu`. With `own` each samples for itself. The hyperparameters
    `guide_kl` (mutual learning) and `diversity_bonus` hold them together or apart. All are in memory at once. A run
    that is stopped starts again from the beginning.

    Args:
        config: the settings; the objective is a policy-gradient method. Seeds follow from `config.seed`.
        rewards: what scores the answers.
        policies: how many, at least two.
        acting: who samples.
        noise: deviation of what is added to the start of all policies but the first, as a share of each weight matrix's
            own; policies that start the same and learn from the same answers stay the same. Adapters start apart.
        groups: prompts, instead of reading `config.data`.
        eval_groups: held-out prompts.
        console: where progress is shown.

    Raises:
        ConfigError: fewer than two policies, settings that cannot be combined with this, or an `out` that is in use.
    """
    config = with_rollout(checked(config))
    _require(config, policies, acting, noise)
    display = Display(console)
    together = _Together(rewarded(rewards, config), config)
    runs: list[Run] = []
    for index in range(policies):
        own = msgspec.structs.replace(config, seed=config.seed + index, out=str(Path(config.out) / f"policy-{index}"))
        actor = _Member(together, rewarded(rewards, own), acting == "average")
        runs.append(prepare_rounds(own, actor, groups=groups, eval_groups=eval_groups, display=display))
    together.policies = [run.task.policy for run in runs]
    for index, policy in enumerate(together.policies[1:], start=1):
        _perturb(policy, noise, config.seed + index)
    _learn(runs, together, display)
    for run in runs:
        run.task.policy.save(RunDirectory(run.config.out).model)
    standing = _standing(runs, together, Path(config.out) / "soup")
    (Path(config.out) / "standing.json").write_bytes(msgspec.json.format(msgspec.json.encode(standing)) + b"\n")
    for name, value in standing.rewards.items():
        display.say(f"{name}: held-out reward {value:.4f}")
    return standing


def _require(config: TrainConfig, policies: int, acting: Acting, noise: float) -> None:
    if policies < 2:
        raise ConfigError(f"{policies} is out of range", where="--policies", mend="Give at least 2.")
    if noise < 0:
        raise ConfigError(f"{noise} is out of range", where="--policies-noise", mend="Give at least 0.")
    if acting == "average" and not config.lora_r and not noise:
        mend = "Add --policies-noise 0.01 or --lora-r 16, or let each sample for itself: --policies-act own."
        raise ConfigError("policies that start alike would stay alike", where="--policies-noise", mend=mend)
    require_guidable(config, flag="--policies")
    refused = {
        "--target-kl": config.target_kl > 0,
        "--guide": config.guide is not None,
        "--rollouts": config.rollouts is not None,
    }
    for flag, there in refused.items():
        if there:
            raise ConfigError("cannot be combined with several policies", where=flag, mend="Leave it out.")
    out = Path(config.out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError("is in use", where=f"--out {out}", mend="Give a new or empty directory.")


def _perturb(policy: Policy, noise: float, seed: int) -> None:
    """Add noise to every trained matrix, in proportion to its own root mean square."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.trainable().values():
            if parameter.ndim >= 2:
                drawn = torch.randn(parameter.shape, generator=generator).to(parameter)
                parameter.add_(noise * parameter.square().mean().sqrt() * drawn)


def _learn(runs: Sequence[Run], together: _Together, display: Display) -> None:
    """Let every policy take a step, then the next step of each."""
    updates, logs = [], []
    for run, policy in zip(runs, together.policies, strict=True):
        directory = RunDirectory(run.config.out)
        write_config(directory.config, run.config)
        logs.append(Log(directory.metrics, []))
        updates.append(_updates(run, tuple(other for other in together.policies if other is not policy)))
    try:
        total = runs[0].source.total
        with display.bar("training", total) as bar:
            for _ in range(total):
                for run, steps, log in zip(runs, updates, logs, strict=True):
                    update = next(steps, None)
                    if update is not None:
                        found = numbers(update.result) | dict(run.source.observe(update.step, update.result))
                        log.write({"step": update.step, "lr": update.learning_rate, **found})
                bar.advance()
    finally:
        for log in logs:
            log.close()


def _updates(run: Run, others: tuple[Policy, ...]) -> Iterator[Update]:
    config = run.config
    assert config.lr is not None
    task = dataclasses.replace(run.task, teachers=others if "teacher" in run.task.needs else ())
    optimizer = make_optimizer(
        task.trainable(),
        weight_decay=config.weight_decay,
        betas=(config.adam_beta1, config.adam_beta2),
        critic_factor=critic_factor(config),
    )
    schedule = learning_rate_schedule(config.lr, run.source.total, schedule=config.schedule, warmup=config.warmup)
    return optimise(
        task,
        run.source.steps(0),
        optimizer,
        learning_rate=schedule,
        max_grad_norm=config.max_grad_norm,
        micro_batch_tokens=config.micro_batch_tokens,
    )


def _standing(runs: Sequence[Run], together: _Together, soup_path: Path) -> Standing:
    models = {Path(run.config.out).name: str(RunDirectory(run.config.out).model) for run in runs}
    found = {name: run.measure().line for name, run in zip(models, runs, strict=True)}
    examine = together.inner.examine
    found["ensemble"] = measure_rewards(examine(together.acting(), together.held_out)).line
    # Adapters are merged when they are saved: only whole weights have a mean.
    config = runs[0].config
    saved = [load_policy(path, dtype=config.dtype, device=config.device, chat=config.chat) for path in models.values()]
    soup = cook(saved, (1.0 / len(saved),) * len(saved))
    soup.save(soup_path / "model")
    found["soup"] = measure_rewards(examine(soup, together.held_out)).line
    rewards = {name: line[f"eval/{REWARD}"] for name, line in found.items() if f"eval/{REWARD}" in line}
    best = max(models, key=lambda name: rewards.get(name, 0.0))
    return Standing(rewards, best, {**models, "soup": str(soup_path / "model")})
