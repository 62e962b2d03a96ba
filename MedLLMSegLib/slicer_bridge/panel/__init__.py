"""What the panel shows, as a function of its state, and the thin sections that copy it to Qt."""
