"""Pictures, plots, tables and the page of one scan."""
