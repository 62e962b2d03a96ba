"""How well two answers agree, how honest probabilities are, and what can be said over patients."""
