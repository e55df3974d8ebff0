"""The run directory: what is in it, whether a run may start, resume or is done, and how to start afresh."""

from __future__ import annotations

import os
import shutil
import tomllib
from pathlib import Path
from typing import Any, Literal

import msgspec
import tomli_w

from accord.errors import AccordError, ConfigError
from accord.train import checkpoint
from accord.train.config import TrainConfig
from accord.train.environment import read_environment

Status = Literal["new", "unfinished", "finished"]

FROM_THE_MODEL = frozenset({"lr", "lora_alpha", "max_length"})
"""Settings whose default is known only once the model is loaded."""

FREE_TO_CHANGE = frozenset(
    {
        "out",
        "save_every",
        "keep_checkpoints",
        "log_every",
        "track",
        "device",
        "compile",
        "shard",
        "rollouts",
        "micro_batch_tokens",
    }
)
"""Settings a resumed run may give differently: they do not change what is learned."""

_FILES = (
    "config.toml",
    "environment.json",
    "data.json",
    "metrics.jsonl",
    "samples.jsonl",
    "heldout.jsonl",
    "rollouts.jsonl",
    "alarms.jsonl",
    "evaluation.json",
    "report.html",
    "report.md",
    "report.json",
)
_MANIFEST = "accord.json"


class RunDirectory:
    """Paths of a run, and the rules of starting in a directory that is already there."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config, self.environment, self.data = (self.path / name for name in _FILES[:3])
        self.metrics, self.samples, self.heldout = (self.path / name for name in _FILES[3:6])
        self.rollouts, self.evaluation = self.path / "rollouts.jsonl", self.path / "evaluation.json"
        self.alarms = self.path / "alarms.jsonl"
        self.by_step = (self.metrics, self.samples, self.heldout, self.rollouts, self.alarms)
        self.checkpoints, self.model = self.path / "checkpoints", self.path / "model"
        self.served = self.path / "served"

    def status(self) -> Status:
        """Whether nothing, a part of a run, or a whole run is here.

        Raises:
            ConfigError: the directory holds something else.
        """
        if not self.path.exists():
            return "new"
        if not self.path.is_dir():
            raise ConfigError("is a file", where=str(self.path), mend="Give --out a directory.")
        if not self.config.exists():
            if any(self.path.iterdir()):
                mend = "Give --out a new or empty directory, or one of an earlier run."
                raise ConfigError("is not empty and not a run directory", where=str(self.path), mend=mend)
            return "new"
        return "finished" if read_environment(self.environment).get("finished") else "unfinished"

    def require_same(self, config: TrainConfig) -> None:
        """Refuse to resume with settings that would change the run.

        Ask once before the model is loaded, and again with the resolved settings.

        Raises:
            ConfigError: names each setting with both values.
        """
        recorded = msgspec.to_builtins(read_config(self.config))
        given = msgspec.to_builtins(config)
        unknown = {name for name in FROM_THE_MODEL if given[name] is None}
        changed = [
            f"{name} was {recorded[name]!r} and is now {value!r}"
            for name, value in given.items()
            if name not in FREE_TO_CHANGE | unknown and value != recorded[name]
        ]
        if changed:
            raise ConfigError(
                f"holds a run with other settings: {'; '.join(changed)}",
                where=str(self.path),
                mend="Repeat its command to resume it, give another --out, or start again with --fresh.",
            )

    def round_file(self, number: int) -> Path:
        """Where the Groups of a round are kept for later rounds to train on again."""
        return self.path / "rounds" / f"round-{number:06d}.jsonl"

    def ahead_file(self, number: int) -> Path:
        """Where the answers of a round are kept that were drawn before it began."""
        return self.path / "rounds" / f"ahead-{number:06d}.msgpack"

    def ahead_files(self) -> dict[int, Path]:
        """The rounds that were drawn ahead, by number."""
        found = sorted(self.ahead_file(0).parent.glob("ahead-*.msgpack"))
        return {int(path.stem.removeprefix("ahead-")): path for path in found}

    def clear(self) -> None:
        """Delete what a run wrote here, and nothing else."""
        kept = self.round_file(0).parent
        rounds = [*kept.glob("round-*.jsonl"), *kept.glob("ahead-*")]
        for path in [*(self.path / name for name in _FILES), *rounds]:
            path.unlink(missing_ok=True)
        if kept.is_dir() and not any(kept.iterdir()):
            kept.rmdir()
        checkpoint.remove_all(self.checkpoints)
        shutil.rmtree(self.served, ignore_errors=True)
        manifest = self.model / _MANIFEST
        if manifest.exists():
            for name in msgspec.json.decode(manifest.read_bytes())["files"]:
                (self.model / Path(name).name).unlink(missing_ok=True)
            manifest.unlink()
            if not any(self.model.iterdir()):
                self.model.rmdir()

    def write_model_manifest(self) -> None:
        """Record which files of `model/` are the run's own."""
        files = sorted(path.name for path in self.model.iterdir() if path.is_file() and path.name != _MANIFEST)
        (self.model / _MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode({"files": files})))


def write_config(path: Path, config: TrainConfig) -> None:
    """Write the resolved settings as TOML that `accord train --config` takes."""
    settings = {name: value for name, value in msgspec.to_builtins(config).items() if value is not None}
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".partial")
    beside.write_text(tomli_w.dumps(settings), encoding="utf-8")
    os.replace(beside, path)


def read_config(path: str | Path) -> TrainConfig:
    """Read settings from a TOML file.

    Raises:
        ConfigError: the file cannot be read, or has an unknown key or a value of the wrong type.
    """
    try:
        settings: dict[str, Any] = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        return msgspec.convert(settings, TrainConfig)
    except AccordError:
        raise
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"cannot be used as a configuration ({error})", where=str(path)) from error
