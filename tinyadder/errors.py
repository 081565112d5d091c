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


EXTRA_OF = {
    "matplotlib": "plot",
    "flint": "prove",
    "hypothesis": "prove",
    "joblib": "sweep",
    "jinja2": "report",
    "mlx": "mlx",
    "transformers": "hub",
    "scipy": "structured",
}
"""Top-level package -> the extra that brings it. What only decodes needs none of them."""


def missing_extra(error: ModuleNotFoundError) -> MissingExtra | None:
    """What to install where the missing package is one of an extra's; None where it is not.

    >>> print(missing_extra(ModuleNotFoundError("", name="matplotlib.figure")))
    this needs matplotlib: pip install 'tinyadder[plot]'
    """
    package = (error.name or "").partition(".")[0]
    extra = EXTRA_OF.get(package)
    if extra is None:
        return None
    return MissingExtra(f"this needs {package}: pip install 'tinyadder[{extra}]'")


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
