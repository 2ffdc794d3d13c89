"""A procedural world of drawn, talking characters with exact truth."""
