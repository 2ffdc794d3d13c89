"""How good a model is, measured against the exact truth of the toon world."""
