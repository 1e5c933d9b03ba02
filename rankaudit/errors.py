"""Errors that a user can mend: each message names the file, line or option, and the remedy."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input: a file, line, option or value that the user can correct.

    The command line prints the message alone, without a traceback, and exits with status 2.
    """


def nearest(name: str, options: Iterable[str]) -> str:
    """The end of an error message about an unknown name: the nearest option, and all of them."""
    options = list(options)
    hint = did_you_mean(name, options) or "."
    return f"{hint} There are: {', '.join(options)}"


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """ "; did you mean 'SASRec'?" with the option nearest to a name, "" where none is near."""
    folded = {option.lower(): option for option in options}
    close = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.4)
    return f"; did you mean {folded[close[0]]!r}?" if close else ""
