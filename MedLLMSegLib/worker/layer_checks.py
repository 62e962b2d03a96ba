"""A cancel is heard inside a network: between two of its layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def checked_between_layers(check: Callable[[], None]) -> Iterator[None]:
    """Call ``check`` before each layer of any network that runs within the block.

    What it raises (`Cancelled`) leaves the network as it was, as layers change nothing but what
    they return. Not for trainings, which are stopped between two steps. Imports torch.
    """
    from torch.nn.modules.module import register_module_forward_pre_hook

    def before(layer: Any, inputs: Any) -> None:
        check()

    handle = register_module_forward_pre_hook(before)
    try:
        yield
    finally:
        handle.remove()
