"""Two trainings that many tests look at: one offline, one sent to a local server."""

import contextlib
import io
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import wandb

from longtail.cli import train

from ..conftest import WandbServer, logging_in, serving


@dataclass
class Trained:
    """A finished training: its directory, what it said, and the server it was sent to."""

    directory: Path
    out: str
    err: str
    server: WandbServer


def trained(directory: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> tuple[str, str]:
    """Train for two short epochs in a directory of its own."""
    monkeypatch.chdir(directory.parent)
    own = [f"hydra.run.dir={directory}", "epochs=2", "model.width=4", "validation_per_class=10"]
    monkeypatch.setattr(sys, "argv", ["longtail", *own, *overrides])
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        train.main()
    wandb.teardown()
    return out.getvalue(), err.getvalue()


@pytest.fixture(scope="package")
def offline_run(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    directory = tmp_path_factory.mktemp("offline") / "run"
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("NETRC", str(directory.parent / "netrc"))
        out, err = trained(directory, monkeypatch)
    return Trained(directory, out, err, WandbServer())


@pytest.fixture(scope="package")
def online_run(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A training with uniform mini-batches, without weights."""
    directory = tmp_path_factory.mktemp("online") / "run"
    with serving() as server, pytest.MonkeyPatch.context() as monkeypatch, logging_in(server, monkeypatch):
        out, err = trained(directory, monkeypatch, "sampler=uniform_minibatch", "reweight=none")
    return Trained(directory, out, err, server)
