"""The evidence for the quickstart's claim: five seeds at the full budget, and one with the preferences swapped.

    python tests/world/five_seeds.py [--out DIR] [--seeds N]

Prints a Markdown table: gold and over-refusal before and after, the verdict, and the seconds of each run.
"""

import argparse
from pathlib import Path

from rich.console import Console

from accord.recipes.quickstart import Plan, quickstart

AXES = ("gold", "over-refusal", "harmless", "honest", "sycophancy", "rude")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/five-seeds"))
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    console = Console(width=200)
    console.print("| run | " + " | ".join(AXES) + " | verdict | worse | seconds |", markup=False)
    console.print("|---|" + "---|" * (len(AXES) + 3), markup=False)
    runs = [(f"seed {seed}", seed, Plan()) for seed in range(arguments.seeds)]
    for name, seed, plan in [*runs, ("swapped", 0, Plan(swapped=True))]:
        result = quickstart(arguments.out / name.replace(" ", "-"), seed=seed, plan=plan)
        measured = result.evaluation.comparison
        cells = [f"{c.before.mean:.2f} > {c.stages['sft'].mean:.2f} > {c.after.mean:.2f}" for c in map(measured, AXES)]
        worse = ", ".join(c.axis for c in result.evaluation.comparisons if c.verdict == "worse") or "none"
        row = [name, *cells, result.evaluation.verdict, worse, f"{sum(result.seconds.values()):.0f}"]
        console.print("| " + " | ".join(row) + " |", markup=False)


if __name__ == "__main__":
    main()
