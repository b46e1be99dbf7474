"""Two trainings that many tests look at: one offline, one sent to a local server."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import wandb

from ..conftest import SHORT, WandbServer, enter, logging_in, serving, train_in


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
    said = train_in(directory, monkeypatch, *SHORT, "validation_per_class=10", *overrides)
    wandb.teardown()
    return said


@pytest.fixture(scope="package")
def offline_run(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    directory = tmp_path_factory.mktemp("offline") / "run"
    with pytest.MonkeyPatch.context() as monkeypatch:
        enter(directory.parent, monkeypatch)
        out, err = trained(directory, monkeypatch, "logger=[wandb,csv,tensorboard]")
    return Trained(directory, out, err, WandbServer())


@pytest.fixture(scope="package")
def online_run(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A training with uniform mini-batches, without weights."""
    directory = tmp_path_factory.mktemp("online") / "run"
    with serving() as server, pytest.MonkeyPatch.context() as monkeypatch, logging_in(server, monkeypatch):
        out, err = trained(directory, monkeypatch, "sampler=uniform_minibatch", "reweight=none")
    return Trained(directory, out, err, server)
