"""Training data without networks."""
