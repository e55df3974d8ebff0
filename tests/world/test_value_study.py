"""The study of values at a tiny scale: it says what was found, and goes on where it was stopped."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from accord.errors import ConfigError, DataError
from accord.recipes import value_study
from accord.recipes.value_study import Scale, study_values
from accord.recipes.value_study_choices import PEOPLE
from accord.recipes.value_study_front import FrontScale
from accord.recipes.value_study_guided import WAYS
from accord.world.annotators import VALUES

TINY = Scale(
    questions=30,
    options=3,
    resamples=20,
    held_out=8,
    learned=40,
    front=FrontScale(rounds=1, prompts=4, answers=4, batch_size=4, parts=2, judged=1, mixes=((0.5, 0.5, 0.0),)),
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study") / "values.md"
    study_values(seeds=1, scale=TINY, out=out)
    return out


def test_the_page_has_every_part(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert f"accord world values --seeds 1 --out {page}" in text
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1, block
    intervals = len(PEOPLE) * len(VALUES)
    assert re.search(rf"\*\*\d+ of {intervals} intervals hold the planted weight\*\*", text)
    assert "and the 3 soups of them" in text
    assert len(re.findall("trained on a mix", text)) == 1
    for way in WAYS:
        assert f"| {way} |" in text
    assert "<svg" in page.with_suffix(".svg").read_text(encoding="utf-8")


def test_what_was_found_is_not_found_again(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = page.read_text(encoding="utf-8")
    monkeypatch.delattr(value_study, "_studied")
    study_values(seeds=1, scale=TINY, out=page)
    assert page.read_text(encoding="utf-8") == before


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--seeds"):
        study_values(seeds=0)
    with pytest.raises(ConfigError, match="--out"):
        study_values(out="page.html")
    (tmp_path / "values.jsonl").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="is damaged"):
        study_values(seeds=1, scale=TINY, out=tmp_path / "values.md")
