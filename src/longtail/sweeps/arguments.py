"""Whether the settings of a part have the types of the parameters they are for, by the hints of its `_target_`."""

import contextlib
import gc
import math
import os
import pydoc
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from inspect import Parameter, signature
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from longtail import signals
from longtail.errors import InputError, no_such_setting, suggestion, text_of

CORES = max(os.cpu_count() or 1, 2)
WHOLE, NUMBER = "a whole number", "a finite number"
PLAIN = {bool: ("true", "false"), str: ("a text",), NoneType: ("null",)}
OBJECT = "what has a _target_"
BUILT_IN = ("builtins", "collections.abc")
LIBRARIES = ("torch", "lightning")  # packages that know nothing of `name=value: must`


class Range(NamedTuple):
    """The least and the most that a number may be."""

    least: float
    most: float = math.inf

    def __str__(self) -> str:
        return f" in [{self.least:g}, {self.most:g}]" if self.most < math.inf else f" >= {self.least:g}"


# Parameters of PyTorch and Lightning, where these take what a run does not, or break on it once it has begun.
RANGES = {
    "lr": Range(0),
    "momentum": Range(0),
    "weight_decay": Range(0),
    "decay": Range(0, 1),
    "update_every_n_steps": Range(1),
    "max_epochs": Range(1),
    "num_nodes": Range(1),
    "check_val_every_n_epoch": Range(1),
    "log_every_n_steps": Range(0),
    "gradient_clip_val": Range(0),
    "accumulate_grad_batches": Range(1),
    "num_sanity_val_steps": Range(-1),
}
HINTS = {
    "max_epochs": int,
    "devices": Literal[-1] | Annotated[int, Range(1, CORES)] | list[int] | str,  # a core for each process; -1 for all
    "precision": Literal["auto", "32-true", "bf16-mixed", "16-mixed", "32", "16", "bf16", 32, 16],
    "limit_train_batches": Annotated[int, Range(1)] | Annotated[float, Range(1e-6, 1)],
    "limit_val_batches": Annotated[int, Range(0)] | Annotated[float, Range(0, 1)],
    "limit_test_batches": Annotated[int, Range(0)] | Annotated[float, Range(0, 1)],
}


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Import without garbage collection, which would search a million objects that all stay."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
    signals.check()  # imports are where a stop is swallowed


def check(name: str, node: Any) -> None:
    """Check the settings of a part, and of the parts within it, against the signatures of their targets.

    A target without hints is left alone, and so is one that cannot be imported: making it tells why.

    Args:
        name: of the node, such as `loss`.
        node: its resolved settings.

    Raises:
        InputError: a setting has a type that its parameter does not take, is not finite, or does not exist.
    """
    if isinstance(node, list):
        for i, one in enumerate(node):
            check(f"{name}[{i}]", one)
    elif isinstance(node, dict):
        target = node.get("_target_")
        known = parameters(target) if isinstance(target, str) else None
        for key, value in node.items():
            if known is not None and not str(key).startswith("_"):
                _check_setting(f"{name}.{key}", key, value, known)
            check(f"{name}.{key}", value)


@cache
def parameters(target: str) -> Mapping[str, Parameter] | None:
    """Return the parameters of what a `_target_` names, None if that cannot be told."""
    try:
        with without_collection():
            found = pydoc.locate(target)
        try:
            given = signature(found, eval_str=True)  # type: ignore[arg-type]
        except NameError:  # a hint that is imported for type checkers alone
            given = signature(found)  # type: ignore[arg-type]
    except (pydoc.ErrorDuringImport, TypeError, ValueError):
        return None
    known = dict(given.parameters)
    for name in known if target.partition(".")[0] in LIBRARIES else ():
        if name in HINTS:
            known[name] = known[name].replace(annotation=HINTS[name], default=Parameter.empty)
        if name in RANGES:
            known[name] = known[name].replace(annotation=Annotated[known[name].annotation, RANGES[name]])
    return known


