"""Boxes for images that nobody has annotated, by a detector that was trained here."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track
from torchvision.utils import draw_bounding_boxes

from longtail import runs
from longtail.datasets.images import with_channels
from longtail.decoding import read
from longtail.detection.boxes import Detections
from longtail.detection.build import make_module
from longtail.detection.scenes import letterbox, scale_of
from longtail.errors import InputError
from longtail.inference import device_of
from longtail.models import weights
from longtail.training import checkpoints
from longtail.training.module import TrainingModule
from longtail.training.training import Parts

BOXES = "boxes.json"
LONGEST = 255  # bytes of a file's name


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
    def of_run(cls, run_dir: Path, parts: Parts, selection: str, accelerator: str = "cpu") -> "Predictor":
        """Load the detector of a finished run onto a device, named as Lightning names its accelerators.

        Raises:
            InputError: it is not finished, or not of a detector, or there is no such device.
        """
        device, facts = device_of(accelerator), runs.read_facts(run_dir, "longtail-detect")
        with weights.left_out():
            module = make_module(parts, facts.image_shape, torch.tensor(facts.class_counts))
        checkpoints.load(module, checkpoints.path(run_dir, selection))
        return cls(module.eval().to(device), facts.class_names, facts.image_shape)

    def find(self, paths: Sequence[Path], least: float, batch_size: int) -> Iterator[list[dict[str, Any]]]:
        """Yield of each image its boxes of at least this score: `box` in pixels of the image, `class` and `score`.

        Raises:
            InputError: a file is no readable image.
        """
        for first in track(range(0, len(paths), batch_size), "Finding boxes", transient=True):
            canvases, sizes = zip(*map(self._canvas, paths[first : first + batch_size]), strict=True)
            pixels = torch.from_numpy(np.stack(canvases)).to(self.module.device)
            with torch.inference_mode():
                found = self.module.method.predict(self.module.normalize(pixels))
            for one, size in zip(found, sizes, strict=True):
                yield [box for box in self._boxes(one, size) if box["score"] >= least]

    def _canvas(self, path: Path) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        """Return the image's canvas, (H, W, channels), and the image's width and height."""
        channels, height, width = self.image_shape
        try:
            pixels, size = letterbox(path, (height, width))
            return with_channels(pixels, channels), size
        except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, ...
            reason = " ".join(str(error).split())
            raise InputError(f"images={path}: must be a readable image ({reason})") from error

    def _boxes(self, found: Detections, size: tuple[int, int]) -> Iterator[dict[str, Any]]:
        """Yield the boxes of an image of this width and height, except those on the padding alone."""
        _, height, width = self.image_shape
        scale = scale_of(size, (height, width))
        boxes = (found.boxes.cpu() / scale).minimum(torch.tensor(size * 2)).tolist()
        for box, label, score in zip(boxes, found.labels.tolist(), found.scores.tolist(), strict=True):
            if box[0] < box[2] and box[1] < box[3]:
                rounded = [round(x, 2) for x in box]
                yield {"box": rounded, "class": self.class_names[label], "score": round(score, 4)}


def write(
    out: Path, class_names: Sequence[str], found: Mapping[str, Sequence[Mapping[str, Any]]], folder: Path, drawn: int
) -> None:
    """Replace the predictions in a directory by the boxes of each image, named as in its folder.

    The first `drawn` images are drawn with their boxes. `boxes.json` comes last, and marks the predictions as whole.
    """
    out.mkdir(parents=True, exist_ok=True)
    clear(out)
    images = [{"file": name, "boxes": boxes} for name, boxes in found.items()]
    pictures = {name: picture_of(out, name) for name in list(found)[:drawn]}
    try:
        with runs.atomic_write(out / BOXES) as file:
            file.write(json.dumps({"class_names": list(class_names), "images": images}, indent=1) + "\n")
            file.flush()  # by which the next call finds the pictures of one that was killed
            for name, picture in pictures.items():
                picture.parent.mkdir(parents=True, exist_ok=True)
                draw(folder / name, found[name]).save(picture)
    except BaseException:
        for picture in pictures.values():
            picture.unlink(missing_ok=True)
        raise


def clear(out: Path) -> None:
    """Remove predictions, also those of a call that was killed, with the pictures that they name and no others."""
    for listing in (out / BOXES, out / f"{BOXES}.part"):
        with contextlib.suppress(FileNotFoundError, ValueError, TypeError, KeyError):
            for image in json.loads(listing.read_text("utf-8"))["images"]:
                picture = picture_of(out, image["file"])
                if picture.resolve().is_relative_to((out / "drawn").resolve()):
                    picture.unlink(missing_ok=True)
        listing.unlink(missing_ok=True)


def picture_of(out: Path, name: str) -> Path:
    """Return where the image of this name is drawn; a name too long for that is cut, and kept apart by a digest."""
    picture = out / "drawn" / f"{name}.png"
    if len(os.fsencode(picture.name)) <= LONGEST:
        return picture
    end = f".{hashlib.sha256(os.fsencode(name)).hexdigest()[:8]}.png"
    return picture.with_name(os.fsencode(picture.name)[: LONGEST - len(end)].decode(errors="ignore") + end)


def draw(path: Path, found: Sequence[Mapping[str, Any]]) -> Image.Image:
    """Return an image with boxes drawn into it, each with class and score."""
    pixels = torch.from_numpy(np.array(read(path))).permute(2, 0, 1)
    if found:
        boxes = torch.tensor([one["box"] for one in found])
        labels = [f"{one['class']} {one['score']:.2f}" for one in found]
        pixels = draw_bounding_boxes(pixels, boxes, labels, colors="orange", width=max(1, max(pixels.shape) // 300))
    return Image.fromarray(pixels.permute(1, 2, 0).numpy())
