"""How often every interval of Accord holds the truth, by simulation, as a page.

    python -m accord.recipes.coverage_page docs

measures what `docs/statistics.json` does not hold yet, and writes `docs/statistics.md` from it.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from accord.evaluate import coverage
from accord.evaluate.coverage import Coverage, Draw, simulate

TRIALS = {"quick": 4000, "bootstrap": 400}


class Cell(msgspec.Struct, frozen=True):
    """One population: where it stands on the page, in words, and what came of it."""

    section: str
    population: str
    covered: float
    trials: int
    width: float


_INTRODUCTION = """# How honest the intervals are

Every measured number of Accord has a 95% interval. Here is how often it holds the truth, over populations whose truth
is known; `python -m accord.recipes.coverage_page docs` repeats it. At 4,000 trials the share itself is known to 0.7
points either way, at 400 to 2.1, at 200 to 3. More than 95% is a wide interval: a difference may be missed, none is
invented.

What does not hold is marked: less than 93% by more than the simulation's own error.
"""

_SECTIONS = {
    "shares": (
        "Shares of independent items: Wilson",
        "Right or wrong, win or loss. Exact, over every outcome; the share jumps because counts are whole numbers. For "
        "comparison: the normal interval of 26 successes in 26 trials is [1, 1], Wilson's [0.871, 1].",
    ),
    "means": (
        "Means of independent numbers: Student's t",
        "Few and skewed numbers are the hard case: the interval knows nothing of the long tail that it has not seen.",
    ),
    "clustered shares": (
        "Shares in clusters: Wilson with the effective number of items",
        "Several questions on one text, or several samples of one prompt. The design effect is estimated with one more "
        "cluster imagined, half right and half wrong, and the quantile is Student's t of the clusters. Where clusters "
        "are ignored (last rows) the interval is far too short.",
    ),
    "clustered means": (
        "Means in clusters: Student's t of the clusters",
        "Where luck that clusters share is skewed and clusters are few, the interval is too short; thirty clusters are "
        "enough for a number close to the truth.",
    ),
    "paired shares": (
        "Paired differences of shares: Bonett and Price",
        "Two models right or wrong on the same items; what decides is how many change. Rare changes make it wide.",
    ),
    "calibration": (
        "Expected calibration error: bootstrap of its gaps",
        "Noise can only raise this number: a perfectly calibrated model is never measured as one. The interval takes "
        "that in, and is wide for it.",
    ),
    "length control": ("Length-controlled win rate: bootstrap of the fit", "BCa over instructions, the fit repeated."),
    "ratings": (
        "Bradley-Terry ratings: Rubin's bootstrap, and the sandwich",
        "Of the best model. Where it hardly ever loses (log-odds of 2.5 to an average one), the sandwich is too short "
        "and the bootstrap is not; `accord compare` takes the bootstrap.",
    ),
}


def cells() -> Iterator[tuple[str, str, Callable[[], Coverage]]]:
    """Every population: section, words, and what measures it."""
    for n in (5, 10, 30, 100, 300):
        for share in (0.05, 0.2, 0.5):
            yield "shares", f"{n} items, share {share}", _exact(n, share)
    for n in (5, 10, 30, 100):
        for skewed in (False, True):
            kind = "exponential" if skewed else "normal"
            yield "means", f"{n} items, {kind}", _quick(coverage.means(n, skewed=skewed))
    for clusters, size in ((5, 4), (5, 20), (10, 3), (10, 20), (30, 5), (30, 20), (100, 3)):
        for correlation in (0.0, 0.4, 0.9):
            for share in (0.1, 0.5):
                words = f"{clusters} clusters of about {size}, correlation {correlation:g}, share {share}"
                draw = coverage.clustered_shares(clusters, size, share=share, correlation=correlation)
                yield "clustered shares", words, _quick(draw)
    for clusters, size in ((10, 20), (30, 5)):
        words = f"clusters ignored: {clusters} clusters of about {size}, correlation 0.4, share 0.5"
        draw = coverage.clustered_shares(clusters, size, share=0.5, correlation=0.4, ignored=True)
        yield "clustered shares", words, _quick(draw)
    for clusters, size in ((5, 4), (10, 3), (30, 5), (100, 3)):
        for skewed in (False, True):
            words = (
                f"{clusters} clusters of about {size}, correlation 0.5, luck {'exponential' if skewed else 'normal'}"
            )
            yield (
                "clustered means",
                words,
                _quick(coverage.clustered_means(clusters, size, correlation=0.5, skewed=skewed)),
            )
    for clusters, size, correlation in (
        (10, 1, 0.0),
        (40, 1, 0.0),
        (200, 1, 0.0),
        (10, 4, 0.5),
        (10, 20, 0.5),
        (30, 4, 0.5),
    ):
        for better, worse in ((0.05, 0.02), (0.2, 0.1), (0.4, 0.3)):
            items = f"{clusters} items" if size == 1 else f"{clusters} clusters of {size}, correlation {correlation:g}"
            draw = coverage.paired_shares(clusters, size, better=better, worse=worse, correlation=correlation)
            yield "paired shares", f"{items}, {better:.0%} better and {worse:.0%} worse", _quick(draw)
    for n in (50, 200):
        for overconfident in (0.0, 0.1):
            words = f"{n} items, right {overconfident:.0%} less often than said"
            yield "calibration", words, _slow(coverage.calibration(n, overconfident=overconfident))
    for n, trials in ((50, TRIALS["bootstrap"]), (100, TRIALS["bootstrap"] // 2)):
        for quality in (-0.5, 0.5):
            words = f"{n} instructions, log-odds of winning {quality:+g}, a judge who pays for length"
            yield "length control", words, _slow(coverage.length_controlled(n, quality=quality, length=1.0), trials)
    for models, prompts, spread in ((2, 10, 0.5), (2, 30, 2.5), (3, 10, 1.0), (3, 40, 1.0), (5, 20, 1.0)):
        for method in ("bootstrap", "sandwich"):
            words = f"{models} models, {prompts} prompts, best {spread:+g} log-odds, {method}"
            yield "ratings", words, _slow(coverage.ratings(models, prompts, spread=spread, method=method))


def page(measured: Sequence[Cell]) -> str:
    """The page of what was measured."""
    lines = [_INTRODUCTION]
    for name, (title, text) in _SECTIONS.items():
        rows = [cell for cell in measured if cell.section == name]
        lines += [
            f"## {title}",
            "",
            textwrap.fill(text, 120),
            "",
            "| population | holds the truth | mean width | trials |",
            "| --- | --- | --- | --- |",
        ]
        lines += [_row(cell) for cell in rows]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def short(cell: Cell) -> bool:
    """Whether the interval holds the truth less often than it says, beyond the simulation's own error."""
    error = 0.0 if cell.trials == 0 else 1.96 * (0.95 * 0.05 / cell.trials) ** 0.5
    return cell.covered < 0.93 - error


