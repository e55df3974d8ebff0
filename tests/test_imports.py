"""The package as Python sees it: every module imports, every public name is there."""

from __future__ import annotations

import importlib
import pkgutil

import grimp
import pytest

import accord
from accord.objectives import OBJECTIVES

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(accord.__path__, prefix="accord.")
    if module.name != "accord.__main__"
)


@pytest.mark.parametrize("name", MODULES)
def test_every_module_imports_and_says_what_it_is(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} has no docstring"
    for public in getattr(module, "__all__", ()):
        assert hasattr(module, public), f"{name}.__all__ names {public}, which is not there"


def test_public_names_are_listed_once() -> None:
    assert sorted(accord._HOMES) == sorted(accord.__all__)
    assert set(accord.__all__) <= set(dir(accord))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        accord.nothing  # noqa: B018


def test_objectives_never_import_each_other() -> None:
    modules = {objective.__module__ for objective in OBJECTIVES.values()}
    graph = grimp.build_graph("accord")
    crossing = {module: graph.find_modules_directly_imported_by(module) & modules for module in modules}
    assert not any(crossing.values()), crossing
