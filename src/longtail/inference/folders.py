"""A folder of images, classified: a table of all, and a picture of those that the classifier is least certain of."""

import contextlib
import csv
import heapq
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from longtail import figures, runs
from longtail.decoding import SUFFIXES, ImageFiles, files_in, named, read
from longtail.errors import InputError, warn
from longtail.inference.classifier import Loaded

TABLE, SHEET = "predictions.csv", "least_certain.png"
PER_WORKER = 1000  # images that are worth another process
SHOWN = 320  # pixels of the longer side of an image in the picture


class Prediction(NamedTuple):
    """The most probable classes of an image, most probable first."""

    path: Path
    classes: Sequence[str]
    probabilities: Sequence[float]


def images_in(folder: Path) -> list[Path]:
    """Return the images in a folder and its subfolders, in the order of their names; say which files are none.

    Raises:
        InputError: there is none, or a folder cannot be read.
    """
    try:
        files = [path for path in files_in(folder) if not path.name.startswith(".") and path.is_file()]
    except OSError as error:
        raise InputError(f"images={folder}: must be readable with all that is in it ({error})") from error
    found = [path for path in files if path.suffix.lower() in SUFFIXES]
    if not found:
        raise InputError(f"images={folder}: must be a folder of images ({' '.join(sorted(SUFFIXES))})")
    if others := [str(path.relative_to(folder)) for path in files if path.suffix.lower() not in SUFFIXES]:
        warn(f"images={folder}: {len(others)} files are no images: {named(others)}")
    return found


def classify(
    loaded: Loaded, folder: Path, paths: Sequence[Path], top_k: int, batch_size: int
) -> Iterator[Prediction]:
    """Yield the `top_k` most probable classes of each image, under a progress bar; a batch at a time is in memory.

    Raises:
        InputError: some files are no readable images; it names them, after all have been tried.
    """
    model, class_names, transform = loaded
    device = next(model.parameters()).device
    files = ImageFiles(folder, paths, str(folder), min(torch.get_num_threads(), len(paths) // PER_WORKER))
    files.setting = "images"
    pixels, left = files.scan(transform.read, "Predicting"), iter(paths)
    try:
        while batch := list(itertools.islice(pixels, batch_size)):
            images = transform(torch.from_numpy(np.stack(batch)).to(device))
            found = model.probabilities(images).cpu().topk(min(top_k, len(class_names)))
            for classes, values, path in zip(found.indices.tolist(), found.values.tolist(), left, strict=False):
                yield Prediction(path, [class_names[c] for c in classes], values)
    except OSError as error:
        raise InputError(str(error)) from error


def write(out: Path, predictions: Iterable[Prediction], folder: Path, top_k: int, least_certain: int) -> int:
    """Write the table of all predictions, and the picture of the least certain ones; return how many there are.

    Nothing is written before all images have been looked at.

    Args:
        out: the directory.
        predictions: of the images, looked at one by one.
        folder: of the images, in which they are named.
        top_k: how many classes each prediction has.
        least_certain: how many images the picture shows; 0 for no picture.

    Raises:
        InputError: some files are no readable images.
        OSError: the directory cannot be written to.
    """
    ranks = [name for rank in range(2, top_k + 1) for name in (f"class_{rank}", f"probability_{rank}")]
    number = 0
    least: list[tuple[float, int, Prediction]] = []
    with tempfile.TemporaryFile("w+", newline="", encoding="utf-8") as rows:
        table = csv.writer(rows)
        table.writerow(["file", "class", "probability", *ranks])
        for one in predictions:
            values = ((name, f"{p:.6f}") for name, p in zip(one.classes, one.probabilities, strict=True))
            table.writerow(runs.as_cells([_name(one.path, folder), *itertools.chain.from_iterable(values)]))
            number += 1
            heapq.heappush(least, (-one.probabilities[0], -number, one))  # the most certain one first
            if len(least) > least_certain:
                heapq.heappop(least)
        picture = _sheet([one for *_, one in sorted(least, reverse=True)], folder, number) if least else None
        out.mkdir(parents=True, exist_ok=True)
        rows.seek(0)
        with runs.atomic_write(out / TABLE) as file, contextlib.ExitStack() as sheet:  # whole before they are there
            if picture:
                sheet.enter_context(runs.replacing(out / SHEET)).write_bytes(picture)
            shutil.copyfileobj(rows, file)
            file.flush()
        if not picture:
            (out / SHEET).unlink(missing_ok=True)
    return number


def _sheet(predictions: Sequence[Prediction], folder: Path, number: int) -> bytes:
    """Draw images with their names and two likeliest classes, as PNG."""
    images = []
    for one in predictions:
        image = read(one.path)
        image.thumbnail((SHOWN, SHOWN))
        images.append(np.asarray(image))
    names = [_name(one.path, folder) for one in predictions]
    guesses = [list(zip(one.classes, one.probabilities, strict=True))[:2] for one in predictions]
    title = f"least certain: {len(images)} of {number:,} images"
    return figures.png(figures.contact_sheet(images, names, guesses, title))


def _name(path: Path, folder: Path) -> str:
    """Return the name of a file in its folder, as UTF-8 can say it."""
    return os.fsencode(path.relative_to(folder)).decode(errors="replace")
