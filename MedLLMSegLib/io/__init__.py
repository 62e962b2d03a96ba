"""Files on disk to volumes and flat images, and results back to files."""
