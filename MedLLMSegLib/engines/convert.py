"""A part of a network -> a graph in a file: ONNX, and from that OpenVINO's own form."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch

from .exportable import GraphPart
from .telemetry import import_openvino

OPSET = 20
SMALL_BYTES = 1_000_000


def write_onnx(part: GraphPart, path: Path) -> Path:
    """Trace a part (torch.export) and write it as ONNX, weights included."""
    module = part.module.eval()
    with torch.no_grad(), quiet():
        program = torch.onnx.export(
            module,
            (part.example,),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=_dynamic_shapes(part),
            input_names=["image"],
            output_names=["output"],
            optimize=True,
            external_data=False,
        )
    assert program is not None
    program.save(path, external_data=False)
    return path


def _dynamic_shapes(part: GraphPart) -> tuple[dict[int, Any]] | None:
    if part.multiple is None:
        return None
    dims: dict[int, Any] = {}
    for axis, (name, step) in enumerate(zip("kji", part.multiple, strict=True), start=2):
        dim = torch.export.Dim(name, min=1, max=512)
        dims[axis] = dim if step == 1 else step * dim
    if part.any_batch:
        dims[0] = torch.export.Dim("batch", min=1, max=64)
    return (dims,)


def write_openvino(onnx_path: Path, path: Path) -> Path:
    """An ONNX file as OpenVINO's .xml and .bin, with weights in fp16 as the bundles have them.

    Those of a small graph stay as they are: the last layer's are products, made when it is traced.
    """
    openvino = import_openvino()
    model = openvino.Core().read_model(onnx_path)
    is_large = onnx_path.stat().st_size > SMALL_BYTES
    openvino.save_model(model, path, compress_to_fp16=is_large)
    return path


@contextmanager
def quiet() -> Iterator[None]:
    """Exporters and quantisers print what they do."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
