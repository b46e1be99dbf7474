"""Fixtures: the command line in this process, a folder of images made here, a W&B server of our own."""

import contextlib
import gzip
import hashlib
import io
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before PyTorch comes: what is trained here is too small to be shared

import numpy as np
import pytest
import wandb
import yaml
from matplotlib.figure import Figure
from PIL import Image

from longtail import runs
from longtail.cli import evaluate, train
from longtail.cli import report as report_command

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and what they start


# Files of few tests that take long: first, so that no process is left alone with them in the end.
FIRST = (
    "test_notebooks.py",
    "test_installed.py",
    "test_rename.py",
    "test_readmes.py",
    "test_slurm.py",
    "test_scale.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the long files."""
    items.sort(key=lambda item: item.path.name not in FIRST)


@dataclass
class Outcome:
    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line of an error; there must be no other."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0].removeprefix("error: ")


Cli = Callable[..., Outcome]


def outcome(program: Callable[[], object], capfd: pytest.CaptureFixture[str]) -> Outcome:
    """Call a command, and give what it said and its exit code."""
    capfd.readouterr()
    code: Any = 0
    try:
        program()
    except SystemExit as stop:
        code = stop.code
    out, err = capfd.readouterr()
    return Outcome(int(code or 0), out, err)


def enter(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a directory the working directory, and forget what the user has set for W&B and Hydra."""
    monkeypatch.chdir(directory)
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "HYDRA_FULL_ERROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(directory / "netrc"))


def train_in(directory: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> tuple[str, str]:
    """Train in a directory with pictures and all, for a fixture that many tests look at; return what it said."""
    monkeypatch.setattr(sys, "argv", ["longtail", f"hydra.run.dir={directory}", *overrides])
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        train.main()
    return out.getvalue(), err.getvalue()


def wait_for(condition: Callable[[], object], process: subprocess.Popen[Any]) -> None:
    """Wait until something is so that a process brings about."""
    while not condition():
        assert process.poll() is None, "it has ended before"
        time.sleep(0.02)


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], sketched: None) -> Cli:
    """Call `longtail` (or, with evaluation=True, `longtail-eval`) in an empty working directory without W&B.

    Figures are blank; those of the fixture `finished` are drawn.
    """
    enter(tmp_path, monkeypatch)

    def call(*overrides: str, evaluation: bool = False, wandb: bool = False) -> Outcome:
        program = evaluate.main if evaluation else train.main
        monkeypatch.setattr(sys, "argv", ["longtail", *overrides, *(() if wandb else ("logger=none",))])
        return outcome(program, capfd)

    return call


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "run"


SHORT = ["epochs=2", "model.width=4"]
FINISHED = [*SHORT, "seed=3", "validation_per_class=10", "logger=none"]


@pytest.fixture
def quick(run_dir: Path) -> list[str]:
    """Overrides of a run that takes a fraction of a second."""
    return [f"hydra.run.dir={run_dir}", *SHORT]


@dataclass(frozen=True)
class Finished:
    """A finished training, to look at alone: its directory, and what it said."""

    directory: Path
    out: str


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The training of FINISHED."""
    place = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as monkeypatch:
        enter(place, monkeypatch)
        out, _ = train_in(place / "run", monkeypatch, *FINISHED)
    return Finished(place / "run", out)


@pytest.fixture
def finished_run(finished: Finished, run_dir: Path) -> Path:
    """A copy of that training's directory, to be changed."""
    return shutil.copytree(finished.directory, run_dir)


def metrics(directory: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((directory / "metrics.json").read_text())
    return loaded


# Settings of options by name, as in conf/.
OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "dataset": {"cifar": {}, "fashion": {}},
    "imbalance": {"exponential": {"ratio": 50}, "none": {}},
    "sampler": {"random": {}, "uniform_minibatch": {"samples_per_class": 2}},
    "loss": {"softmax": {}, "focal": {"gamma": 1.0}},
    "reweight": {"none": {}, "class_balanced": {"beta": 0.9999}, "inverse_frequency": {}},
    "model": {"resnet32": {"depth": 32}, "resnet20": {"depth": 20}},
    "optimizer": {"sgd": {"lr": 0.1}, "adam": {"lr": 0.001}},
    "scheduler": {"multistep": {"gamma": 0.1}, "cosine": {"warmup": 0.0}},
}


def write_run(
    directory: Path,
    *overrides: str,
    accuracy: float | None = 0.5,
    num_classes: int = 4,
    test: dict[str, Any] | None = None,
    facts: dict[str, Any] | None = None,
    published: dict[str, Any] | None = None,
    experiment: str | None = None,
    task: dict[str, Any] | None = None,
    groups: dict[str, dict[str, dict[str, Any]]] = OPTIONS,
) -> Path:
    """Write the directory of a made-up run: what Hydra notes of its overrides, and a result that fits them.

    Args:
        directory: of the run.
        *overrides: `group=option` or `setting=value`, as on the command line.
        accuracy: on the test images; None leaves the run without a result.
        num_classes: the first one has 500 training images.
        test: further test metrics, or other ones.
        facts: of the fingerprint, other than the settings would make them.
        published: a paper's figures, as experiments of earlier versions had them.
        experiment: its name.
        task: that the metrics name; none for those of earlier versions.
        groups: the config groups, each with the settings of its options by name; the first one is the default.
    """
    given = {name: yaml.safe_load(value) for name, _, value in (override.partition("=") for override in overrides)}
    choices = {group: str(given.pop(group, next(iter(options)))) for group, options in groups.items()}
    config: dict[str, Any] = {"seed": 0, "epochs": 10, "batch_size": 128, "reduction": "batch_mean"}
    config |= {"name": "longtail", "data_dir": "data", "eval_batch_size": 500, "published": published}
    config |= {"trainer": {"precision": "auto", "max_epochs": "${epochs}"}, "logger": {"mode": "disabled"}}
    for group, option in choices.items():
        if group.startswith("experiment/"):  # which sets others
            continue
        target = f"longtail.{group}.{option}"
        config[group] = {"_target_": target, "_partial_": True, **groups[group].get(option, {})}
    for name, value in given.items():
        *parents, key = name.split(".")
        node = config
        for group in parents:
            node = node.setdefault(group, {})
        node[key] = value
    ratio = config["imbalance"].get("ratio", 1)
    counts = [round(500 * ratio ** (-c / max(num_classes - 1, 1))) for c in range(num_classes)]
    steps = config["epochs"] * (sum(counts) // (64 if choices.get("sampler") == "uniform_minibatch" else 128) + 1)
    precision = config["trainer"]["precision"]
    fingerprint = {
        "train_indices_sha256": hashlib.sha256(f"{next(iter(choices.values()))} {counts}".encode()).hexdigest(),
        "class_counts": counts,
        "parameters": 1000 * config.get("model", {"depth": 300})["depth"],
        "steps": steps,
        "images_seen": steps * 128,
        "augmentation": {"_target_": "longtail.augment.PadCropFlip", "pad": 4},
        "reduction": config["reduction"],
        "precision": "32-true" if precision == "auto" else precision,
        "seed": config["seed"],
        "versions": {"longtail": "0.1.0", "torch": "2.15.0"},
        "git_revision": "0" * 40,
        **(facts or {}),
    }
    (directory / ".hydra").mkdir(parents=True)
    hydra = {"hydra": {"runtime": {"choices": {**choices, "experiment": experiment}}}}
    for name, content in (("config", config), ("hydra", hydra), ("overrides", list(overrides))):
        (directory / ".hydra" / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    if accuracy is not None:
        spread = np.linspace(0.1, -0.1, num_classes)
        classes = np.clip(accuracy + spread, 0, 1).tolist()
        scores = {"accuracy": accuracy, "accuracy_std": float(np.std(classes)), "accuracy_min": min(classes)}
        scores |= {"accuracy_many": classes[0], "accuracy_medium": None, "accuracy_few": None, "loss": 1.0}
        weights = np.linspace(0.5, 1.5, num_classes).tolist()
        names = [f"class {c}" for c in range(num_classes)]
        rows = runs.class_rows(names, counts, [100] * num_classes, weights, classes)
        runs.write_per_class(directory, rows)
        runs.write_confusion(directory, np.eye(num_classes, dtype=int).tolist())
        metrics = {"test": scores | (test or {}), "val": None, "fingerprint": fingerprint}
        runs.write_metrics(directory, metrics | ({"task": task} if task else {}))
    return directory


# The same of a detector.
DETECTION: dict[str, dict[str, dict[str, Any]]] = {
    "detection_data": {"scattered_digits": {"size": 128}, "voc_folder": {}},
    "imbalance": {"exponential": {"ratio": 20}, "none": {}},
    "detection_loss": {"alpha_focal": {"alpha": 0.25, "gamma": 2.0}, "focal": {"gamma": 2.0}, "cross_entropy": {}},
    "reweight": {"none": {}, "class_balanced": {"beta": 0.999}},
    "detector": {"small": {"channels": 48}, "faster_rcnn": {"proposals": 200}},
    "optimizer": {"adamw": {"lr": 0.002}},
    "scheduler": {"cosine": {"warmup": 0.05}},
}
CONVENTION = "AP at IoU 0.5, 101-point interpolation (COCO), at most 100 detections an image"
BOXES = runs.Task("mAP", "AP", ("mAP_std", "loss"), counted="boxes", convention=CONVENTION)


def write_detection_run(directory: Path, *overrides: str, mAP: float = 0.5, **given: Any) -> Path:  # noqa: N803
    """Write the directory of a made-up run of a detector, as `write_run` does, with what detectors leave beside."""
    write_run(directory, *overrides, accuracy=mAP, task=BOXES.as_json(), groups=DETECTION, **given)
    (directory / "confusion.csv").unlink()
    rows = runs.read_per_class(directory)
    runs.write_per_class(directory, rows, BOXES)
    made = metrics(directory)
    made["test"] = {name.replace("accuracy", "mAP"): value for name, value in made["test"].items()}
    made["test"] |= {"mAP_75": mAP / 2, "mAP_50_95": mAP / 3, "mAP_50_95_small": None}
    facts = made["fingerprint"]
    facts |= {"train_boxes_sha256": facts.pop("train_indices_sha256"), "boxes_seen": facts.pop("images_seen")}
    facts |= {"anchors": 1280, "augmentation": {"flip": False}, "box_weight": 1.0, **(given.get("facts") or {})}
    del facts["reduction"]
    runs.write_metrics(directory, made)
    recall = np.linspace(0, 1, 101)
    precision = {row.class_name: np.where(recall <= row.score, 1.0, 0.0).tolist() for row in rows}
    runs.write_precision_recall(directory, recall.tolist(), precision)
    steps = list(range(0, 500, 50))
    easy, seed = [0.7 / (1 + step / 50) for step in steps], facts["seed"]
    shares = {"step": steps, "easy_negatives": [share + 0.01 * seed for share in easy]}
    shares |= {"foreground": [1 - share for share in easy], "classification_to_box": [10.0] * 10}
    runs.write_loss_shares(directory, shares | {"positives": [17.0] * 10})
    (directory / "figures").mkdir()
    Image.new("RGB", (4, 3), "red").save(directory / "figures" / "examples.png")
    return directory


def write_sweep(directory: Path, *overrides: str, **given: Any) -> Path:
    """Write a sweep of made-up runs: every combination of the overrides `name=value,value,...`.

    The accuracies are those of a plain random generator, around 0.6.
    """
    rng = np.random.default_rng(0)
    values = [
        [f"{name}={value}" for value in text.split(",")] for name, _, text in (o.partition("=") for o in overrides)
    ]
    for job, chosen in enumerate(itertools.product(*values)):
        write_run(directory / str(job), *chosen, **{"accuracy": float(rng.uniform(0.5, 0.7)), **given})
    (directory / "multirun.yaml").write_text("")
    return directory


Report = Callable[..., Outcome]


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Report:
    """Call `longtail-report` in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def call(*arguments: object) -> Outcome:
        return outcome(lambda: report_command.main([str(argument) for argument in arguments]), capfd)

    return call


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the figures out, for tests of something else."""
    monkeypatch.setattr("longtail.reports.content.pictures", lambda *arguments: iter(()))


@pytest.fixture
def sketched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write figures blank, without drawing them, which takes longer than a short training."""

    def save(figure: object, path: Path) -> None:
        for kind in ("png", "svg"):
            path.with_name(f"{path.name}.{kind}").write_bytes(b"<svg/>")

    monkeypatch.setattr("longtail.figures.save", save)
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **options: Image.new("L", (1, 1)).save(path))


MakeImages = Callable[..., Path]


@pytest.fixture
def make_images(tmp_path: Path) -> MakeImages:
    """Write root/{train,test}/<class>/*.png of noise in a colour of the class, counts per class as given."""

    def make(
        train: dict[str, int], test: dict[str, int], size: tuple[int, int] = (12, 10), name: str = "images"
    ) -> Path:
        root, rng = tmp_path / name, np.random.default_rng(0)
        for part, counts in (("train", train), ("test", test)):
            for c, (class_name, count) in enumerate(counts.items()):
                folder = root / part / class_name
                folder.mkdir(parents=True)
                for i in range(count):
                    pixels = rng.integers(0, 80, (size[1], size[0], 3), dtype=np.uint8)
                    pixels[..., c % 3] += 150
                    Image.fromarray(pixels).save(folder / f"{i:03}.png")
        return root

    return make


@dataclass
class WandbServer:
    """What a local stand-in for the W&B server was sent: runs by id, uploaded files by path, views, sweeps.

    It hands out the grid of the last sweep, one job at a time.
    """

    url: str = ""
    views: list[dict[str, Any]] = field(default_factory=list)
    sweeps: dict[str, dict[str, Any]] = field(default_factory=dict)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    answer: bool = True

    def run(self, run_id: str) -> dict[str, Any]:
        return self.runs.setdefault(run_id, {"history": [], "summary": {}, "config": {}, "exitcode": None})

    def offer_sweep(self, config: dict[str, Any]) -> None:
        self.sweeps["sweep1"] = config
        values = [parameter["values"] for parameter in config["parameters"].values()]
        for number, chosen in enumerate(itertools.product(*values)):
            args = {name: {"value": value} for name, value in zip(config["parameters"], chosen, strict=True)}
            job = {"type": "run", "id": number, "run_id": f"job{number}", "program": config["program"], "args": args}
            self.jobs.append(job)
        self.jobs.append({"type": "exit"})

    def graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        match = re.search(r"(?:query|mutation)\s+(\w+)", query)
        operation, given = match[1] if match else "", variables.get("input", variables)
        if operation in ("Viewer", "GetDefaultEntity"):
            return {
                "viewer": {"id": "user", "entity": "lab", "username": "lab", "flags": "{}", "teams": {"edges": []}}
            }
        if operation == "UpsertBucket":
            run_id = given.get("name") or given.get("id")
            run = self.run(run_id)
            if given.get("config"):
                run["config"] = json.loads(given["config"])
            run.update(
                {k: given[k] for k in ("groupName", "jobType", "tags", "displayName", "sweep") if given.get(k)}
            )
            project = {"id": "p", "name": given.get("project"), "entity": {"id": "e", "name": "lab"}}
            bucket = {"id": run_id, "name": run_id, "displayName": run_id, "config": "{}", "project": project}
            return {"upsertBucket": {"bucket": {**bucket, "historyLineCount": 0}, "inserted": True}}
        if operation == "CreateRunFiles":
            places = [{"name": f, "uploadUrl": f"{self.url}/put/{f}"} for f in given.get("files", [])]
            return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": places}}
        if operation == "ArtifactType":
            return {"project": {"artifact": None}}
        if operation == "CreateArtifact":
            sequence = {"id": "s", "latestArtifact": None}
            return {"createArtifact": {"artifact": {"id": "a", "state": "PENDING", "artifactSequence": sequence}}}
        if operation == "CreateArtifactManifest":
            place = {
                "id": "f",
                "name": "m",
                "displayName": "m",
                "uploadUrl": f"{self.url}/put/m",
                "uploadHeaders": [],
            }
            return {"createArtifactManifest": {"artifactManifest": {"id": "m", "file": place}}}
        if operation == "CreateArtifactFiles":
            nodes: list[dict[str, Any]] = []
            for asked in given["artifactFiles"]:
                name = asked["name"]
                node: dict[str, Any] = {"id": "f", "name": name, "displayName": name}
                node["uploadUrl"] = f"{self.url}/put/{name}"
                node |= {"uploadHeaders": [], "storagePath": None, "uploadMultipartUrls": None}
                nodes.append({"node": {**node, "artifact": {"id": "a"}}})
            return {"createArtifactFiles": {"files": {"edges": nodes}}}
        if operation == "CommitArtifact":
            return {"commitArtifact": {"artifact": {"id": "a", "digest": "d"}}}
        if operation == "RunResumeStatus":
            return {"model": {"id": "p", "name": "p", "entity": {"id": "e", "name": "lab"}, "bucket": None}}
        if operation == "UpsertView2":
            self.views.append(variables)
            return {"upsertView": {"view": {"id": "v", "name": variables["name"]}, "inserted": True}}
        if operation == "UpsertSweep":
            self.offer_sweep(yaml.safe_load(given["config"]))
            project = {"id": "p", "name": given["projectName"], "entity": {"id": "e", "name": "lab"}}
            return {"upsertSweep": {"sweep": {"name": "sweep1", "project": project}, "configValidationWarnings": []}}
        if operation == "SweepWithRuns":
            config = yaml.safe_dump(self.sweeps["sweep1"])
            unknown = dict.fromkeys(("description", "heartbeatAt", "bestLoss", "controller", "scheduler"))
            sweep = {"id": "s", "name": "sweep1", "method": "grid", "state": "RUNNING", "config": config, **unknown}
            return {"project": {"sweep": {**sweep, "createdAt": "2026-01-01T00:00:00", "runs": {"edges": []}}}}
        if operation == "CreateAgent":
            return {"createAgent": {"agent": {"id": "agent"}}}
        if operation == "Heartbeat":
            idle = json.loads(given.get("runState") or "{}") == {}
            commands = [self.jobs.pop(0)] if self.jobs and idle else []
            return {"agentHeartbeat": {"agent": {"id": "agent"}, "commands": json.dumps(commands)}}
        if operation == "ServerInfo":
            versions = {"max_cli_version": "99.0.0"}
            return {"serverInfo": {"cliVersionInfo": versions, "latestLocalVersionInfo": None, "features": []}}
        return {}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def log_message(self, *args: Any) -> None:
        pass

    def _body(self) -> bytes:
        raw = self._raw_body()
        return gzip.decompress(raw) if self.headers.get("content-encoding") == "gzip" else raw

    def _raw_body(self) -> bytes:
        if self.headers.get("transfer-encoding") == "chunked":
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def _reply(self, content: dict[str, Any]) -> None:
        payload = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def do_GET(self) -> None:
        self._reply({})

    def do_PUT(self) -> None:
        self.server.log.files[self.path] = self._body()
        self._reply({})

    def do_POST(self) -> None:
        body, log = self._body(), self.server.log
        content = json.loads(body) if body.startswith(b"{") else {}
        if self.path == "/graphql":
            self._reply({"data": log.graphql(content["query"], content.get("variables") or {})})
            return
        if match := re.match(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", self.path):
            run = log.run(match[1])
            for name, part in (content.get("files") or {}).items():
                for line in part["content"]:
                    if name == "wandb-history.jsonl":
                        run["history"].append(json.loads(line))
                    elif name == "wandb-summary.json":
                        run["summary"].update(json.loads(line))
            if content.get("complete"):
                run["exitcode"] = content.get("exitcode")
        self._reply({})


@contextlib.contextmanager
def serving() -> Iterator[WandbServer]:
    """A local W&B server."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.log = WandbServer(f"http://127.0.0.1:{server.server_address[1]}")
    server.handle_error = lambda *_: None  # a client that is gone in the middle of a request
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server.log
    server.shutdown()
    server.server_close()


@contextlib.contextmanager
def logging_in(server: WandbServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    """A W&B client that is logged in to a local server."""
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    wandb.teardown()
    yield server
    wandb.teardown()


@pytest.fixture
def wandb_server() -> Iterator[WandbServer]:
    """A local W&B server; `logged_in` sends the runs of a test there."""
    with serving() as server:
        yield server


@pytest.fixture
def logged_in(wandb_server: WandbServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    """The local W&B server, with a client that is logged in to it."""
    with logging_in(wandb_server, monkeypatch):
        yield wandb_server
