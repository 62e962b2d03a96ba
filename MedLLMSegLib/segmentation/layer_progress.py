"""Calls before each layer of a network: progress within one pass, which takes seconds for a whole
head, and a cancel that is heard there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook


@contextmanager
def before_layers(call: Callable[[nn.Module], None]) -> Iterator[None]:
    """Call with each layer of any network, and each part that holds layers, before it runs within
    the block.

    What the call raises leaves the network as it was, as layers change nothing but what they
    return. Not for trainings, which are stopped between two steps.
    """

    def before(layer: nn.Module, _inputs: object) -> None:
        call(layer)

    handle = register_module_forward_pre_hook(before)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def layer_progress(network: nn.Module, report: Callable[[float], None]) -> Iterator[None]:
    """Report before each layer which share of the layers is done, 0 to 1. The report may raise.

    A layer that runs more than once counts each time, up to the whole.
    """
    layers = {module for module in network.modules() if not any(module.children())}
    begun = 0

    def count(layer: nn.Module) -> None:
        nonlocal begun
        if layer in layers:  # not another network's, in another thread
            report(min(1.0, begun / max(1, len(layers))))
            begun += 1

    with before_layers(count):
        yield
