"""A network's graph in an engine: arrays in, arrays out. No torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from MedLLMSegLib.core.errors import UserError

from .engine_names import OPENVINO, TITLES

FP32, BF16 = "fp32", "bf16"
SUFFIXES = {"openvino": ".xml", "onnx": ".onnx"}


class Graph(Protocol):
    """One graph, ready to run on the CPU."""

    def __call__(self, image: NDArray[np.float32], precision: str = FP32) -> NDArray[np.float32]:
        """image (B, C, ...) -> the graph's only output, float32. precision: "fp32" or "bf16"."""


def open_graph(path: Path, engine: str, threads: int | None = None) -> Graph:
    """A graph in a file. threads: None for as many as this process may use.

    Raises `UserError` for a file that the engine cannot read.
    """
    count = threads or usable_threads()
    try:
        if engine == OPENVINO:
            from .openvino_graph import OpenVinoGraph

            return OpenVinoGraph(path, count)
        from .onnx_graph import OnnxGraph

        return OnnxGraph(path, count)
    except UserError:
        raise
    except Exception as error:  # ONNX Runtime's errors have no common kind but this one
        raise UserError(
            f'{TITLES[engine]} cannot read the network in "{path}"; export the model again.'
        ) from error


def usable_threads() -> int:
    """How many threads this process may use: $OMP_NUM_THREADS, or the cores it may run on."""
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
