"""A model named by its hub id: from the local cache, or not at all, and then at once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from accord.errors import ModelError
from accord.policy.load import load_policy
from accord.testing import tiny_model

LOAD = """
import sys
from accord.errors import ModelError
from accord.policy.load import load_policy
try:
    print(load_policy(sys.argv[1]).parameter_count())
except ModelError as error:
    print(error)
"""


def load(name: str, **environment: str) -> str:
    """What a process of its own says: the hub's client reads the environment once, at import."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", LOAD, name],
        env=inherited | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture
def cached(tmp_path: Path) -> Path:
    """A hub cache that holds `town/tiny`, laid out as the hub's client does."""
    repository = tmp_path / "home" / "hub" / "models--town--tiny"
    tiny_model(repository / "snapshots" / "abc123")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc123")
    return tmp_path / "home"


def test_a_cached_model_loads_by_its_id_without_a_network(cached: Path, tmp_path: Path) -> None:
    direct = load_policy(cached / "hub" / "models--town--tiny" / "snapshots" / "abc123").parameter_count()
    assert load("town/tiny", HF_HOME=str(cached), HF_HUB_OFFLINE="1") == str(direct)


def test_an_id_that_is_nowhere_is_said_in_one_sentence(cached: Path) -> None:
    shutil.rmtree(cached)
    said = load("town/tiny", HF_HOME=str(cached), HF_HUB_OFFLINE="1")
    assert said.startswith("town/tiny: its ")
    assert said.endswith("as a hub id it could not be fetched or found in the local cache.")


def test_an_unreachable_hub_is_not_asked_again_and_again(cached: Path) -> None:
    started = time.monotonic()
    said = load("town/unknown", HF_HOME=str(cached), HF_ENDPOINT="http://127.0.0.1:9")
    assert said.startswith("town/unknown: its files cannot be loaded")
    assert time.monotonic() - started < 30, "the client's own retries take longer"


def test_a_path_is_never_looked_for_on_the_hub(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", "./absent", "~/absent", "absent/"):
        with pytest.raises(ModelError, match="No such directory"):
            load_policy(path)
