"""Rewards as the command line writes them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from accord.errors import ConfigError
from accord.feedback.rlvr import RLVR
from accord.feedback.server_reward import ServerReward
from accord.feedback.spec import REWARDS, options_by_name, parse, parse_one
from accord.feedback.verifiers import constraints
from accord.record import Group, Response

GROUP = Group("p", (Response("It is 42.0"), Response("41", finished=False)), answer="42")


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's in the working directory."""
    name = f"rewards_{tmp_path.name.replace('-', '_')}"
    source = "def brief(response: str, *, words: int = 1) -> float:\n    return float(len(response.split()) <= words)\n"
    (tmp_path / f"{name}.py").write_text(source + "def wrong(completions): return []\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def test_names_options_and_parts() -> None:
    part = parse_one("numeric:tolerance=0.05,weight=-0.5,role=cost,name=close")
    assert (part.name, part.weight, part.role) == ("close", -0.5, "cost")
    assert part.reward([GROUP]) == [(1.0, 1.0)]
    assert parse_one("numeric,tolerance=0.05").reward([GROUP]) == [(1.0, 1.0)]
    assert parse_one("numeric").reward([GROUP]) == [(1.0, 0.0)]


def test_the_first_option_needs_no_name_and_values_may_hold_commas() -> None:
    assert parse_one(r"regex:^\d{1,2}$,where=whole").reward([GROUP]) == [(0.0, 1.0)]
    assert parse_one(r"regex:pattern=4[1,2]$").reward([GROUP]) == [(0.0, 1.0)]


def test_rlvr_wraps_a_verifier_with_its_options() -> None:
    part = parse_one("rlvr:numeric,alpha=2,missing_eos=-1,tolerance=0.5")
    assert isinstance(part.reward, RLVR)
    assert part.reward([GROUP]) == [(2.0, -1.0)]


def test_a_function_of_the_users(mine: str) -> None:
    assert parse_one(f"{mine}:brief").reward([GROUP]) == [(0.0, 1.0)]
    assert parse_one(f"{mine}:brief,words=3").name == "brief"
    assert parse_one(f"{mine}:brief,words=3").reward([GROUP]) == [(1.0, 1.0)]
    with pytest.raises(ConfigError, match="Did you mean 'brief'"):
        parse_one(f"{mine}:breif")
    with pytest.raises(ConfigError, match="Did you mean 'responses'"):
        parse_one(f"{mine}:wrong")


def test_a_server() -> None:
    part = parse_one("http://localhost:8000/score?model=a,timeout=5,weight=2,name=judge")
    assert isinstance(part.reward, ServerReward)
    assert (part.reward.url, part.reward.timeout, part.name) == ("http://localhost:8000/score?model=a", 5.0, "judge")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nothing", "no reward is named 'nothing'"),
        ("numric:tolerance=1", "Did you mean 'numeric'"),
        ("numeric:tolerence=1", "Did you mean 'tolerance'"),
        ("numeric:tolerance=-1", ">= 0"),
        ("numeric:tolerance=1,tolerance=2", "given twice"),
        ("numeric:weight=heavy", "weight='heavy' is no number"),
        ("numeric:weight=0", "the weight is 0"),
        ("numeric:role=fine", "one of reward, penalty, cost, reject, monitor"),
        ("numeric:role=reject", "needs a threshold"),
        ("numeric:threshold=high", "threshold='high' is no number"),
        ("numeric:name=cost", "cannot be the name"),
        ("unfinished:3", "takes no options"),
        ("soft_overlong:max_length=9", "'cache' is required"),
        ("rlvr", "the verifier is missing"),
        ("model:", "the model is missing"),
        ("absent_module:function", "cannot import 'absent_module'"),
        ("http://h/s,retries=many", "retries='many'"),
        ("regex:(", "no regular expression"),
    ],
)
def test_a_mistake_is_named(spec: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_one(spec)


def test_two_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="name=OTHER"):
        parse(["numeric", "numeric:tolerance=1"])
    assert [part.name for part in parse(["numeric", "numeric:tolerance=1,name=close"])] == ["numeric", "close"]


def test_every_reward_says_what_it_does() -> None:
    listed = options_by_name()
    assert set(listed) == {*REWARDS, "rlvr"}
    for name, (sentence, options) in listed.items():
        assert sentence, name
        assert all(option.help for option in options), name


def test_the_page_names_every_reward_and_kind_of_constraint() -> None:
    page = (Path(__file__).parents[2] / "docs" / "rewards.md").read_text(encoding="utf-8")
    kinds = [struct.__struct_config__.tag for struct in get_args(constraints.AnyConstraint)]
    for name in [*REWARDS, *kinds]:
        assert f"`{name}`" in page, name


def test_no_torch_is_loaded() -> None:
    code = (
        "import sys; from accord.feedback.spec import parse; parse(['numeric', 'math']); print('torch' in sys.modules)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, env={"PYTHONPATH": ":".join(sys.path)}
    )
    assert loaded.stdout == b"False\n"
