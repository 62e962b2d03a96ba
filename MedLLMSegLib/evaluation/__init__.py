"""A model against labelled cases, and result files against each other."""
