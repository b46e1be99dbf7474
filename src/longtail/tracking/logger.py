"""W&B: a run is online if that works, else offline, and never a reason for a training run to end."""

import contextlib
import functools
import math
import netrc
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from longtail.runs.record import COLUMNS, Row, relative_path, safe_names

MODES = ("auto", "online", "offline", "disabled")
ALIASES = {"": "auto", "dryrun": "offline", "run": "online"}  # of the variable WANDB_MODE
NO_PANEL = ("trainer/global_step", "epoch")  # Lightning's x-axes: beside the curves, no curves of their own
MAX_TABLE_CLASSES = 100  # the confusion matrix as a table has C * C rows
MAX_LISTED_CLASSES = 10_000  # W&B takes a table of more rows, and lists in a config, in tens of seconds

Say = Callable[[str], None]


def _guarded(method: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(method)
    def call(self: "GuardedWandbLogger", *args: Any, **kwargs: Any) -> None:
        if self.failed:
            return
        try:
            method(self, *args, **kwargs)
        except Exception as error:  # whatever W&B does must not end a training run
            self.failed = True
            self.warn(f"W&B failed and is off for the rest of this run: {_first_line(error)}")

    return call


class GuardedWandbLogger(WandbLogger):
    """Lightning's W&B logger that says once that W&B failed, and lets the training go on.

    Args:
        warn: takes the one line.
        **init: arguments of `wandb.init`.
    """

    def __init__(self, warn: Say, **init: Any) -> None:
        super().__init__(**init)
        self._wandb_init.pop("anonymous", None)  # Lightning passes it on; W&B warns that it is gone
        self.warn, self.failed = warn, False
        self.data_dir_before = os.environ.get("WANDB_DATA_DIR")

    def restore_environment(self) -> None:
        """Undo what `start` set for this run."""
        os.environ.pop("WANDB_DATA_DIR", None)
        if self.data_dir_before is not None:
            os.environ["WANDB_DATA_DIR"] = self.data_dir_before

    log_metrics = _guarded(WandbLogger.log_metrics)
    log_image = _guarded(WandbLogger.log_image)
    log_table = _guarded(WandbLogger.log_table)

    @_guarded
    def log_summary(self, values: dict[str, float]) -> None:
        """Set values of the run's summary, without a curve."""
        self.experiment.summary.update(values)

    finalize = _guarded(WandbLogger.finalize)


def start(
    mode: str,
    base_url: Callable[[], str],
    reset: Callable[[], object],
    run_dir: Path,
    facts: dict[str, Any],
    say: Say,
    warn: Say,
    **init: Any,
) -> GuardedWandbLogger | None:
    """Start a W&B run in the run directory, without ever asking, waiting for long, or raising for W&B's sake.

    Args:
        mode: auto (online when logged in and reachable, else offline), online, offline or disabled. The variable
            WANDB_MODE decides where this is auto.
        base_url: gives the server's address.
        reset: ends W&B's own process, called after a failed attempt.
        run_dir: all that a later `wandb sync` needs is kept here.
        facts: the run's config in W&B, see `beside_sweep`.
        say: takes one line: where the run is, or how to send it later.
        warn: takes one line: what W&B could not do.
        **init: further arguments of `wandb.init`.

    Returns:
        The logger, or None if W&B is disabled or cannot even start offline.

    Raises:
        ValueError: the mode is unknown.
    """
    mode = check_mode(mode)
    if mode == "disabled":
        return None
    if mode != "offline":
        mode = choose_mode(mode, base_url(), warn)
    settings = {"silent": True, "init_timeout": 20, "finish_timeout": 60}
    for attempt in (mode, "offline"):
        logger = GuardedWandbLogger(
            warn, save_dir=str(run_dir), mode=attempt, settings=settings, config=facts, **init
        )
        os.environ["WANDB_DATA_DIR"] = str(run_dir)  # or tables of an offline run are staged elsewhere
        try:
            run = logger.experiment
            for name in NO_PANEL:
                run.define_metric(name, hidden=True)
            if not sweep_id():  # whose parameters are locked: it would complain of each
                run.config.update(facts, allow_val_change=True)
        except Exception as error:
            warn(f"W&B could not start {attempt}: {_first_line(error)}")
            logger.restore_environment()
            # Its process may be the reason: the next attempt, and the next job, get a new one.
            with contextlib.suppress(Exception, SystemExit):
                reset()
            os.environ.pop("WANDB_SERVICE", None)  # that process's address
            continue
        if attempt == "offline":
            say(f"W&B is offline; send this run later with: wandb sync {relative_path(Path(run.settings.sync_dir))}")
        else:
            say(f"W&B: {run.url}")
        return logger
    return None


def sweep_id() -> str | None:
    """The W&B sweep whose agent started this process; None for any other process."""
    return os.environ.get("WANDB_SWEEP_ID") or None


def beside_sweep(settings: dict[str, Any]) -> dict[str, Any]:
    """A run's settings as its W&B config; in a W&B sweep with a copy of all of them under the key `settings`.

    A sweep puts its parameters into the config and locks them: `reweight` is the word `none` there, no longer what
    that option sets.
    """
    return {**settings, "settings": settings} if sweep_id() else dict(settings)


def check_mode(mode: str) -> str:
    """The mode asked for: the setting, or where that is auto the variable WANDB_MODE.

    Raises:
        ValueError: it is unknown.
    """
    if mode not in MODES:
        raise ValueError(f"mode={mode}: must be one of {', '.join(MODES[:-1])} (logger=none for no W&B)")
    if mode != "auto":
        return mode
    variable = os.environ.get("WANDB_MODE", "")
    mode = ALIASES.get(variable, variable)
    if mode not in MODES:
        raise ValueError(f"WANDB_MODE={variable}: must be one of {', '.join(MODES[1:])}, or unset")
    return mode


def choose_mode(mode: str, base_url: str, warn: Say, timeout: float = 5) -> str:
    """Online if a key is at hand, without which W&B would ask for one, and for auto if the server answers at all."""
    if not _has_key(urllib.parse.urlsplit(base_url).hostname or ""):
        if mode == "online":
            warn("logger.mode=online: there is no API key (see `wandb login`), W&B is offline instead")
        return "offline"
    if mode == "online":
        return "online"
    try:
        urllib.request.urlopen(base_url, timeout=timeout).close()
    except urllib.error.HTTPError:
        return "online"
    except (OSError, ValueError):
        return "offline"
    return "online"


def _has_key(host: str) -> bool:
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


@contextlib.contextmanager
def finishing(logger: GuardedWandbLogger | None) -> Iterator[None]:
    """Finish the W&B run however the block ends, as failed if it ends by an exception.

    Raises:
        SystemExit: 143 if the process was told to terminate, 130 if it was interrupted; Lightning's own exit status
            would be 0 and 1.
    """
    exit_code = 1
    try:
        yield
        exit_code = 0
    except SIGTERMException:
        raise SystemExit(143) from None
    except (KeyboardInterrupt, SystemExit):
        raise SystemExit(130) from None
    finally:
        if logger:
            logger.restore_environment()
            try:
                logger.experiment.finish(exit_code=exit_code)
            except Exception as error:
                logger.warn(f"W&B did not finish: {_first_line(error)}")


def send_result(
    logger: GuardedWandbLogger,
    rows: Sequence[Row],
    drawn: Sequence[int],
    confusion: Sequence[Sequence[int]] | None,
    pictures: Sequence[Path],
) -> None:
    """Send the final table of up to 10,000 classes, the confusion matrix (C, C) of up to 100, and the figures."""
    if len(rows) <= MAX_LISTED_CLASSES:
        data = [[*row, times] for row, times in zip(rows, drawn, strict=True)]
        logger.log_table("test/classes", columns=[*COLUMNS, "drawn"], data=data)
    if confusion is not None and len(rows) <= MAX_TABLE_CLASSES:
        names = [row[1] for row in rows]
        cells = [[t, p, confusion[i][j]] for i, t in enumerate(names) for j, p in enumerate(names)]
        logger.log_table("test/confusion_matrix", columns=["true", "predicted", "images"], data=cells)
    for picture in pictures:
        logger.log_image(f"figures/{picture.stem}", [str(picture)])


def send_summary(
    directory: Path,
    columns: Sequence[str],
    rows: Sequence[Sequence[str | int | float | None]],
    pictures: Sequence[Path],
    *,
    project: str | None,
    entity: str | None,
    group: str | None,
    name: str,
    mode: str,
    base_url: Callable[[], str],
    reset: Callable[[], object],
    say: Say,
    warn: Say,
) -> None:
    """Send the summary of several runs as a W&B run of their group, of the job type report; never raises for W&B.

    It has the table `report/summary`, the pictures as `figures/<stem>`, and in its summary every finite number of the
    table as `report/<combination>/<column>`; a row's cells that are text name its combination.

    Args:
        directory: for W&B's files, of which an offline run is sent later.
        columns: names of the table's columns.
        rows: one per combination; a cell that is no text is a score, None where it has no value.
        pictures: PNG files.
        project: of the runs.
        entity: whose project it is; None for the user's own.
        group: of the runs, in W&B the name of a sweep; None if they had none.
        name: of the run to be.
        mode: as for `start`, and so are `base_url`, `reset`, `say` and `warn`.
        base_url: gives the server's address.
        reset: ends W&B's own process.
        say: takes one line.
        warn: takes one line.

    Raises:
        ValueError: the mode is unknown.
    """
    facts: dict[str, Any] = {"combinations": len(rows)}
    init = {"project": project, "entity": entity, "group": group, "name": name, "job_type": "report"}
    logger = start(mode, base_url, reset, directory, facts, say, warn, **init)
    if logger is None:
        return
    with finishing(logger):
        logger.log_table("report/summary", columns=list(columns), data=[list(row) for row in rows])
        for picture in pictures:
            logger.log_image(f"figures/{picture.stem}", [str(picture)])
        logger.log_summary(_scores(columns, rows))


def _scores(columns: Sequence[str], rows: Sequence[Sequence[str | int | float | None]]) -> dict[str, float]:
    combinations = safe_names(["-".join(cell for cell in row if isinstance(cell, str)) for row in rows])
    names = safe_names(columns)
    return {
        f"report/{combination}/{name}": cell
        for combination, row in zip(combinations, rows, strict=True)
        for name, cell in zip(names, row, strict=True)
        if isinstance(cell, int | float) and math.isfinite(cell)
    }


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
