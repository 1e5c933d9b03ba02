"""Errors that a user can mend: each message names the file, line or option, and the remedy."""

from rankaudit.errors import InputError, did_you_mean, nearest

__all__ = ["InputError", "did_you_mean", "nearest"]
