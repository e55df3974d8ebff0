"""The comparison of objectives at a small budget: they learn, and the page says what the figures say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from accord.errors import ConfigError
from accord.recipes.comparison_page import Table
from accord.recipes.comparison_start import Budget
from accord.recipes.world_compare import compare_objectives

SMALL = Budget(held_out=200, demonstrations=100, prompts=300, answers=6)
OBJECTIVES = ("dpo", "simpo", "bradley_terry")


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Table, Path]]:
    page = tmp_path_factory.mktemp("comparison") / "methods.md"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCORD_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield compare_objectives(OBJECTIVES, seeds=1, budget=SMALL, out=page), page


@pytest.mark.learning
@pytest.mark.parametrize("objective", ["dpo", "simpo"])
def test_gold_rises_over_the_start(compared: tuple[Table, Path], objective: str) -> None:
    table, _ = compared
    (row,) = (row for row in table.rows if row.objective == objective)
    gold = row.comparisons["gold"]
    assert gold.before == table.start["gold"]
    assert gold.difference.mean > 0.02
    assert row.by_seed == pytest.approx((gold.difference.mean,))
    assert row.kl is not None
    assert row.kl > 0


@pytest.mark.learning
def test_a_reward_model_is_measured_by_its_accuracy(compared: tuple[Table, Path]) -> None:
    table, _ = compared
    row = table.rows[-1]
    assert set(row.comparisons) == {"accuracy"}
    assert row.main.before.mean == 0.5
    assert row.main.after.mean > 0.55


@pytest.mark.learning
def test_the_page_and_its_figures_are_whole(compared: tuple[Table, Path]) -> None:
    table, path = compared
    page = path.read_text(encoding="utf-8")
    assert f"accord world compare {' '.join(OBJECTIVES)} --seeds 1" in page
    for block in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1, block
    for row in table.rows:
        assert re.search(rf"^\| `{row.objective}` \| .*{row.main.verdict}", page, re.MULTILINE)
        assert f"{row.main.after.mean:.3f}" in page
    figures = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert [row["objective"] for row in figures["rows"]] == list(OBJECTIVES)


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [({"seeds": 0}, "--seeds"), ({"out": "methods.json"}, "--out"), ({"objectives": ("dop",)}, "dop")],
)
def test_a_mistake_is_named_before_anything_is_trained(arguments: dict[str, object], flag: str) -> None:
    with pytest.raises(ConfigError, match=flag):
        compare_objectives(**arguments)  # type: ignore[arg-type]
