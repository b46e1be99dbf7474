"""Training and evaluating one run."""
