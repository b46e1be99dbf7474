"""W&B: starting a run, guarding it, and the dashboard."""
