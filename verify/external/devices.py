"""A submission that asks for an accelerator, on a machine that has none: it gets the CPU.

Used inside its process only, and only when it could not be loaded as it is. Same tensors, same
operations; float32 arithmetic of another device may round otherwise, as it may from one accelerator
to the next.
"""

from __future__ import annotations

import re
import sys
from typing import Any

MISSING = re.compile(
    r"CUDA device but|not compiled with CUDA|not linked with support for|no NVIDIA driver"
    r"|Invalid device|accelerator device when none|No CUDA GPUs|MPS backend|Found no NVIDIA"
    r"|not compiled with (MPS|XPU|ROCm)|Torch not compiled",
    re.IGNORECASE,
)
"""What torch says of a device that is not there."""


def asks_for_a_device(error: BaseException) -> bool:
    """Whether torch raised this because a device is missing.

    >>> asks_for_a_device(AssertionError("Torch not compiled with CUDA enabled"))
    True
    >>> asks_for_a_device(ValueError("a device of rhetoric"))
    False
    """
    raised = isinstance(error, AssertionError | RuntimeError)
    return raised and "torch" in sys.modules and MISSING.search(str(error)) is not None


def put_all_on_the_cpu() -> None:
    """From now on, whatever asks torch for a device gets the CPU; what was saved elsewhere is read
    there.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    moves = {torch.Tensor.cuda, getattr(torch.Tensor, "xpu", None)}

    class OnTheCPU(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if func in moves:
                return args[0]
            named = {**(kwargs or {})}
            if named.get("device") is not None:
                named["device"] = "cpu"
            if func is torch.Tensor.to:
                args = tuple("cpu" if _names_a_device(one) else one for one in args)
            return func(*args, **named)

    def _names_a_device(one: Any) -> bool:
        return isinstance(one, str | torch.device) or type(one) is int

    load = torch.load

    def load_on_cpu(*args: Any, **named: Any) -> Any:
        return load(*args[:1], **{**named, "map_location": "cpu"})

    torch.load = load_on_cpu
    OnTheCPU().__enter__()
