"""What comparing with a published program needs: its functions without what they import, and quiet."""

from __future__ import annotations

import ast
import importlib.util
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

Numbers = Sequence[float]

Compared = tuple[str, str, str, Numbers, Numbers, float]
"""What is compared, with which program, on what inputs, Accord's numbers, the program's, and the tolerance."""


def from_source(package: str, path: str, names: Sequence[str], **known: Any) -> SimpleNamespace:
    """Functions and constants of a file of an installed package, without what the file imports."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    file = Path(spec.submodule_search_locations[0]) / path
    tree = ast.parse(file.read_text())
    kept = [
        node
        for node in tree.body
        if getattr(node, "name", None) in names
        or (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in names)
    ]
    space = dict(known)
    exec(compile(ast.Module(kept, []), str(file), "exec"), space)
    return SimpleNamespace(**{name: space[name] for name in names})


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of packages about packages."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
