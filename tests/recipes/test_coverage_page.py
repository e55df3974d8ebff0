"""The page of how often intervals hold the truth."""

from __future__ import annotations

from pathlib import Path

import pytest

from accord.evaluate.coverage import exact_wilson
from accord.recipes.coverage_page import Cell, page, read, run, short

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_what_was_measured() -> None:
    """Every population of the page is in the file beside it; intervals that are too short are marked, and are few."""
    known = list(read(DOCS / "statistics.json").values())
    text = (DOCS / "statistics.md").read_text(encoding="utf-8")
    assert text == page(known)
    marked = [cell for cell in known if short(cell)]
    assert len(marked) == text.count("too short |")
    assert len(marked) < 0.15 * len(known)


def test_a_page_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = [
        ("shares", "known", lambda: pytest.fail("was measured before")),
        ("shares", "new", lambda: exact_wilson(9, 0.5)),
    ]
    monkeypatch.setattr("accord.recipes.coverage_page.cells", lambda: iter(done))
    (tmp_path / "statistics.json").write_text(
        '[{"section":"shares","population":"known","covered":0.8,"trials":100,"width":0.5}]'
    )
    told: list[str] = []
    measured = run(tmp_path, told=told.append)
    assert [cell.population for cell in measured] == ["known", "new"]
    assert len(told) == 1
    assert short(measured[0])
    assert not short(Cell("shares", "x", 0.9, 100, 0.1))
    assert "| known | **80.0%**, too short | 0.5 | 100 |" in (tmp_path / "statistics.md").read_text()
    assert len(read(tmp_path / "statistics.json")) == 2
