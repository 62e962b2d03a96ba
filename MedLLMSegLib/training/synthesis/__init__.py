"""Images of heads that never were in a scanner, drawn from label maps (SynthSeg, Billot 2023)."""
