"""How far a result may be trusted, and why: `light` says it, the other files find it out."""
