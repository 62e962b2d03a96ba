"""OpenVINO, NNCF and ONNX Runtime without their telemetry.

OpenVINO sends an event when it is imported and when it converts; NNCF when it quantises. Both do it
with the package `openvino_telemetry`, and neither asks. Where that package cannot be imported they
use stubs of their own. So it is marked as one that is not there, before either is imported.
(Nothing is written to the environment or to a file: the user's own choice for other programs
stays.)
"""

from __future__ import annotations

import sys
from types import ModuleType

SENDER = "openvino_telemetry"


def import_openvino() -> ModuleType:
    """The package `openvino`, which sends nothing."""
    _without_sender()
    import openvino

    return openvino


def import_nncf() -> ModuleType:
    """The package `nncf`, which sends nothing."""
    _without_sender()
    import nncf

    return nncf


def import_onnxruntime() -> ModuleType:
    """The package `onnxruntime`; its events, which exist on Windows alone, are switched off."""
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    return onnxruntime


def _without_sender() -> None:
    """Python takes None in `sys.modules` for a package that is not installed."""
    if SENDER not in sys.modules:
        sys.modules[SENDER] = None  # type: ignore[assignment]
