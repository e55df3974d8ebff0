"""What the report writes: self-contained, the same bytes for the same input, with the numbers of the evaluation."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from rich.console import Console

from accord.errors import DataError
from accord.record import Evaluation
from accord.report import model_card, print_summary, read_run, write_model_card, write_report
from accord.report.text import brief_number, count, duration, figure, moment


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, write: Callable[..., Path]) -> tuple[Path, Path]:
    """Two runs that these tests only read."""
    directory = tmp_path_factory.mktemp("runs")
    return write(directory / "good"), write(directory / "bad", gain=-0.6, objective="kto", seed=1)


@pytest.fixture(scope="module")
def written(runs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The three files of the good run's report, by suffix."""
    return texts(runs[:1], tmp_path_factory.mktemp("report"))


def texts(runs: tuple[Path, ...], out: Path) -> dict[str, str]:
    files = write_report(runs, out)
    assert {path.parent for path in (files.html, files.markdown, files.json)} == {out}
    return {path.suffix: path.read_text(encoding="utf-8") for path in (files.html, files.markdown, files.json)}


def evaluation_of(run: Path) -> Evaluation:
    return msgspec.json.decode((run / "evaluation.json").read_bytes(), type=Evaluation)


def assert_self_contained(page: str) -> None:
    links = re.findall(r"""(?:src|href|action|data|poster)\s*=\s*["']?([^"'\s>]+)""", page)
    assert all(link.startswith(("#", "data:")) for link in links)
    assert all(target.startswith("#") for target in re.findall(r"url\(\s*[\"']?([^)\"']*)", page))
    assert not re.search(r"<script|@import|<iframe|<object|<embed", page)
    assert "default-src 'none'" in page


def test_page_is_self_contained_and_its_ids_are_its_own(written: dict[str, str]) -> None:
    page = written[".html"]
    assert_self_contained(page)
    ids = re.findall(r'\sid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]*)"', page)) | set(re.findall(r"url\(#([^)]*)\)", page)) <= set(ids)


def test_page_shows_verdict_axes_curves_samples_and_how_to_repeat(written: dict[str, str]) -> None:
    page = written[".html"]
    for part in ("Better: gold rose from", "By axis", "over-refusal", "Likelihood displacement", "KL to the start",
                 "Response length", "Log-probability of the data", "Mira Stone", "accord train dpo --config",
                 "identical responses", "pairs.jsonl:17", "started 2026-03-01 09:00 UTC"):  # fmt: skip
        assert part in page
    assert page.count("<figure>") == 13
    assert "#0c0d" not in page, "a stand-in colour of the drawings was left"


def test_a_bare_score_of_an_item_is_called_a_score(good_run: Path, tmp_path: Path) -> None:
    record = json.loads((good_run / "evaluation.json").read_text())
    record["examples"] = [{"prompt": "p", "before": "a", "after": "b", "scores": {"before": 0.25, "after": 1.0}}]
    (good_run / "evaluation.json").write_text(json.dumps(record))
    (good_run / "metrics.jsonl").unlink()
    page = texts((good_run,), tmp_path / "report")[".html"]
    assert '<dt dir="auto">score</dt><dd>0.250</dd>' in page


def test_the_same_input_gives_the_same_bytes(runs: tuple[Path, Path], written: dict[str, str], tmp_path: Path) -> None:
    assert texts(runs[:1], tmp_path / "again") == written


def test_json_holds_the_numbers_of_the_evaluation(runs: tuple[Path, Path], written: dict[str, str]) -> None:
    (run,) = json.loads(written[".json"])["runs"]
    evaluation = evaluation_of(runs[0])
    assert (run["verdict"], run["primary"], run["suite"]) == ("better", "gold", evaluation.suite)
    assert [axis["axis"] for axis in run["axes"]] == [item.axis for item in evaluation.comparisons]
    for axis, comparison in zip(run["axes"], evaluation.comparisons, strict=True):
        assert axis["difference"] == msgspec.to_builtins(comparison.difference)
        assert axis["after"]["mean"] == comparison.after.mean
        assert axis["verdict"] == comparison.verdict
    loss = read_run(runs[0]).metric("eval/loss")
    assert run["metrics"]["eval/loss"] == {
        "start": loss.values[0], "end": loss.values[-1], "low": min(loss.values), "high": max(loss.values)
    }  # fmt: skip
    assert "Likelihood displacement" in "".join(concern["title"] for concern in run["concerns"])


def test_markdown_leaves_numbers_alone(runs: tuple[Path, Path], written: dict[str, str]) -> None:
    markdown = written[".md"]
    gold = evaluation_of(runs[0]).comparison("gold")
    assert f"| gold (primary) | {gold.before.mean:.2f} (" in markdown
    assert not re.search(r"\d\\|\\\+", markdown)
    assert "words words" not in markdown
    assert "| length words |" in markdown


