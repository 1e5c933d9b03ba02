"""The example runs as it stands, and the package imports without the harness."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


def test_example(capsys: pytest.CaptureFixture[str]) -> None:
    names = runpy.run_path(str(ROOT / "examples" / "use_findrec.py"))
    assert names["scores"].shape == (32, names["N"])
    assert names["scores"].isfinite().all()
    assert all(parameter.grad is not None for parameter in names["model"].parameters())
    assert set(names["weights"]) == {"alignment", "entropy"} <= set(names["aux_losses"])
    assert capsys.readouterr().out.startswith("loss ")
    torch.testing.assert_close(names["loss"].item(), 6.2, rtol=0, atol=0.3)  # near log 500


def test_imports_without_the_harness() -> None:
    """Neither the benchmark nor what only it needs is loaded."""
    code = (
        "import sys, findrec; "
        "print([m for m in ('benchmark', 'baselines', 'pandas', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
