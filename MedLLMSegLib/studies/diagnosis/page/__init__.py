"""docs/diagnosis.md: the figures of finished runs, in tables and sentences."""
