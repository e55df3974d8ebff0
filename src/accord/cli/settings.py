"""From flags and a configuration file to a `TrainConfig`."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import yaml

from accord.errors import ConfigError
from accord.objectives import OBJECTIVES, resolve, signature_of, validate
from accord.train.config import TrainConfig

_HINTS = get_type_hints(TrainConfig)


def read_settings(path: str | Path) -> dict[str, Any]:
    """The settings in a configuration file, checked key by key; `.yaml` and `.yml` are YAML, everything else TOML.

    Raises:
        ConfigError: the file cannot be read, has a key that is no setting, or a value of the wrong type.
    """
    path = Path(path)
    try:
        content = path.read_text(encoding="utf-8")
        values = yaml.safe_load(content) if path.suffix in (".yaml", ".yml") else tomllib.loads(content)
    except OSError as error:
        mend = "Name a run's config.toml or a file of your own."
        raise ConfigError(f"cannot be opened ({error.strerror})", where=f"--config {path}", mend=mend) from error
    except UnicodeDecodeError as error:
        raise ConfigError("is not text", where=f"--config {path}", mend="Name a TOML or YAML file.") from error
    except (tomllib.TOMLDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot be parsed: {error}", where=f"--config {path}") from error
    if not isinstance(values, dict):
        raise ConfigError("holds no settings", where=f"--config {path}", mend="Write one 'name = value' a line.")
    return {str(key): _checked(str(key), value, path) for key, value in values.items()}


def combine(objective: str, given: Mapping[str, Any], file: Mapping[str, Any]) -> TrainConfig:
    """The settings of a run: the flags that were given, over the file's, over the defaults.

    Args:
        objective: its name, as on the command line.
        given: the flags that were given, hyperparameters among them.
        file: what `read_settings` returned, or nothing.

    Raises:
        ConfigError: a setting is missing, out of range, or does not belong to this objective.
    """
    own = {parameter.name for parameter in signature_of(resolve(objective)).hyperparameters}
    hyper = {**file.get("hyper", {}), **{key: value for key, value in given.items() if key in own}}
    values = {**file, **{key: value for key, value in given.items() if key not in own}}
    for name in ("model", "data"):
        if not values.get(name):
            mend = f"Add --{name} to the command, or {name} to the file of --config."
            raise ConfigError("required, and not given", where=f"--{name}", mend=mend)
    values.setdefault("out", default_out(objective, values["model"], values["data"]))
    return TrainConfig(**{**values, "objective": objective, "hyper": validate(objective, hyper)})


def default_out(objective: str, model: str, data: tuple[str, ...]) -> str:
    """The run directory when none is named: the same command finds the same directory again."""
    file_name = Path(data[0]).name
    stem = file_name.split(".")[0] or file_name
    parts = (objective, Path(model).name, stem)
    return str(Path("runs") / "-".join(re.sub(r"[^\w.]+", "-", part).strip("-.") for part in parts))


def objective_names() -> str:
    """The names of all objectives, for messages."""
    return ", ".join(OBJECTIVES)


def _checked(key: str, value: Any, path: Path) -> Any:
    if key not in _HINTS:
        close = difflib.get_close_matches(key, _HINTS, n=1)
        mend = f"Did you mean {close[0]!r}?" if close else f"The settings are {', '.join(_HINTS)}."
        raise ConfigError(f"{key!r} is not a setting", where=f"--config {path}", mend=mend)
    kind = _HINTS[key]
    # One file may be written as a string: `data = "pairs.jsonl"`.
    value = [value] if kind == tuple[str, ...] and isinstance(value, str) else value
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{key} has a value of the wrong type: {error}", where=f"--config {path}") from error
