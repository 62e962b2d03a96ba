"""Data, losses and the loop that turn labelled cases into a bundle."""
