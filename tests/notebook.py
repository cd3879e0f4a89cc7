"""The notebook of docs/, executed. `python -m tests.notebook` writes its outputs anew."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat.notebooknode import NotebookNode

from tests.paths import DOCS, ROOT

__all__ = ["NOTEBOOK", "execute", "read", "text"]

NOTEBOOK = DOCS / "first_network.ipynb"
#: Run first and left out again: timm, also where torchvision was built for another PyTorch.
FIRST = "from tests.importers.timm_models import timm"
SECONDS = 600  #: of a cell, on a busy machine


def read() -> NotebookNode:
    return nbformat.read(NOTEBOOK, 4)


def execute(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """With the outputs of this checkout; Jupyter's own files go to `folder`. Raises CellExecutionError."""
    here = folder / "here"
    here.mkdir()
    notebook.cells.insert(0, nbformat.v4.new_code_cell(FIRST))
    env = os.environ | {"IPYTHONDIR": str(folder / "ipython"), "TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
    client = NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", record_timing=False,
                            resources={"metadata": {"path": str(here)}})  # fmt: skip
    kernel = client.create_kernel_manager()
    kernel.transport, kernel.connection_file = "ipc", str(folder / "kernel.json")
    made = client.execute(env=env)
    del made.cells[0]
    made.metadata.language_info = {"name": "python"}
    for number, cell in enumerate((cell for cell in made.cells if cell.cell_type == "code"), 1):
        cell.execution_count = number
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = number
    return made


def text(cell: NotebookNode) -> str:
    """What a cell printed."""
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def main() -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(execute(read(), Path(folder)), NOTEBOOK)


if __name__ == "__main__":
    main()
