"""`python -m longtail.rename mylab`: turn a checkout of this template into the package `mylab`.

Everything that git tracks is renamed: the package, the commands, the W&B project, the environment variables, the
tests. This module and the tests of the template itself, `tests/template`, are removed. Nothing is committed.
"""

import importlib.util
import keyword
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from omegaconf import OmegaConf

ROOT = Path(__file__).resolve().parents[2]
OLD = "longtail"
WORD = re.compile(rf"(?:(?<![A-Za-z])|(?<=\\n))({OLD}|{OLD.title()}|{OLD.upper()})(?![a-z])")
KEPT = ("CITATION.cff", "LICENSE")  # whose work it is
REMOVED = ("src/longtail/rename.py", "tests/template")
UNDO = "git checkout . && git clean -fd"


def main(arguments: list[str]) -> None:
    """Check everything, then rename."""
    if len(arguments) != 1:
        raise SystemExit("usage: python -m longtail.rename NAME")
    name = arguments[0]
    if Path.cwd().resolve() != ROOT:  # which this module may not be of: it may be installed from elsewhere
        raise SystemExit(f"error: {Path.cwd()}: must be the checkout that this Longtail belongs to, {ROOT}")
    if wrong := unfit(name, ROOT) or unready(ROOT):
        raise SystemExit(f"error: {wrong}")
    print(f"renaming Longtail to {name}; should this be interrupted: {UNDO}", flush=True)
    try:
        rename(name, ROOT)
    except (OSError, subprocess.CalledProcessError, KeyboardInterrupt) as error:
        raise SystemExit(f"error: {str(error) or 'interrupted'}; it is half renamed, undo that: {UNDO}") from None
    print(f"""\
It is {name} now, with the commands {name}, {name}-eval, ... and the variables {name.upper()}_DATA, ...
{" and ".join(KEPT)} still name Longtail, and what git ignores, such as conf/local, is as it was. Next:

    make run                            # installs it by its new name
    make test
    .venv/bin/pip uninstall {OLD}    # the old name, where it was installed
    git add --all && git commit --message "Rename Longtail to {name}"

    {UNDO}    # instead of the commit: undoes it""")


def unfit(name: str, root: Path) -> str | None:
    """Return what is wrong with a name; None if nothing is."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*[a-z0-9]", name) or keyword.iskeyword(name):
        return f"{name}: must be a Python identifier of lower-case letters, digits and _, such as mylab"
    if OLD in name:
        return f"{name}: must not contain {OLD}, or nobody can tell what is renamed"
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    needed = sum(project["optional-dependencies"].values(), project["dependencies"])
    if name in {re.split(r"[^\w-]", one)[0].lower().replace("-", "_") for one in needed}:
        return f"{name}: must not be a package that Longtail needs"
    if importlib.util.find_spec(name) or (root / name).exists() or (root / "src" / name).exists():
        return f"{name}: must not be a module or a folder that there is already"
    if (root / "src" / OLD / "cli" / f"{name}.py").exists():
        return f"{name}: must not be the name of another command"
    if OmegaConf.create(f"name: {name}").name != name:
        return f"{name}: must be what YAML reads as a text"
    ignored = subprocess.run(["git", "check-ignore", f"src/{name}/"], cwd=root, capture_output=True)
    if ignored.returncode == 0:
        return f"{name}: must not be a folder that git ignores"
    return None


def unready(root: Path) -> str | None:
    """Return what keeps a checkout from being renamed; None if nothing does."""
    try:
        top, changes = git(root, "rev-parse", "--show-toplevel"), git(root, "status", "--porcelain")
    except (OSError, subprocess.CalledProcessError):
        return f"{root}: must be a git checkout"
    if Path(top.strip()).resolve() != root:
        return f"{root}: must be the top of a git checkout"
    if changes:
        return f"{changes.splitlines()[0][3:]}: must be committed or removed first, so that all can be undone"
    if not ruff():
        return "ruff: must be installed, for lines and imports are put in order anew; pip install ruff"
    return None


def rename(to: str, root: Path) -> None:
    """Rename what git tracks, in files and of files, and put the code in order."""
    new = {OLD: to, OLD.title(): to.capitalize(), OLD.upper(): to.upper()}
    tracked = [root / path for path in git(root, "ls-files", "-z").split("\0") if path]
    for path in tracked:
        if path.name not in KEPT and not path.is_symlink():
            write(path, new)
    for name in REMOVED:
        shutil.rmtree(root / name) if (root / name).is_dir() else (root / name).unlink()
    for cache in (root / "src").rglob("__pycache__"):
        shutil.rmtree(cache)
    folders = {parent for path in tracked for parent in path.relative_to(root).parents}
    for path in sorted({*folders, *(path.relative_to(root) for path in tracked)}, key=lambda path: -len(path.parts)):
        if WORD.search(path.name) and (root / path).exists():  # from the leaves to the root
            (root / path).rename((root / path).with_name(WORD.sub(lambda match: new[match[0]], path.name)))
    for task in (["format"], ["check", "--fix", "--select=I"], ["check", "--add-noqa", "--select=E501"]):
        subprocess.run([*ruff(), *task, "--quiet"], cwd=root, check=True, stdout=subprocess.DEVNULL)


def write(path: Path, new: dict[str, str]) -> None:
    """Rename in the text of a file, without the lines that say how to rename; an image is left alone."""
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError:
        return
    lines = [line for line in text.splitlines(keepends=True) if f"{OLD}.rename" not in line]
    path.write_bytes("".join(renamed(line, new) for line in lines).encode())


def renamed(line: str, new: dict[str, str]) -> str:
    """Rename in a line; a second column stays where it is, if there is room."""
    first, *gap_and_second = re.split(r"(?<=\S)( {3,})(?=\S)", line, maxsplit=1)
    changed, *others = (WORD.sub(lambda match: new[match[0]], part) for part in (first, *gap_and_second))
    if others:
        others[0] = " " * max(len(others[0]) + len(first) - len(changed), 2)
    return "".join((changed, *others))


def git(root: Path, *arguments: str) -> str:
    """Return what git says."""
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout


def ruff() -> list[str]:
    """Return the command of ruff, nothing if it is not installed."""
    found = shutil.which("ruff")
    return [sys.executable, "-m", "ruff"] if importlib.util.find_spec("ruff") else [found] if found else []


if __name__ == "__main__":
    main(sys.argv[1:])
