"""From a task and a model to a measurement: items, axes, slices, controls, parts of a task."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from accord.errors import ConfigError, DataError, NumericsError
from accord.evaluate import Task, axis, each, generate, measure, wilson
from accord.evaluate.controls import constant, constant_answer, echo, empty_answer, first, longest, random
from accord.evaluate.measure import subset
from accord.record import Group, Response
from accord.record.measurement import Measurement
from accord.record.measurement_files import measurement_path, measurements_in, read_measurement, write_measurement
from accord.testing import scripted_subject

CAPITALS = {"France": "Paris", "Peru": "Lima", "Norway": "Oslo", "Japan": "Tokyo"}


def capitals() -> Task:
    items = [
        Group(f"Capital of {land}?", answer=city, meta={"sea": land in ("Norway", "Japan"), "continent": land[0]})
        for land, city in CAPITALS.items()
    ]
    right = each(lambda item: {"right": item.responses[0].text.strip(" .") == item.answer, "unasked": None})
    return Task("capitals", items, ask=generate(max_tokens=8), score=right, axes=[axis("right")])


KNOWS_TWO = scripted_subject(say=lambda request: "Lima." if "Peru" in request.messages[-1].content else "Paris")


def test_a_task_of_ten_lines() -> None:
    found = measure(capitals(), KNOWS_TWO)
    assert found.estimates == {"right": wilson(2, 4)}
    assert [item.values["right"] for item in found.items] == [1.0, 1.0, 0.0, 0.0]
    assert found.items[1].answers == ("Lima.",)
    assert found.items[1].prompt == "Capital of Peru?"
    assert (found.model, found.identity) == ("scripted", "scripted scripted")


def test_slices_have_the_same_axes() -> None:
    found = measure(replace(capitals(), slices=("sea",)), KNOWS_TWO)
    assert found.slices == {"sea": {"False": {"right": wilson(2, 2)}, "True": {"right": wilson(0, 2)}}}


def test_clusters_widen_the_interval() -> None:
    plain = measure(capitals(), KNOWS_TWO).estimates["right"]
    clustered = measure(replace(capitals(), cluster="sea"), KNOWS_TWO).estimates["right"]
    assert clustered.high - clustered.low > plain.high - plain.low


def test_controls_are_measured_on_the_same_items() -> None:
    task = replace(capitals(), controls=[constant_answer("Oslo"), empty_answer(), echo()])
    found = measure(task, KNOWS_TWO)
    assert {name: one["right"].mean for name, one in found.controls.items()} == {
        "constant answer": 0.25,
        "empty answer": 0.0,
        "echo": 0.0,
    }


def test_settings_tell_what_was_asked_wherever_it_was_read_from() -> None:
    task, other = capitals(), replace(capitals(), items=capitals().items[:3])
    assert measure(task, KNOWS_TWO).settings == measure(capitals(), KNOWS_TWO).settings
    assert measure(task, KNOWS_TWO).settings != measure(other, KNOWS_TWO).settings


def test_what_a_scorer_may_not_do() -> None:
    task = capitals()
    with pytest.raises(NumericsError, match=r"item 0, 'Capital of France\?': its 'right' is nan"):
        measure(replace(task, score=each(lambda item: {"right": float("nan")})), KNOWS_TWO)
    with pytest.raises(ConfigError, match=r"no item has the columns of any axis \(right\)"):
        measure(replace(task, score=each(lambda item: {"correct": True})), KNOWS_TWO)
    with pytest.raises(DataError, match="4 items got 1 rows"):
        measure(replace(task, score=lambda items: [{"right": 1.0}]), KNOWS_TWO)
    with pytest.raises(DataError, match="changed the items"):
        measure(replace(task, ask=lambda subject, items: list(items)[::-1]), KNOWS_TWO)
    with pytest.raises(ConfigError, match="'median'"):
        measure(replace(task, axes=[axis("right", statistic="median")]), KNOWS_TWO)


def test_ids_pair_the_results_of_models_so_no_two_are_the_same() -> None:
    twice = replace(capitals(), items=[Group("a", id="x"), Group("b", id="x")])
    with pytest.raises(DataError, match="another item has the id 'x'"):
        measure(twice, KNOWS_TWO)


def test_a_part_of_a_task_keeps_ids_order_and_whole_clusters() -> None:
    items = [Group(f"{place}", meta={"of": place // 3}) for place in range(30)]
    task = replace(capitals(), items=items, cluster="of")
    part = subset(task, 10, seed=1)
    ids = [int(str(item.id)) for item in part.items]
    assert len(ids) == 9
    assert ids == sorted(ids)
    assert len({place // 3 for place in ids}) == 3
    assert [item.id for item in subset(task, 10, seed=1).items] == [item.id for item in part.items]
    assert [item.id for item in subset(task, 10, seed=2).items] != [item.id for item in part.items]
    with pytest.raises(ConfigError, match="--limit"):
        subset(task, 0)


def test_rankers_that_understand_nothing() -> None:
    item = Group("Q", (Response("long answer"), Response("short")))
    rows = {one.name: (one.rewards or (lambda _: []))([item])[0] for one in (constant(), first(), longest(), random())}
    assert rows["constant"] == (0.0, 0.0)
    assert rows["first"] == (0.0, -1.0)
    assert rows["longest"] == (11.0, 5.0)
    assert rows["random"][0] != rows["random"][1]
    likelihoods = random().likelihoods
    assert likelihoods is not None
    assert tuple(one.total for one in likelihoods([item])[0]) == rows["random"]


def test_a_measurement_survives_its_file(tmp_path: Path) -> None:
    found = measure(replace(capitals(), slices=("sea",), controls=[echo()]), KNOWS_TWO)
    path = measurement_path(tmp_path, "capitals under perturbations")
    write_measurement(path, found)
    assert read_measurement(path) == found
    assert measurements_in(tmp_path) == [path] == measurements_in(path)
    assert path.parent.name == "capitals-under-perturbations"
    assert [file.name for file in path.parent.iterdir()] == ["measurement.json"]


def test_a_file_that_is_no_measurement_is_named(tmp_path: Path) -> None:
    path = tmp_path / "measurement.json"
    with pytest.raises(DataError, match="cannot be opened"):
        read_measurement(path)
    path.write_text('{"task": 1}', encoding="utf-8")
    with pytest.raises(DataError, match="is no measurement"):
        read_measurement(path)
    with pytest.raises(DataError, match="holds no measurement"):
        measurements_in(tmp_path / "nothing")
    assert isinstance(measure(capitals(), KNOWS_TWO), Measurement)
