"""The page of speed says what the records say: the fastest turns, the best of TRL, aims met and not."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
# By name: what lies in benchmarks/ is no part of the package and is not checked for types.
cells: Any = import_module("benchmarks.cells")
lines: Any = import_module("benchmarks.lines")
measurement: Any = import_module("benchmarks.measurement")
page: Any = import_module("benchmarks.page")
speed: Any = import_module("benchmarks.speed")
PAIRS = next(cell for cell in cells.CELLS if cell.key == "M32 dpo 512:128 x2")
GROUPS = next(cell for cell in cells.CELLS if cell.key == "M32 grpo 512:128 x1 of 8")


def seen(seconds: float, *, peak: float, sampling: float | None = None, sampled: float = 0.0) -> Any:
    return measurement.Seen(
        losses=[0.7, 0.7],
        cpu=[seconds],
        wall=[seconds],
        sampling=[] if sampling is None else [sampling],
        sampled=[] if sampling is None else [sampled],
        total_cpu=3 * seconds,
        peak=peak,
        versions={"torch": "2"},
    )


def record(cell: Any, *turns: dict[str, Any]) -> Any:
    rounds = [speed.Round(peak=10.0, seen=turn, flops=dict.fromkeys(turn, 20.0)) for turn in turns]
    return speed.Record(machine="a machine", cell={}, rounds=rounds)


def pair_turn(slowness: float) -> dict[str, Any]:
    return {
        "accord": seen(2.2 * slowness, peak=100),
        "trl, reference in every step": seen(11.0 * slowness, peak=500),
        "trl, reference ahead, whole batch": seen(9.0 * slowness, peak=400),
        "trl, reference ahead, one by one": seen(6.6 * slowness, peak=150),
        "trl, label rows only": seen(4.4 * slowness, peak=120),
    }


def test_the_fastest_turns_are_compared_with_the_best_of_trl() -> None:
    found = lines.lines_of(PAIRS, record(PAIRS, pair_turn(1.0), pair_turn(1.5)))
    best = next(line for line in found if line.best)
    assert best.name == "trl, reference ahead, one by one"
    assert (best.ratio.low, best.ratio.high) == pytest.approx((3.0, 3.0))
    assert best.share == pytest.approx(100 / 150)
    assert [str(aim) for aim in best.aims] == ["≥ 3.5: **not met**", "memory ≤ 0.5: **not met**"]
    assert [str(aim) for aim in found[1].aims] == ["≥ 4.5: met"]
    assert found[0].floors == pytest.approx(1.1)
    assert found[0].step == pytest.approx(2.2)


def test_groups_are_compared_by_sampled_token() -> None:
    turn = {
        "accord": seen(3.0, peak=100, sampling=1.0, sampled=100),
        "trl, whole batch": seen(12.0, peak=300, sampling=4.0, sampled=50),
        "trl, two by two": seen(13.0, peak=200, sampling=4.0, sampled=100),
        "trl, label rows only": seen(10.0, peak=150, sampling=4.0, sampled=100),
    }
    found = lines.lines_of(GROUPS, record(GROUPS, turn))
    assert found[1].ratio.found == pytest.approx(8.0)
    assert found[1].update.found == pytest.approx(8.0)
    assert found[2].update.found == pytest.approx(4.5)
    assert found[0].floors == pytest.approx(1.0)
    assert [str(aim) for aim in found[0].aims] == ["floor ≤ 1.15: met"]


def test_the_page_names_what_is_not_met(tmp_path: Path) -> None:
    text = page.render({PAIRS.key: record(PAIRS, pair_turn(1.0))}, tmp_path)
    assert "**Aims.** 2 of 4 are met" in text
    assert f"* {PAIRS.key}, trl, reference ahead, one by one: ≥ 3.5" in text
    assert "| **trl, reference ahead, one by one** | 6.60 | 3.00 | 3.30 |" in text


def test_cells_have_names_of_their_own() -> None:
    keys = [cell.key for cell in cells.CELLS]
    assert len(set(keys)) == len(keys)
    assert replace(PAIRS, rounds=9).key == PAIRS.key


def test_the_page_is_what_the_records_say() -> None:
    results = ROOT / "benchmarks" / "results"
    text = page.render(speed.read_records(results / "speed.json"), results)
    written = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    assert written == text, "to bring the page up to date: python -m benchmarks page"
