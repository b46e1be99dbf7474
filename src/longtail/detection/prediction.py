"""Boxes for images that nobody has annotated, by a detector that was trained here."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.progress import track
from torchvision.utils import draw_bounding_boxes

from longtail import runs
from longtail.decoding import SUFFIXES, read
from longtail.detection.boxes import Detections
from longtail.detection.build import make_module
from longtail.detection.scenes import letterbox
from longtail.errors import InputError
from longtail.training import checkpoints
from longtail.training.module import TrainingModule


@dataclass(frozen=True)
class Predictor:
    """A trained detector, without the data that it was trained on.

    Attributes:
        module: with the weights of the run's checkpoint.
        class_names: (C,).
        image_shape: (channels, height, width) of the canvas.
    """

    module: TrainingModule
    class_names: Sequence[str]
    image_shape: Sequence[int]

    @classmethod
    def of_run(cls, run_dir: Path, parts: Mapping[str, Callable[..., Any]], selection: str) -> "Predictor":
        """Load the detector of a finished run.

        Raises:
            InputError: it is not finished, or not of a detector.
        """
        metrics = runs.read_metrics(run_dir)
        shape = (metrics or {}).get("fingerprint", {}).get("image_shape")
        if not shape:
            raise InputError(f"run_dir={run_dir}: must be a finished run of longtail-detect")
        rows = runs.read_per_class(run_dir)
        module = make_module(parts, shape, torch.tensor([row.train_count for row in rows]))
        checkpoints.load(module, checkpoints.path(run_dir, selection))
        return cls(module.eval(), [row.class_name for row in rows], shape)

    def find(self, paths: Sequence[Path], least: float) -> Iterator[list[dict[str, Any]]]:
        """Yield of each image its boxes of at least this score: `box` in pixels of the image, `class` and `score`.

        Raises:
            InputError: a file is no readable image.
        """
        for path in track(paths, "Finding boxes", transient=True):
            found, scale, size = self._look(path)
            edge = torch.tensor(size * 2)
            boxes = (found.boxes.cpu() / scale).minimum(edge).tolist()
            yield [
                {"box": [round(x, 2) for x in box], "class": self.class_names[label], "score": round(score, 4)}
                for box, label, score in zip(boxes, found.labels.tolist(), found.scores.tolist(), strict=True)
                if score >= least and box[0] < box[2] and box[1] < box[3]  # not on the padding alone
            ]

    @torch.inference_mode()
    def _look(self, path: Path) -> tuple[Detections, float, tuple[int, int]]:
        """Return what is found on the image's canvas, the canvas's scale, and the image's width and height."""
        channels, height, width = self.image_shape
        try:
            pixels, size = letterbox(path, (height, width)), read(path).size
        except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, ...
            reason = " ".join(str(error).split())
            raise InputError(f"images={path}: must be a readable image ({reason})") from error
        if channels == 1:
            pixels = np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
        images = self.module.normalize(torch.from_numpy(pixels)[None].to(self.module.device))
        found: Any = self.module.method.predict(images)
        return found[0], min(height / size[1], width / size[0]), size


def images_in(folder: Path) -> list[Path]:
    """Return the images in a folder and its subfolders, in the order of their names.

    Raises:
        InputError: there is none.
    """
    found = sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )
    if not found:
        raise InputError(f"images={folder}: must be a folder of images ({' '.join(sorted(SUFFIXES))})")
    return found


def draw(path: Path, found: Sequence[Mapping[str, Any]]) -> Image.Image:
    """Return an image with boxes drawn into it, each with class and score."""
    pixels = torch.from_numpy(np.array(read(path))).permute(2, 0, 1)
    if found:
        boxes = torch.tensor([one["box"] for one in found])
        labels = [f"{one['class']} {one['score']:.2f}" for one in found]
        pixels = draw_bounding_boxes(pixels, boxes, labels, colors="orange", width=max(1, max(pixels.shape) // 300))
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())
