"""A place for what libraries keep in the user's home, where that cannot be written to."""

import atexit
import logging
import os
import shutil
import tempfile
from pathlib import Path

from longtail.errors import InputError, check_writable, warn


def provide() -> None:
    """Give Matplotlib, fontconfig and W&B a temporary directory, and say so, if the user's own cannot be written."""
    logging.getLogger("matplotlib.font_manager").setLevel(logging.WARNING)  # it tells of every new list of fonts
    before = dict(os.environ)
    config = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    for name, usual in (("XDG_CACHE_HOME", "~/.cache"), ("MPLCONFIGDIR", f"{config}/matplotlib")):
        try:
            check_writable(name, Path(os.environ.get(name) or usual).expanduser())
        except (InputError, RuntimeError):  # or nobody knows where it is
            os.environ[name] = tempfile.mkdtemp(prefix="longtail-")
            atexit.register(shutil.rmtree, os.environ[name], ignore_errors=True)
    if os.environ != before:
        warn("the home directory is not writable: what libraries cache there is made anew in each run")
