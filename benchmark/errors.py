"""Errors that a user can mend: each message names the file, line or option, and the remedy; and
what tells a lack of memory from other errors."""

import errno

from rankaudit.errors import InputError, did_you_mean, nearest

__all__ = ["InputError", "OutOfMemory", "did_you_mean", "lacks_memory", "nearest"]


class OutOfMemory(Exception):
    """One seed does not fit the memory beside what else runs here."""


_NO_MEMORY = ("out of memory", "can't allocate memory", "cublas_status_alloc_failed")
"""What torch says of it in a RuntimeError: on a GPU, on a CPU, in a matrix product of a GPU."""


def lacks_memory(error: Exception) -> bool:
    """Whether memory ran out: MemoryError (Python, NumPy, Arrow) and what the system and torch say
    instead."""
    if isinstance(error, MemoryError) or (
        isinstance(error, OSError) and error.errno == errno.ENOMEM
    ):
        return True
    text = f"{type(error).__name__} {error}".lower()
    return isinstance(error, RuntimeError) and (
        "outofmemory" in text or any(words in text for words in _NO_MEMORY)
    )
