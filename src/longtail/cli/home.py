"""A place for what libraries keep in the user's home, where that cannot be written to."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from longtail.errors import InputError, check_writable


def provide() -> None:
    """Give Matplotlib, fontconfig and W&B a temporary directory if they would complain of the user's own."""
    config = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    for name, usual in (("XDG_CACHE_HOME", "~/.cache"), ("MPLCONFIGDIR", f"{config}/matplotlib")):
        try:
            check_writable(name, Path(os.environ.get(name) or usual).expanduser())
        except (InputError, RuntimeError):  # or nobody knows where it is
            os.environ[name] = tempfile.mkdtemp(prefix="longtail-")
            atexit.register(shutil.rmtree, os.environ[name], ignore_errors=True)
