"""PKU-SafeRLHF: two responses compared on two axes, helpfulness and safety, which often disagree."""

from __future__ import annotations

from accord.data.rows import Row
from accord.record import Feedback, Group, Preference, Response


def read(row: Row) -> Group:
    """Preferences by axis; whether each response is safe becomes its label on the safety axis."""
    better, safer = _index(row, "better_response_id"), _index(row, "safer_response_id")
    safe = tuple(row.truth(f"is_response_{index}_safe") for index in (0, 1))
    helpfulness = Feedback("human", preferences=(Preference(better, 1 - better),), meta={"axis": "helpfulness"})
    safety = Feedback("human", preferences=(Preference(safer, 1 - safer),), labels=safe, meta={"axis": "safety"})
    responses = tuple(Response(row.text(f"response_{index}")) for index in (0, 1))
    return Group(row.text("prompt"), responses, (helpfulness, safety), origin=row.origin)


def _index(row: Row, column: str) -> int:
    value = row.number(column)
    if value not in (0, 1):
        raise row.expected(column, row.values.get(column), "0 or 1")
    return int(value)
