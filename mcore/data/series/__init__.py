"""Real-valued sequences: from files to windows and rows.

record       what a reader gives: `Series`        paths       which reader reads which file
table        rows of a table -> series            csv_file, parquet_file, array_file, ts_file
split        what is held out                     statistics  means and standard deviations
forecast     windows, and the values that follow  rows        whole rows, and the label of each
task         `SeriesTask`: batches of either
"""

from mcore.data.series.paths import read_paths
from mcore.data.series.record import Series, Wanted
from mcore.data.series.task import SeriesTask, series_task

__all__ = ["Series", "SeriesTask", "Wanted", "read_paths", "series_task"]
