"""The papers as data: which networks, arrangement and carry make a named model."""
