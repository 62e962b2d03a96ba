"""MRML nodes to volumes and results to nodes: what is in the scene and how it is shown."""
