"""Sweeps: their jobs, where these go, the processes that run them, and what the terminal says."""
