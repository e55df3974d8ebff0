"""Accord aligns language models: from raw feedback to an aligned model and a verdict you can trust."""

from __future__ import annotations

__version__ = "0.1.0"
