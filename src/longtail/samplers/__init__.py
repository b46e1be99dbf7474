"""Batch samplers: which training images make up a batch.

Each is called `(targets, num_classes=, seed=, rank=, world_size=)` and yields lists of indices into `targets`. The
order is a pure function of (seed, epoch), whatever was drawn before. A step of w processes takes the next
w * batch_size indices, and each process its share of them, so that w processes with batches of b train as one with
batches of w * b. Every process yields the same number of batches.
"""

from longtail.samplers.batches import EpochBatches, Sequential
from longtail.samplers.class_balanced import ClassBalanced
from longtail.samplers.deferred import Deferred
from longtail.samplers.random import Random
from longtail.samplers.uniform_minibatch import UniformMinibatch

__all__ = ["ClassBalanced", "Deferred", "EpochBatches", "Random", "Sequential", "UniformMinibatch"]
