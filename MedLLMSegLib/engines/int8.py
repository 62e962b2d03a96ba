"""Graphs with weights and layers of 8 bits, calibrated on images that the network was trained on.

OpenVINO's graphs go through NNCF, ONNX ones through ONNX Runtime's static quantisation (QDQ). Both
run the images through the graph and note the range of what each layer gives.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from MedLLMSegLib.core.errors import UserError

from .convert import quiet
from .engine_names import OPENVINO
from .graph_folder import GraphFile
from .own_process import in_own_process
from .telemetry import import_nncf, import_onnxruntime, import_openvino

Images = Sequence[NDArray[np.float32]]  # (B, C, k, j, i) each, as the graph gets them


def check_int8(engine: str) -> None:
    """Raise `UserError` where what quantises for an engine is not installed."""
    package = "nncf" if engine == OPENVINO else "onnx"
    if find_spec(package) is None:
        raise UserError(
            f"--int8 needs the package {package}, which is not installed; run"
            ' `pip install "medllmseg[export]"`.'
        )


def quantised(graph: GraphFile, folder: Path, images: Images) -> GraphFile:
    """The graph in a folder in 8 bits, in its place. images: at least one.

    Those of the size that most have are used: NNCF takes no others.
    """
    sizes = Counter(image.shape for image in images)
    images = [image for image in images if image.shape == sizes.most_common(1)[0][0]]
    return in_own_process(_quantised, graph, folder.absolute(), images)


def _quantised(graph: GraphFile, folder: Path, images: Images) -> GraphFile:
    path = folder / next(iter(graph.files))
    if graph.engine == OPENVINO:
        _quantise_openvino(path, images)
    else:
        _quantise_onnx(path, images)
    small = GraphFile.of(graph.engine, path, graph.multiple, graph.fold)
    check_another_size(small, folder, images[0].shape)
    return small


def check_another_size(graph: GraphFile, folder: Path, shape: Sequence[int]) -> None:
    """Raise `UserError` where a graph does not take an image that is a step larger than `shape`.

    OpenVINO itself says nothing: it then gives an output of the size before, or of none.
    """
    assert graph.multiple is not None
    axes = [size + step for size, step in zip(shape[2:], graph.multiple, strict=True)]
    found = graph.open(folder, 1)(np.zeros((*shape[:2], *axes), np.float32))
    if list(found.shape[2:]) != [size // graph.fold for size in axes]:
        raise UserError(
            f"The graph of 8 bits takes images of one size alone, {tuple(shape[2:])}; export the"
            " model without --int8."
        )


def _quantise_openvino(path: Path, images: Images) -> None:
    openvino, nncf = import_openvino(), import_nncf()
    nncf.set_log_level(logging.ERROR)
    model = openvino.Core().read_model(path)
    with quiet():
        small = nncf.quantize(
            model,
            nncf.Dataset(list(images)),
            preset=nncf.QuantizationPreset.MIXED,
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(images),
            # What goes into these would get one range for each token, so for one size alone.
            ignored_scope=nncf.IgnoredScope(types=["GroupConvolution"], validate=False),
        )
    new = path.with_name(f"int8-{path.name}")
    openvino.save_model(small, new, compress_to_fp16=True)
    del model, small  # they map the file that is replaced
    for suffix in (".bin", ".xml"):
        new.with_suffix(suffix).replace(path.with_suffix(suffix))


def _quantise_onnx(path: Path, images: Images) -> None:
    import_onnxruntime()
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    new = path.with_name(f"int8-{path.name}")
    quantize_static(
        path,
        new,
        _Reader(images),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv", "MatMul"],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    new.replace(path)


class _Reader:
    """What ONNX Runtime asks for images until there are none."""

    def __init__(self, images: Images) -> None:
        self._left: Iterator[NDArray[np.float32]] = iter(images)

    def get_next(self) -> dict[str, Any] | None:
        """The next image by the name of the graph's input."""
        image = next(self._left, None)
        return None if image is None else {"image": image}
