"""A page for every method, from its docstring, its signature and the comparison's figures: `make docs`."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec

from accord.objectives import OBJECTIVES, VOCABULARY, Hyperparameter, Objective, signature_of
from accord.objectives.policy_gradient import METHODS, Method
from accord.recipes.comparison_page import TITLES, difference, markdown_table
from accord.recipes.comparison_table import BESIDE, Result, Row, Table
from accord.recipes.method_curves import Picture, picture
from accord.recipes.method_plots import draw

INDEX = "README.md"
COMPARISON = "../methods.md"


@dataclass(frozen=True)
class Docstring:
    """A docstring in Markdown, in parts.

    Attributes:
        summary: its first sentence.
        body: equation, meaning, when to use it.
        sections: what stands below a heading of its own: Returns, Source, Deviation.
        example: the lines of its doctest.
    """

    summary: str
    body: str
    sections: Mapping[str, str]
    example: str


def write_pages(directory: Path, figures: Path) -> list[Path]:
    """Write the pages, their plots and the index.

    Args:
        directory: where they go.
        figures: the comparison's JSON.
    """
    table = msgspec.json.decode(figures.read_bytes(), type=Table)
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name, method in methods().items():
        drawn = picture(name, method)
        (directory / f"{name}.svg").write_text(draw(drawn), encoding="utf-8")
        written.append(directory / f"{name}.md")
        written[-1].write_text(page(name, method, table, drawn), encoding="utf-8")
    written.append(directory / INDEX)
    written[-1].write_text(index(table), encoding="utf-8")
    return written


def methods() -> dict[str, Objective]:
    """What has a page: every objective and every policy-gradient method."""
    return {**OBJECTIVES, **METHODS}


def page(name: str, method: Objective, table: Table, drawn: Picture) -> str:
    """The page of one method."""
    text = read(inspect.getdoc(method) or "")
    needs = signature_of(method).needs
    parts = [
        f"# {name}",
        text.summary,
        f"![The loss of {name} and its slope]({name}.svg)",
        f"*At the defaults. From left to right: {drawn.variable}. {drawn.caption}*",
        text.body,
        "## Use",
        f"```bash\n{_command(name, method)}\n```",
        _rollout(method),
        "## Hyperparameters",
        _hyperparameters(signature_of(method).hyperparameters),
        "## What it needs",
        markdown_table(["tensor", "meaning"], [[f"`{need}`", VOCABULARY[need].replace("|", "\\|")] for need in needs]),
        *(part for heading, section in text.sections.items() for part in (f"## {heading}", section)),
        *(["## By hand", f"```python\n{text.example}\n```"] if text.example else []),
        "## On the embedded world",
        _world(name, method, table),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def index(table: Table) -> str:
    """The list of the pages."""
    head = ["method", "what it does", *TITLES.values()]
    rows = {row.entry: row for row in table.rows}
    lines = [_line(name, method, rows.get(name)) for name, method in OBJECTIVES.items()]
    sampled = [_line(name, method, None)[:2] for name, method in METHODS.items()]
    return f"""# Methods

A page each: equation, when to use it, hyperparameters, a plot of the loss and its slope, and what it did on the
embedded world. They are made from the docstrings and from the figures of [the comparison]({COMPARISON}) by `make docs`.
`NAME.jsonl` has what every training came to, one a line: settings, cost, and a number for every held-out answer.

## Objectives

Rise in gold over the fine-tuned start, or in accuracy over one half for reward models, with the plain annotator, with
one who slips, and with one who pays for length.

{markdown_table(head, lines)}

## Policy gradients

{markdown_table(head[:2], sampled)}
"""


def read(docstring: str) -> Docstring:
    """A docstring in the house's style, as Markdown."""
    lines = docstring.rstrip().splitlines()
    doctest = next((number for number, line in enumerate(lines) if line.startswith(">>>")), len(lines))
    prose, example = "\n".join(lines[:doctest]).rstrip(), "\n".join(lines[doctest:]).rstrip()
    summary, _, rest = prose.partition("\n\n")
    places = [*_HEADING.finditer(rest)]
    body = rest[: places[0].start()] if places else rest
    sections = {}
    for place, following in zip(places, [*places[1:], None], strict=True):
        section = rest[place.end() : following.start() if following else len(rest)]
        if place[1] not in ("Args", "Raises"):
            sections[place[1]] = markdown(inspect.cleandoc(section.strip("\n")))
    return Docstring(markdown(summary), markdown(body).strip(), sections, example)


