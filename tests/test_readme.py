"""What the README says is so: its commands parse, its table lists the objectives, its tree the folders."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from accord.cli.app import build_app
from accord.cli.flags import summary
from accord.cli.train import build_app as build_train
from accord.objectives import OBJECTIVES, Objective, signature_of
from accord.objectives.policy_gradient import METHODS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TABLE = re.compile(r"^\| objective \|.*?(?=\n\n)", re.MULTILINE | re.DOTALL)
ROWS = re.compile(r"^\| method \|.*?(?=\n\n)", re.MULTILINE | re.DOTALL)
FEEDBACK = {"prefer": "preferences", "label": "labels", "score": "scores", "distribution": "probabilities"}
FEEDBACK |= {"ratings": "scores by name", "named_prefer": "preferences by name", "step_score": "labels of steps"}


def commands() -> list[str]:
    """Every command line in the README's code blocks that starts with `accord`."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    blocks = [text for language, text in fenced if language in ("console", "bash")]
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.removeprefix("$ ") for line in lines if re.match(r"(\$ )?accord ", line)]


def methods_table() -> str:
    rows = ["| objective | learns from | reference | what it does |", "| --- | --- | --- | --- |"]
    return "\n".join(rows + [_row(name, objective) for name, objective in OBJECTIVES.items()])


def _row(name: str, objective: Objective) -> str:
    needs = signature_of(objective).needs
    feedback = " and ".join(words for need, words in FEEDBACK.items() if need in needs) or "demonstrations"
    return f"| `{name}` | {feedback} | {'yes' if 'reference' in needs else 'no'} | {summary(objective)} |"


def test_the_methods_table_is_the_registry(tmp_path: Path) -> None:
    found = TABLE.search(README)
    assert found is not None, "the README has no table of objectives"
    new = tmp_path / "README.md"
    new.write_text(TABLE.sub(lambda _: methods_table(), README), encoding="utf-8")
    assert found[0] == methods_table(), f"to bring the table up to date: cp {new} {ROOT / 'README.md'}"


def rows_table() -> str:
    rows = ["| method | what it does |", "| --- | --- |"]
    return "\n".join(rows + [f"| `{name}` | {summary(method)} |" for name, method in METHODS.items()])


def test_the_table_of_rows_is_that_of_the_policy_gradient_methods(tmp_path: Path) -> None:
    found = ROWS.search(README)
    assert found is not None, "the README has no table of policy-gradient methods"
    new = tmp_path / "README.md"
    new.write_text(ROWS.sub(lambda _: rows_table(), README), encoding="utf-8")
    assert found[0] == rows_table(), f"to bring the table up to date: cp {new} {ROOT / 'README.md'}"


def test_there_are_commands() -> None:
    assert len(commands()) >= 5


@pytest.mark.parametrize("command", commands())
def test_every_command_parses(command: str) -> None:
    words = shlex.split(command, comments=True)[1:]
    if words[0] == "train":
        named = [] if words[1] != "--config" else ["dpo"]  # the file would name the objective
        build_train().parse_args([*named, *words[1:]], exit_on_error=False)
    else:
        build_app().parse_args(words, exit_on_error=False)


def test_the_tree_lists_every_room() -> None:
    rooms = {path.parent.name for path in (ROOT / "src" / "accord").glob("*/__init__.py")}
    assert rooms <= set(re.findall(r"^\s+(\w+)/ ", README, re.MULTILINE))


def test_every_file_that_is_linked_exists() -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)]+)\)", README):
        assert (ROOT / target).exists(), target
