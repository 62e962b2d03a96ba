"""Progress within one pass of a network: a whole head takes seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def layer_progress(network: nn.Module, report: Callable[[float], None]) -> Iterator[None]:
    """Report before each layer which share of the layers is done, 0 to 1. The report may raise.

    A layer that runs more than once counts each time, up to the whole.
    """
    layers = [module for module in network.modules() if not any(module.children())]
    begun = 0

    def before(*_: object) -> None:
        nonlocal begun
        report(min(1.0, begun / max(1, len(layers))))
        begun += 1

    handles = [layer.register_forward_pre_hook(before) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
