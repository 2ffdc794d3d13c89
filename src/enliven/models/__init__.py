"""The networks, as single-device code."""
