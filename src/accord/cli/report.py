"""`accord report`: run directories to a page."""

from __future__ import annotations

from accord.cli.parameters import OneOrMore
from accord.cli.terminal import console
from accord.report import print_summary, write_report


def report(*runs: OneOrMore, out: str | None = None) -> int:
    """Write the report of a run, or of several side by side: one self-contained HTML file, Markdown and JSON beside it.

    Args:
        runs: run directories; an unfinished or damaged one gets a report too.
        out: the HTML file, or a directory for it; default report.html in the run, for several comparison.html beside
            the first.
    """
    files = write_report(runs, out)
    screen = console()
    if len(runs) == 1:
        print_summary(runs[0], screen)
    screen.print(f"report: {files.html}", soft_wrap=True)
    return 0
