"""What a reward model's run says of its held-out data beside accuracy: is it as sure as it is right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from accord.evaluate.statistics import compare
from accord.feedback.calibration import brier_scores, calibration
from accord.recipes.reward_table import sentence_of
from accord.record import Comparison
from accord.train.measure_reward_model import REWARD_MARGIN

BRIER = "Brier score"


def brier_comparison(lines: Sequence[dict[str, Any]]) -> Comparison | None:
    """The Brier score before and after, pair by pair (or step by step); `None` if no margins were measured twice.

    Args:
        lines: of the run's measurements on held-out data, first to last.
    """
    margins = [line for line in lines if line["name"] == REWARD_MARGIN]
    if len(margins) < 2:
        return None
    before, after = (brier_scores(line["values"]) for line in (margins[0], margins[-1]))
    return compare(
        BRIER,
        before,
        after,
        clusters=margins[0]["clusters"],
        higher_is_better=False,
        unit="share",
        description="Squared distance from 1 of the probability that the model gives to what the held-out feedback "
        "says: it rewards being right, and being no surer than one is right. A coin has 0.25.",
    )


def calibration_note(lines: Sequence[dict[str, Any]]) -> str | None:
    """Calibration after training in a sentence; `None` if no margins were measured."""
    margins = [line for line in lines if line["name"] == REWARD_MARGIN]
    return f"Calibration: {sentence_of(calibration(margins[-1]['values']))}." if margins else None
