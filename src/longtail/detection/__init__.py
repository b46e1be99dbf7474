"""The second wing: one-stage detectors, their losses, and images with boxes."""
