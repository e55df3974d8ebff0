"""Rows from every kind of file, directory and data set, each with its place."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow  # type: ignore[import-untyped]
import pyarrow.parquet  # type: ignore[import-untyped]
import pytest

from accord.data import read
from accord.errors import DataError

ROWS = [{"prompt": "q1", "completion": "a, with comma\nand line"}, {"prompt": "q2", "completion": "ä"}]


def _jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), sink)
    return bytes(sink.getvalue())


def _zstd(data: bytes) -> bytes:
    return bytes(pyarrow.compress(data, codec="zstd", asbytes=True))


CSV = 'prompt,completion\nq1,"a, with comma\nand line"\nq2,ä\n'.encode()
FILES: dict[str, tuple[bytes, list[int]]] = {
    "a.jsonl": (_jsonl(ROWS), [1, 2]),
    "bom.jsonl": (b"\xef\xbb\xbf" + _jsonl(ROWS), [1, 2]),
    "blank.ndjson": (b"\r\n" + _jsonl(ROWS).replace(b"\n", b"\r\n\r\n"), [2, 4]),
    "array.json": (json.dumps(ROWS).encode(), [1, 1]),
    "pretty.json": (json.dumps(ROWS, indent=2).encode(), [2, 6]),
    "object.json": (json.dumps({"version": 1, "data": ROWS}, indent=1).encode(), [4, 8]),
    "lines.json": (_jsonl(ROWS), [1, 2]),
    "array.jsonl": (b"\n" + json.dumps(ROWS, indent=2).encode(), [3, 7]),
    "a.csv": (CSV, [2, 4]),
    "a.tsv": (CSV.replace(b"prompt,", b"prompt\t").replace(b"q1,", b"q1\t").replace(b"q2,", b"q2\t"), [2, 4]),
    "a.parquet": (_parquet(ROWS), [1, 2]),
    "a.jsonl.gz": (gzip.compress(_jsonl(ROWS)), [1, 2]),
    "a.json.bz2": (bz2.compress(json.dumps(ROWS).encode()), [1, 1]),
    "a.csv.xz": (lzma.compress(CSV), [2, 4]),
    "a.jsonl.zst": (_zstd(_jsonl(ROWS)), [1, 2]),
    "two-frames.jsonl.zst": (_zstd(_jsonl(ROWS[:1])) + _zstd(_jsonl(ROWS[1:])), [1, 2]),
    "a.parquet.gz": (gzip.compress(_parquet(ROWS)), [1, 2]),
}


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file(tmp_path: Path, name: str) -> None:
    data, lines = FILES[name]
    (tmp_path / name).write_bytes(data)
    groups = read([str(tmp_path / name)]).groups
    assert [(group.prompt, group.responses[0].text) for group in groups] == [
        (row["prompt"], row["completion"]) for row in ROWS
    ]
    assert [group.origin.line for group in groups if group.origin] == lines


def test_a_single_object_is_one_row(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    path.write_text(json.dumps({"messages": [{"role": "user", "content": "hi"}]}, indent=2))
    assert len(read([str(path)]).groups) == 1


def test_a_long_csv_cell_is_read(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text("prompt,completion\nq," + "x" * 1_000_000 + "\n")
    assert len(read([str(path)]).groups[0].responses[0].text) == 1_000_000


def test_a_directory_of_files_in_order(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("b.jsonl", "a.jsonl", "sub/c.csv"):
        (tmp_path / name).write_bytes(CSV if name.endswith("csv") else _jsonl(ROWS))
    (tmp_path / "README.md").write_text("not data")
    (tmp_path / ".hidden.jsonl").write_text("not data")
    dataset = read([str(tmp_path)])
    assert [Path(found.path).name for found in dataset.formats] == ["a.jsonl", "b.jsonl", "c.csv"]
    assert len(dataset.groups) == 6


def test_a_directory_with_splits_reads_one_and_says_so(tmp_path: Path) -> None:
    for name in ("helpful/train.jsonl", "helpful/test.jsonl", "data/train-00000-of-00001.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(_jsonl(ROWS))
    dataset = read([str(tmp_path)])
    assert len(dataset.formats) == 2
    assert dataset.notes == [f"{tmp_path}: split 'train' is read; left out: helpful/test.jsonl"]
    assert len(read([str(tmp_path)], split="test").formats) == 1
    with pytest.raises(DataError, match="has no split 'validation', its splits are test, train"):
        read([str(tmp_path)], split="validation")


def test_a_directory_without_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no data file"):
        read([str(tmp_path)])


@pytest.mark.parametrize("source", ["nowhere.jsonl", "/nowhere/at/all", "a/b/c"])
def test_what_does_not_exist(source: str) -> None:
    with pytest.raises(DataError, match=f"^{source}: does not exist"):
        read([source])


def test_a_name_below_a_local_directory_is_no_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"^mine/prefs: does not exist"):
        read(["mine/prefs"])


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., str]:
    import datasets  # type: ignore[import-untyped]

    def save(**splits: list[dict[str, Any]]) -> str:
        whole = {name: datasets.Dataset.from_list(rows) for name, rows in splits.items()}
        target = whole["rows"] if list(whole) == ["rows"] else datasets.DatasetDict(whole)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the library's own, about its progress bars
            target.save_to_disk(str(tmp_path / "saved"))
        return str(tmp_path / "saved")

    return save


def test_a_saved_data_set(saved: Callable[..., str]) -> None:
    groups = read([saved(rows=ROWS)]).groups
    assert [group.prompt for group in groups] == ["q1", "q2"]


def test_a_saved_data_set_with_splits(saved: Callable[..., str]) -> None:
    path = saved(train=ROWS, test=ROWS[:1])
    (group,) = read([path], split="test").groups
    assert str(group.origin) == f"{path}[test]:1"
    with pytest.raises(DataError, match="has no split 'validation', its splits are train, test"):
        read([path], split="validation")


def test_a_saved_data_set_that_is_damaged(saved: Callable[..., str]) -> None:
    path = saved(rows=ROWS)
    for file in Path(path).glob("*.arrow"):
        file.write_bytes(b"junk")
    with pytest.raises(DataError, match="cannot be read as a saved data set"):
        read([path])


HUB = """
import os, sys
from pathlib import Path
cache, source = Path(sys.argv[1]), sys.argv[2]
os.environ["HF_DATASETS_CACHE"], os.environ["HF_HUB_OFFLINE"] = str(cache), "1"
import datasets
datasets.disable_progress_bars()
built = datasets.load_dataset(source)
(made,) = [path for path in cache.iterdir() if path.is_dir()]
made = made.rename(cache / "harbour___tides")
for table in made.rglob("*-train.arrow"):
    table.rename(table.with_name("tides-train.arrow"))
from accord.data import read
dataset = read(["harbour/tides"])
print(len(dataset.groups), dataset.groups[1].origin, dataset.formats[0].name)
"""


@pytest.mark.slow
def test_a_hub_data_set_comes_from_the_local_cache(tmp_path: Path) -> None:
    source = tmp_path / "upstream"
    source.mkdir()
    (source / "train.jsonl").write_bytes(_jsonl(ROWS))
    (tmp_path / "cache").mkdir()
    command = [sys.executable, "-c", HUB, str(tmp_path / "cache"), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip().splitlines()[-1:] == ["2 harbour/tides[train]:2 prompt and completion"], done.stderr


def test_a_hub_data_set_that_cannot_be_had_says_so() -> None:
    with pytest.raises(DataError, match=r"^nobody/nothing: .*hub data set cannot be loaded .*offline") as raised:
        read(["nobody/nothing"])
    assert "\n" not in str(raised.value)


def test_importing_the_data_room_is_light() -> None:
    heavy = "torch", "datasets", "pyarrow", "scipy", "transformers", "rich"
    code = f"import sys, accord.data; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
