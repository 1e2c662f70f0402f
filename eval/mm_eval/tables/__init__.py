"""Tables that defend themselves: baselines, intervals, signatures and footnotes, in four formats."""

from mm_eval.tables.model import Column, Row, ScoreTable, cells_of
from mm_eval.tables.rendering import RENDERERS, to_markdown, write_table

__all__ = ["RENDERERS", "Column", "Row", "ScoreTable", "cells_of", "to_markdown", "write_table"]
