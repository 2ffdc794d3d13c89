"""Training: objectives, loop, recipes."""
