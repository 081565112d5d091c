"""The weight-building language, as users import it: lanes, affine forms, heads, hidden units,
programs.
"""

from tinyadder.lang.forms import AffineForm, Shared, Stream, concat, shared
from tinyadder.lang.formulas import DerivedColumn, Formula, derived, token_value
from tinyadder.lang.program import Program
from tinyadder.lang.sublayers import (
    MLP,
    Attention,
    Embed,
    Head,
    Hidden,
    Outputs,
    Unembed,
    Units,
    format_units,
    relu,
    stack,
)

__all__ = [
    "MLP",
    "AffineForm",
    "Attention",
    "DerivedColumn",
    "Embed",
    "Formula",
    "Head",
    "Hidden",
    "Outputs",
    "Program",
    "Shared",
    "Stream",
    "Unembed",
    "Units",
    "concat",
    "derived",
    "format_units",
    "relu",
    "shared",
    "stack",
    "token_value",
]
