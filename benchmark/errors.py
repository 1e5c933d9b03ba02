"""Errors that a user can mend: each message names the file, line or option, and the remedy."""

from rankaudit.errors import InputError, nearest

__all__ = ["InputError", "nearest"]
