"""The base model that ships with the package."""

from __future__ import annotations

from pathlib import Path

BASE = Path(__file__).parent / "base"
"""A plain Hugging Face directory; `accord world build` makes it again."""
