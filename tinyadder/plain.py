"""Numbers of other libraries as Python's own: numpy integers and floats and tensors without axes
are numbers too.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from numbers import Integral, Real
from operator import index
from typing import Any

from tinyadder.errors import TinyadderError


def as_int(value: Any) -> int | None:
    """The integer that `value` is, or None: booleans, floats, strings and arrays with axes are
    none.

    >>> import numpy as np
    >>> as_int(np.int64(7)), as_int(np.array(7)), as_int(True), as_int(7.0), as_int(np.array([7]))
    (7, 7, None, None, None)
    """
    if type(value) is int:
        return value
    if isinstance(value, bool) or (not isinstance(value, Integral) and not _without_axes(value)):
        return None
    if "bool" in str(getattr(value, "dtype", "")):
        return None
    try:
        return index(value)
    except TypeError:
        return None


def as_real(value: Any) -> float | int | Decimal | Fraction | None:
    """The real number that `value` is (NaN and infinity included), or None.

    >>> import numpy as np
    >>> as_real(np.float32(0.5)), as_real(np.array(3)), as_real("3"), as_real(True)
    (0.5, 3, None, None)
    """
    if (whole := as_int(value)) is not None:
        return whole
    if isinstance(value, float):
        return float(value)
    if isinstance(value, Decimal | Fraction):
        return value
    if isinstance(value, bool) or "bool" in str(getattr(value, "dtype", "")):
        return None
    if "complex" in str(getattr(value, "dtype", "")) or not (
        isinstance(value, Real) or _without_axes(value)
    ):
        return None
    try:
        return float(value)
    except TypeError:
        return None


def whole(value: Any, name: str, least: int = 0) -> int:
    """`value` as an integer of at least `least`. Raises `TinyadderError`, which begins with
    `name=value`, for anything else.

    >>> whole(True, "steps")
    Traceback (most recent call last):
    tinyadder.errors.TinyadderError: steps=True, expected an integer >= 0
    """
    number = as_int(value)
    if number is None or number < least:
        raise TinyadderError(f"{name}={short(value)}, expected an integer >= {least}")
    return number


def _without_axes(value: Any) -> bool:
    return getattr(value, "ndim", None) == 0


def short(value: Any) -> str:
    """repr of a mistaken value, in at most 60 characters; an integer of thousands of digits, which
    has none, by size.

    >>> short(10**5000), short("x" * 100)[:10], short(12)
    ('about 10^5000', "'xxxxxxxxx", '12')
    """
    if isinstance(value, int) and value.bit_length() > 190:
        return f"about {'-' * (value < 0)}10^{value.bit_length() * 30103 // 100_000}"
    try:
        text = repr(value)
    except ValueError:
        text = f"a {type(value).__name__} of very large numbers"
    return text if len(text) <= 60 else text[:57] + "..."


def first_paragraph(text: str) -> str:
    """The first paragraph of a text, on one line: what a docstring says in short.

    >>> first_paragraph("One sentence\\nover two lines.\\n\\nMore.")
    'One sentence over two lines.'
    """
    return " ".join(text.strip().partition("\n\n")[0].split())
