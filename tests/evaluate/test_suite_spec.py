"""Suites by the words of a command line: the registry, where data are found, options, tasks of one's own."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import docstring_parser
import pytest

from accord.errors import ConfigError, DataError
from accord.evaluate import Task, measure
from accord.evaluate.suites.registry import SUITES, suite_function
from accord.evaluate.suites.sources import located
from accord.evaluate.suites.spec import build_task
from accord.feedback.function import options_of
from accord.testing import scripted_subject

ROOT = Path(__file__).parents[2]

OWN = """
from accord.evaluate import Task, axis, each, generate
from accord.record import Group


def capitals() -> Task:
    items = [Group("Capital of France?", answer="Paris"), Group("Capital of Peru?", answer="Lima")]
    right = each(lambda item: {"right": item.responses[0].text.strip(" .") == item.answer})
    return Task("capitals", items, ask=generate(max_tokens=8), score=right, axes=[axis("right")])


def of_data(data) -> Task:
    return Task(str(data), [Group("Hi")], ask=generate(), score=each(lambda item: {}), axes=[axis("right")])


def broken() -> Task:
    return 1 / 0


def nothing() -> None:
    return None
"""


@pytest.mark.parametrize("name", SUITES)
def test_every_suite_is_there_and_says_what_its_options_are(name: str) -> None:
    build = suite_function(SUITES[name])
    documented = {one.arg_name for one in docstring_parser.parse(build.__doc__ or "").params}
    assert {option.name for option in options_of(build)} <= documented
    assert SUITES[name].says.endswith(".")
    manuals = (ROOT / "docs" / file for file in ("evaluation.md", "evaluation-judged.md"))
    assert any(f"`{name}`" in manual.read_text(encoding="utf-8") for manual in manuals)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "hhh" / "honest").mkdir(parents=True)
    rows = {"examples": [{"input": "Hi", "target_scores": {"a": 1, "b": 0}}]}
    (folder / "hhh" / "honest" / "task.json").write_text(json.dumps(rows), encoding="utf-8")
    (folder / "perplexity.txt").write_text("One line.\nAnother.", encoding="utf-8")
    return folder


def test_a_directory_holds_the_data_of_several_suites(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(build_task("hhh", data=str(data)).items) == 1
    assert len(build_task("perplexity:unit=line", data=str(data)).items) == 2
    with pytest.raises(
        ConfigError, match=r"holds no data of the suite 'rewardbench'\. It has those of hhh, perplexity"
    ):
        build_task("rewardbench", data=str(data))
    monkeypatch.setenv("ACCORD_DATA", str(data))
    assert len(build_task("perplexity:unit=file").items) == 1
    assert located("hhh", None, hub="owner/name", reads="") == str(data / "hhh")
    assert located("mt_bench", None, hub="owner/name", reads="") == "owner/name"
    assert located("worth", str(data), hub="", reads="", files=["honesty", "hhh"]) == str(data / "hhh")
    with pytest.raises(ConfigError, match=r"the suite 'mine' has no data.*\$ACCORD_DATA/mine. It reads: rows"):
        located("mine", None, hub="", reads="rows")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("hh", "Did you mean 'hhh'"),
        ("perplexity:unit=word", "unit='word' cannot be used"),
        ("perplexity:units=line", "Did you mean 'unit'"),
        ("perplexity:line", "'line' is no option"),
        ("mt_bench", "needs somebody who scores"),
        ("no_such_module:task", "cannot import 'no_such_module'"),
    ],
)
def test_what_is_wrong_is_said(data: Path, spec: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build_task(spec, data=str(data))


def test_the_task_of_the_manual_works(tmp_path: Path) -> None:
    manual = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", manual, re.DOTALL | re.MULTILINE)
    (tmp_path / "mine.py").write_text(code, encoding="utf-8")
    task = build_task(f"{tmp_path}/mine.py:capitals")
    found = measure(task, scripted_subject(say=lambda request: "Paris."))
    assert found.estimates["right"].mean == 0.5


@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is not None, reason="the extra lm-eval is installed")
def test_an_extra_that_is_missing_is_named() -> None:
    with pytest.raises(ConfigError, match=r"Install it: pip install 'accord\[lm-eval\]'"):
        build_task("lm_eval:task=hellaswag")


def test_a_missing_column_is_named_without_a_flag_that_is_not_there(data: Path) -> None:
    with pytest.raises(DataError, match=r"task\.json:1: column `subset` is missing; the row has input, \w+\.$"):
        build_task("rewardbench2", data=str(data / "hhh"))


def test_a_path_that_does_not_exist_is_named(data: Path) -> None:
    with pytest.raises(DataError, match=r"missing\.jsonl: does not exist"):
        build_task("rewardbench", data=str(data / "missing.jsonl"))


def test_tasks_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_tasks.py").write_text(OWN, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    by_file, by_module = build_task(f"{tmp_path}/my_own_tasks.py:capitals"), build_task("my_own_tasks:capitals")
    assert isinstance(by_file, Task)
    assert [item.answer for item in by_file.items] == [item.answer for item in by_module.items] == ["Paris", "Lima"]
    assert build_task("my_own_tasks:of_data", data="some/where").name == "some/where"
    for function, said in (
        ("broken", "raised ZeroDivisionError"),
        ("nothing", "gave NoneType"),
        ("none", "no function"),
    ):
        with pytest.raises(ConfigError, match=said):
            build_task(f"my_own_tasks:{function}")
    with pytest.raises(ConfigError, match="no such file"):
        build_task(f"{tmp_path}/others.py:capitals")


def test_public_data_that_cannot_be_had_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    monkeypatch.delenv("ACCORD_DATA", raising=False)
    with pytest.raises(DataError, match="Give --data PATH, or put it into") as raised:
        build_task("truthfulqa")
    assert "Best Answer" in str(raised.value)
