"""Compiling loops with numba: signatures known beforehand, cached on disk, run over threads."""

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba
import torch

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def compiled(*signatures: str, fastmath: frozenset[str] = frozenset({"contract"})) -> Any:
    """Decorator: compile for the signatures now, or load what an earlier process compiled.

    Floating-point freedom is `contract` (fused multiply-add) unless said; never `nnan` or `ninf`,
    so that a NaN stays one. The compiled code is kept beside the source, else in the user's cache
    folder, else in NUMBA_CACHE_DIR where that is set; if none can be written it is not kept.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        options = {"nogil": True, "error_model": "numpy", "fastmath": set(fastmath)}
        with _one_process_at_a_time():
            try:
                return numba.njit(list(signatures), cache=True, **options)(function)
            except RuntimeError as error:
                if "cannot cache" not in str(error):
                    raise
        warnings.warn(
            "compiled ops cannot be cached, so that each process compiles them for some seconds: "
            "set NUMBA_CACHE_DIR to a folder that can be written",
            stacklevel=2,
        )
        return numba.njit(list(signatures), **options)(function)

    return decorate


@contextmanager
def _one_process_at_a_time() -> Iterator[None]:
    """Numba replaces cache files atomically, but its index and data are separate files: two
    processes that compile at the same time can pair one's index with the other's data."""
    if fcntl is None:
        yield
        return
    path = Path(tempfile.gettempdir()) / f"findrec-compile-{os.getuid()}.lock"
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


_pool: ThreadPoolExecutor | None = None


def _forget_pool() -> None:
    """A forked child has the pool's object without its threads."""
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def run_tasks(kernel: Callable[..., None], tasks: int, *arguments: Any) -> None:
    """Call `kernel(start, stop, *arguments)` on parts of range(tasks), over torch's threads.

    Tasks must be independent, so that the cut changes nothing. The kernel releases the GIL; a pool
    of our own instead of numba's `parallel=True` halves the compile time and has no threading
    layer to conflict with the OpenMP runtime of torch.
    """
    global _pool
    threads = min(torch.get_num_threads(), tasks)
    if threads <= 1:
        kernel(0, tasks, *arguments)
        return
    if _pool is None:
        _pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="findrec")
    cuts = [tasks * i // threads for i in range(threads + 1)]
    futures = [
        _pool.submit(kernel, start, stop, *arguments)
        for start, stop in zip(cuts[1:-1], cuts[2:], strict=True)
    ]
    kernel(0, cuts[1], *arguments)
    for future in futures:
        future.result()
