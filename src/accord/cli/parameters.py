"""Annotations that several commands share."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

Switch = Annotated[bool, Parameter(negative="", show_default=False)]
"""Off unless given."""

Several = Annotated[tuple[str, ...], Parameter(consume_multiple=(1, None), negative="", show_default=False)]
"""A flag that takes one or more values."""

OneOrMore = Annotated[str, Parameter(required=True)]
"""Positional arguments of which there must be one at least."""
