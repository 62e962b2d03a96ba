"""The terminal of a running command: progress is shown, noise of libraries goes to the log."""