def test_several_runs_are_compared(runs: tuple[Path, Path], tmp_path: Path) -> None:
    comparison = texts(runs, tmp_path)
    page, markdown = comparison[".html"], comparison[".md"]
    assert_self_contained(page)
    assert "2 runs compared" in page
    assert page.count("Better: gold rose from") == page.count("Worse: gold fell from") == 1
    assert "Held-out accuracy" in page
    assert "before (good)" in page
    assert [run["verdict"] for run in json.loads(comparison[".json"])["runs"]] == ["better", "worse"]
    assert re.search(r"^\| good \| dpo \| Better \| gold \| \+0\.\d+ \(", markdown, re.MULTILINE)
    assert re.search(r"^\| bad \| kto \| Worse \| gold \| −0\.\d+ \(", markdown, re.MULTILINE)


def test_runs_of_one_name_are_told_apart(write: Callable[..., Path], tmp_path: Path) -> None:
    for parent in ("a", "b"):
        (tmp_path / parent).mkdir()
        (write(tmp_path / parent / "dpo", steps=2) / "samples.jsonl").unlink()
    files = write_report([tmp_path / "a" / "dpo", tmp_path / "b" / "dpo"])
    assert files.html == tmp_path / "a" / "comparison.html"
    assert [run["name"] for run in json.loads(files.json.read_text())["runs"]] == ["a/dpo", "b/dpo"]


@pytest.mark.parametrize(
    ("width", "word", "stages"), [(60, "≈", False), (76, "≈", True), (80, "not distinguishable", True)]
)
def test_terminal_table_fits_its_width(make_run: Callable[..., Path], width: int, word: str, stages: bool) -> None:
    console = Console(file=io.StringIO(), width=width)
    print_summary(make_run(gain=0.0), console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    lines = shown.splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in shown
    (row,) = [line for line in lines if re.match("gold +0", line)]
    assert row.rstrip().endswith(word)
    assert ("≈ not distinguishable: the interval includes zero" in shown) == (word == "≈")
    assert ("sft" in shown) == stages


def test_card_front_matter_and_sentence(runs: tuple[Path, Path]) -> None:
    card = model_card(read_run(runs[0]))
    _, front, body = card.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "library_name": "transformers", "base_model": "acme/tide-2m", "tags": ["accord", "dpo"]
    }  # fmt: skip
    assert "Better: gold rose from" in body
    assert "Licence, languages and intended use are not recorded by the run" in body


def test_a_local_base_model_is_not_named_as_one_of_the_hub(
    good_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "acme" / "tide-2m").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert "base_model" not in model_card(read_run(good_run)).split("---\n")[1]


def test_every_figure_of_the_card_is_in_the_run_directory(runs: tuple[Path, Path]) -> None:
    run = read_run(runs[0])
    _, _, body = model_card(run).split("---\n", 2)
    known = set(figures_of(run_files(runs[0])))
    for series in run.series.values():
        known |= set(forms(series.start())) | set(forms(series.end()))
    known |= numbers_in(" ".join((duration(71.6), moment("2026-03-01T09:00:00+00:00"))))
    known |= numbers_in(count(max(run.metric("tokens").values)))
    known |= {"100.00", "5", "95"}  # percent: of the parameters, of the prompts held out, the intervals' level
    assert numbers_in(body) - known == set()


def run_files(run: Path) -> Iterator[Any]:
    for name in ("environment.json", "data.json", "evaluation.json"):
        yield json.loads((run / name).read_text(encoding="utf-8"))
    yield (run / "config.toml").read_text(encoding="utf-8")
    yield str(run)


def figures_of(value: Any) -> Iterator[str]:
    """Every way in which the numbers inside a value may be printed."""
    if isinstance(value, str):
        yield from numbers_in(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from forms(float(value))
    elif isinstance(value, dict):
        for item in value.items():
            yield from figures_of(list(item))
    elif value is not None and not isinstance(value, bool):
        for item in value:
            yield from figures_of(item)


def forms(value: float) -> Iterator[str]:
    for text in (brief_number(value), count(value), f"{value:g}", *(figure(value, decimals) for decimals in range(5))):
        yield from numbers_in(text)


def numbers_in(text: str) -> set[str]:
    return set(re.findall(r"\d+(?:,\d{3})*(?:\.\d+)?", text))


def test_card_is_written_into_the_exported_model(write: Callable[..., Path], tmp_path: Path) -> None:
    run = write(tmp_path / "run")
    card = write_model_card(run)
    assert card == run / "model" / "README.md"
    assert card.read_text(encoding="utf-8") == model_card(read_run(run))
    assert [path.name for path in (run / "model").iterdir()] == ["README.md"]
    card.unlink()
    card.parent.rmdir()
    with pytest.raises(DataError, match="has no exported model"):
        write_model_card(run)
