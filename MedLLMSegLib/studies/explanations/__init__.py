"""How much maps of evidence are worth: insertion, deletion, and maps of shuffled weights."""
