"""The study of groups at a tiny budget: the page says what the figures say, and the groups are what they should be."""

import json
import random
import re
from pathlib import Path

import pytest

from accord.errors import ConfigError
from accord.recipes.group_page import AXES
from accord.recipes.group_study import Budget, population, study_groups

TINY = Budget(groups=4, held_out=2, questions=24, asked=20, options=3, contexts=(1, 3), width=16, layers=1, steps=3)


def test_the_page_says_what_the_figures_say(tmp_path: Path) -> None:
    out = tmp_path / "groups.md"
    table = study_groups(seeds=1, budget=TINY, out=out)
    text = out.read_text(encoding="utf-8")
    assert f"accord world groups --seeds 1 --out {out}" in text
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1, block
    assert len(table.rows) == 2 * 5
    for row in table.rows:
        assert all(row.axes[axis].n == TINY.held_out + 3 for axis in AXES)
        assert f"{row.axes['gain'].mean:.3f}" in text
    assert len(json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))["rows"]) == 10


def test_groups_differ_in_taste_and_agree_on_what_is_right() -> None:
    annotators = population(20, random.Random(0))
    assert {annotator.gold for annotator in annotators} == {1.0}
    assert len({(annotator.brevity, annotator.warmth, annotator.caution) for annotator in annotators}) == 20


@pytest.mark.parametrize(("arguments", "flag"), [({"seeds": 0}, "--seeds"), ({"out": "page.html"}, "--out")])
def test_a_mistake_is_named_before_anything_is_sampled(arguments: dict[str, object], flag: str) -> None:
    with pytest.raises(ConfigError, match=flag):
        study_groups(**arguments)  # type: ignore[arg-type]
