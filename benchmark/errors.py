"""Errors that a user can mend: each message names the file, line or option, and the remedy."""


class InputError(ValueError):
    """Bad input: a file, line, option or value that the user can correct.

    The command line prints the message alone, without a traceback, and exits with status 2.
    """
