"""Many scans to files: where results go, what was finished before, and a table of volumes."""
