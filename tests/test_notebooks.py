"""The notebooks: committed without outputs, and each runs from its first cell to its last."""

import io
import json
import re
import sys
from base64 import b64decode
from pathlib import Path

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

from .cli.test_detect import TINY
from .conftest import Finished

FOLDER = Path(__file__).parents[1] / "notebooks"
EXPECTED = {
    "apply_a_model": ["10 classes, images of (1, 8, 8)", "differs by less than 0.0001: True"],
    "long_tail": [
        "| CIFAR-10 | exponential | 100 | 12406 | 50 | 100 |",
        "| CIFAR-100 | exponential | 200 | 9502 | 2 | 250 |",
        "| 100 | clipped_inverse | 1.000 | 1.778 |",
        "| random | 97 | 12406 | 1.000 | 1 | 1 |",
        "| 0.900 | 0.105 | 10.000 | 100.000 |",
    ],
    "detection": [
        "| training boxes | 300 | 194 | 125 | 81 | 52 | 34 | 22 | 14 | 9 | 6 |",
        "320 anchors an image of 64 x 64",
    ],
    "read_a_sweep": ["4/4  seed=", "baseline:    {'reweight': 'none'}", "longtail-report "],
}
PARAMETERS = {  # instead of the cell of that tag: less to train
    "apply_a_model": "RUN = Path(FINISHED)",
    "detection": f"RUN, SETTINGS = None, {TINY}",
    "read_a_sweep": "SWEEP, SETTINGS = None, ['epochs=3', 'model.width=4']",
}
NOTEBOOKS = [path for path in sorted(FOLDER.glob("*.ipynb")) if path.stem in EXPECTED]  # and none of a fork's own

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


class ThisInterpreter(KernelSpecManager):
    """Starts every kernel with the interpreter of the tests, whatever kernels the user has installed."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name=kernel_name, language="python")


def read(path: Path) -> NotebookNode:
    notebook: NotebookNode = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    return notebook


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def executed(path: Path, place: Path, finished: Path, monkeypatch: pytest.MonkeyPatch) -> NotebookNode:
    """Run a notebook in an empty directory; what it and its kernel write elsewhere goes below `place` too."""
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "TMPDIR"):
        folder = place / name.lower()
        folder.mkdir()
        monkeypatch.setenv(name, str(folder))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # where several processes share the cores, threads wait for each other
    work = place / "work"
    work.mkdir()
    notebook = read(path)
    for cell in code_cells(notebook):
        if "parameters" in cell.metadata.get("tags", ()):
            cell.source = PARAMETERS[path.stem].replace("FINISHED", repr(str(finished)))
    manager = AsyncKernelManager(kernel_spec_manager=ThisInterpreter())
    resources = {"metadata": {"path": str(work)}}
    NotebookClient(notebook, km=manager, resources=resources, timeout=None, startup_timeout=3600).execute()
    assert not list(work.iterdir())
    return notebook


def test_a_notebook_is_committed_without_outputs(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    notebook = nbformat.from_dict(json.loads(text))
    # Before anything else, for both `read` and `validate` mend the ids of cells.
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    for cell in code_cells(notebook):
        assert not cell.outputs, f"{path.name}: clear the outputs of all cells before a commit"
        assert cell.execution_count is None, f"{path.name}: cell {cell.id} has a number"
    # Nothing of the machine that it was edited on either.
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    assert all(set(cell.metadata) <= {"tags"} for cell in notebook.cells)
    assert text.endswith("}\n")


def test_a_notebook_runs_from_top_to_bottom(
    path: Path, finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = code_cells(executed(path, tmp_path, finished.directory, monkeypatch))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    text, pictures = "", 0
    for cell in cells:
        drawn = []
        for output in cell.outputs:
            if output.output_type == "stream":
                assert output.name == "stdout", output.text  # a warning would be on stderr
                text += output.text
                continue
            plain, table = output.data["text/plain"], output.data.get("text/markdown")
            assert not re.search(r"\bnan\b", table or ""), cell.id
            text += (table or plain) + "\n"
            if plain.startswith("<Figure "):
                assert "image/png" in output.data, f"{cell.id} shows no picture"
                drawn.append(Image.open(io.BytesIO(b64decode(output.data["image/png"]))))
        assert drawn or not cell.source.splitlines()[-1].startswith(("figures.", "curves(")), cell.id
        for picture in drawn:
            darkest, brightest = picture.convert("L").getextrema()
            assert (darkest, brightest) == (0, 255), f"{cell.id} draws nothing"
        pictures += len(drawn)
    assert pictures >= 3
    assert not [expected for expected in EXPECTED.get(path.stem, ()) if expected not in text]
