"""What can be outlined: names, sides, codes and colours. Data, not code."""
