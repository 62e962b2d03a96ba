"""What the panel shows, as pure functions of its state: neither Qt nor MRML in this room."""
