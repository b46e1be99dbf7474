"""Weights that a model starts from, in a local file: a checkpoint of a run, or the state dict of a model."""

import contextlib
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from longtail.errors import console

# What PyTorch raises for a file that is none of its own, or a broken one.
BROKEN = (RuntimeError, LookupError, TypeError, AttributeError, EOFError, OSError, pickle.UnpicklingError)
WITHIN = ("state_dict", "model")  # what a file keeps its weights under, beside other things
PREFIXES = ("method.model.", "model.", "module.")  # of a run, of one before there were methods, of DataParallel
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")  # further outputs of pretrained GoogLeNet and Inception, for training
COUNTER = "num_batches_tracked"  # of batch norms, which older files lack
_LEFT_OUT = ContextVar("left_out", default=False)


@contextlib.contextmanager
def left_out() -> Iterator[None]:
    """Make models without the weights that their settings name: a checkpoint will replace all of them."""
    token = _LEFT_OUT.set(True)
    try:
        yield
    finally:
        _LEFT_OUT.reset(token)


def are_left_out() -> bool:
    """Return whether models are made without the weights that their settings name."""
    return _LEFT_OUT.get()


def start(model: nn.Module, weights: str | None, rename: Callable[[str], str] = str) -> None:
    """Load weights into a model; say what was loaded. A head of another shape is left as it is.

    Args:
        model: its last layer is `head`.
        weights: a file, read as tensors and plain values alone; None for none.
        rename: name of a tensor in the file -> its name in the model, if it is of a model of another kind.

    Raises:
        ValueError: the file cannot be read, or does not fit the model.
    """
    if weights is None or are_left_out():
        return
    must = f"weights={weights}: must be null or a file of weights that fit the model"
    found, own = read(weights), model.state_dict()
    as_it_is = {name for name in found if name in own or name.startswith("head.")}
    heads, body = _parted({name if name in as_it_is else rename(name): value for name, value in found.items()})
    own_heads, own_body = _parted(own)
    if lacking := [name for name in own_body if name not in body and not name.endswith(COUNTER)]:
        raise ValueError(f"{must}; it lacks {_few(lacking)}")
    if further := [name for name in body if name not in own_body and not name.startswith(AUXILIARY)]:
        raise ValueError(f"{must}; it has {_few(further)} besides")
    if wrong := [name for name in own_body if name in body and body[name].shape != own_body[name].shape]:
        shapes = [" x ".join(map(str, of[wrong[0]].shape)) for of in (body, own_body)]
        raise ValueError(f"{must}; its {wrong[0]} is {shapes[0]}, not {shapes[1]}")
    fits = _shapes(heads) == _shapes(own_heads)
    try:
        model.load_state_dict({n: body[n] for n in own_body if n in body} | (heads if fits else {}), strict=False)
    except RuntimeError as error:  # of tensors without values, sparse ones, ...
        raise ValueError(f"{must}; {' '.join(str(error).split())}") from error
    but = "" if fits else f" but the head, which is {_shapes(heads)} in the file and {_shapes(own_heads)} here"
    console.print(f"model.weights={weights}: starts from all of its layers{but}", soft_wrap=True, markup=False)


def read(weights: str) -> dict[str, Tensor]:
    """Read the tensors of a model by name, whatever they are wrapped in.

    Raises:
        ValueError: the file is missing, broken, or of something else.
    """
    must = f"weights={weights}: must be null or a file of weights"
    if not isinstance(weights, str) or not Path(weights).is_file():  # a pipe may be waited for without end
        raise ValueError(f"{must}, and there is no such file")
    try:
        found: Any = torch.load(weights, map_location="cpu", weights_only=True)
    except BROKEN as error:
        raise ValueError(f"{must}, which cannot be read ({type(error).__name__})") from error
    for name in WITHIN:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
    if not isinstance(found, Mapping):
        raise ValueError(f"{must}, not of {type(found).__name__}")
    prefix = next((prefix for prefix in PREFIXES if any(str(name).startswith(prefix) for name in found)), "")
    named = {str(name).removeprefix(prefix): value for name, value in found.items() if str(name).startswith(prefix)}
    tensors = {name: value for name, value in named.items() if isinstance(value, Tensor)}
    if not tensors:
        raise ValueError(f"{must}, and there are none in it")
    return tensors


def _parted(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the tensors of the head, and the others."""
    head = {name: value for name, value in state.items() if name.startswith("head.")}
    return head, {name: value for name, value in state.items() if name not in head}


def _few(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _shapes(head: Mapping[str, Tensor]) -> str:
    shapes = (f"{name.removeprefix('head.')} {' x '.join(map(str, head[name].shape))}" for name in sorted(head))
    return ", ".join(shapes) or "missing"
