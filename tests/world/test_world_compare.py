"""The comparison of objectives at a small budget: they learn, it goes on where it was, and the page is whole."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from accord.errors import ConfigError
from accord.objectives import OBJECTIVES
from accord.recipes import world_compare
from accord.recipes.comparison_cells import Cell, StartCell
from accord.recipes.comparison_entries import CONDITIONS, LEFT_OUT, TOLD, Entry, entries
from accord.recipes.comparison_page import render
from accord.recipes.comparison_start import Budget
from accord.recipes.comparison_store import Store
from accord.recipes.comparison_table import Table, assemble
from accord.recipes.world_compare import compare_objectives

SMALL = Budget(held_out=100, demonstrations=100, prompts=200, answers=6)
COMPARED = ("dpo", "simpo", "reward_regression")


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Table, Path]:
    place = tmp_path_factory.mktemp("comparison")
    page = place / "methods.md"
    table = compare_objectives(
        COMPARED, conditions=("plain",), seeds=1, processes=2, budget=SMALL, out=page, work=place / "work"
    )
    return table, page


@pytest.mark.learning
@pytest.mark.parametrize("objective", ["dpo", "simpo"])
def test_gold_rises_over_the_start(compared: tuple[Table, Path], objective: str) -> None:
    table, _ = compared
    (row,) = (row for row in table.rows if row.entry == objective)
    assert row.failure is None
    result = row.results["plain"]
    gold = result.comparisons["gold"]
    assert gold.before == table.starts["plain"]["gold"]
    assert gold.difference.mean > 0.02
    assert result.by_seed == pytest.approx((gold.difference.mean,))
    assert result.kl is not None
    assert result.kl > 0
    assert result.seconds > 0
    assert 1 < result.memory < 4096


@pytest.mark.learning
def test_a_reward_model_is_measured_by_its_accuracy(compared: tuple[Table, Path]) -> None:
    table, _ = compared
    row = table.rows[-1]
    assert row.entry == "reward_regression"
    result = row.results["plain"]
    assert set(result.comparisons) == {"accuracy"}
    assert result.main.after.mean > 0.55
    assert result.kl is None


@pytest.mark.learning
def test_the_page_and_its_figures_are_whole(compared: tuple[Table, Path]) -> None:
    table, path = compared
    page = path.read_text(encoding="utf-8")
    for block in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1, block
    for row in table.rows:
        assert re.search(rf"^\| `{row.entry}` \| ", page, re.MULTILINE)
        assert f"{row.results['plain'].main.after.mean:.3f}" in page
    assert msgspec.json.decode(path.with_suffix(".json").read_bytes(), type=Table) == table


@pytest.mark.learning
def test_what_is_there_is_not_trained_again(compared: tuple[Table, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    table, path = compared
    monkeypatch.setattr(world_compare, "in_process", lambda work, job: pytest.fail(f"trains {job}"))
    again = compare_objectives(
        COMPARED, conditions=("plain",), seeds=1, budget=SMALL, out=path, work=path.parent / "work"
    )
    assert again == table


def test_a_cell_counts_while_its_settings_are_those_of_today(tmp_path: Path) -> None:
    store = filled(tmp_path, ["dpo"])
    assert Store(tmp_path, SMALL).find(Entry("dpo"), "plain", 0) == store.find(Entry("dpo"), "plain", 0)
    assert store.find(Entry("dpo"), "plain", 1) is None
    assert store.find(Entry("dpo", {"beta": 0.2}), "plain", 0) is None
    assert Store(tmp_path, Budget()).find(Entry("dpo"), "plain", 0) is None
    cell = store.find(Entry("dpo"), "plain", 0)
    assert cell is not None
    store.add(msgspec.structs.replace(cell, hyperparameters={"beta": 0.5}))
    assert store.find(Entry("dpo"), "plain", 0) is None


def test_the_table_has_intervals_over_all_seeds_and_differences_to_dpo(tmp_path: Path) -> None:
    table = assemble(filled(tmp_path, ["dpo", "ipo"], lift=0.1, seeds=2), {})
    dpo, ipo = (row.results["plain"] for row in table.rows)
    assert dpo.seeds == (0, 1)
    assert dpo.main.difference.n == 8
    assert dpo.main.difference.mean == pytest.approx(0.3)
    assert not dpo.beside
    assert ipo.beside["gold"].mean == pytest.approx(0.1)
    assert "`ipo`" in render(table)


def test_a_failure_is_on_the_page(tmp_path: Path) -> None:
    page = render(assemble(filled(tmp_path, ["dpo"]), {"ipo": "plain, seed 0: it broke"}))
    assert "- `ipo`, plain, seed 0: it broke" in page


def test_every_objective_is_compared_or_left_out_for_a_reason() -> None:
    compared = {entry.objective for entry in entries()}
    assert compared.isdisjoint(LEFT_OUT)
    assert set(OBJECTIVES) <= compared | set(LEFT_OUT)
    for entry in TOLD:
        defaults = Entry(entry.objective).hyperparameters
        assert entry.hyperparameters != defaults
        assert set(entry.conditions) < set(CONDITIONS)


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        ({"seeds": 0}, "--seeds"),
        ({"processes": 0}, "--processes"),
        ({"out": "methods.json"}, "--out"),
        ({"objectives": ("dop",)}, "dop"),
        ({"objectives": ("process_reward",)}, "labels of steps"),
    ],
)
def test_a_mistake_is_named_before_anything_is_trained(arguments: dict[str, object], flag: str) -> None:
    with pytest.raises(ConfigError, match=flag):
        compare_objectives(**arguments)  # type: ignore[arg-type]


def filled(directory: Path, objectives: list[str], *, lift: float = 0.0, seeds: int = 1) -> Store:
    """A store with made-up figures: each objective is better than the one before it."""
    store = Store(directory, SMALL)
    before = {"gold": [0.1, 0.2, 0.3, 0.4], "over-refusal": [0.0, 1.0], "words": [5.0, 6.0, 7.0, 8.0]}
    clusters = {"gold": [0, 1, 2, 3], "over-refusal": [0, 1], "words": [0, 1, 2, 3]}
    for seed in range(seeds):
        name = f"start-{seed}"
        store.add_start(StartCell(name=name, seed=seed, budget=SMALL, values=before, clusters=clusters))
        for place, objective in enumerate(objectives):
            entry = Entry(objective)
            gold = [value + 0.3 + place * lift + 0.01 * (value - 0.25) for value in before["gold"]]
            cell = Cell(
                entry=objective,
                condition="plain",
                seed=seed,
                learning_rate=entry.learning_rate,
                hyperparameters=entry.hyperparameters,
                budget=SMALL,
                start=name,
                pairs=10,
                values=before | {"gold": gold},
                kl=1.0,
                seconds=2.0,
                memory=50.0,
            )
            store.add(cell)
    return store
