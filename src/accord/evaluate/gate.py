"""A regression gate: may the new model replace the old one?

It may if what is required gains and nothing that is guarded loses more than its tolerance, both by the 95% interval of
the paired difference: a gain is shown when the interval lies above the margin, and non-inferiority when it lies above
minus the tolerance. What the items cannot show has not passed, and the message says how many items would be enough. All
conditions must hold, so that no correction for their number is needed.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from accord.errors import ConfigError
from accord.evaluate.power import detectable
from accord.record import Estimate
from accord.record.compared import Gate, GateCheck, PairComparison


class Conditions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a gate asks, in the axes' units; an axis is named `AXIS` or `TASK/AXIS`.

    Attributes:
        require: axes that must gain more than so much.
        guard: axes that must not lose more than so much.
    """

    require: dict[str, float] = {}
    guard: dict[str, float] = {}


def read_conditions(path: str | Path) -> Conditions:
    """Conditions from a TOML file: `[require]` and `[guard]` with an axis and a number a line.

    Raises:
        ConfigError: the file cannot be read, or says something else.
    """
    try:
        return msgspec.convert(tomllib.loads(Path(path).read_text(encoding="utf-8")), Conditions)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        mend = 'Write [require] and [guard], and below each lines such as "over-refusal" = 0.02.'
        raise ConfigError(f"is no gate ({error})", where=str(path), mend=mend) from error


def parse_conditions(require: Sequence[str], guard: Sequence[str]) -> Conditions:
    """Conditions from flags: `AXIS` or `AXIS:MARGIN` each.

    Raises:
        ConfigError: a margin that is no number, or a guard without one.
    """
    return Conditions(
        dict(_parsed("--require", one, default=0.0) for one in require),
        dict(_parsed("--guard", one, default=None) for one in guard),
    )


def gate(pair: PairComparison, conditions: Conditions) -> Gate:
    """What a gate says of a comparison.

    Raises:
        ConfigError: no condition, an axis that was not measured, is ambiguous or has no direction, a negative margin.
    """
    gains: dict[str, Estimate] = {}
    for name in (*conditions.require, *conditions.guard):
        found = [one for one in pair.findings if name in (one.comparison.axis, f"{one.task}/{one.comparison.axis}")]
        directed = [one for one in found if one.comparison.higher_is_better is not None]
        if len(directed) != 1:
            known = ", ".join(
                f"{one.task}/{one.comparison.axis}"
                for one in pair.findings
                if one.comparison.higher_is_better is not None
            )
            problem = "is measured by several tasks" if len(directed) > 1 else "is no measured axis with a direction"
            raise ConfigError(f"{name!r} {problem}", where="--require, --guard", mend=f"There are: {known}.")
        gains[name] = directed[0].gain
    return regression_gate(gains, conditions)


def regression_gate(gains: Mapping[str, Estimate], conditions: Conditions) -> Gate:
    """The gate over gains: after minus before, turned so that more is better, each with its interval.

    Raises:
        ConfigError: no condition, or a negative margin.
    """
    if not conditions.require and not conditions.guard:
        raise ConfigError(
            "a gate needs a condition", where="--gate", mend="Give --require AXIS or --guard AXIS:TOLERANCE."
        )
    negative = [name for of in (conditions.require, conditions.guard) for name, margin in of.items() if not margin >= 0]
    if negative:
        raise ConfigError(f"the margin of {negative[0]!r} must be 0 or more", where="--require, --guard")
    checks = (
        *(_required(name, gains[name], margin) for name, margin in conditions.require.items()),
        *(_guarded(name, gains[name], margin) for name, margin in conditions.guard.items()),
    )
    drops = [-gains[name].mean for name in conditions.guard]
    return Gate(all(check.outcome == "passed" for check in checks), checks, max(0.0, *drops) if drops else 0.0)


def _required(axis: str, gain: Estimate, margin: float) -> GateCheck:
    more = f" more than {margin:g}" if margin else ""
    told = _told(axis, gain)
    if gain.low > margin:
        return GateCheck(axis, "require", margin, gain, "passed", f"{told}, which is shown to be more than {margin:g}.")
    if gain.high <= margin:
        return GateCheck(axis, "require", margin, gain, "failed", f"{told}: it does not gain{more}.")
    return GateCheck(
        axis,
        "require",
        margin,
        gain,
        "not shown",
        f"{told}: a gain{more and ' of' + more} is not shown{_enough(gain, gain.mean - margin)}.",
    )


def _guarded(axis: str, gain: Estimate, tolerance: float) -> GateCheck:
    told = _told(axis, gain)
    # Limits are inclusive where nothing is uncertain: a loss of exactly the tolerance is tolerated.
    if gain.low > -tolerance or gain.low == gain.high == -tolerance:
        return GateCheck(
            axis, "guard", tolerance, gain, "passed", f"{told}: a loss of {tolerance:g} or more is ruled out."
        )
    if gain.high < -tolerance:
        by = -tolerance - gain.mean
        return GateCheck(
            axis, "guard", tolerance, gain, "failed", f"{told}: {by:.3g} more than the {tolerance:g} that it may."
        )
    return GateCheck(
        axis,
        "guard",
        tolerance,
        gain,
        "not shown",
        f"{told}: it may have lost {-gain.low:.3g}, more than {tolerance:g}{_enough(gain, gain.mean + tolerance)}.",
    )


def _enough(gain: Estimate, distance: float) -> str:
    """How many items would show it, if the true change is the one that was seen."""
    reach = detectable(gain)
    if reach is None or distance <= 0:
        return ""
    return f"; about {math.ceil(gain.n * (reach / distance) ** 2):,} items like these would show it if the mean holds"


def _told(axis: str, gain: Estimate) -> str:
    """`helpful gained 0.05 (95% interval +0.01 to +0.09)`; the interval is of the gain, whichever way the axis runs."""
    word = "gained" if gain.mean >= 0 else "lost"
    return f"{axis} {word} {abs(gain.mean):.3g} (95% interval of the gain {gain.low:+.3g} to {gain.high:+.3g})"


def _parsed(flag: str, text: str, *, default: float | None) -> tuple[str, float]:
    name, colon, number = text.rpartition(":")
    if not colon and default is not None:
        return text, default
    try:
        return name, float(number)
    except ValueError as error:
        raise ConfigError(
            f"{text!r} has no margin", where=flag, mend="Write AXIS:MARGIN, such as harmless:0.02."
        ) from error
