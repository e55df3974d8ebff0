"""The study of offline reinforcement learning: its town, its exact chances, and the page in the documentation."""

import itertools
from pathlib import Path

import msgspec
import pytest

from accord.recipes.offline_page import OfflinePage, render
from accord.recipes.offline_study import GOAL, Scale, arriving, logs, moved, squares, text_of

DOCS = Path(__file__).parents[2] / "docs"


def test_the_edge_of_the_town_is_a_wall() -> None:
    assert moved((0, 0), "W") == (0, 0)
    assert moved((0, 0), "N") == (0, 1)
    assert moved((0, 0), "nonsense") == (0, 0)


def test_who_knows_the_way_arrives_when_the_way_is_short_enough() -> None:
    straight = {square: {moved(square, "E" if square[0] < GOAL[0] else "N"): 1.0} for square in squares()}
    distances = [sum(GOAL) - sum(square) for square in squares()]
    assert arriving(straight, 4) == [float(distance <= 4) for distance in distances]
    half = {square: {square: 0.5, next(iter(after)): 0.5} for square, after in straight.items()}
    assert arriving(half, 2)[squares().index((GOAL[0], GOAL[1] - 1))] == pytest.approx(0.75)


def test_walks_go_on_until_they_arrive() -> None:
    rows = list(logs(Scale(walks=50), seed=0))
    assert rows == list(logs(Scale(walks=50), seed=0))
    for row, after in itertools.pairwise(rows):
        assert row["done"] == (row["next_state"] == text_of(GOAL)) == (row["reward"] == 1.0)
        if row["done"]:
            assert after["state"] != text_of(GOAL)
    assert any(row["done"] for row in rows)


def test_the_page_is_what_its_figures_say() -> None:
    page = msgspec.json.decode((DOCS / "offline-rl.json").read_bytes(), type=OfflinePage)
    assert render(page) == (DOCS / "offline-rl.md").read_text(encoding="utf-8")
    rows = {row.name: row for row in page.rows}
    best = rows["ILQL, beta 16"]
    assert best.over_cloning is not None
    assert best.over_cloning.low > 0
    assert min(best.of_seed) > max(rows["cloning"].of_seed)
