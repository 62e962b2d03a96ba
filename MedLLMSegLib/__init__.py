"""MedLLMSeg: vision transformers with a frozen language-model block, for 3D Slicer and beyond.

    from MedLLMSegLib import load_volume, save_segmentation, segment
    result = segment(load_volume("head.nii.gz"))
    save_segmentation(result, "hippocampi.seg.nrrd")

    from MedLLMSegLib import diagnose
    print(diagnose("chest.dcm").probabilities)

Importing this package is cheap: torch is loaded when a name that needs it is first used.
"""

import importlib
from typing import Any

from MedLLMSegLib.core.version import __version__ as __version__

_PUBLIC = {
    "segment": "segmentation.pipeline",
    "load_model": "segmentation.pipeline",
    "Region": "segmentation.region",
    "explain": "segmentation.explanation.explain",
    "segment_frames": "segmentation.time_series",
    "diagnose": "diagnosis.predict",
    "load_classifier": "diagnosis.loaded_classifier",
    "Diagnosis": "diagnosis.result",
    "load_radiograph": "io.radiograph",
    "Radiograph": "io.radiograph",
    "load_volume": "io.volume_files",
    "save_segmentation": "io.volume_files",
    "save_volume": "io.volume_files",
    "list_models": "registry.catalogue",
    "accept_licence": "registry.licences",
    "Volume": "core.volume",
    "Segmentation": "core.segmentation",
    "Structure": "core.segmentation",
    "UserError": "core.errors",
    "Cancelled": "core.errors",
    "write_report": "reporting.scan_report",
}
# Modules by their names of version 0.3: MONAI's runner looks for them here, because the
# configs/inference.json of older bundles names them.
_MODULES_OF_0_3 = {
    "monai_runner": "monai_bundle.segmenter_runner",
    "monai_classifier": "monai_bundle.classifier_runner",
}
__all__ = sorted(_PUBLIC)  # noqa: PLE0605 (one list of names is enough)


def __getattr__(name: str) -> Any:
    if name in _MODULES_OF_0_3:
        return importlib.import_module(f"{__name__}.{_MODULES_OF_0_3[name]}")
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
