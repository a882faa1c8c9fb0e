"""The names of what a data set has in its output folder, beside the run folders of its clips."""

STATUS, SUMMARY, JOURNAL, REPORT = "status.csv", "summary.json", "journal.jsonl", "report.html"
DATASET, CONFUSION, EXPORTS = "dataset.parquet", "confusion.png", "exports"
"""`exports` is a folder. Other names begin with a dot, which no clip's id does."""
TAKEN = frozenset((STATUS, SUMMARY, JOURNAL, REPORT, DATASET, CONFUSION, EXPORTS))
"""What no clip may be named."""
