"""A run that was killed, or whose files are damaged, gets an honest report or a clear error, never a traceback."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from accord.errors import DataError
from accord.report import model_card, print_summary, read_run, write_report
from accord.report.markdown import run_markdown
from accord.report.view import view_run
from accord.report.write import run_summary

FILES = ("config.toml", "environment.json", "data.json", "metrics.jsonl", "samples.jsonl", "evaluation.json")


def everything(path: Path) -> str:
    """All that is written of a run but the page, as one text."""
    run = read_run(path)
    view = view_run(run, run.name)
    terminal = Console(file=io.StringIO(), width=80)
    print_summary(run, terminal)
    summary = json.dumps(run_summary(view), allow_nan=False)
    return "\n".join((run_markdown(view), summary, model_card(run), terminal.file.getvalue()))  # type: ignore[attr-defined]


def page(path: Path) -> str:
    return write_report([path]).html.read_text(encoding="utf-8")


@pytest.fixture
def bare_run(good_run: Path) -> Path:
    """A run without metrics, so that its page has no drawings."""
    (good_run / "metrics.jsonl").unlink()
    return good_run


@pytest.mark.parametrize("missing", FILES)
def test_each_file_may_be_missing(bare_run: Path, missing: str) -> None:
    (bare_run / missing).unlink(missing_ok=True)
    text = everything(bare_run)
    assert "Traceback" not in text
    assert page(bare_run).rstrip().endswith("</html>")
    assert ("No verdict" in text) == (missing == "evaluation.json")
    assert ("The run did not finish" in text) == (missing == "environment.json")


@pytest.mark.parametrize("only", FILES)
def test_each_file_may_be_alone(good_run: Path, tmp_path: Path, only: str) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    (good_run / only).rename(alone / only)
    assert everything(alone)
    assert page(alone)


@pytest.mark.parametrize("damaged", FILES)
@pytest.mark.parametrize(
    "content", [b"", b"\x00\xff\xfe\x80", b"{", b"[1]", b"null", b'{"a": ' * 9999, b"\n\n", b'"text"', b"[[["]
)
def test_each_file_may_be_damaged(bare_run: Path, damaged: str, content: bytes) -> None:
    (bare_run / damaged).write_bytes(content)
    text = everything(bare_run)
    if content.strip() and (damaged, content) != ("config.toml", b"[1]"):  # a table of that name
        assert damaged in "".join(read_run(bare_run).unreadable)
        assert damaged in text


@pytest.mark.parametrize("damaged", FILES)
def test_each_file_may_be_a_directory(bare_run: Path, damaged: str) -> None:
    (bare_run / damaged).unlink(missing_ok=True)
    (bare_run / damaged).mkdir()
    assert f"{damaged} could not be opened" in everything(bare_run)


def test_half_a_line_at_the_end_costs_that_line_alone(interrupted_run: Path) -> None:
    run = read_run(interrupted_run)
    assert len(run.metric("loss").steps) == 120
    assert run.unreadable == ("metrics.jsonl: 1 line could not be read, the first is line 124",)
    assert "The run did not finish" in page(interrupted_run)


def test_a_step_that_a_resumed_run_wrote_again_counts_once(good_run: Path) -> None:
    with open(good_run / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write('{"step": 200, "loss": 0.125}\n')
    loss = read_run(good_run).metric("loss")
    assert (len(loss.steps), loss.values[-1]) == (200, 0.125)


def test_the_objective_need_not_be_described(bare_run: Path) -> None:
    environment = json.loads((bare_run / "environment.json").read_text())
    del environment["objective_description"]
    (bare_run / "environment.json").write_text(json.dumps(environment))
    assert everything(bare_run)
    assert "<b>dpo</b></p>" in page(bare_run)


@pytest.mark.parametrize(
    "value", [None, True, -1, 0, 10**400, float("nan"), float("inf"), "", "x", [], [[]], {}, {"a": {"b": [{}]}}]
)
def test_environment_and_doctor_may_hold_anything(bare_run: Path, value: Any) -> None:
    for name in ("environment.json", "data.json"):
        entries = json.loads((bare_run / name).read_text())
        (bare_run / name).write_text(json.dumps(dict.fromkeys(entries, value)))
    assert everything(bare_run)
    assert page(bare_run)


@pytest.mark.parametrize("value", ["true", "-1", "nan", "inf", '""', '"x"', "[]", "[[1], {a = 2}]", "{}", "1979-05-27"])
def test_settings_may_hold_anything(bare_run: Path, value: str) -> None:
    keys = [line.partition(" =")[0] for line in (bare_run / "config.toml").read_text().splitlines() if " =" in line]
    (bare_run / "config.toml").write_text("".join(f"{key} = {value}\n" for key in keys) + f"hyper = {value}\n")
    assert everything(bare_run)
    assert page(bare_run)


@pytest.mark.parametrize("value", ["null", "true", '"x"', "[]", "{}", "-1", "1e400", "NaN", "1e29", "-1e29", "9" * 400])
def test_metrics_and_samples_may_hold_anything(good_run: Path, value: str) -> None:
    keys = ("loss", "eval/loss", "eval/kl", "eval/response_length", "accuracy", "tokens", "eval/distinct_2")
    lines = "".join(
        f'{{"step": {step}, ' + ", ".join(f'"{key}": {value}' for key in keys) + "}\n" for step in (0, 1, 2, value)
    )
    (good_run / "metrics.jsonl").write_text(lines)
    (good_run / "samples.jsonl").write_text(
        f'{{"step": {value}, "index": 0}}\n{{"step": 1, "index": {value}}}\n'
        f'{{"step": 1, "index": 1, "prompt": {value}, "response": {value}, "tokens": {value}, "finished": {value}, '
        f'"scores": {value}}}\n'
    )
    assert everything(good_run)
    assert page(good_run)


def test_metrics_that_are_not_finite_are_counted_not_drawn(good_run: Path) -> None:
    (good_run / "metrics.jsonl").write_text('{"step": 1, "loss": 1.0}\n{"step": 2, "loss": NaN}\n')
    loss = read_run(good_run).metric("loss")
    assert (loss.values, loss.broken) == ((1.0,), 1)
    assert "loss 1 times" in everything(good_run)


def test_a_lone_point_is_no_curve(bare_run: Path) -> None:
    (bare_run / "metrics.jsonl").write_text('{"step": 70, "eval/kl": 0.02}\n')
    assert "KL to the start" not in page(bare_run)
    assert "eval/kl" in everything(bare_run)


@pytest.mark.parametrize("read", [read_run, lambda path: write_report([path]), lambda path: model_card(read_run(path))])
def test_what_is_no_run_is_an_error(tmp_path: Path, read: Callable[[Path], object]) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no run"):
        read(tmp_path / "empty")
    with pytest.raises(DataError, match="is not a directory"):
        read(tmp_path / "nowhere")


def test_no_run_at_all_is_an_error() -> None:
    with pytest.raises(DataError, match="no run to report on"):
        write_report([])


def test_a_place_that_cannot_be_written_is_an_error(bare_run: Path) -> None:
    with pytest.raises(DataError, match="cannot be written") as caught:
        write_report([bare_run], bare_run / "config.toml" / "report.html")
    assert "--out" in str(caught.value)
    assert not list(bare_run.glob("**/*.partial"))