def fits(value: object, hint: Any) -> bool:
    """Tell whether a value from a config fits a type hint; a hint that says nothing takes everything.

    A number must be finite, true and false are no numbers, and a whole number may stand for a float. What is neither
    a number, a text, a list nor a mapping has a `_target_`.
    """
    if (isinstance(value, dict) and "_target_" in value) or any(
        hint == free for free in (Parameter.empty, Any, object)
    ):
        return True
    origin, arguments = get_origin(hint) or hint, get_args(hint)
    if origin in (Union, UnionType):
        return any(fits(value, one) for one in arguments)
    if origin is Annotated:
        within = [one for one in arguments[1:] if isinstance(one, Range) and isinstance(value, int | float)]
        return fits(value, arguments[0]) and all(one.least <= value <= one.most for one in within)  # type: ignore[operator]
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in arguments)
    if hint is None or origin is NoneType:
        return value is None
    if origin in (bool, int, str):
        return type(value) is origin
    if origin is float:
        return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]
    if not isinstance(origin, type) or getattr(origin, "_is_protocol", False):
        return True  # such as a type variable
    if origin.__module__ in BUILT_IN and issubclass(origin, Iterable):
        return _fits_collection(value, origin, arguments)
    return isinstance(value, origin) or (issubclass(origin, os.PathLike) and isinstance(value, str))


def _fits_collection(value: object, kind: type, of: tuple[Any, ...]) -> bool:
    if issubclass(kind, Mapping):
        return isinstance(value, dict) and all(fits(one, of[1]) for one in value.values() if of)
    if not isinstance(value, list):
        return False
    if kind is tuple and of and of[-1] is not Ellipsis:
        return len(value) == len(of) and all(map(fits, value, of))
    return not of or all(fits(one, of[0]) for one in value)


def entries(hint: Any) -> Any:
    """Return what a type hint says of the values of a mapping, None if it says nothing of one."""
    origin, arguments = get_origin(hint) or hint, get_args(hint)
    if origin in (Union, UnionType):
        return next((found for one in arguments if (found := entries(one)) is not None), None)
    is_mapping = isinstance(origin, type) and issubclass(origin, Mapping)
    return arguments[1] if is_mapping and arguments else None


def words(hint: Any) -> str:
    """Return what a type hint takes, such as `a finite number or null`."""
    said = dict.fromkeys(_words(hint))
    if set(said) - {OBJECT, "null"}:
        said.pop(OBJECT, None)  # the rarest choice
    for number in [word for word in said if word.startswith(NUMBER)]:
        said.pop(number.replace(NUMBER, WHOLE), None)  # which is a number too
    *others, last = said
    return f"{', '.join(others)} or {last}" if others else last


def _words(hint: Any, within: str = "") -> Iterator[str]:
    origin, arguments = get_origin(hint) or hint, get_args(hint)
    if origin in (Union, UnionType):
        for one in arguments:
            yield from _words(one, within)
    elif origin is Annotated:
        yield from _words(arguments[0], "".join(str(one) for one in arguments[1:] if isinstance(one, Range)))
    elif origin is Literal:
        yield from map(text_of, arguments)
    elif origin in (int, float):
        yield (WHOLE if origin is int else NUMBER) + within
    elif origin in PLAIN:
        yield from PLAIN[origin]
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        yield "a mapping"
    elif isinstance(origin, type) and origin.__module__ in BUILT_IN and issubclass(origin, Iterable):
        yield "a list of numbers" if {int, float} & {*arguments} else "a list"
    else:
        yield OBJECT


def _check_setting(name: str, key: str, value: object, known: Mapping[str, Parameter]) -> None:
    parameter = known.get(key)
    if parameter is None or parameter.kind in (Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL):
        if any(one.kind is Parameter.VAR_KEYWORD for one in known.values()):
            return
        optional = [one for one, of in known.items() if of.default is not Parameter.empty]  # the others may be facts
        near = suggestion(key, known)
        raise InputError(
            f"{name}={text_of(value)}: {'no such setting' + near if near else no_such_setting(key, optional)}"
        )
    if isinstance(value, dict) and (entry := entries(parameter.annotation)) is not None:
        for one, own in value.items():
            if not fits(own, entry):
                raise InputError(f"{name}.{one}={text_of(own)}: must be {words(entry)}")
    is_default = value is None and parameter.default is None
    if not (is_default or fits(value, parameter.annotation)):
        raise InputError(f"{name}={text_of(value)}: must be {words(parameter.annotation)}")
