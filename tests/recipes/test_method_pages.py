"""The method pages: there for every method, with its headings and flags; and what a docstring becomes."""

from __future__ import annotations

import math
import re
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from accord.objectives import signature_of
from accord.recipes import method_pages
from accord.recipes.comparison_table import Table
from accord.recipes.method_curves import POINTS, Picture, picture
from accord.recipes.method_pages import index, methods, page, read, write_pages
from accord.recipes.method_plots import draw

DOCS = Path(__file__).parents[2] / "docs"
METHODS = methods()


@pytest.fixture(scope="module")
def table() -> Table:
    return msgspec.json.decode((DOCS / "methods.json").read_bytes(), type=Table)


def structure(text: str) -> list[str]:
    """What does not depend on figures: headings, flags, tensors, links and pictures."""
    return re.findall(r"^#+ .*|^\| \[?`[^`]*`|^!\[.*", text, re.MULTILINE)


@cache
def drawn_of(name: str) -> Picture:
    return picture(name, METHODS[name])


@pytest.mark.parametrize("name", METHODS)
def test_the_committed_page_is_current(name: str, table: Table) -> None:
    committed = (DOCS / "methods" / f"{name}.md").read_text(encoding="utf-8")
    drawn = drawn_of(name)
    assert structure(committed) == structure(page(name, METHODS[name], table, drawn)), "make docs brings it up to date"
    assert (DOCS / "methods" / f"{name}.svg").exists()
    for curve in drawn.curves:
        assert len(curve.x) == len(curve.loss) == len(curve.slope) == POINTS
        assert all(map(math.isfinite, [*curve.loss, *curve.slope]))


def test_there_is_no_page_of_something_else(table: Table) -> None:
    committed = {path.stem for path in (DOCS / "methods").glob("*.md")} - {"README"}
    assert committed == set(METHODS)
    readme = (DOCS / "methods" / "README.md").read_text(encoding="utf-8")
    assert structure(readme) == structure(index(table)), "make docs brings it up to date"


@pytest.mark.parametrize("name", METHODS)
def test_a_page_has_a_source_an_equation_and_every_flag(name: str, table: Table) -> None:
    text = page(name, METHODS[name], table, drawn_of(name))
    assert "```math" in text
    assert "\n## Source\n" in text
    assert ":math:" not in text
    assert ".. " not in text.split("## Use")[0]
    for one in signature_of(METHODS[name]).hyperparameters:
        assert f"| `--{one.name.replace('_', '-')}` | `{one.default}` |" in text


def test_the_slope_is_that_of_the_loss() -> None:
    (curve,) = picture("dpo", METHODS["dpo"]).curves
    middle = POINTS // 2
    assert curve.x[middle] == 0
    assert curve.loss[middle] == pytest.approx(math.log(2))
    assert curve.slope[middle] == pytest.approx(-0.1 / 2)
    for place in range(1, POINTS - 1):
        rise = (curve.loss[place + 1] - curve.loss[place - 1]) / (curve.x[place + 1] - curve.x[place - 1])
        assert curve.slope[place] == pytest.approx(rise, abs=1e-4)


def test_a_plot_is_valid_and_keeps_its_numbers() -> None:
    svg = draw(picture("kto", METHODS["kto"]))
    assert svg == draw(picture("kto", METHODS["kto"]))
    words = [element.text for element in ElementTree.fromstring(svg).iter() if element.text and element.text.strip()]
    assert {"loss", "slope", "desirable", "undesirable", "0.02"} <= set(words)


def test_a_docstring_becomes_markdown() -> None:
    text = read(
        "Do it: at once.\n\n.. math:: a = b\n\nwhere :math:`a\nb` is it.\n\nArgs:\n    a: one.\n\n"
        "Source: Somebody 2020.\n\nDeviation: none.\n\n>>> 1 + 1\n2"
    )
    assert text.summary == "Do it: at once."
    assert text.body == "```math\na = b\n```\n\nwhere $`a b`$ is it."
    assert text.sections == {"Source": "Somebody 2020.", "Deviation": "none."}
    assert text.example == ">>> 1 + 1\n2"


def test_pages_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(method_pages, "methods", lambda: {name: METHODS[name] for name in ("dpo", "grpo")})
    written = write_pages(tmp_path, DOCS / "methods.json")
    assert [path.name for path in written] == ["dpo.md", "grpo.md", "README.md"]
    assert all(path.stat().st_size > 500 for path in [*written, tmp_path / "dpo.svg"])
