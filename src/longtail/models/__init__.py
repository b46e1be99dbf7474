"""Models: `(in_channels=, num_classes=)` -> nn.Module that maps images (B, in_channels, H, W) to logits (B, C).

Each has `features(images)`, (B, F), and `head`, its last layer, which maps those to the logits. A model that experts
may share in part also has `split()`: its features as two modules, images -> maps and maps -> (B, F).

`weights`, of all of them, is a local file to start from: a checkpoint of a run, or the state dict of a model.
"""

from longtail.models.classifier import ImageClassifier, check, check_cosines, check_single, initialise
from longtail.models.fast_cnn import FastCNN
from longtail.models.heads import CosineHead, Head, make_head, width
from longtail.models.resnet import BasicBlock, ResNet
from longtail.models.small_cnn import SmallCNN
from longtail.models.torchvision import TorchvisionModel

__all__ = [
    "BasicBlock",
    "CosineHead",
    "FastCNN",
    "Head",
    "ImageClassifier",
    "ResNet",
    "SmallCNN",
    "TorchvisionModel",
    "check",
    "check_cosines",
    "check_single",
    "initialise",
    "make_head",
    "width",
]
