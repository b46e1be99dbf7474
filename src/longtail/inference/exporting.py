"""A classifier as a program of its own, with the normalisation inside: by `torch.export`, and as ONNX."""

import contextlib
import hashlib
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from longtail import __version__, runs
from longtail.errors import InputError
from longtail.inference.classifier import Loaded

PROGRAM, ONNX, DESCRIPTION = "model.pt2", "model.onnx", "model.json"
EXTRA = ("onnx", "onnxruntime", "onnxscript")
INPUT, OUTPUT = "images", "log_probabilities"
TOLERANCE = 1e-3  # on log probabilities: absolute above -1, relative below
BATCHES = 1, 17  # that are tried; none is the size that the program was made with
Run = Callable[[Tensor], Tensor]  # images -> log probabilities


class Program(nn.Module):
    """uint8 images (B, H, W, channels) -> log probabilities (B, C).

    Args:
        loaded: a classifier on the CPU.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, loaded: Loaded) -> None:
        super().__init__()
        self.model, normalize = loaded.model, loaded.transform.normalize
        self.register_buffer("scale", normalize.scale)
        self.register_buffer("shift", normalize.shift)
        channels, height, width = loaded.transform.image_shape
        self.shape = height, width, channels

    def forward(self, images: Tensor) -> Tensor:
        """Return log probabilities (B, C) float32."""
        # As `Normalize` does it, but without changing tensors in place, which not every exporter follows.
        normalized = images.float() * self.scale + self.shift
        return self.model.log_probabilities(normalized.permute(0, 3, 1, 2))

    @property
    def example(self) -> tuple[Tensor]:
        """The arguments that it is traced with."""
        return (torch.zeros(2, *self.shape, dtype=torch.uint8),)

    @cached_property
    def exported(self) -> Any:
        """The program as `torch.export` traces it, for a batch of any size."""
        sizes = {INPUT: {0: torch.export.Dim("batch", min=1)}}
        return torch.export.export(self, self.example, dynamic_shapes=sizes, strict=False)


Make = Callable[[Program], tuple[bytes, Run]]  # the content of a file, and what runs it


def lacking() -> list[str]:
    """Return the packages that ONNX needs and that are not installed."""
    return [name for name in EXTRA if importlib.util.find_spec(name) is None]


def export(loaded: Loaded, checkpoint: Path, out: Path, onnx: bool) -> dict[str, float]:
    """Write the classifier as `model.pt2`, perhaps as `model.onnx`, and what they take and give as `model.json`.

    Each is run on random images first, and nothing is written unless it agrees with the model.

    Args:
        loaded: the classifier, on the CPU.
        checkpoint: the file that it was loaded from.
        out: the directory.
        onnx: whether to write ONNX too.

    Returns:
        The largest difference of a log probability from the model's, by file.

    Raises:
        InputError: the model cannot be exported, or what was exported does not agree with it.
        OSError: the directory cannot be written to.
    """
    program = Program(loaded).eval().requires_grad_(False)
    makers = {PROGRAM: _program} | ({ONNX: _onnx} if onnx else {})
    files, differences = {}, {}
    with _quietly():
        for name, make in makers.items():
            files[name], differences[name] = _made(name, make, program)
    files[DESCRIPTION] = json.dumps(_description(loaded, checkpoint, differences), indent=1).encode()
    out.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as parts:  # all are whole before one is there
        for name, content in reversed(files.items()):
            parts.enter_context(runs.replacing(out / name)).write_bytes(content)
    if not onnx:  # that of an export before does not belong to this one
        (out / ONNX).unlink(missing_ok=True)
    return differences


def _made(name: str, make: Make, program: Program) -> tuple[bytes, float]:
    """Make a file, and run it on random images; return it, and the largest difference from the model.

    Raises:
        InputError: the model cannot be exported, or the file does not agree with it.
    """
    hint = "; format=torch leaves it out" if name == ONNX else ""
    generator = torch.Generator().manual_seed(0)
    shapes = ((size, *program.shape) for size in BATCHES)
    batches = [torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator) for shape in shapes]
    try:
        content, run = make(program)
        difference = max(_difference(run(batch), program(batch)) for batch in batches)
    except Exception as error:  # of the exporters, whatever a model does that they cannot follow
        raise InputError(f"{name}: the model cannot be exported ({_reason(error)}){hint}") from error
    if not difference <= TOLERANCE:
        raise InputError(f"{name}: differs from the model by {difference:.2g}, so it is not written{hint}")
    return content, difference


def _program(program: Program) -> tuple[bytes, Run]:
    """Return the file that `torch.export` makes of a program, and what runs it."""
    file = io.BytesIO()  # not the file itself: where the disk is full, PyTorch aborts the process
    torch.export.save(program.exported, file)
    file.seek(0)
    run: Run = torch.export.load(file).module()
    return file.getvalue(), run


def _onnx(program: Program) -> tuple[bytes, Run]:
    """Return a program as ONNX, and what runs it."""
    import onnxruntime

    with contextlib.redirect_stdout(io.StringIO()):
        made = torch.onnx.export(
            program.exported, program.example, input_names=[INPUT], output_names=[OUTPUT], dynamo=True
        )
    assert made is not None  # as it is without dynamo
    content = made.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {INPUT: images.numpy()})[0])

    return content, run


def _reason(error: BaseException) -> str:
    """Return the first line of what an error was in the beginning."""
    while error.__cause__:
        error = error.__cause__
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"


def _difference(found: Tensor, wanted: Tensor) -> float:
    """Return the largest difference, relative where a log probability is below -1; infinite where one is NaN."""
    relative = (found - wanted).abs() / wanted.abs().clamp_min(1)
    return float(relative.nan_to_num(nan=torch.inf).max()) if found.shape == wanted.shape else torch.inf


def _description(loaded: Loaded, checkpoint: Path, differences: dict[str, float]) -> dict[str, Any]:
    """Return what somebody has to know who runs the files without this program."""
    channels, height, width = loaded.transform.image_shape
    resized = f"the shorter side to {height * 8 // 7}, then the central {height} x {width}"
    return {
        "input": {
            "name": INPUT,
            "dtype": "uint8",
            "shape": ["batch", height, width, channels],
            "channels": {1: "grey", 3: "RGB"}.get(channels, "as trained"),
            "resized": resized if loaded.transform.cropped else f"as a whole to {height} x {width}",
            "normalized": False,
        },
        "output": {"name": OUTPUT, "dtype": "float32", "shape": ["batch", len(loaded.class_names)]},
        "class_names": loaded.class_names,
        "checkpoint_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        "largest_difference": differences,
        "versions": {"longtail": __version__, "torch": torch.__version__},
    }


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep the exporters' notes on themselves out of the terminal."""
    loggers = [
        logging.getLogger(name) for name in ("torch.onnx", "torch.export", "torch.fx", "onnxscript", "onnx_ir")
    ]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
