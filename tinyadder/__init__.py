"""Write exact algorithms as the weights of small transformers; look inside, count, verify, prove.

>>> import tinyadder as ta
>>> m = ta.load("add10")
>>> m.generate("123+456")
'579'

`load` gives a `Model`; `Stream`, `Embed`, `Attention`, `Head`, `MLP`, `relu`, `Unembed` and
`Program` write an algorithm as equations; `task` says what a model must compute; `Construction`
puts the two together. Everything here is imported when it is first used, torch with the first
model.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

_HOME = {
    "load": "tinyadder.model",
    "Model": "tinyadder.model",
    "ActivationCache": "tinyadder.inspect.trace",
    "to_transformer_lens": "tinyadder.model",
    "to_transformers": "tinyadder.model",
    "Construction": "tinyadder.construction",
    "construction_names": "tinyadder.construction",
    "Program": "tinyadder.dsl",
    "Stream": "tinyadder.dsl",
    "Embed": "tinyadder.dsl",
    "Attention": "tinyadder.dsl",
    "Head": "tinyadder.dsl",
    "MLP": "tinyadder.dsl",
    "relu": "tinyadder.dsl",
    "Unembed": "tinyadder.dsl",
    "concat": "tinyadder.dsl",
    "stack": "tinyadder.dsl",
    "shared": "tinyadder.dsl",
    "derived": "tinyadder.dsl",
    "token_value": "tinyadder.dsl",
    "gadgets": "tinyadder.lang.gadgets:",
    "task": "tinyadder.tasks.custom:custom_task",
    "Task": "tinyadder.tasks.base",
    "Sampled": "tinyadder.verify.verdict",
    "Exhaustive": "tinyadder.verify.verdict",
    "Proved": "tinyadder.verify.verdict",
    "Refuted": "tinyadder.verify.verdict",
    "Unknown": "tinyadder.verify.verdict",
    "TinyadderError": "tinyadder.errors",
    "MissingExtra": "tinyadder.errors",
}
"""Public name -> its module, `module:name` where it has another name there, `module:` for the
module itself.
"""

__all__ = [*_HOME]

if TYPE_CHECKING:
    from tinyadder.construction import Construction as Construction
    from tinyadder.construction import construction_names as construction_names
    from tinyadder.dsl import MLP as MLP
    from tinyadder.dsl import Attention as Attention
    from tinyadder.dsl import Embed as Embed
    from tinyadder.dsl import Head as Head
    from tinyadder.dsl import Program as Program
    from tinyadder.dsl import Stream as Stream
    from tinyadder.dsl import Unembed as Unembed
    from tinyadder.dsl import concat as concat
    from tinyadder.dsl import derived as derived
    from tinyadder.dsl import relu as relu
    from tinyadder.dsl import shared as shared
    from tinyadder.dsl import stack as stack
    from tinyadder.dsl import token_value as token_value
    from tinyadder.errors import MissingExtra as MissingExtra
    from tinyadder.errors import TinyadderError as TinyadderError
    from tinyadder.inspect.trace import ActivationCache as ActivationCache
    from tinyadder.lang import gadgets as gadgets
    from tinyadder.model import Model as Model
    from tinyadder.model import load as load
    from tinyadder.model import to_transformer_lens as to_transformer_lens
    from tinyadder.model import to_transformers as to_transformers
    from tinyadder.tasks.base import Task as Task
    from tinyadder.tasks.custom import custom_task as task  # noqa: F401
    from tinyadder.verify.verdict import Exhaustive as Exhaustive
    from tinyadder.verify.verdict import Proved as Proved
    from tinyadder.verify.verdict import Refuted as Refuted
    from tinyadder.verify.verdict import Sampled as Sampled
    from tinyadder.verify.verdict import Unknown as Unknown


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        from tinyadder.errors import did_you_mean

        raise AttributeError(
            f"module 'tinyadder' has no attribute '{name}'{did_you_mean(name, _HOME)}"
        )
    home, colon, inner = _HOME[name].partition(":")
    module = import_module(home)
    value = module if colon and not inner else getattr(module, inner or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*_HOME, "__version__"])
