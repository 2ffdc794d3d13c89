"""Bring a portrait to life: a portrait, speech and a sentence go in; a talking video of any length comes out."""
