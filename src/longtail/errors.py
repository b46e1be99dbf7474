"""What the user can fix is one line on stderr; anything else is a bug and keeps its traceback."""

import contextlib
import difflib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook
from rich.segment import Segment
from rich.table import Table

TOP_LEVEL = (
    "dataset",
    "data_dir",
    "batch_size",
    "epochs",
    "reduction",
    "WANDB_MODE",
)  # named by parts, but not settings of a group
LIBRARY = (
    "optimizer",
    "trainer",
    "logger",
    "hydra",
)  # the own classes of PyTorch, Lightning and Optuna, which know nothing of `name=value: must`
OF_SETTINGS = ("InstantiationException", "MisconfigurationException")  # Hydra's and Lightning's word for them
COMPLAINT = re.compile(r"([\w.]+)=|must ")  # how a part's own complaint begins
UNFIT = (  # what Python says of the arguments of a part, and what that means for a setting
    (re.compile(r"^[\w.]+\(\) got an unexpected keyword argument '(\w+)'"), "no such setting"),
    (re.compile(r"^[\w.]+\(\) got multiple values for argument '(\w+)'"), "must not be set, the run passes it"),
    (re.compile(r"^[\w.]+\(\) missing \d+ required .*?: '(\w+)'"), "must be given"),
)
# What moves the cursor, colours the terminal or turns the text around, and what UTF-8 cannot say.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """Return a text with its control characters written out: those of a terminal's escape sequences, for one."""
    return CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


class Visible(RenderHook):
    """Print what others have named, a class or a file, without the control characters in it."""

    def __init__(self, renderable: ConsoleRenderable | None = None) -> None:
        self.renderable = renderable

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Wrap what is to be printed."""
        return [Visible(renderable) for renderable in renderables]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for segment in console.render(self.renderable or "", options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


console = Console(highlight=False)
console.push_render_hook(Visible())


def fitting(tables: Iterable[Table], width: int) -> Table:
    """Return the first table that needs at most so many letters, or the last; its lines are as long as it needs."""
    for table in tables:
        table.width = Console(width=10_000).measure(table).maximum
        if table.width <= width:
            break
    return table


def two_lines(heading: str) -> str:
    """Break a heading once, so that its lines are as short as possible: at a space, or after a dot or a slash."""
    parts = re.findall(r".+?(?:[ ./]+|$)", heading)
    breaks = [("".join(parts[:at]).rstrip(), "".join(parts[at:])) for at in range(1, len(parts))]
    return "\n".join(min(breaks, key=lambda lines: max(map(len, lines)), default=(heading,)))


class InputError(Exception):
    """Something the user set is wrong; the text is one line: the setting, its value, what is allowed."""

    def __init__(self, line: str) -> None:
        super().__init__(visible(line))


@contextlib.contextmanager
def setting(group: str) -> Iterator[None]:
    """Prefix a part's complaint with its group: `ratio=0.5: must ...` becomes `imbalance.ratio=0.5: must ...`.

    A complaint is a ValueError whose text begins with `name=value` or `must`, an OSError, or a `_target_` that does
    not exist. Any other exception is a bug of the part and leaves as it was raised, with a note of the group.

    Args:
        group: the config group that the part belongs to; empty for top-level settings.

    Raises:
        InputError: for a complaint.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        cause: BaseException = error
        if node := re.search(r"full_key: (\S+)", str(error)):  # Hydra's InstantiationException
            cause, group = error.__cause__ or error, node[1]
        if isinstance(cause, InputError):
            raise cause from None
        for pattern, remark in UNFIT if node else ():
            if unfit := pattern.search(str(cause)):
                raise InputError(f"{group}.{unfit[1]}: {remark}") from error
        if _is_bug(cause, group):
            if not getattr(cause, "__notes__", None):
                cause.add_note(f"in the part of the config group {group}" if group else "in the top-level settings")
            if cause is error:
                raise
            raise cause from cause.__cause__
        text = " ".join(str(cause).split())
        if target := re.match(r"Error loading '(\S+)': ", text):
            text = f"_target_={target[1]}: must be what can be imported: {text[target.end() :]}"
        name = re.match(r"([\w.]+)=", text)
        if group and not (name and name[1] in TOP_LEVEL):
            text = f"{group}.{text}" if name else f"{group}: {text}"
        raise InputError(text) from error


def _is_bug(error: BaseException, group: str) -> bool:
    if str(error).startswith("Error loading '"):  # a `_target_` that does not exist, unless its module is there
        return not isinstance(error.__cause__, ImportError | AttributeError)
    kind = type(error)
    if isinstance(error, OSError) or kind.__module__.startswith("omegaconf.") or kind.__name__ in OF_SETTINGS:
        return False
    if isinstance(error, RuntimeError) and "can't allocate memory" in str(error):
        return False  # a size of the user's
    if group.partition(".")[0] in LIBRARY:
        return not isinstance(error, ValueError | TypeError | ImportError)
    return not (isinstance(error, ValueError) and COMPLAINT.match(str(error)))


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean NAME?` with the known name that is nearest to a wrong one; nothing if none is near."""
    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""


def no_such_setting(name: str, known: Iterable[str]) -> str:
    """Return what to say of an unknown setting: the nearest known one, or else all of them."""
    known = [key for key in known if not key.startswith("_")]
    return "no such setting" + (suggestion(name, known) or (f"; must be one of {', '.join(known)}" if known else ""))


def wants_traceback() -> bool:
    """Return whether the user has asked for the traceback of every error, by HYDRA_FULL_ERROR=1.

    `longtail.cli.app` sets that variable for Hydra and keeps the user's own wish in LONGTAIL_FULL_ERROR.
    """
    return os.environ.get("LONGTAIL_FULL_ERROR", os.environ.get("HYDRA_FULL_ERROR")) == "1"


def text_of(value: Any) -> str:
    """Return a setting as text, as it is written on the command line."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, list):
        return f"[{', '.join(map(text_of, value))}]"
    return str(value)


def warn(line: str) -> None:
    """Print a warning to stderr."""
    print(f"warning: {visible(line)}", file=sys.stderr)


def refuse(line: str) -> NoReturn:
    """Print an error to stderr and exit with code 1."""
    print(f"error: {visible(line)}", file=sys.stderr)
    raise SystemExit(1)


def check_writable(name: str, directory: Path) -> None:
    """Check that a directory can be made and written to, and leave none that was not there.

    Raises:
        InputError: it cannot.
    """
    made: list[Path] = []
    try:
        made += (path for path in (directory, *directory.parents) if not path.exists())
        directory.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        raise InputError(f"{name}={directory}: must be a writable directory ({error.strerror})") from error
    finally:
        with contextlib.suppress(OSError):
            for path in made:
                path.rmdir()


def refuse_unwritable(name: str, directory: str) -> None:
    """Make a directory; exit with one line if it cannot be made or written to."""
    try:
        check_writable(name, Path(directory))
    except InputError as error:
        refuse(str(error))
    Path(directory).mkdir(parents=True, exist_ok=True)
