"""The report: one self-contained page about a run."""

from mm_eval.report.page import write_report

__all__ = ["write_report"]
