"""What a config that was read back from disk may do: make what a command of this version would have composed itself.

Any `_target_` is a call of a function, and a resolver such as `oc.env` reads what is none of the config's business.
So both are held against `conf/` before anything of the config is imported, called or evaluated.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from longtail.cli import app, installed
from longtail.errors import InputError

LIBRARIES = ("torch.optim", "lightning.pytorch.callbacks")
WRITERS = {"Checkpoint", "SpikeDetection"}  # callbacks that write, and delete, files wherever their settings say
LOGGERS = "lightning.pytorch.loggers"  # they write wherever their settings say
OF_LOGGER = re.compile(r"logger\.[^.]+\.(.*)")
INSIDE = re.compile(r"(?!.*\.\.)[\w.+ -][\w.+ /-]*")  # a name, or a path that leads down
TARGET = re.compile(r"_target_:\s*[\"']?([\w.]+)")
CALL = re.compile(r"\$\{[^${}]*:[^${}]*\}")  # a resolver and its arguments
REFERENCE = re.compile(r"\$\{[^${}:]*\}")  # to another setting


def check(config: DictConfig, trusted: Sequence[str]) -> None:
    """Check that a config from disk names only known parts and resolvers; nothing of it is evaluated before.

    A `_target_` may be one that a file of `conf/` names, or what is defined in PyTorch's optimizers, in Lightning's
    callbacks, in an installed package that adds parts, or in a trusted package. Of resolvers, the expressions of
    `conf/` and of such a package's own are evaluated.

    Args:
        config: of a run.
        trusted: packages that the user trusts.

    Raises:
        InputError: with the first setting that names anything else.
    """
    if isinstance(trusted, str) or not isinstance(trusted, Sequence):
        raise InputError(f"trust={trusted}: must be a list of packages, such as [mylab]")
    targets, calls = named_in_conf()
    written = dict(strings(OmegaConf.to_container(config)))
    for name, text in written.items():
        rest = text
        for call in calls:
            rest = rest.replace(call, "")
        if "${" in REFERENCE.sub("", rest):
            raise InputError(f"{name}={text}: must not be computed, for the config is read back from disk")
    try:
        resolved = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise InputError(" ".join(str(error).split())) from error
    for name, text in strings(resolved):
        if "${" in text:  # put together from pieces: it would be evaluated when it is resolved once more
            raise InputError(f"{name}: must not be computed, for the config is read back from disk")
        own = OF_LOGGER.fullmatch(name)
        if name.rpartition(".")[2] == "_target_":
            if text not in targets or (within(text, LOGGERS) and not (own and own[1] == "_target_")):
                check_target(name, text, trusted)
        elif own and LOGGERS not in trusted and written.get(name) not in calls and not INSIDE.fullmatch(text):
            raise InputError(f"{name}={text}: must be a name, or a logger that you trust (trust=[{LOGGERS}])")


def strings(node: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the text values of nested containers with their dotted names; every `_target_`, whatever its type."""
    if isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from strings(str(value) if key == "_target_" else value, f"{name}.{key}" if name else str(key))
    elif isinstance(node, str):
        yield name, node


@cache
def named_in_conf() -> tuple[frozenset[str], frozenset[str]]:
    """Return the targets that the files of `conf/` and of installed packages name, and the calls of resolvers."""
    texts = [path.read_text("utf-8") for folder in app.folders() for path in folder.rglob("*.yaml")]
    targets, calls = (frozenset(found for text in texts for found in form.findall(text)) for form in (TARGET, CALL))
    return targets, calls


def check_target(name: str, target: str, trusted: Sequence[str]) -> None:
    """Check that a target is defined in a trusted package, importing nothing outside of it.

    Its name proves nothing: `torch.optim.sgd.torch.hub.load` is not PyTorch's optimizers'.

    Raises:
        InputError: it is not.
    """
    must = f"{name}={target}: must be named in conf/, or in a package that you trust"
    package = next((known for known in (*trusted, *installed.modules(), *LIBRARIES) if within(target, known)), None)
    if package is None:
        raise InputError(f"{must} (trust=[{target.rpartition('.')[0]}])")
    try:
        found: Any = import_module(package)
        for part in target.removeprefix(package).split(".")[1:]:
            if isinstance(found, ModuleType) and not hasattr(found, part):
                import_module(f"{found.__name__}.{part}")
            found = getattr(found, part)
            home = found.__name__ if isinstance(found, ModuleType) else getattr(found, "__module__", None)
            if not within(str(home), package):
                raise InputError(f"{must}, not {f'in {home}' if home else 'inside of another object'}")
    except (ImportError, AttributeError) as error:
        raise InputError(f"{name}={target}: must be what can be imported: {error}") from error
    if package in LIBRARIES and not isinstance(found, type):  # a method may do anything, to any file
        raise InputError(f"{must}; of {package}, only a class")
    if package in LIBRARIES and WRITERS & {base.__name__ for base in found.__mro__}:
        raise InputError(f"{must}: it writes files wherever the config says")


def within(name: str, package: str) -> bool:
    """Return whether a dotted name is that of a package or of something in it."""
    return f"{name}.".startswith(f"{package}.")
