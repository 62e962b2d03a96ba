"""The engines that can run a network: torch, and two that run exported graphs. No torch."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from MedLLMSegLib.core.errors import UserError

TORCH, OPENVINO, ONNX = "torch", "openvino", "onnx"
ENGINES = (TORCH, OPENVINO, ONNX)
GRAPH_ENGINES = (OPENVINO, ONNX)
TITLES = {TORCH: "PyTorch", OPENVINO: "OpenVINO", ONNX: "ONNX Runtime"}
_PACKAGES = {TORCH: "torch", OPENVINO: "openvino", ONNX: "onnxruntime"}
_EXTRAS = {OPENVINO: "export", ONNX: "edge"}
_EXPORTER = ("onnx", "onnxscript")


def check_engine(name: str) -> None:
    """Raise `UserError` for what is not one of `ENGINES`, or is not installed."""
    if name not in ENGINES:
        raise UserError(f'"{name}" is not an engine; use {", ".join(ENGINES)}.')
    package = _PACKAGES[name]
    if find_spec(package) is None:
        raise UserError(
            f"The engine {name} needs the package {package}, which is not installed; run"
            f' `pip install "medllmseg[{_EXTRAS[name]}]"`.'
        )


def missing_packages(name: str) -> tuple[str, ...]:
    """What is not installed of what an engine needs to run a model of torch's."""
    needed = (_PACKAGES[name], *(_EXPORTER if name in GRAPH_ENGINES else ()))
    return _not_found(needed)


def check_exporter() -> None:
    """Raise `UserError` where what makes graphs of torch's networks is not installed."""
    if missing := _not_found(_EXPORTER):
        raise UserError(
            f"To make a model's graph, the package {missing[0]} is needed, which is not installed;"
            ' run `pip install "medllmseg[export]"`.'
        )


def _not_found(packages: Iterable[str]) -> tuple[str, ...]:
    return tuple(package for package in packages if find_spec(package) is None)


def engine_version(name: str) -> str:
    """The engine and its version, such as "onnxruntime 1.32.0": part of what a measurement holds
    for.
    """
    package = _PACKAGES[name]
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return package
