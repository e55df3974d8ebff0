"""Untrusted text and numbers, made fit to be read: in a page, in Markdown, in a terminal.

Model output and data are hostile until shown otherwise. `clean` makes what cannot be seen visible, so that a prompt
with a right-to-left override, an escape sequence or a NUL reads as what it is; escaping for HTML is Jinja's work,
escaping for Markdown is `markdown_inline` and `markdown_block`.
"""

from __future__ import annotations

import math
import re
from datetime import datetime

from accord.record import Estimate

LONGEST_TEXT = 20_000
"""Characters of one text that a report shows; the rest is counted."""

FOLD_AFTER = 700
"""Characters of one text that a page shows unfolded."""

_BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_UNSEEN = re.compile(rf"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029{_BIDI}\ud800-\udfff\U000e0000-\U000e007f\ufffe\uffff]")
_MARKDOWN = re.compile(r"[\\`*\[\]|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|^[#=>]|^[+\-](?=[\s\-]|$)")
_MARKDOWN_NUMBERED = re.compile(r"^(\d{1,9})([.)])(?=\s|$)")
_UNKNOWN_ABOVE = 1e300


def clean(text: str) -> str:
    """`text` with control, bidirectional, surrogate and tag characters replaced by visible names.

    Newlines and tabs stay; `\\r\\n` becomes a newline. C0 controls become their control pictures (ESC is U+241B),
    everything else its code point, such as `⟨U+202E⟩`.
    """
    return _UNSEEN.sub(_visible, text.replace("\r\n", "\n"))


def shorten(text: str, limit: int = LONGEST_TEXT) -> str:
    """The first `limit` characters, and how many were left out."""
    return text if len(text) <= limit else f"{text[:limit]}… [{len(text) - limit:,} more characters]"


def one_line(text: str, limit: int = 120) -> str:
    """`text` cleaned, on one line, and shortened."""
    return shorten(" ".join(clean(text[: 4 * limit]).split()), limit)


def markdown_inline(text: object) -> str:
    """`text` as one line of Markdown in which nothing is mark-up; a plain number stays as it is."""
    line = _MARKDOWN.sub(r"\\\g<0>", " ".join(clean(str(text)).split()))
    return _MARKDOWN_NUMBERED.sub(r"\1\\\2", line).replace("&", "&amp;").replace("<", "&lt;")


def markdown_block(text: str) -> str:
    """`text` as a fenced block; the fence is longer than any run of backticks inside."""
    body = shorten(clean(text))
    longest = max((len(run) for run in re.findall(r"`+", body)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{body}\n{fence}"


def decimals_of(estimate: Estimate, unit: str = "share") -> int:
    """How many decimals the interval supports: as many as its half width needs for one digit; shares at least two."""
    half = (estimate.high - estimate.low) / 2
    least = 2 if unit == "share" else 1 if abs(estimate.mean) < 100 else 0
    if not 0 < half < _UNKNOWN_ABOVE:
        return max(least, 2)
    return min(4, max(least, -math.floor(math.log10(half))))


def figure(value: float, decimals: int = 2, *, signed: bool = False) -> str:
    """A number with a true minus sign; `signed` shows a plus sign too. Limits that say nothing are infinite."""
    if abs(value) >= _UNKNOWN_ABOVE:
        return "−∞" if value < 0 else "+∞" if signed else "∞"
    rounded = round(value, decimals) + 0.0  # no negative zero
    text = f"{rounded:+,.{decimals}f}" if signed and rounded != 0 else f"{rounded:,.{decimals}f}"
    return text.replace("-", "−")


def interval(estimate: Estimate, unit: str = "share", *, signed: bool = False) -> str:
    """The 95% interval in words, such as `+0.21 to +0.37`."""
    if estimate.high >= _UNKNOWN_ABOVE:
        return "no interval from one item"
    decimals = decimals_of(estimate, unit)
    return f"{figure(estimate.low, decimals, signed=signed)} to {figure(estimate.high, decimals, signed=signed)}"


def brief_number(value: float) -> str:
    """A number of unknown size in at most four digits: `0.0031`, `12.4`, `1.2e-06`."""
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        digits = max(0, 3 - math.floor(math.log10(abs(value))) - 1)
        return figure(value, digits)
    return f"{value:.2g}".replace("-", "−", 1) if value < 0 else f"{value:.2g}"


def count(value: float) -> str:
    """A large number for people: `436k`, `1.2M`, `7.0B`."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            scaled = value / size
            return f"{scaled:.0f}{letter}" if scaled >= 100 else f"{scaled:.3g}{letter}"
    return f"{value:g}"


def duration(seconds: float) -> str:
    """Seconds as people say them: `48 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def moment(value: object) -> str:
    """An ISO 8601 time as `2026-03-01 09:00 UTC`; anything else as its text, nothing as nothing."""
    text = one_line(str(value or ""), 80)
    try:
        return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M %Z}".strip()
    except ValueError:
        return text


def _visible(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"⟨U+{code:04X}⟩"
