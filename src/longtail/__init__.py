"""Longtail: dataset x imbalance x sampler x loss x reweight x model, composed on the command line."""

__version__ = "0.1.0"
