"""A run directory becomes a report: HTML, Markdown, JSON, a terminal summary, a model card. No torch."""

from accord.report.card import model_card, write_model_card
from accord.report.reading import Run, read_run
from accord.report.terminal import print_summary
from accord.report.write import ReportFiles, write_report

__all__ = ["ReportFiles", "Run", "model_card", "print_summary", "read_run", "write_model_card", "write_report"]
