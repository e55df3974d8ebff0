"""Flags over the file of `--config` over the defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from accord.cli import settings, train
from accord.cli.settings import combine, default_out, read_settings
from accord.errors import ConfigError
from accord.train.config import TrainConfig

BASE: dict[str, Any] = {"model": "some/model", "data": ("pairs.jsonl",)}


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[TrainConfig, bool]]:
    """Let `accord train` record what it would run instead of running it."""
    seen: list[tuple[TrainConfig, bool]] = []

    def execute(config: TrainConfig, *, fresh: bool, parts: int | None) -> int:
        assert parts is None
        seen.append((config, fresh))
        return 0

    monkeypatch.setattr(train, "execute", execute)
    return seen


def test_defaults_are_the_settings_own() -> None:
    assert combine("dpo", BASE, {}) == TrainConfig(
        objective="dpo",
        model="some/model",
        data=("pairs.jsonl",),
        out="runs/dpo-model-pairs",
        hyper={"beta": 0.1, "label_smoothing": 0.0, "nll": 0.0, "length": "sum"},
    )


def test_flags_go_over_the_file(tmp_path: Path) -> None:
    file = write(
        tmp_path / "config.toml",
        'objective = "dpo"\nmodel = "m"\ndata = ["a.jsonl", "b.jsonl"]\nlr = 1\nsteps = 5\n'
        "[hyper]\nbeta = 0.3\nnll = 1\n",
    )
    config = combine("dpo", {"steps": 7, "beta": 0.5}, read_settings(file))
    assert (config.data, config.lr, config.steps) == (("a.jsonl", "b.jsonl"), 1.0, 7)
    assert config.hyper == {"beta": 0.5, "label_smoothing": 0.0, "nll": 1.0, "length": "sum"}


def test_yaml_and_one_file_as_a_string(tmp_path: Path) -> None:
    file = write(tmp_path / "config.yaml", "model: m\ndata: pairs.jsonl\nlora_r: 8\n")
    assert read_settings(file) == {"model": "m", "data": ("pairs.jsonl",), "lora_r": 8}


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("c.toml", "lrr = 1.0", "'lrr' is not a setting. Did you mean 'lr'?"),
        ("c.toml", 'steps = "many"', "steps has a value of the wrong type"),
        ("c.toml", "lr = ", "cannot be parsed"),
        ("c.yaml", "a: [", "cannot be parsed"),
        ("c.yaml", "just text", "holds no settings"),
        ("c.yaml", "schedule: zigzag", "schedule has a value of the wrong type"),
    ],
)
def test_wrong_files(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    file = write(tmp_path / name, text)
    with pytest.raises(ConfigError) as raised:
        read_settings(file)
    assert sentence in str(raised.value)
    assert str(file) in str(raised.value)


def test_a_missing_and_a_binary_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be opened"):
        read_settings(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not text"):
        read_settings(tmp_path / "binary.toml")


def test_a_hyperparameter_of_another_objective(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="beta"):
        combine("sft", BASE, {"hyper": {"beta": 0.1}})


@pytest.mark.parametrize(
    ("objective", "model", "data", "out"),
    [
        ("dpo", "org/Model-7B", "data/prefs.jsonl.gz", "runs/dpo-Model-7B-prefs"),
        ("sft", "./runs/x/model/", "org/set:config", "runs/sft-model-set-config"),
        ("my.module:loss", "m", ".hidden", "runs/my.module-loss-m-hidden"),
    ],
)
def test_a_run_directory_that_is_not_named(objective: str, model: str, data: str, out: str) -> None:
    assert default_out(objective, model, (data,)) == out


def test_the_file_may_name_the_objective(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "config.toml", 'objective = "simpo"\nmodel = "m"\ndata = ["d"]\n')
    seen = recorded(monkeypatch)
    train.train("--config", str(file), "--gamma", "0.7", "--fresh")
    train.train(f"--config={file}")
    (first, fresh), (second, again) = seen
    assert (first.objective, first.hyper["gamma"], fresh) == ("simpo", 0.7, True)
    assert (second.objective, second.hyper["gamma"], again) == ("simpo", 0.5, False)


def test_an_objective_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        tmp_path / "my_objective.py",
        "from torch import Tensor\n"
        "from accord.objectives import Terms\n"
        "def push(policy: Tensor, mask: Tensor, *, strength: float = 1.0) -> Terms:\n"
        '    """Push the likelihood up.\n\n    Args:\n        strength: how hard.\n    """\n'
        "    return Terms(loss=-strength * policy, weight=mask)\n",
    )
    monkeypatch.chdir(tmp_path)
    seen = recorded(monkeypatch)
    train.train("my_objective:push", "--model", "m", "--data", "d", "--strength", "2")
    config, _ = seen[0]
    assert (config.objective, config.hyper) == ("my_objective:push", {"strength": 2.0})


def test_every_setting_is_known_to_the_file() -> None:
    assert set(settings._HINTS) == set(TrainConfig.__struct_fields__)
