"""A checkout becomes a package of another name, which works, passes its checks and says nothing of this one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from longtail import rename

from ..conftest import metrics

ROOT = Path(__file__).parents[2]
NO_CONFIG = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
AUTHOR = ("-c", "user.name=A Lab", "-c", "user.email=lab@example.org")

pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of what git tracks here, as it is now."""
    root = tmp_path_factory.mktemp("lab") / "checkout"
    for path in rename.git(ROOT, "ls-files", "-z").split("\0"):
        if (ROOT / path).is_file():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, root / path)
    for command in (["init", "-q"], ["add", "--all"], [*AUTHOR, "commit", "-q", "-m", "All"]):
        rename.git(root, *command)
    return root


def call(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Call Python in a checkout, with what lies in its `src`."""
    variables = os.environ | NO_CONFIG | {"PYTHONPATH": str(root / "src"), "MYLAB_DATA": str(root.parent / "data")}
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=root, env=variables, capture_output=True, text=True, timeout=200)


def named(root: Path) -> dict[str, list[str]]:
    """The lines in which the old name is left, by file; class names such as LongTailData are other words."""
    found: dict[str, list[str]] = {}
    for path in (
        path for path in root.rglob("*") if path.is_file() and ".git" not in path.relative_to(root).parts[:1]
    ):
        text = path.read_bytes().decode(errors="ignore")
        if lines := [
            line for line in text.splitlines() if any(w in line for w in ("longtail", "Longtail", "LONGTAIL"))
        ]:
            found[str(path.relative_to(root))] = lines
    return found


def test_a_checkout_is_renamed_and_trains_and_all_can_be_undone(checkout: Path, tmp_path: Path) -> None:
    (checkout / "src/longtail/__pycache__").mkdir(exist_ok=True)
    done = call(checkout, "longtail.rename", "mylab")
    assert (done.returncode, done.stderr) == (0, "")
    assert "make run" in done.stdout
    assert set(named(checkout)) == set(rename.KEPT)
    assert sorted(path.name for path in (checkout / "src").iterdir()) == ["hydra_plugins", "mylab"]
    assert not list(checkout.rglob("*longtail*"))
    assert not (checkout / "src/mylab/rename.py").exists()
    assert not (checkout / "tests/template").exists()
    assert 'mylab-eval = "mylab.__main__:evaluate"' in (checkout / "pyproject.toml").read_text()
    assert (checkout / "README.md").read_text().startswith("# Mylab\n\nA Hydra and PyTorch Lightning template for")
    for check in (["format", "--check"], ["check"]):
        assert call(checkout, "ruff", "--quiet", *check).returncode == 0
    quick = ["trainer=debug", "callbacks=none", "logger=none"]
    trained = call(checkout, "mylab", *quick, f"hydra.run.dir={tmp_path}/run")
    assert trained.returncode == 0, trained.stderr
    config = (tmp_path / "run/.hydra/config.yaml").read_text()
    assert "_target_: mylab.losses.Softmax" in config
    assert f"data_dir: {checkout.parent}/data" in config.replace(
        "${oc.env:MYLAB_DATA,data}", f"{checkout.parent}/data"
    )
    assert "mylab" in metrics(tmp_path / "run")["fingerprint"]["versions"]
    subprocess.run(rename.UNDO, shell=True, cwd=checkout, check=True, capture_output=True)
    assert rename.git(checkout, "status", "--porcelain") == ""
    assert not (checkout / "src/mylab").exists()


@pytest.mark.parametrize(
    ("name", "remark"),
    [
        ("my-lab", "must be a Python identifier"),
        ("MyLab", "must be a Python identifier"),
        ("2labs", "must be a Python identifier"),
        ("_lab", "must be a Python identifier"),
        ("../lab", "must be a Python identifier"),
        ("class", "must be a Python identifier"),
        ("longtail", "must not contain longtail"),
        ("our_longtail", "must not contain longtail"),
        ("torch", "must not be a package that Longtail needs"),
        ("datasets", "must not be a package that Longtail needs"),
        ("json", "must not be a module or a folder that there is already"),
        ("filelock", "must not be"),
        ("conf", "must not be a module or a folder that there is already"),
        ("hydra_plugins", "must not be a module or a folder that there is already"),
        ("report", "must not be the name of another command"),
        ("null", "must be what YAML reads as a text"),
        ("build", "must not be a folder that git ignores"),
    ],
)
def test_a_name_that_would_not_do_is_refused(name: str, remark: str) -> None:
    assert (rename.unfit(name, ROOT) or "").startswith(f"{name}: {remark}")


@pytest.mark.parametrize("name", ["mylab", "lab2", "rare_classes"])
def test_a_name_that_does_is_not(name: str) -> None:
    assert rename.unfit(name, ROOT) is None


def test_a_checkout_that_could_not_be_restored_is_refused(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rename.unready(checkout) is None
    assert rename.unready(checkout / "src") == f"{checkout / 'src'}: must be the top of a git checkout"
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert rename.unready(tmp_path) == f"{tmp_path}: must be a git checkout"
    monkeypatch.setattr(rename, "ruff", list)
    assert (rename.unready(checkout) or "").startswith("ruff: must be installed")
    (checkout / "notes.txt").write_text("not committed")
    monkeypatch.chdir(checkout)
    monkeypatch.setattr(rename, "ROOT", checkout)
    with pytest.raises(SystemExit) as refused:
        rename.main(["mylab"])
    assert str(refused.value).startswith("error: notes.txt: must be committed or removed first")
    assert (checkout / "src/longtail/rename.py").exists()
    (checkout / "notes.txt").unlink()


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied", "README.md"), KeyboardInterrupt()])
def test_one_that_ends_in_the_middle_says_how_to_undo_it(
    error: BaseException, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(rename, "ROOT", checkout)
    monkeypatch.setattr(rename, "rename", fail)
    monkeypatch.chdir(checkout)
    with pytest.raises(SystemExit) as ended:
        rename.main(["mylab"])
    what = str(error) or "interrupted"
    assert str(ended.value) == f"error: {what}; it is half renamed, undo that: {rename.UNDO}"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("import longtail.losses, longtail_x", "import lab.losses, lab_x"),
        ("# Longtail: LONGTAIL_DATA", "# Lab: LAB_DATA"),
        ('"\\nlongtail-eval"', '"\\nlab-eval"'),
        ("long-tailed OpenLongTailRecognition LongTailData longtails", None),
        ("  longtail -m x      sweep longtail\n", "  lab -m x           sweep lab\n"),
        ("# longtail   of\n", "# lab        of\n"),
    ],
)
def test_whole_words_are_renamed_and_columns_stay(line: str, expected: str | None) -> None:
    new = {"longtail": "lab", "Longtail": "Lab", "LONGTAIL": "LAB"}
    assert rename.renamed(line, new) == (line if expected is None else expected)


def test_no_checkout_but_the_one_at_hand_is_renamed(checkout: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "longtail.rename", "elsewhere"]
    variables = os.environ | {"PYTHONPATH": str(checkout / "src")}
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"error: {tmp_path}: must be the checkout that this Longtail belongs to, {checkout}\n"
