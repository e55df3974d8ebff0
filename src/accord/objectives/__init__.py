"""Objectives: pure functions from tensors to `Terms`, one module a paper family.

What an objective names is what it needs (`vocabulary`), keyword-only parameters are its hyperparameters, and
`OBJECTIVES` is the list of them all. Adding one is a function, a test and a line in `registry`.
"""

from accord.objectives.hyperparameters import Range
from accord.objectives.monitors import Metric, monitors
from accord.objectives.registry import OBJECTIVES, resolve, validate
from accord.objectives.terms import Terms
from accord.objectives.vocabulary import VOCABULARY, Hyperparameter, Objective, Signature, signature_of

__all__ = [
    "OBJECTIVES",
    "VOCABULARY",
    "Hyperparameter",
    "Metric",
    "Objective",
    "Range",
    "Signature",
    "Terms",
    "monitors",
    "resolve",
    "signature_of",
    "validate",
]
