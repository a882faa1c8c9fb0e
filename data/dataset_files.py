"""The names of what a data set has in its output folder, beside the run folders of its clips."""

STATUS, SUMMARY, JOURNAL, REPORT = "status.csv", "summary.json", "journal.jsonl", "report.html"
DATASET, CONFUSION, EXPORTS, SAME_PEOPLE = "dataset.parquet", "confusion.png", "exports", "same_people.csv"
"""`exports` is a folder. Other names begin with a dot, which no clip's id does."""
TAKEN = frozenset((STATUS, SUMMARY, JOURNAL, REPORT, DATASET, CONFUSION, EXPORTS, SAME_PEOPLE))
"""What no clip may be named."""
