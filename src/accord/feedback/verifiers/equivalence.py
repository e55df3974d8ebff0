"""Mathematical equivalence of a response's answer and the ground truth, by the package math-verify."""

from __future__ import annotations

import importlib.util
import logging
from functools import lru_cache
from typing import Any

from accord.errors import ConfigError
from accord.feedback.function import FunctionReward
from accord.feedback.verifiers.extract import boxed
from accord.feedback.verifiers.structure import Seconds
from accord.feedback.worker import Workers

LONGEST = 20_000
"""Characters at the end of a response that are parsed."""


class Equivalence(FunctionReward):
    r"""Whether the response's expression equals the ground truth: fractions, roots, sets, equations, matrices.

    It parses LaTeX (the last box first) and plain expressions, simplifies and compares them in a child process that is
    ended when it takes too long: an expression that never ends is wrong, not a hang. A ground truth that cannot be
    parsed is missing. Misses: what math-verify does not parse, such as an answer in words; units are dropped.

    Args:
        timeout: seconds for one response.

    Raises:
        ConfigError: the package math-verify is not installed.
    """

    def __init__(self, *, timeout: Seconds = 5.0) -> None:
        if importlib.util.find_spec("math_verify") is None:
            mend = "Install it: pip install 'accord[verify]'."
            raise ConfigError("the package math-verify is not installed", where="reward math", mend=mend)
        workers = Workers(f"{__name__}:equivalent", warm=["1", "$1$"])

        def math(responses: list[str], answers: list[Any]) -> list[float | None]:
            golds = [_text(answer) for answer in answers]
            distinct = sorted({gold for gold in golds if gold is not None})
            readable = dict(
                zip(distinct, workers.verdicts([[gold] for gold in distinct], timeout=timeout), strict=True)
            )
            requests = [
                [gold, response[-LONGEST:]] if gold is not None and readable[gold] else None
                for gold, response in zip(golds, responses, strict=True)
            ]
            return workers.verdicts(requests, timeout=timeout)

        super().__init__(math)


def equivalent(request: list[str]) -> bool:
    """In the child: whether a ground truth can be read; with a response, whether the two are equivalent."""
    from math_verify import parse, verify  # type: ignore[import-untyped, unused-ignore]

    logging.disable()  # it reports every expression that it cannot parse
    gold, *response = request
    expressions = _gold(gold)
    if not response:
        return bool(expressions)
    # No timeouts of its own: those are signals, which no C code heeds; the process is ended instead.
    return bool(verify(expressions, parse(response[0], parsing_timeout=None), timeout_seconds=None))


@lru_cache(maxsize=256)
def _gold(text: str) -> list[Any]:
    from math_verify import parse  # type: ignore[import-untyped, unused-ignore]

    wrapped = text if boxed(text) is not None or "$" in text else f"\\boxed{{{text}}}"
    parsed: list[Any] = parse(wrapped, parsing_timeout=None)
    # A text beside the expression, or alone, means that nothing mathematical was read.
    return parsed if any(not isinstance(one, str) for one in parsed) else []


def _text(answer: Any) -> str | None:
    if isinstance(answer, bool) or not isinstance(answer, str | int | float):
        return None
    return str(answer)[-LONGEST:] or None
