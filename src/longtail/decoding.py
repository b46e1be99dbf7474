"""Image files, decoded by parallel processes, and what is computed from them, kept on disk."""

import contextlib
import errno
import glob
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track
from torch.utils.data import DataLoader, Dataset

from longtail.errors import warn

SUFFIXES = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"}
WHOLE = 0x2144DF1C  # the CRC-32 of anything that ends with its own, little-endian (PKZIP's APPNOTE, 4.4.7)
GREY_16 = (("I", "PNG"), ("I", "PPM"))  # what Pillow opens as 32 bits although the file has 16
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

MOST_WORKERS = max(64, 4 * (os.cpu_count() or 1))  # processes; more only wait for each other


class ImageFiles:
    """Some image files below one directory.

    What is computed from all of them is kept in `data_dir/cache` under a key made of every file's name, size and
    time: a changed directory is read again.

    Args:
        root: the directory.
        paths: the files.
        data_dir: where the cache is.
        workers: processes that decode.
    """

    setting = "root"  # that a complaint begins with

    def __init__(self, root: Path, paths: Sequence[Path], data_dir: str, workers: int) -> None:
        self.root, self.paths, self.workers = root, paths, workers
        self.cache = Path(data_dir, "cache", self._key())

    def _key(self) -> str:
        """SHA-256 over every file's relative name, size and time of change; the files' order is part of it."""
        digest, missing = hashlib.sha256(), []
        start = len(os.path.join(self.root, "")) if self.root.name else 0  # of a path's name below the root
        for name in map(str, self.paths):
            try:
                stat = os.stat(name)
                digest.update(os.fsencode(f"{name[start:]}\0{stat.st_size}\0{stat.st_mtime_ns}\n"))
            except (FileNotFoundError, NotADirectoryError, ValueError):  # of a zero byte in its name
                missing.append(name[start:])
        if missing:
            raise FileNotFoundError(
                f"root={self.root}: must have all {len(self.paths):,} images that are listed,"
                f" lacks {len(missing):,}: {named(missing)}"
            )
        return f"{self.root.name}-{digest.hexdigest()[:16]}"

    def names(self) -> Iterator[str]:
        """Yield what each file is called in a complaint."""
        return (str(path.relative_to(self.root)) for path in self.paths)

    def sizes(self) -> list[list[int]]:
        """Return the width and height of each image."""
        scan = partial(self.scan, _read_size, "Reading image sizes")
        sizes: list[list[int]] = json.loads(
            text(once(Path(f"{self.cache}.sizes.json"), lambda: json.dumps(list(scan()))))
        )
        return sizes

    def decode(
        self, height: int, width: int, read: Callable[[Path], object] | None = None, name: str = ""
    ) -> NDArray[np.uint8]:
        """Return all images as uint8 (N, H, W, 3), memory-mapped.

        Args:
            height: of each of them.
            width: of each of them.
            read: gives one of this size, (H, W, 3); None where they have it.
            name: of what `read` does to an image beside decoding it.
        """

        def decode() -> NDArray[np.uint8]:
            decoded = np.empty((len(self.paths), height, width, 3), np.uint8)
            if shutil.disk_usage(self.cache.parent).free < decoded.nbytes:  # before all is decoded for nothing
                raise _no_room(self.cache, decoded.nbytes)
            for i, image in enumerate(self.scan(read or pixels, "Decoding images")):
                decoded[i] = image
            return decoded

        return mapped(once(Path(f"{self.cache}-{height}x{width}{name}.npy"), decode))

    def verify(self) -> None:
        """Decode all images, to find corrupt files."""
        scan = partial(self.scan, _read_all, "Verifying images")
        once(Path(f"{self.cache}.verified"), lambda: f"{sum(scan())} images decode\n")

    def scan(self, read: Callable[[Path], object], title: str) -> Iterator[Any]:
        """Yield what `read` returns for each file, in order, by parallel processes under a progress bar.

        Raises:
            OSError: names the files that failed, after all have been tried.
        """
        results = _Results(self.paths, read)
        loader = DataLoader(results, batch_size=256, num_workers=self.workers, collate_fn=list)
        failed = []
        for name, result in zip(self.names(), chain.from_iterable(track(loader, title, transient=True)), strict=True):
            if isinstance(result, str):
                failed.append(f"{name} ({result})")
            elif not failed:
                yield result
        if failed:
            raise OSError(
                f"{self.setting}={self.root}: {len(failed)} of {len(self.paths)} files are not readable images;"
                f" repair or remove {named(failed)}"
            )


