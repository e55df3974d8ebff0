"""Maximising a weak learned reward: the study in small, and what the page says of its curves."""

from __future__ import annotations

from pathlib import Path

import pytest

from accord.recipes.online_study import Budget, online_study
from accord.recipes.online_study_page import write_page
from accord.recipes.overoptimised import Curve, Point, Pursuit, pursue


def curve(seed: int, *gold: float, alarms: tuple[str, ...] = ()) -> Curve:
    points = [Point(step=5 * at, proxy=0.1 * at, gold=value, kl=float(at)) for at, value in enumerate(gold)]
    return Curve(seed=seed, pursuit=Pursuit(), points=points, alarms=list(alarms))


def test_the_page_says_where_gold_turned_and_what_the_run_said(tmp_path: Path) -> None:
    curves = [curve(0, 0.4, 0.6, 0.2, alarms=("after step 10: gold fell",)), curve(1, 0.4, 0.5, 0.6)]
    write_page(tmp_path / "page.md", [], curves, Budget())
    text = (tmp_path / "page.md").read_text()
    assert "one comparison each of 40 prompts, 25% of them turned round" in text
    assert "| 10 | 2.000 | 0.200 | 0.400 | 0.200, 0.600 |" in text
    assert "- Seed 0: gold went from 0.400 to 0.600 after 5 steps and to 0.200 at the end" in text
    assert "rose from 0.100 to 0.200 meanwhile" in text
    assert "- Seed 1: gold was still rising at the end, from 0.400 to 0.600." in text
    assert "- Seed 0: after step 10: gold fell" in text
    assert (tmp_path / "page-curve.svg").read_text().startswith("<?xml")


@pytest.mark.slow
def test_a_small_pursuit_is_kept_and_taken_up(tmp_path: Path) -> None:
    plan = Pursuit(comparisons=12, rounds=2, answers=16, prompts=12, held_out=6, every=1)
    found = pursue(0, plan)
    assert [point.step for point in found.points] == [0, 1, 2]
    assert found.points[0].kl == pytest.approx(0.0, abs=1e-6)
    budget = Budget(rounds=1, answers=16, prompts=12, held_out=6)
    for _ in range(2):
        online_study(methods=["rloo"], seeds=1, out=tmp_path / "page.md", budget=budget, pursuit=plan)
    assert len((tmp_path / "page-curve.jsonl").read_bytes().splitlines()) == 1
    assert len((tmp_path / "page.jsonl").read_bytes().splitlines()) == 2
    assert "accord world online --seeds 1" in (tmp_path / "page.md").read_text()
