"""The exceptions that a user's mistake and a missing extra raise, and the search for what was
probably meant.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class TinyadderError(ValueError):
    """A mistake the user can mend: the text says what was given, what is expected, and the way
    out.
    """

    exit_code = 2
    """Of the command line."""


class MissingExtra(TinyadderError):
    """A package that only one feature needs is not installed; the text says what to install."""

    exit_code = 3


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`"; did you mean 'add10'?"` when something in `known` is close to `word`, else the empty
    string.

    >>> did_you_mean("plase", ["place", "digit"])
    "; did you mean 'place'?"
    >>> did_you_mean("zzz", ["place", "digit"])
    ''
    """
    close = get_close_matches(word, list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""
