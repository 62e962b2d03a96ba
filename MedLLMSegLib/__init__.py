"""MedLLMSeg: vision transformers with a frozen language-model block, for 3D Slicer and beyond.

    from MedLLMSegLib import load_volume, save_segmentation, segment
    result = segment(load_volume("head.nii.gz"))
    save_segmentation(result, "hippocampi.seg.nrrd")

    from MedLLMSegLib import diagnose
    print(diagnose("chest.dcm").probabilities)

Importing this package is cheap: torch is loaded when a name that needs it is first used.
"""

import importlib

from .core.version import __version__  # noqa: F401

_PUBLIC = {
    "segment": "segmentation.pipeline",
    "load_model": "segmentation.pipeline",
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
    "accept_licence": "registry.catalogue",
    "Volume": "core.volume",
    "Segmentation": "core.segmentation",
    "Structure": "core.segmentation",
    "UserError": "core.errors",
    "Cancelled": "core.errors",
    "write_report": "reporting.scan_report",
}
# Modules that files of version 0.3 name: a bundle's configs/inference.json, of which MONAI's runner
# asks this package for them.
_MODULES_OF_0_3 = {
    "monai_runner": "monai_bundle.segmenter_runner",
    "monai_classifier": "monai_bundle.classifier_runner",
}
__all__ = sorted(_PUBLIC)


def __getattr__(name: str):
    if name in _MODULES_OF_0_3:
        return importlib.import_module(f"{__name__}.{_MODULES_OF_0_3[name]}")
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})
