"""The self-test that runs inside Slicer."""
