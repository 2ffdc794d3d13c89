"""Frozen expert networks that read toon video."""
