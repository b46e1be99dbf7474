"""The run directory: what is in it, written and read in one place."""
