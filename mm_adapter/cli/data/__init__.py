"""`mm-coach data`: from a data set to reviewed coaching tuples. Here its steps get their order."""

from cyclopts import App

from mm_adapter.cli.data.build import build, label, read_settings
from mm_adapter.cli.data.exchange import export_llava, import_expertaf, vary
from mm_adapter.cli.data.look import label_agreement, stats, validate, why
from mm_adapter.cli.data.review import review
from mm_adapter.cli.flags import refuse_fractions

app = App(name="data", help="From a data set to reviewed coaching tuples.", config=(refuse_fractions, read_settings))
for step in (build, label, validate, stats, label_agreement, why, review, import_expertaf, export_llava, vary):
    app.command(step)