def files_in(folder: Path) -> list[Path]:
    """Return all files in a folder and its subfolders, sorted; none if there is no such folder.

    Raises:
        OSError: a folder cannot be read.
    """

    def fail(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    return sorted(Path(where, name) for where, _, names in os.walk(folder, onerror=fail) for name in names)


def named(names: Iterable[str], most: int = 5) -> str:
    """Return the first few names, and how many more there are."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def read(path: Path) -> Image.Image:
    """Return an image as RGB; see `rgb`."""
    with Image.open(path) as image:
        return rgb(image)


def pixels(path: Path, change: Callable[[Image.Image], Image.Image] | None = None) -> NDArray[np.uint8]:
    """Return the pixels of an image file; see `pixels_of`."""
    with Image.open(path) as image:
        return pixels_of(image, change)


def pixels_of(image: Image.Image, change: Callable[[Image.Image], Image.Image] | None = None) -> NDArray[np.uint8]:
    """Return the pixels of an image as RGB, uint8 (H, W, 3), after a change that treats all channels alike."""
    plain = image if image.mode in ("L", "RGB") else rgb(image)  # grey: a third of the work
    found = np.asarray(change(plain) if change else plain)
    if found.ndim == 3:
        return found
    coloured = np.empty((*found.shape, 3), np.uint8)
    coloured[..., 0] = coloured[..., 1] = coloured[..., 2] = found  # a sixth of the time of one broadcast
    return coloured


def rgb(image: Image.Image) -> Image.Image:
    """Return an opened image as RGB of 8 bits.

    Grey of 16 bits is divided by 257, so that full white stays full white, whatever the image's own range. Alpha is
    dropped, a palette and CMYK become their colours, of an animation the first frame is taken, and the orientation in
    EXIF is not looked at: all as torchvision's `ImageFolder` does it.

    Raises:
        ValueError: its pixels are floating-point numbers, or whole ones of 32 bits, whose range nobody knows.
    """
    if image.mode.startswith(("I", "F")):  # convert would clip them to 255
        if not image.mode.startswith("I;16") and (image.mode, image.format) not in GREY_16:
            raise ValueError(f"pixels of mode {image.mode} must be whole numbers of 8 or 16 bits")
        image = Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
    if image.mode == "P":
        image = image.convert("RGBA")  # Pillow warns of a transparent palette that becomes RGB at once
    return image.convert("RGB")


def _read_size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def _read_all(path: Path) -> bool:
    with Image.open(path) as image:
        image.draft("RGB", (1, 1))  # JPEG: read all of the file, but compute an eighth of each side
        rgb(image)
    return True


class _Results(Dataset[object]):
    """What a function returns for each file, or the error's text: what the decoding processes run."""

    def __init__(self, files: Sequence[Path], read: Callable[[Path], object]) -> None:
        self.files, self.read = files, read

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> object:
        try:
            return self.read(self.files[index])
        except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, ...
            return " ".join(f"{type(error).__name__}: {error}".split())


def once(cache: Path, make: Callable[[], NDArray[np.uint8] | str]) -> Path:
    """Write an array or a text to a file of the cache unless it is there whole; one process does and the others wait.

    Raises:
        OSError: the cache cannot be written to, or is full.
    """
    if _is_whole(cache):
        return cache
    lock = FileLock(f"{cache}.lock")
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise _unwritable(cache, error) from error
    try:
        if not _is_whole(cache):
            if cache.exists():
                warn(f"{cache}: is damaged, or of an earlier version, and is made again")
            _write_atomically(cache, make())
    finally:
        lock.release()
    return cache


def mapped(cache: Path) -> NDArray[np.uint8]:
    """Return the array of a cached file; all processes that read it share its pages."""
    # Copy-on-write, and thereby writable as far as PyTorch is concerned.
    pixels: NDArray[np.uint8] = np.load(cache, mmap_mode="c")
    return pixels


def text(cache: Path) -> str:
    """Return the text of a cached file."""
    return cache.read_bytes()[:-4].decode()


class _Summed:
    """A file that is written together with its checksum."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.checksum = file, 0

    def write(self, content: bytes) -> None:
        self.file.write(content)
        self.checksum = zlib.crc32(content, self.checksum)

    def end(self) -> None:
        self.file.write(self.checksum.to_bytes(4, "little"))


def _is_whole(cache: Path) -> bool:
    """Return whether a cached file is there, and as it was written."""
    checksum = 0
    try:
        with cache.open("rb") as file:
            while chunk := file.read(2**20):
                checksum = zlib.crc32(chunk, checksum)
    except OSError:
        return False
    return checksum == WHOLE


def _write_atomically(path: Path, content: NDArray[np.uint8] | str) -> None:
    """Write to a file beside it, then rename: a killed process leaves no half-written cache."""
    for left in path.parent.glob(f"{glob.escape(path.name)}.*.part"):  # of such a process
        left.unlink(missing_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            summed = _Summed(file)
            summed.write(content.encode()) if isinstance(content, str) else np.save(summed, content)
            summed.end()
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        size = len(content) if isinstance(content, str) else content.nbytes
        raise (_no_room(path, size) if error.errno in FULL else _unwritable(path, error)) from error


def _unwritable(cache: Path, error: OSError) -> OSError:
    return OSError(f"data_dir={cache.parent.parent}: must be a writable directory ({error})")


def _no_room(cache: Path, size: int) -> OSError:
    free = shutil.disk_usage(cache.parent).free
    needed = f"{size / 1e6:,.1f} MB of {cache.name}"
    return OSError(f"data_dir={cache.parent.parent}: must have room for the {needed}, has {free / 1e6:,.1f} MB")
