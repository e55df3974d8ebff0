"""The study of AI feedback: every kind of label is trained on, and the page says what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from accord.errors import ConfigError
from accord.recipes.feedback_study import GOLD, LABELS, Scale, study_feedback

SMALL = Scale(held_out=30, demonstrations=20, prompts=24, labelled=16, epochs=1)


@pytest.mark.slow
def test_the_page_has_the_audit_and_every_kind_of_label(tmp_path: Path) -> None:
    study = study_feedback(seeds=1, scale=SMALL, out=tmp_path / "page.md", work=tmp_path / "work")
    page = (tmp_path / "page.md").read_text()
    assert [one.labels for one in study.learned] == ["start", GOLD, *LABELS]
    by_name = {one.labels: one for one in study.learned}
    assert by_name["soft"].pairs == study.audit.judged
    assert 0 < by_name["hard, same in both orders"].pairs <= by_name["hard"].pairs
    assert by_name[GOLD].behind is None
    assert by_name["soft"].gain is not None
    assert all(f"| {name} |" in page for name in by_name)
    assert study.audit.accuracy is not None
    assert f"{study.audit.accuracy.mean:.3g}" in page
    assert json.loads((tmp_path / "page.json").read_text())["seeds"] == 1


def test_a_page_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--out: cannot be used"):
        study_feedback(out=tmp_path / "page.html")