def run(directory: str | Path, *, told: Callable[[str], None]) -> list[Cell]:
    """Measure what is not known yet, keep it as it comes, and write the page.

    Args:
        directory: that holds `statistics.json` and gets `statistics.md`.
        told: called with a line for each population that was measured.
    """
    kept = Path(directory) / "statistics.json"
    known = read(kept)
    measured = []
    for section, population, measure in cells():
        cell = known.get((section, population))
        if cell is None:
            found = measure()
            cell = Cell(section, population, round(found.covered, 4), found.trials, round(found.width, 4))
            told(f"{section}: {population}: {cell.covered:.1%}")
            known[section, population] = cell
            kept.write_bytes(msgspec.json.format(msgspec.json.encode(list(known.values()))) + b"\n")
        measured.append(cell)
    (Path(directory) / "statistics.md").write_text(page(measured), encoding="utf-8")
    return measured


def read(path: str | Path) -> dict[tuple[str, str], Cell]:
    """What was measured before; nothing if there is no file."""
    file = Path(path)
    found = msgspec.json.decode(file.read_bytes(), type=list[Cell]) if file.exists() else []
    return {(cell.section, cell.population): cell for cell in found}


def _row(cell: Cell) -> str:
    covered = f"**{cell.covered:.1%}**, too short" if short(cell) else f"{cell.covered:.1%}"
    trials = f"{cell.trials:,}" if cell.trials else "exact"
    return f"| {cell.population} | {covered} | {cell.width:.3g} | {trials} |"


def _exact(n: int, share: float) -> Callable[[], Coverage]:
    return lambda: coverage.exact_wilson(n, share)


def _quick(draw: Draw) -> Callable[[], Coverage]:
    return lambda: simulate(draw, trials=TRIALS["quick"])


def _slow(draw: Draw, trials: int = TRIALS["bootstrap"]) -> Callable[[], Coverage]:
    return lambda: simulate(draw, trials=trials)


if __name__ == "__main__":
    run(sys.argv[1], told=lambda line: print(line, flush=True))  # noqa: T201 - a script's output
