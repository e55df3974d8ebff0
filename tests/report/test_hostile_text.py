"""Hostile text in names, samples and scores stays text: in the page, in Markdown, JSON, terminal and model card."""

from __future__ import annotations

import html
import io
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from rich.console import Console

from accord.record import Comparison, Estimate, Evaluation
from accord.report import model_card, print_summary, read_run, write_report
from accord.report.text import clean, markdown_block, markdown_inline, one_line

HOSTILE = {
    "script": "<script>alert(1)</script>",
    "handler": '"><img src=x onerror=alert(1)>',
    "quote": "' onmouseover='alert(1)",
    "style": "</style><style>body{background:url(http://evil.example/x)}",
    "comment": "--><!--]]><svg onload=alert(1)>",
    "direction": "\u202egnihtemos\u202c \u2066x\u2069",
    "escape": "\x1b[2J\x1b]8;;http://evil.example\x07click\x1b]8;;\x07",
    "controls": "a\x00b\x08c\x7fd\x9be\ud800f\U000e0041",
    "template": "{{ 7 * 7 }}{% raw %}{{ self.__init__.__globals__ }}",
    "rich": "[bold red]x[/] [link=http://evil.example]y[/link]",
    "markdown": "![x](http://evil.example/x.png) **b** <b>y</b>\n\n# heading\n---\n```\n| a | b |",
    "yaml": "x\n---\nlicense: mit\ntags: [safe]\n...",
    "long": "<b>" + "x" * 100_000,
}
ALLOWED = {
    "html", "head", "meta", "link", "title", "style", "body", "a", "header", "main", "footer", "section", "nav", "ul",
    "li", "p", "h1", "h2", "h3", "h4", "span", "b", "i", "code", "pre", "div", "dl", "dt", "dd", "details", "summary",
    "table", "caption", "thead", "tbody", "tr", "th", "td", "article", "figure", "figcaption",
    "svg", "g", "path", "use", "defs", "clippath", "rect", "text", "line", "circle",
}  # fmt: skip