_HEADING = re.compile(r"^(Args|Returns|Raises|Source|Sources|Deviation|Deviations):[ \n]", re.MULTILINE)
_BLOCK = re.compile(r"^\.\. math::(.*(?:\n(?: +\S.*)?)*)", re.MULTILINE)
_INLINE = re.compile(r":math:`([^`]*)`", re.DOTALL)


def markdown(text: str) -> str:
    """Docstring mark-up as Markdown: formulas in the fences that show them."""
    text = _BLOCK.sub(lambda found: f"```math\n{inspect.cleandoc(found[1]).strip()}\n```\n\n", text)
    text = _INLINE.sub(lambda found: f"$`{' '.join(found[1].split())}`$", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def _command(name: str, method: Objective) -> str:
    rewards = " --reward REWARD" if isinstance(method, Method) else ""
    return f"accord train {name} --model MODEL --data DATA{rewards}"


def _rollout(method: Objective) -> str:
    if not isinstance(method, Method):
        return ""
    given = msgspec.to_builtins(method.rollout)
    return (
        "It samples " + f"{given['n']} answers to each prompt and trains on a round of them {_times(given['passes'])}."
    )


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _hyperparameters(hyperparameters: Sequence[Hyperparameter]) -> str:
    if not hyperparameters:
        return "None."
    lines = [
        [f"`--{one.name.replace('_', '-')}`", f"`{one.default}`", _allowed(one), markdown(one.help).replace("|", "\\|")]
        for one in hyperparameters
    ]
    return markdown_table(["flag", "default", "allowed", "meaning"], lines)


def _allowed(one: Hyperparameter) -> str:
    if get_origin(one.type) is not None and get_args(one.type):
        return ", ".join(f"`{value}`" for value in get_args(one.type))
    return str(one.allowed) if one.allowed is not None else getattr(one.type, "__name__", str(one.type))


def _world(name: str, method: Objective, table: Table) -> str:
    rows = [row for row in table.rows if row.objective == name and row.results]
    if name in table.left_out:
        return f"Not in [the comparison]({COMPARISON}): it {table.left_out[name]}"
    if isinstance(method, Method):
        return (
            f"[The comparison]({COMPARISON}) trains on given preferences; this method samples and scores as it trains."
        )
    if not rows:
        return f"Not yet in [the comparison]({COMPARISON}): `accord world compare {name}` adds it."
    lines = [
        [f"`{row.entry}`", TITLES[condition], *_figures(result)]
        for row in rows
        for condition, result in row.results.items()
    ]
    main = "accuracy" if "accuracy" in next(iter(rows[0].results.values())).comparisons else "gold"
    head = ["trained", "annotator", "seeds", f"{main} before", "after", "difference", "verdict"]
    head += [f"beside `{BESIDE}`", "words", "KL", "seconds", "MiB"]
    full = [column for column in range(len(head)) if any(line[column] for line in lines)]
    shown = markdown_table([head[column] for column in full], [[line[column] for column in full] for line in lines])
    return f"{shown}\n\nHow this was measured, and the other methods beside it: [the comparison]({COMPARISON})."


def _figures(result: Result) -> list[str]:
    main, words = result.main, result.comparisons.get("words")
    beside = result.beside.get("gold")
    return [
        str(len(result.seeds)),
        f"{main.before.mean:.3f}",
        f"{main.after.mean:.3f}",
        difference(main.difference),
        str(main.verdict),
        difference(beside) if beside else "",
        f"{words.after.mean:.1f}" if words else "",
        "" if result.kl is None else f"{result.kl:.2f}",
        f"{result.seconds:.1f}",
        f"{result.memory:.0f}",
    ]


def _line(name: str, method: Objective, row: Row | None) -> list[str]:
    results: Mapping[Any, Result] = row.results if row else {}
    rises = [f"{results[key].main.difference.mean:+.3f}".replace("-", "−") if key in results else "" for key in TITLES]
    return [f"[`{name}`]({name}.md)", read(inspect.getdoc(method) or "").summary.replace("\n", " "), *rises]


if __name__ == "__main__":
    docs = Path(sys.argv[1] if len(sys.argv) > 1 else "docs")
    write_pages(docs / "methods", docs / "methods.json")
