"""The notebook of examples/ in a real kernel: what it shows is what it showed when it was written.

`python -m tests.test_notebook` runs it and writes its outputs anew.
"""

import base64
import io
import os
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed (extra: dev)")

import nbformat  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "examples" / "stored_results.ipynb"


def executed():
    """A copy of the notebook with fresh outputs, and without what differs between two runs."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = nbclient.NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": NOTEBOOK.parent}},
    )
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    client.execute(env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))})
    notebook.metadata.language_info = {"name": "python"}
    return notebook


def shown(notebook):
    """For every code cell the pictures that it shows, and all else."""
    pictures, texts = [], []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = dict(output.get("data", {}))
            if png := data.pop("image/png", None):
                pictures.append(matplotlib.image.imread(io.BytesIO(base64.b64decode(png))))
            texts.append((output.output_type, output.get("text"), data))
    return pictures, texts


def test_the_notebook_shows_what_it_showed():
    """Tables to the letter. The picture within 5 levels of 255 on average, as another version of
    matplotlib may move its letters; a line that were missing or elsewhere is some 10."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    (before,), tables = shown(notebook)
    (after,), fresh = shown(executed())
    assert fresh == tables
    assert len(tables) == 6
    assert after.shape == before.shape
    assert np.abs(after - before).mean() < 5 / 255
    assert NOTEBOOK.stat().st_size < 150_000
    assert str(ROOT) not in NOTEBOOK.read_text()


if __name__ == "__main__":
    nbformat.write(executed(), NOTEBOOK)
    sys.exit()
