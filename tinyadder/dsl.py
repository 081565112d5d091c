"""The weight-building language, as users import it: lanes, affine forms, heads, hidden units,
programs.
"""

from tinyadder.lang.forms import Form, Shared, Stream, concat, shared
from tinyadder.lang.program import (
    MLP,
    Attention,
    Embed,
    Head,
    Hidden,
    Outputs,
    Program,
    Unembed,
    Units,
    relu,
    show_units,
    stack,
)

__all__ = [
    "MLP",
    "Attention",
    "Embed",
    "Form",
    "Head",
    "Hidden",
    "Outputs",
    "Program",
    "Shared",
    "Stream",
    "Unembed",
    "Units",
    "concat",
    "relu",
    "shared",
    "show_units",
    "stack",
]
