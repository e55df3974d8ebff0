"""`accord quickstart`: the whole loop on the embedded world."""

from __future__ import annotations

from accord.cli.parameters import Switch
from accord.cli.terminal import console


def quickstart(*, out: str = "runs/quickstart", seed: int = 0, swapped: Switch = False) -> int:
    """Align the embedded world's small model, and measure it before, between and after.

    Args:
        out: directory of the data, the runs, report.html and summary.json.
        seed: of the demonstrations, the sampling and the order of training.
        swapped: record every preference the wrong way round, to see that the verdict notices.
    """
    from accord.recipes.quickstart import Plan
    from accord.recipes.quickstart import quickstart as run

    run(out, seed=seed, plan=Plan(swapped=swapped), console=console())
    return 0
