"""The page of the study of guides, and a study of next to nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from accord.errors import ConfigError
from accord.recipes.guide_study import WAYS, Scale, study_guides
from accord.recipes.guide_study_page import LineOfStudy, Page, render
from accord.record import Estimate


def line(name: str, gold: float, over: float | None = None) -> LineOfStudy:
    gain = None if over is None else Estimate(over, over - 0.1, over + 0.1, 9)
    return LineOfStudy(name, Estimate(gold, gold - 0.1, gold + 0.1, 9), (gold, gold), gain, None, None)


def page(*lines: LineOfStudy) -> str:
    scale = {
        "method": "grpo",
        "guide_rounds": 50,
        "prompts": 32,
        "answers": 8,
        "batch_size": 8,
        "rounds": 10,
        "held_out": 200,
    }
    return render(Page(command="accord world guides", seeds=2, scale=scale, lines=lines))


def test_the_page_says_how_far_each_way_has_come() -> None:
    text = page(line("base", 0.4), line("alone", 0.5, 0.1), line("the guide itself", 0.8, 0.3), line("both", 0.7, 0.2))
    assert "| alone |  |  | 0.500 (0.400 to 0.600) | +0.100 (+0.000 to +0.200) | 0.50, 0.50 |" in text
    assert "from the base to the guide: alone 25%, both 75%." in text
    assert "- Better than alone at the end: both.\n- Worse: none.\n- Not told apart from it: alone." in text


def test_a_guide_that_is_no_guide_is_called_so() -> None:
    assert "no gap to close" in page(line("base", 0.4), line("the guide itself", 0.4))


def test_what_the_study_refuses(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--seeds"):
        study_guides(seeds=0, out=tmp_path / "page.md")
    with pytest.raises(ConfigError, match="Markdown"):
        study_guides(out=tmp_path / "page.html")


@pytest.mark.slow
def test_a_small_study(tmp_path: Path) -> None:
    scale = Scale(rounds=1, guide_rounds=1, prompts=2, answers=2, batch_size=2, held_out=4)
    found = study_guides(seeds=1, scale=scale, out=tmp_path / "page.md")
    assert [one.name for one in found.lines] == ["base", *WAYS, "soup of the seeds, alone", "the guide itself"]
    assert "base" in (tmp_path / "page.md").read_text()
    assert (tmp_path / "page.json").exists()
