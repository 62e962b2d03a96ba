"""The training samples: which cases, prepared, cut and changed at random."""
