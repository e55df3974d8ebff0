"""Files broken on purpose: one sentence with file and line, never another exception."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.data import read
from accord.errors import DataError

GOOD = {"prompt": "p", "chosen": "a", "rejected": "b"}


def _lines(rows: list[dict[str, Any]]) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


def _seventh(**change: Any) -> bytes:
    return _lines([GOOD] * 6 + [{**GOOD, **change}])


MISSING = _lines([GOOD, {"prompt": "p", "chosen": "a"}])
UNKNOWN = b'{"foo": 1, "bar": 2}'
ALMOST = b'{"prompt": "p", "chosen": "a", "other": "b"}'
NAN = b'{"prompt": "p", "completion": "a", "score": 1}\n{"prompt": "p", "completion": "b", "score": NaN}'
HALF = gzip.compress(_lines([{**GOOD, "prompt": f"{number} {hash(number)}"} for number in range(5000)]))[:9000]

BROKEN: dict[str, tuple[str, bytes, str]] = {
    "missing column": ("a.jsonl", MISSING, r"a\.jsonl:2: column `rejected` is missing; the row has prompt, chosen\."),
    "wrong type in row 7": ("a.jsonl", _seventh(chosen=3), r"a\.jsonl:7: `chosen` is a number \('3'\), text is exp"),
    "list where text belongs": ("a.jsonl", _seventh(prompt=["p"]), r"a\.jsonl:7: `prompt` is a list, text is expected"),
    "null": ("a.jsonl", _seventh(rejected=None), r"a\.jsonl:7: `rejected` is empty \(null\), text is expected"),
    "row that is no object": ("a.jsonl", _lines([GOOD]) + b"\n3", r"a\.jsonl:2: the row is a number, an object is exp"),
    "empty file": ("a.jsonl", b"", r"a\.jsonl: the file has no rows"),
    "blank lines": ("a.jsonl", b"\n \n", r"a\.jsonl: the file has no rows"),
    "empty array": ("a.json", b"[]", r"a\.json: the file has no rows"),
    "header only": ("a.csv", b"prompt,completion\n", r"a\.csv: the file has no rows"),
    "NaN score": ("a.jsonl", NAN, r"a\.jsonl:2: `score` is NaN\. Correct the value, or write null"),
    "NaN score in a table": ("a.csv", b"prompt,completion,score\np,a,nan\n", r"a\.csv:2: `score` is NaN"),
    "infinite score": ("a.csv", b"prompt,completion,score\np,a,inf\n", r"a\.csv:2: `score` is infinite"),
    "score of text": (
        "a.csv",
        b"prompt,completion,score\np,a,high\n",
        r"a\.csv:2: `score` is text \('high'\), a number",
    ),
    "label of text": ("a.csv", b"prompt,completion,label\np,a,maybe\n", r"a\.csv:2: `label` is text \('maybe'\), true"),
    "binary junk": ("a.jsonl", bytes(range(256)), r"a\.jsonl:1: is not"),
    "binary junk in Parquet": ("a.parquet", b"PAR1" + bytes(range(256)) + b"PAR1", r"a\.parquet: is not a readable"),
    "half a gzip": ("a.jsonl.gz", HALF, r"a\.jsonl\.gz: the compressed file breaks off after \d+ rows"),
    "no gzip at all": ("a.jsonl.gz", _lines([GOOD]), r"a\.jsonl\.gz: cannot be read after 0 rows \(Not a gzipped file"),
    "unknown format": (
        "a.jsonl",
        UNKNOWN,
        r"a\.jsonl:1: the format is not recognised: the columns are foo, bar\. Name",
    ),
    "almost a format": (
        "a.jsonl",
        ALMOST,
        r"a\.jsonl:1: the format is not recognised: .*; `rejected` is missing beside prompt, chosen",
    ),
    "invalid UTF-8": ("a.jsonl", b'{"prompt": "\xff"}', r"a\.jsonl:1: is not UTF-8 text \(byte 0xff\)"),
    "invalid UTF-8 in a table": ("a.csv", b"prompt,completion\np,a\np,\xe4\n", r"a\.csv:3: is not UTF-8 text"),
    "JSON cut inside a row": ("a.jsonl", _lines([GOOD, GOOD])[:-5], r"a\.jsonl:2: the JSON breaks off before it is"),
    "JSON cut inside an array": ("a.json", json.dumps([GOOD] * 3, indent=1).encode()[:-9], r"a\.json:15: the JSON br"),
    "malformed inside an array": (
        "a.json",
        b'[\n{"prompt": "p"},\n{"prompt": }\n]',
        r"a\.json:3: is not JSON: invalid",
    ),
    "missing cell": ("a.csv", b"prompt,completion\np,a\np\n", r"a\.csv:3: the row has 1 cells, the header has 2"),
    "cell too many": ("a.csv", b"prompt,completion\np,a,b\n", r"a\.csv:2: the row has 3 cells, the header has 2"),
    "open quote": ("a.csv", b'prompt,completion\np,"a\n', r"a\.csv:\d: is not a table: unexpected end of data"),
    "repeated header": ("a.csv", b"prompt,prompt\na,b\n", r"a\.csv:1: the header has an empty or a repeated name"),
    "nested too deeply": ("a.jsonl", b'{"prompt": ' + b"[" * 100_000, r"a\.jsonl:1: is nested too deeply"),
    "unknown file type": ("a.docx", b"PK", r"a\.docx: the file type '\.docx' is unknown\. Accord reads \.jsonl,"),
    "no suffix": ("data", b"{}", r"data: the file type 'without a suffix' is unknown"),
    "no role": ("a.jsonl", b'{"messages": [{"role": 1, "content": "x"}]}', r"`messages\[0\]\.role` is a number"),
    "tool call": (
        "a.jsonl",
        b'{"messages": [{"role": "user", "content": null}]}',
        r"`messages\[0\]\.content` is empty",
    ),
    "empty messages": ("a.jsonl", b'{"messages": []}', r"a\.jsonl:1: `messages` is an empty list"),
    "empty rows": ("a.jsonl", b"{}", r"a\.jsonl:1: the format is not recognised: the columns are no columns"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_one_sentence_with_file_and_line(tmp_path: Path, case: str) -> None:
    name, data, expected = BROKEN[case]
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DataError, match=expected) as raised:
        read([str(path)])
    assert "\n" not in str(raised.value)


def test_malformed_rows_are_named_together(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(_lines([GOOD, {**GOOD, "chosen": 1}, GOOD, {"prompt": "p"}]) + b"\nnonsense")
    with pytest.raises(DataError, match=rf"a\.jsonl:2: .*; 3 rows are malformed \(also {path}:4, 5\)"):
        read([str(path)])


def test_reading_stops_after_twenty(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(_lines([GOOD] + [{**GOOD, "chosen": 1}] * 50))
    with pytest.raises(DataError, match=r"20 rows are malformed, where reading stopped \(also .* and 14 more\)"):
        read([str(path)])


def test_a_mapped_column_that_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(_lines([GOOD]))
    with pytest.raises(DataError, match=r"a\.jsonl:1: column `question` of --columns is missing; the row has prompt"):
        read([str(path)], columns="prompt=question")


def _names_its_file(path: Path) -> bool:
    """Whether reading succeeds or fails with the one error that is allowed, which names the file."""
    try:
        read([str(path)])
    except DataError as error:
        return str(path) in str(error)
    return True


@given(data=st.binary(max_size=300), name=st.sampled_from(["a.jsonl", "a.json", "a.csv", "a.parquet", "a.jsonl.gz"]))
def test_arbitrary_bytes_raise_nothing_else(tmp_path: Path, data: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    assert _names_its_file(path)


@given(start=st.sampled_from([b"\x1f\x8b\x08\x00", b"BZh9", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"]), data=st.binary())
def test_arbitrary_compressed_bytes_raise_nothing_else(tmp_path: Path, start: bytes, data: bytes) -> None:
    for suffix in (".gz", ".bz2", ".xz", ".zst"):
        path = tmp_path / f"a.jsonl{suffix}"
        path.write_bytes(start + data)
        with pytest.raises(DataError):
            read([str(path)])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = [
    *("prompt", "chosen", "rejected", "completion", "label", "messages", "conversations", "responses", "ranking"),
    *("scores", "instruction", "completions", "message_id", "parent_id", "text", "role", "message_tree_id", "score"),
    *("feedback", "ranks", "probs", "output", "answer", "better_response_id", "safer_response_id", "response_0"),
    *("response_1", "is_response_0_safe", "is_response_1_safe", "score_chosen", "score_rejected", "response"),
]
MESSAGES = st.lists(st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]) | JSON, "content": JSON}))


@given(rows=st.lists(st.dictionaries(st.sampled_from(NAMES), JSON | MESSAGES), min_size=1, max_size=4))
def test_arbitrary_rows_raise_nothing_else(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(_lines(rows))
    assert _names_its_file(path)
