"""Commands in processes of their own, as a user calls them."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("--profile", "smoke", "--datasets", "beauty", "--models", "GRU4Rec,Popularity")


def call(place: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, with variables added to the environment."""
    return subprocess.run(
        [sys.executable, "-m", "benchmark", *arguments],
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "140"} | variables,
        capture_output=True,
        text=True,
        check=False,
    )
