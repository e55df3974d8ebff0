"""Estimates with intervals, and paired comparisons of two models on the same items. No torch."""

from accord.evaluate.statistics import (
    compare,
    holm,
    mean_estimate,
    minimum_detectable_effect,
    paired_difference,
    paired_p_value,
    wilson,
)

__all__ = [
    "compare",
    "holm",
    "mean_estimate",
    "minimum_detectable_effect",
    "paired_difference",
    "paired_p_value",
    "wilson",
]
