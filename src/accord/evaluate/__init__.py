"""Measuring models: tasks, their subjects, estimates with intervals, paired comparisons. No torch at import."""

from accord.evaluate.ask import choose, generate, loglikelihood, reward, reward_or_likelihood
from accord.evaluate.comparing import compare_measurements, compare_models
from accord.evaluate.measure import measure
from accord.evaluate.statistics import (
    compare,
    holm,
    mean_estimate,
    minimum_detectable_effect,
    paired_difference,
    paired_p_value,
    wilson,
)
from accord.evaluate.subject import Likelihood, Subject
from accord.evaluate.task import Task, axis, each

__all__ = [
    "Likelihood",
    "Subject",
    "Task",
    "axis",
    "choose",
    "compare",
    "compare_measurements",
    "compare_models",
    "each",
    "generate",
    "holm",
    "loglikelihood",
    "mean_estimate",
    "measure",
    "minimum_detectable_effect",
    "paired_difference",
    "paired_p_value",
    "reward",
    "reward_or_likelihood",
    "wilson",
]
