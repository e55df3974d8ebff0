"""One training run, from settings to a run directory: measure, train, checkpoint, measure again, export."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from rich.console import Console

from accord.errors import ConfigError, Interrupted
from accord.policy.policy import Policy, training_mode
from accord.record import Group
from accord.train import checkpoint, distributed
from accord.train.actor import Actor
from accord.train.alarms import Guard
from accord.train.config import TrainConfig
from accord.train.directory import RunDirectory, write_config
from accord.train.environment import describe_environment, now, read_environment, write_environment
from accord.train.loop import Update, critic_factor, learning_rate_schedule, make_optimizer, optimise
from accord.train.measure import Measurement, sample_answers
from accord.train.metrics import Log, numbers, open_trackers, require_trackers, rewards_measured, rewind
from accord.train.natural import trust_region_of
from accord.train.prepare import Run, check_first_step, checked, compute_reference, prepare_run
from accord.train.prepare_rounds import prepare_rounds
from accord.train.progress import Display
from accord.train.stop import StopRequest

Probe = Callable[[Policy, int], dict[str, float]]
"""An evaluation that the caller brings: policy and step to named numbers, logged as `probe/<name>`."""


@dataclass(frozen=True)
class RunResult:
    """What a run left.

    Attributes:
        path: the run directory.
        policy: the trained policy; `None` when the run had been finished before.
        steps: optimiser steps taken in all.
    """

    path: Path
    policy: Policy | None
    steps: int


def run_training(
    config: TrainConfig,
    *,
    groups: Sequence[Group] | None = None,
    eval_groups: Sequence[Group] | None = None,
    actor: Actor | None = None,
    guard: Guard | None = None,
    probe: Probe | None = None,
    console: Console | None = None,
    fresh: bool = False,
) -> RunResult:
    """Train as the settings say. The same call on an unfinished run resumes it; on a finished one it says so.

    Args:
        config: the settings.
        groups: train on these instead of reading `config.data`, which then only names them.
        eval_groups: measure on these instead of `config.eval_data` or a held-out share.
        actor: samples answers and has them scored; given, training goes in rounds, and the data are prompts.
        guard: looks at the run's records after every measurement and raises alarms.
        probe: an evaluation to run at every measurement.
        console: where progress is shown.
        fresh: delete what an earlier run wrote in `config.out` and start again.

    Raises:
        AccordError: a setting, the data or the model is wrong; nothing is written then.
        Interrupted: a signal stopped the run; it has been checkpointed.
    """
    distributed.start()
    config = checked(config)
    require_trackers(config)
    directory, display = RunDirectory(config.out), Display(console if distributed.rank() == 0 else None)
    status = directory.status()
    if status == "finished" and not fresh:
        directory.require_same(config)
        steps = int(read_environment(directory.environment).get("steps", 0))
        display.say(f"{directory.path} is a finished run of {steps} steps; --fresh starts it again.")
        return RunResult(directory.path, None, steps)
    if status == "unfinished" and not fresh:
        directory.require_same(config)
    if actor is None:
        run = prepare_run(config, groups=groups, eval_groups=eval_groups, display=display)
    else:
        run = prepare_rounds(config, actor, groups=groups, eval_groups=eval_groups, display=display)
    if status == "unfinished" and not fresh:
        directory.require_same(run.config)
    if fresh and status != "new" and distributed.rank() == 0:
        directory.clear()
    distributed.barrier()
    return _Session(run, directory, display, probe, guard).run()


class _Session:
    """The moving parts of one run between its start and its end."""

    def __init__(
        self, run: Run, directory: RunDirectory, display: Display, probe: Probe | None, guard: Guard | None
    ) -> None:
        self.prepared, self.directory, self.display = run, directory, display
        self.probe, self.guard, self.stopped = probe, guard, False
        self.stop = StopRequest()
        self.config, self.policy = run.config, run.task.policy
        self.parameters = run.task.trainable()
        self.moving = run.task.moving
        self.kept = self.parameters | {name: p for one in self.moving for name, p in one.named().items()}
        self.optimizer = make_optimizer(
            self.parameters,
            weight_decay=run.config.weight_decay,
            betas=(run.config.adam_beta1, run.config.adam_beta2),
            critic_factor=critic_factor(run.config),
        )
        self.writes = distributed.rank() == 0
        self.tokens, self.seconds, self.lap_started = 0, 0.0, time.monotonic()
        self.due = False
        torch.manual_seed(run.config.seed)

    def run(self) -> RunResult:
        """Start or resume, train to the end, export."""
        total = self.prepared.source.total
        first = taken = self._begin()
        log = Log(self.directory.metrics, open_trackers(self.config)) if self.writes else None
        try:
            if first == 0:
                self._measure(0, log)
            self._lap()
            # Until here a signal ends the process at once: nothing would be lost.
            with self.stop, self.display.bar("training", total, done=first) as bar:
                for update in self._updates(first):
                    for one in self.moving:
                        one.follow(update.step)
                    line = self._line(update)
                    if log is not None:
                        log.write(line)
                    bar.advance(numbers=self.display.numbers(line))
                    self._report(update.step, total, line)
                    self._after(update.step, total, log)
                    taken = update.step
                    if self._over():
                        break
                if taken < total:
                    # It ended early: what follows the last step has not been done yet.
                    self._after(total, total, log)
        finally:
            if log is not None:
                log.close()
        self.policy.save(self.directory.model)
        if self.writes:
            self._finish(total)
        distributed.barrier()
        return RunResult(self.directory.path, self.policy, total)

    def _begin(self) -> int:
        """Write the head of the run directory or take up its last checkpoint; returns the steps already taken."""
        saved = checkpoint.checkpoints(self.directory.checkpoints)
        compute_reference(self.prepared, self.display, policy_is_start=True)
        if not saved:
            check_first_step(self.prepared)
            if self.writes:
                self._write_head()
            distributed.barrier()
            return 0
        state = checkpoint.load_state(saved[-1])
        if state.plan != self.prepared.fingerprint:
            raise ConfigError(
                "the data or the starting weights are not those this run began with",
                where=str(self.directory.path),
                mend="Restore them, give another --out, or start again with --fresh.",
            )
        checkpoint.restore(saved[-1], self.kept, self.optimizer)
        self.tokens, self.seconds = state.tokens, state.seconds
        self.prepared.task.state.update(state.memory)
        self.policy.version = f"step-{state.step}"
        if self.writes:
            for path in self.directory.by_step:
                rewind(path, state.step)
        distributed.barrier()
        self.display.say(f"resuming {self.directory.path} after step {state.step}")
        return state.step

    def _write_head(self) -> None:
        write_config(self.directory.config, self.config)
        for path in self.directory.by_step:
            path.unlink(missing_ok=True)
        self.directory.data.write_bytes(msgspec.json.format(msgspec.json.encode(self.prepared.findings)))
        write_environment(
            self.directory.environment,
            describe_environment()
            | {
                "objective_description": (inspect.getdoc(self.prepared.task.objective) or "").split("\n\n")[0],
                "model": self.config.model,
                "seed": self.config.seed,
                "parameters": self.policy.parameter_count(),
                "trainable_parameters": sum(p.numel() for p in self.parameters.values()),
                "weights": self.policy.fingerprint(),
                "data": self.prepared.fingerprint,
                "started": now(),
                "finished": None,
            },
        )

    def _updates(self, first: int) -> Iterator[Update]:
        assert self.config.lr is not None
        return optimise(
            self.prepared.task,
            self.prepared.source.steps(first),
            self.optimizer,
            learning_rate=learning_rate_schedule(
                self.config.lr,
                self.prepared.source.total,
                schedule=self.config.schedule,
                warmup=self.config.warmup,
            ),
            max_grad_norm=self.config.max_grad_norm,
            micro_batch_tokens=self.config.micro_batch_tokens,
            trust_region=trust_region_of(self.config),
        )

    def _line(self, update: Update) -> dict[str, Any]:
        """One line of `metrics.jsonl`."""
        elapsed = self._lap()
        self.seconds += elapsed
        self.tokens += update.result.tokens
        return {
            "step": update.step,
            "epoch": self.prepared.source.epoch(update.step),
            "tokens": self.tokens,
            "seconds": round(self.seconds, 3),
            "tokens_per_second": update.result.tokens / max(elapsed, 1e-9),
            "lr": update.learning_rate,
            "grad_norm": update.grad_norm,
            **numbers(update.result),
            **self.prepared.source.observe(update.step, update.result),
        }

    def _lap(self) -> float:
        """Seconds of training since the last call, or since the start of training or the last measurement."""
        now_ = time.monotonic()
        elapsed, self.lap_started = now_ - self.lap_started, now_
        return elapsed

    def _report(self, step: int, total: int, line: dict[str, Any]) -> None:
        if step % self.config.log_every == 0 or step in (1, total):
            self.display.say(f"step {step}/{total}  {self.display.numbers(line)}  lr {line['lr']:.2e}")

    def _after(self, step: int, total: int, log: Log | None) -> None:
        """What follows an update: a measurement, a checkpoint, a stop, where they are due."""
        if step == total or (self.config.eval_every and step % self.config.eval_every == 0):
            self._measure(step, log)
        requested = self.stop.requested()
        every = max(1, total // 10) if self.config.save_every is None else self.config.save_every
        self.due |= requested is not None or step == total or bool(every and step % every == 0)
        resumable = self.prepared.source.resumable(step)
        if self.due and resumable:
            self._checkpoint(step)
            self.due = False
        if requested is not None and resumable and step < total:
            raise Interrupted(
                requested,
                f"stopped after step {step} of {total}; the same command goes on from there ({self.directory.path})",
            )
        self._lap()

    def _over(self) -> bool:
        """Whether an alarm ends the run, or the last `patience` measurements were no better than the best before."""
        patience = self.config.patience
        found = rewards_measured(self.directory.metrics) if patience else []
        if len(found) > patience > 0 and max(found[-patience:]) <= max(found[:-patience]):
            self.display.say(f"no better held-out reward in {patience} measurements: done")
            self.stopped = True
        return any(distributed.gather(self.stopped))

    def _guarded(self, step: int) -> None:
        """Show and record what the guard has to say, and end the run if that is asked for."""
        for alarm in self.guard(self.prepared.examined) if self.guard is not None else ():
            self.display.say(f"alarm after step {step}: {alarm.name}: {alarm.message}")
            _append(self.directory.alarms, [{"step": step, **msgspec.to_builtins(alarm)}])
            self.stopped |= self.config.alarm == "stop"

    def _checkpoint(self, step: int) -> None:
        self.prepared.source.settle()
        state = checkpoint.State(
            step=step,
            tokens=self.tokens,
            seconds=self.seconds,
            plan=self.prepared.fingerprint,
            memory=dict(self.prepared.task.state),
        )
        checkpoint.save(self.directory.checkpoints, state, self.kept, self.optimizer, keep=self.config.keep_checkpoints)

    def _measure(self, step: int, log: Log | None) -> None:
        """Measure on held-out data, fixed prompts and the caller's probe, without touching the random state."""
        measurements: list[Measurement] = []
        self.policy.model.eval()
        with torch.random.fork_rng():
            measurements.append(self.prepared.measure())
            if self.prepared.prompts:
                measurements.append(
                    sample_answers(
                        self.policy,
                        self.prepared.prompts,
                        start=self.prepared.start() if step else None,
                        step=step,
                        tokens=self.config.sample_tokens,
                        seed=self.config.seed,
                        micro_batch_tokens=self.config.micro_batch_tokens,
                    )
                )
            if self.probe is not None:
                probed = self.probe(self.policy, step)
                measurements.append(Measurement({f"probe/{name}": value for name, value in probed.items()}))
        training_mode(self.policy)
        if log is not None:
            self._record(step, measurements, log)
            self._guarded(step)
        self._lap()

    def _record(self, step: int, measurements: list[Measurement], log: Log) -> None:
        line: dict[str, Any] = {"step": step}
        for measurement in measurements:
            line |= measurement.line
            _append(self.directory.samples, measurement.answers)
            _append(self.directory.heldout, [{"step": step, **asdict(axis)} for axis in measurement.axes])
        if len(line) > 1:
            log.write(line)
            if step:
                self.display.numbers(line)

    def _finish(self, total: int) -> None:
        """Close the record."""
        self.directory.write_model_manifest()
        recorded = read_environment(self.directory.environment)
        write_environment(
            self.directory.environment,
            recorded | {"finished": now(), "steps": total, "tokens": self.tokens, "seconds": round(self.seconds, 3)},
        )


def _append(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    with open(path, "ab") as file:
        for line in lines:
            file.write(msgspec.json.encode(line) + b"\n")
