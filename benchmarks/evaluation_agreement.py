"""Accord's measures and the published programs', on inputs of ours: the same numbers. Writes `results/evaluation.md`.

It runs in an environment of its own, with the packages that `requirements-evaluation.txt` names:

    python -m benchmarks.evaluation_agreement

Functions of packages that would load much else (servers, trainers, plotting) are taken from their source file alone.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.published import Compared
from benchmarks.published_judging import both_orders, clustered_errors, length_control, ratings
from benchmarks.published_scores import reward_scores, truthful_mass

RESULTS = Path(__file__).parent / "results"
HEADER = ("what", "published program", "inputs", "largest difference", "tolerance", "agrees")


COMPARISONS: tuple[Callable[[Path], Iterator[Compared]], ...] = (
    length_control,
    clustered_errors,
    both_orders,
    ratings,
    truthful_mass,
    reward_scores,
)


def main() -> int:
    lines = []
    for compare in COMPARISONS:
        with tempfile.TemporaryDirectory(prefix="accord-agreement-") as directory:
            for what, program, inputs, ours, theirs, tolerance in compare(Path(directory)):
                difference = float(np.abs(np.asarray(ours) - np.asarray(theirs)).max())
                lines.append(
                    {
                        "what": what,
                        "program": program,
                        "inputs": inputs,
                        "difference": difference,
                        "tolerance": tolerance,
                        "agrees": difference <= tolerance,
                        "accord": [float(one) for one in ours],
                        "published": [float(one) for one in theirs],
                    }
                )
                print(f"{what} ({program}): {difference:.1e}", flush=True)
    (RESULTS / "evaluation.json").write_bytes(msgspec.json.format(msgspec.json.encode({"lines": lines})) + b"\n")
    cells = [
        (
            line["what"],
            line["program"],
            line["inputs"],
            f"{line['difference']:.1e}",
            f"{line['tolerance']:.0e}",
            "yes" if line["agrees"] else "no",
        )
        for line in lines
    ]
    table = "\n".join("| " + " | ".join(row) + " |" for row in (HEADER, ("---",) * len(HEADER), *cells))
    (RESULTS / "evaluation.md").write_text(f"{table}\n\n{CAPTION}\n", encoding="utf-8")
    return 0 if all(line["agrees"] for line in lines) else 1


CAPTION = (
    "Written by `python -m benchmarks.evaluation_agreement` on inputs of ours. Win rates and scores are from 0 to 1, "
    "ratings in points of Elo's scale."
)


if __name__ == "__main__":
    sys.exit(main())
