"""A graph in OpenVINO, on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .telemetry import import_openvino

PRECISIONS = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoGraph:
    """Compiled when it is first called in a precision."""

    def __init__(self, path: Path, threads: int) -> None:
        openvino = import_openvino()
        self._core = openvino.Core()
        self._model = self._core.read_model(path)
        self._threads = threads
        self._compiled: dict[str, Any] = {}

    def __call__(self, image: NDArray[np.float32], precision: str = "fp32") -> NDArray[np.float32]:
        """See `graph.Graph`."""
        compiled = self._compiled_for(precision)
        (output,) = compiled([image]).to_tuple()
        return np.asarray(output, np.float32)

    def _compiled_for(self, precision: str) -> Any:
        if precision not in self._compiled:
            self._compiled[precision] = self._core.compile_model(
                self._model,
                "CPU",
                {
                    "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
                    "INFERENCE_NUM_THREADS": self._threads,
                    "PERFORMANCE_HINT": "LATENCY",
                },
            )
        return self._compiled[precision]
