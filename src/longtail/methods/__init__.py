"""How a model is trained: one file per method, each a small subclass of `Method`."""

from longtail.methods.criterion import Criterion
from longtail.methods.method import Method, Stage

__all__ = ["Criterion", "Method", "Stage"]