class Page(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def hostile_run(directory: Path, text: str) -> Path:
    """A run in which everything that somebody else could have written is `text`."""
    directory.mkdir()
    quoted = json.dumps(clean(text))  # TOML has no surrogates and no controls
    (directory / "config.toml").write_text(
        f"objective = {quoted}\nmodel = {quoted}\ndata = [{quoted}]\n[hyper]\n{quoted} = {quoted}\n", encoding="utf-8"
    )
    names = ("objective_description", "command", "started", "finished", "hardware", text)
    (directory / "environment.json").write_text(json.dumps(dict.fromkeys(names, text)))
    finding = {"kind": text, "severity": "warning", "message": text, "places": [text]}
    (directory / "data.json").write_text(json.dumps({"findings": [finding], text: text, "notes": [text]}))
    (directory / "metrics.jsonl").write_text(
        "".join(json.dumps({"step": step, f"probe/{text}": step, f"loss/{text}": 1}) + "\n" for step in (0, 1))
    )
    sample = {"prompt": text, "response": text, "scores": {text: 1.0}}
    (directory / "samples.jsonl").write_text(
        "".join(json.dumps({"step": step, "index": 0, **sample}) + "\n" for step in (0, 1, 2))
    )
    known = text.replace("\ud800", "")  # an evaluation is written as UTF-8
    comparison = Comparison(
        axis=known,
        before=Estimate(0.5, 0.4, 0.6, 9),
        after=Estimate(0.5, 0.4, 0.6, 9),
        difference=Estimate(0.0, -0.1, 0.1, 9),
        unit=known,
        stages={known: Estimate(0.5, 0.4, 0.6, 9)},
        description=known,
    )
    example: dict[str, Any] = {"prompt": known, "before": known, "after": known, "scores": {"before": {known: 1.0}}}
    record = Evaluation(known, (comparison,), known, {"name": known, known: known}, (known,), (example,))
    (directory / "evaluation.json").write_bytes(msgspec.json.encode(record))
    return directory


@pytest.fixture(params=HOSTILE)
def hostile(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    text = HOSTILE[request.param]
    return hostile_run(tmp_path / "run", text), text


def test_page_markdown_and_json_hold_it_as_text(hostile: tuple[Path, str]) -> None:
    path, text = hostile
    files = write_report([path])
    source, markdown = files.html.read_text(encoding="utf-8"), files.markdown.read_text(encoding="utf-8")
    page = Page(source)
    assert {tag for tag, _ in page.elements} <= ALLOWED
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert sum(tag == "style" for tag, _ in page.elements) == 1
    assert clean(text)[:100] in html.unescape("".join(page.words)), "the text itself must be readable"
    for written in (source, markdown):
        assert clean(written) == written, "something unseen was written"
        assert len(written) < 1_500_000
    assert not re.search(r"(?<![\\!])!?\[[^\]]*\]\(", "\n".join(outside_fences(markdown)))
    assert "<" not in "\n".join(outside_fences(markdown))
    summary = json.loads(files.json.read_text(encoding="ascii"))
    assert summary["runs"][0]["verdict"] == "not distinguishable"


def outside_fences(markdown: str) -> Iterator[str]:
    """The lines of Markdown without code spans and fenced blocks; asserts that every block is closed."""
    fence = ""
    for line in markdown.splitlines():
        opened = re.match(r"`{3,}", line)
        if not fence and opened:
            fence = opened.group()
        elif fence and line == fence:
            fence = ""
        elif not fence:
            yield re.sub(r"(?<!\\)`[^`]*`", "", line)
    assert not fence


def test_terminal_shows_it_as_text(hostile: tuple[Path, str]) -> None:
    path, _ = hostile
    console = Console(file=io.StringIO(), width=80, force_terminal=False)
    print_summary(path, console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert clean(shown) == shown
    assert max(map(len, shown.splitlines())) <= 80


def test_model_card_front_matter_says_only_what_we_say(hostile: tuple[Path, str]) -> None:
    path, _ = hostile
    card = model_card(read_run(path))
    assert clean(card) == card
    _, front, body = card.split("---\n", 2)
    parsed = yaml.safe_load(front)
    assert set(parsed) == {"library_name", "tags"}
    assert parsed["library_name"] == "transformers"
    assert len(parsed["tags"]) == 2
    lines = list(outside_fences(body))
    assert "<" not in "\n".join(lines)
    assert [line for line in lines if line.startswith("# ")] == ["# run"]
    assert "license: mit" not in lines


@pytest.mark.parametrize("name", ["script", "template", "direction"])
def test_comparison_page_holds_it_as_text(tmp_path: Path, name: str) -> None:
    text = HOSTILE[name]
    runs = [hostile_run(tmp_path / folder, text) for folder in ("one", "two")]
    page = Page(write_report(runs, tmp_path / "page.html").html.read_text(encoding="utf-8"))
    assert {tag for tag, _ in page.elements} <= ALLOWED
    assert clean(text) in "".join(page.words)


@pytest.mark.parametrize(
    "text", ["0.60", "+0.40", "−0.12 (−0.20 to −0.03)", "-1.5", "1.2e-06", "12.", "95%", "2 to 70", "a_b", "414k"]
)
def test_numbers_and_names_need_no_escape(text: str) -> None:
    expected = "12\\." if text == "12." else text
    assert markdown_inline(text) == expected


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("1. item", "1\\. item"),
        ("123) item", "123\\) item"),
        ("- item", "\\- item"),
        ("+ item", "\\+ item"),
        ("---", "\\---"),
        ("# heading", "\\# heading"),
        ("> quote", "\\> quote"),
        ("*a* _b_ `c` ~d~ [e](f) | $g$", "\\*a\\* \\_b\\_ \\`c\\` \\~d\\~ \\[e\\](f) \\| \\$g\\$"),
        ("<b> &amp;", "&lt;b> &amp;amp;"),
        ("two\nlines", "two lines"),
    ],
)
def test_markup_is_escaped(text: str, written: str) -> None:
    assert markdown_inline(text) == written


def test_a_fence_is_longer_than_what_it_holds() -> None:
    assert markdown_block("a ```` b") == "`````text\na ```` b\n`````"


def test_long_text_is_cut_and_its_rest_counted() -> None:
    assert one_line("x" * 1000, 10) == "x" * 10 + "… [30 more characters]"
