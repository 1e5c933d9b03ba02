"""Compiling loops with numba: one signature for a dtype, cached on disk, run over threads.

And whether Triton, which compiles kernels for a GPU, is there.
"""

import functools
import importlib.util
import itertools
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import torch


class Compiled:
    """A function that is compiled for one floating dtype when that is first asked for."""

    def __init__(self, function: Callable[..., None], signature: str, fastmath: set[str]) -> None:
        self._function = function
        self._signature = signature
        self._options = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}
        self._by_dtype: dict[torch.dtype, Callable[..., None]] = {}

    def __getitem__(self, dtype: torch.dtype) -> Callable[..., None]:
        """The compiled function, or what an earlier process compiled."""
        kernel = self._by_dtype.get(dtype)
        if kernel is None:
            kernel = self._by_dtype[dtype] = self._compile(str(dtype).removeprefix("torch."))
        return kernel

    def _compile(self, scalar: str) -> Callable[..., None]:
        import numba  # here, because it takes a second that not every process needs

        signature = f"void({self._signature.replace('real', scalar)})"
        jit = functools.partial(numba.njit, signature, **self._options)
        with _one_process_at_a_time():
            try:
                kernel = jit(cache=True)(self._function)
            except RuntimeError as error:
                if "cannot cache" not in str(error):
                    raise
                warnings.warn(
                    f"{self._function.__name__} is compiled in each process, which takes seconds: "
                    "set NUMBA_CACHE_DIR to a folder that can be written",
                    stacklevel=4,
                )
                kernel = jit()(self._function)
        return cast(Callable[..., None], kernel)


def compiled(
    signature: str, fastmath: Iterable[str] = ("contract",)
) -> Callable[[Callable[..., None]], Compiled]:
    """Decorator; `real` in the signature stands for the dtype.

    Floating-point freedom is `contract` (fused multiply-add) unless said; never `nnan` or `ninf`,
    so that a NaN stays one. What is compiled is kept beside the source, else in the user's cache
    folder, or in NUMBA_CACHE_DIR where that is set.
    """
    return lambda function: Compiled(function, signature, set(fastmath))


@contextmanager
def _one_process_at_a_time() -> Iterator[None]:
    """Numba replaces cache files atomically, but its index and data are separate files: two
    processes that compile at the same time can pair one's index with the other's data.

    The lock is on this source file, which every process of an installation has. A network file
    system may refuse to lock a file that is opened for reading; compiling then goes on unlocked.
    """
    with Path(__file__).open() as source:
        with suppress(OSError, ImportError):  # Windows has no fcntl
            import fcntl

            fcntl.flock(source, fcntl.LOCK_EX)
        yield


@functools.cache
def has_triton() -> bool:
    """Whether the extra is installed."""
    return importlib.util.find_spec("triton") is not None


_pool: ThreadPoolExecutor | None = None


def _forget_pool() -> None:
    """A forked child has the pool's object without its threads."""
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def run_tasks(kernel: Callable[..., None], tasks: int, *arguments: Any) -> None:
    """Call `kernel(start, stop, *arguments)` on parts of range(tasks), over torch's threads.

    Tasks must be independent: the number of threads must not change the result. The kernel releases
    the GIL. A pool of Python threads is used instead of numba's `parallel=True`, because it halves
    the compile time and has no threading layer that conflicts with torch's OpenMP runtime.
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
        for start, stop in itertools.pairwise(cuts[1:])
    ]
    kernel(0, cuts[1], *arguments)
    for future in futures:
        future.result()
