"""Shapes and types in the machine's signatures are checked, in tests only; one thread; no
hypothesis deadlines.
"""

import os

import pytest
from jaxtyping import config, install_import_hook

TENSOR_MODULES = [
    "tinyadder.machine.transformer",
    "tinyadder.machine.layers",
    "tinyadder.machine.inference",
    "tinyadder.machine.decode",
    "tinyadder.machine.encoder",
    "tinyadder.inspect.trace",
]
install_import_hook(TENSOR_MODULES, "beartype.beartype")  # before anything imports tinyadder

import hypothesis  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)  # these models are too small to share between threads
hypothesis.settings.register_profile(
    "tinyadder", deadline=None, print_blob=True, derandomize="CI" in os.environ
)
hypothesis.settings.load_profile("tinyadder")

CHECKED = {
    *("architecture", "decoding", "evaluate", "export", "fused", "machine", "modules"),
    *("patching", "sampling_commands", "trace"),
    *("train", "train_guards", "training_options"),
}
"""The files test_NAME.py in whose tests the checks run: they call every signature. Where a model
answers thousands of problems the checks would take as long as the model itself.
"""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    config.update("jaxtyping_disable", item.path.stem.removeprefix("test_") not in CHECKED)
