"""Compiled code: accuracy of the exponential, the cache on disk, threads and forks."""

import os
import subprocess
import sys
from pathlib import Path

import numba
import numba.core.caching
import numpy as np
import pytest
import torch

from findrec.ops.compiled import compiled, run_tasks
from findrec.ops.loops_cpu import PER_LN2, exp2


@numba.njit  # not cached: the cache would not notice a change of exp2
def exponentials(x: np.ndarray, out: np.ndarray) -> None:
    for i in range(x.shape[0]):
        out[i] = exp2(x[i])


@compiled("int64, int64, real[::1]")
def mark(start: int, stop: int, out: np.ndarray) -> None:
    for i in range(start, stop):
        out[i] += 1


def test_exponential_in_float32() -> None:
    """The polynomial's 5e-9 plus a few roundings of 6e-8: below 2e-7 over the whole range."""
    x = np.linspace(-126, 127, 1_000_003).astype(np.float32)
    out = np.empty_like(x)
    exponentials(x, out)
    assert np.abs(out / np.exp2(x.astype(np.float64)) - 1).max() < 2e-7
    exact = np.arange(-126, 128, dtype=np.float32)
    out = np.empty_like(exact)
    exponentials(exact, out)
    assert np.array_equal(out, np.exp2(exact.astype(np.float64)).astype(np.float32))


def test_exponential_at_its_ends() -> None:
    x = np.array([-np.inf, -1e30, -200, 200, np.inf, np.nan], np.float32)
    out = np.empty_like(x)
    exponentials(x, out)
    assert out.tolist()[:5] == [2.0**-126] * 3 + [2.0**127] * 2
    assert np.isnan(out[5])


def test_exponential_in_float64() -> None:
    x = np.linspace(-600, 600, 10_001)
    out = np.empty_like(x)
    exponentials(x * PER_LN2, out)
    # x / ln 2 is rounded before the exponential: |x| units of 1.1e-16, relative.
    assert np.abs(out / np.exp(x) - 1).max() < 600 * 2.3e-16


@pytest.mark.parametrize("tasks", [0, 1, 2, 5, 100])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_every_task_runs_once(tasks: int, count: int, threads: None) -> None:
    torch.set_num_threads(count)
    out = np.zeros(tasks, np.float32)
    run_tasks(mark[torch.float32], tasks, out)
    assert (out == 1).all()


def test_errors_in_threads_are_raised(threads: None) -> None:
    torch.set_num_threads(4)

    def failing(start: int, stop: int) -> None:
        if start > 0:
            raise RuntimeError(f"tasks {start} .. {stop - 1}")

    with pytest.raises(RuntimeError, match=r"tasks \d"):
        run_tasks(failing, 8)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_threads_after_a_fork() -> None:
    """A child must not wait for threads that only its parent has."""
    program = """
import os, numpy as np, torch
from findrec.ops.compiled import run_tasks
torch.set_num_threads(2)
def fill(start, stop, out): out[start:stop] = 1
out = np.zeros(4); run_tasks(fill, 4, out)
pid = os.fork()
if pid == 0:
    out = np.zeros(4); run_tasks(fill, 4, out); os._exit(int(out.sum()))
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "4\n"


MODULE = """
import numpy as np, torch
from findrec.ops.compiled import compiled
@compiled("real[::1]")
def one(x):
    for i in range(x.shape[0]):
        x[i] = x.dtype.type(1)
"""
USE = """
import importlib.util, sys, warnings
warnings.simplefilter("error")
spec = importlib.util.spec_from_file_location("kernel_under_test", sys.argv[1])
module = importlib.util.module_from_spec(spec); sys.modules[spec.name] = module
spec.loader.exec_module(module)
import numpy as np, torch
for dtype, kind in ((torch.float32, np.float32), (torch.float64, np.float64)):
    x = np.zeros(3, kind); module.one[dtype](x); assert (x == 1).all()
print(sum(module.one[torch.float32].stats.cache_hits.values()))
"""


def use(module: Path, cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", USE, str(module)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache)},
    )  # fmt: skip


@pytest.mark.slow
def test_processes_share_the_cache(tmp_path: Path) -> None:
    """Four at once on an empty cache all compute right, and the next one compiles nothing."""
    module = tmp_path / "kernel_under_test.py"
    module.write_text(MODULE)
    for process in [use(module, tmp_path / "cache") for _ in range(4)]:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    output, errors = use(module, tmp_path / "cache").communicate(timeout=60)
    assert output == "1\n", errors


def test_nowhere_to_cache_warns_and_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numba looks for a folder that can be written; here every place it looks at is taken away."""
    monkeypatch.setattr(numba.core.caching.CacheImpl, "_locator_classes", [])

    @compiled("real[::1]")
    def double(x: np.ndarray) -> None:
        for i in range(x.shape[0]):
            x[i] *= 2

    x = np.ones(3, np.float32)
    with pytest.warns(UserWarning, match="set NUMBA_CACHE_DIR to a folder that can be written"):
        double[torch.float32](x)
    assert x.tolist() == [2, 2, 2]
