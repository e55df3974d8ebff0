"""When an answer has been revised enough."""

from __future__ import annotations

from collections.abc import Sequence


def stalled(scores: Sequence[float | None], *, tolerance: float, patience: int) -> bool:
    """Whether each of the last `patience` scores was less than `tolerance` above the best before it.

    Scores that are missing say nothing and are left out.

    >>> stalled([0.5, 0.62, 0.66], tolerance=0.01, patience=1), stalled([0.5, 0.66, 0.665], tolerance=0.01, patience=1)
    (False, True)
    """
    known = [score for score in scores if score is not None]
    if len(known) <= patience:
        return False
    return all(known[place] - max(known[:place]) < tolerance for place in range(len(known) - patience, len(known)))
