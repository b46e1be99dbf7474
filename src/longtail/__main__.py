"""The commands, which a signal ends in good order from their first import on; `python -m longtail` is `longtail`."""

import importlib
import signal
from functools import partial

from longtail.signals import ending


def start(command: str) -> None:
    """Run a command by the name of its module in `longtail.cli`."""
    with ending():
        importlib.import_module(f"longtail.cli.{command}").main()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # all is done: no traceback of the interpreter's own end


longtail, detect, predict = partial(start, "train"), partial(start, "detect"), partial(start, "predict")
evaluate, report, dashboard = partial(start, "evaluate"), partial(start, "report"), partial(start, "dashboard")
export = partial(start, "export")

if __name__ == "__main__":
    longtail()
