"""Trained classifiers, used without their dataset: on images in memory, on folders, and in other programs."""

from longtail.inference.classifier import Classifier, Loaded, Transform, device_of, load

__all__ = ["Classifier", "Loaded", "Transform", "device_of", "load"]
