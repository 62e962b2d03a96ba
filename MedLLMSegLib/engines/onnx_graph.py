"""A graph in ONNX Runtime, on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from MedLLMSegLib.core.errors import UserError

from .telemetry import import_onnxruntime


class OnnxGraph:
    """Runs in fp32: ONNX Runtime has no bf16 on a CPU."""

    def __init__(self, path: Path, threads: int) -> None:
        runtime = import_onnxruntime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False  # it would keep what a whole head took to the end
        options.log_severity_level = 3  # errors; what it warns of is no matter of the user's
        self._session = runtime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name

    def __call__(self, image: NDArray[np.float32], precision: str = "fp32") -> NDArray[np.float32]:
        """See `graph.Graph`."""
        if precision != "fp32":
            raise UserError(
                f"ONNX Runtime computes in fp32 on a CPU, and {precision} was asked for; use the"
                " engine openvino, or leave the precision out."
            )
        output: NDArray[np.float32] = self._session.run(None, {self._input: image})[0]
        return output
